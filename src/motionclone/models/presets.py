"""Which preset a model takes that has no name: that of the nearest model of its family that has one."""

from typing import Any

from motionclone.models.description import ModelDescription
from motionclone.models.known import HubModel, find_named, name_of, named_models
from motionclone.models.loading import find_model
from motionclone.models.networks import reading
from motionclone.models.saved import read_index
from motionclone.models.sizes import read_config_of
from motionclone.models.texts import said
from motionclone.settings import Settings, preset, preset_names


def preset_for(model: str) -> tuple[str | None, Settings | None]:
    """Name and settings for a model as `load_pipeline` takes it; None if there is no preset of its family.

    Of a network that is deeper or shallower than the named model's, the block as far through it is guided.

    Raises:
        InputError: as `load_pipeline`, of a model that is not there.
    """
    name = name_of(model)
    if name in preset_names():
        return name, preset(name)
    found = None if find_named(model) is not None else find_model(model)
    if found is None or isinstance(found, ModelDescription | HubModel):
        return None, None
    index = read_index(found)
    if "transformer" not in index:
        return None, None
    with reading(said(found, 80)):
        own, network = read_config_of(found, index, "transformer"), index["transformer"][1]
    named = {name: known for name, known in named_models().items() if name in preset_names()}
    hub = {name: known for name, known in named.items() if isinstance(known, HubModel) and known.lora is None}
    kin = {name: known for name, known in hub.items() if known.network == network}
    if not kin:
        return None, None
    nearest = min(kin, key=lambda name: _differences(own, index, kin[name]))
    settings = preset(nearest)
    depth, blocks = _depth(own, kin[nearest]), settings.extraction.blocks
    known_depth = _depth(kin[nearest].transformer, kin[nearest])
    if depth != known_depth:
        moved = tuple(_moved(block, depth / known_depth) for block in blocks)
        extraction = settings.extraction.model_copy(update={"blocks": moved})
        settings = settings.model_copy(update={"extraction": extraction})
    return nearest, settings


def _differences(own: dict[str, Any], index: dict[str, Any], known: HubModel) -> tuple[int, int]:
    """In how many values of its configuration, and of its pipeline, a model differs from one that is known."""
    usual = _defaults(known)
    theirs = usual | known.transformer
    shape = ("num_attention_heads", "num_layers", "ffn_dim", "patch_size_t")
    names = {name for name in (*shape, *known.transformer) if name in usual}
    options = [
        name for name in ("boundary_ratio", "expand_timesteps") if bool(index.get(name)) != (name in known.options)
    ]
    return len(options), sum(own.get(name, usual.get(name)) != theirs[name] for name in names)


def _defaults(known: HubModel) -> dict[str, Any]:
    import inspect

    import diffusers

    parameters = inspect.signature(getattr(diffusers, known.network)).parameters
    return {name: each.default for name, each in parameters.items()}


def _depth(config: dict[str, Any], known: HubModel) -> int:
    return int(config.get("num_layers", _defaults(known)["num_layers"]))


def _moved(block: str, share: float) -> str:
    stem, _, number = block.rpartition(".")
    return f"{stem}.{int(int(number) * share)}"
