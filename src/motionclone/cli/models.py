"""The command that tells which models there are, what they are made of and what they take."""

from typing import TYPE_CHECKING, Any

from motionclone.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from motionclone.models.facts import Facts, Memory

LESS: dict[str, Any] = {"offload": "model", "tiling": True}
"""What takes less memory, as options of `memory_of`."""


def models(name: str | None = None) -> None:
    """List the models and presets that have names; of one model, say what it is made of and what it takes.

    Parameters
    ----------
    name
        A model of the list, or its hub id.
    """
    from rich.console import Console

    console = Console()
    if name is None:
        _list(console)
    else:
        _describe(name, console)


def _list(console: "Console") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from motionclone.models import named_models
    from motionclone.models.facts import known_facts, memory_of
    from motionclone.settings import preset, preset_names, preset_of

    table = Table(title="models (--model); sizes in GB", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for title in ("model", "download", "memory", "least", "licence", "run", "settings"):
        table.add_column(
            title, overflow="fold", justify="right" if title in ("download", "memory", "least") else "left"
        )
    for each in named_models():
        facts, settings = known_facts()[each], preset(preset_of(each))
        table.add_row(
            each,
            f"{facts.download:.1f}" if facts.download else "bundled",
            gigabytes(memory_of(facts, settings)),
            gigabytes(memory_of(facts, settings, **LESS)) if facts.download else "",
            facts.licence,
            "yes" if facts.run else "no",
            facts.settings,
        )
    columns = ("preset", "steps", "guided", "fraction", "strength", "weight", "size", "frames")
    chosen = Table(*columns, title="presets (--preset)", box=SIMPLE_HEAD)
    for each in preset_names():
        s = preset(each)
        chosen.add_row(
            each,
            str(s.sampling.steps),
            str(s.sampling.guided_steps),
            f"{s.guidance.guided_fraction:g}",
            "" if s.guidance.strength is None else f"{s.guidance.strength:g}",
            f"{s.guidance.weight:g}" if s.guidance.strength is None else "",
            f"{s.sampling.width}x{s.sampling.height}",
            str(s.sampling.num_frames),
        )
    for column in chosen.columns:
        column.overflow = "fold"
    console.print(table, chosen)
    console.print(
        "Memory is what a clone at the preset's size has on the GPU at once (weights of all parts, guidance, VAE), "
        "counted from the networks' shapes and not measured; least, with --offload model --vae-tiling. "
        "Run: whether its own weights were run here. Settings: where the preset is from; of a "
        "guess, expect to look for the block.\n"
        "`motionclone models NAME` says more, `motionclone doctor` which models fit this machine. A folder, a model "
        "description (.toml, .yaml) or a hub id does as well: see docs/models.md."
    )


def gigabytes(memory: "Memory") -> str:
    """The most that is taken at once."""
    return f"{memory.most:.{1 if memory.most >= 0.1 else 2}f}"


def _describe(name: str, console: "Console") -> None:
    """Parts, preset and memory of a model; nothing is downloaded."""
    from rich.table import Table

    from motionclone.models import meant, name_of, named_models
    from motionclone.models.facts import WAYS, known_facts, memory_of
    from motionclone.settings import preset, preset_of

    name = name_of(name)
    if name not in named_models():
        raise InputError(f"no model is named {name!r}; {meant(name)}")
    facts, settings = known_facts()[name], preset(preset_of(name))
    sampling = settings.sampling
    table = Table(
        title=f"{name}, {sampling.num_frames} frames of {sampling.width}x{sampling.height}", show_header=False
    )
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    source = "as the hub lists it" if facts.listed else "computed from the parameters, the hub's list was not seen"
    rows = {
        "from": _place(name),
        "licence": facts.terms or facts.licence,
        "tried": facts.tried,
        "download": "none, it is bundled" if _place(name) == "bundled" else f"{facts.download:.1f} GB, {source}",
        "preset": preset_of(name),
        "guided blocks": ", ".join(settings.extraction.blocks),
        "weights": _weights(facts),
        "guidance": _guidance(facts),
        "VAE at work": f"{facts.coding:.2f} GB, on tiles {facts.tiled:.2f} GB",
        "memory, at once": ", ".join(
            f"{f'with{words}: ' if words else ''}{gigabytes(memory_of(facts, settings, **ways))} GB"
            for words, ways in WAYS
        ),
    }
    for row in rows.items():
        table.add_row(*row)
    console.print(table)
    console.print(
        "Counted at this size from the shapes of the networks (benchmarks/memory.py), not measured on a GPU; what "
        "PyTorch takes for itself, some 0.5 to 1 GB, comes on top."
    )


def _place(name: str) -> str:
    from motionclone.models import HubModel, named_models

    parts = named_models()[name]
    if isinstance(parts, HubModel):
        lora = f" and {parts.lora}" if parts.lora else ""
        return f"{parts.hub_id}{lora}, {parts.dtype}"
    return "bundled" if name in ("mini", "mini-dit") else f"{parts.base} and {parts.motion_adapter}, float16"


def _weights(facts: "Facts") -> str:
    denoiser = f"denoiser {facts.denoiser:.2f} GB" if facts.experts == 1 else f"2 denoisers of {facts.denoiser:.2f} GB"
    others = f", others {facts.others:.2f} GB" if facts.others else ""
    return f"{denoiser}, text encoders {facts.text_encoders:.2f} GB, VAE {facts.vae:.2f} GB{others}"


def _guidance(facts: "Facts") -> str:
    return f"keeps {facts.kept:.2f} GB for the backward pass at the least, {facts.cut:.2f} GB if that is free (faster)"
