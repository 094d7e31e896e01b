"""A pipeline that was saved whole, in a folder or on the hub."""

from typing import Any, get_args, get_type_hints

import diffusers
import torch
import transformers
from diffusers import ModelMixin, SchedulerMixin
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from motionclone import schedule
from motionclone.errors import InputError
from motionclone.models.networks import files_of, load_part
from motionclone.models.parts import check_words, load_scheduler, load_tokenizer
from motionclone.models.places import locate
from motionclone.models.texts import read_mapping, said

# Those that can be loaded whole.
PIPELINES = (
    "AnimateDiffPipeline",
    "AnimateDiffSDXLPipeline",
    "AnimateDiffSparseControlNetPipeline",
    "CogVideoXPipeline",
    "CogVideoXImageToVideoPipeline",
    "WanPipeline",
    "WanImageToVideoPipeline",
    "LTXPipeline",
    "LTXImageToVideoPipeline",
    "LTX2Pipeline",
    "HunyuanVideoPipeline",
    "HunyuanVideoImageToVideoPipeline",
    "HunyuanVideo15Pipeline",
    "HunyuanVideo15ImageToVideoPipeline",
)
_EXCHANGED: dict[str, type] = {  # parts that people exchange for others of their kind
    "text_encoder": PreTrainedModel,
    "image_encoder": PreTrainedModel,
    "tokenizer": PreTrainedTokenizerBase,
    "scheduler": SchedulerMixin,
}
# What to do about others.
_DESCRIBE = "to give a Stable Diffusion base a motion adapter, write a description (.toml): base, motion_adapter, ..."
_REMEDIES = {
    "PIAPipeline": "PIA's UNet takes an image; use AnimateDiff with a picture for its SparseCtrl instead",
    "AnimateDiffControlNetPipeline": "save it as an AnimateDiffPipeline, without its ControlNet",
    "AnimateDiffVideoToVideoPipeline": "save it as an AnimateDiffPipeline, which makes videos from text",
    "AnimateDiffVideoToVideoControlNetPipeline": "save it as an AnimateDiffPipeline, which makes videos from text",
    "CogVideoXVideoToVideoPipeline": "save it as a CogVideoXPipeline, which makes videos from text",
    "CogVideoXFunControlPipeline": "use a CogVideoXPipeline, which makes videos from text",
    "WanVideoToVideoPipeline": "save it as a WanPipeline, which makes videos from text",
    "WanVACEPipeline": "use a WanPipeline, which makes videos from text",
    "LTXConditionPipeline": "save it as an LTXPipeline or LTXImageToVideoPipeline",
    "LTX2ImageToVideoPipeline": "save it as an LTX2Pipeline, which makes videos from text",
}


def read_index(place: str) -> dict[str, Any]:
    """The model_index.json of a saved pipeline, which may be on the hub.

    Raises:
        InputError: it has none, or is of a class that is not supported.
    """
    index = read_mapping(locate(place, "model", ["model_index.json"]).path / "model_index.json")
    name = said(index.get("_class_name"), 80)
    if name not in PIPELINES:
        raise InputError(
            f"{place} is a {name}, which is not supported ({', '.join(PIPELINES)}); {_REMEDIES.get(name, _DESCRIBE)}."
        )
    return index


def load_saved(place: str, dtype: torch.dtype, pickled: bool = False) -> tuple[Any, dict[str, str]]:
    """A saved pipeline with its own scheduler; and where it came from.

    Raises:
        InputError: it is not there, or lacks something, or has parts that its class does not have.
    """
    kind_of_pipe, kinds = classes_of(place, read_index(place))
    # A saved UNetMotionModel has the motion adapter's weights already; the adapter would only be a second copy.
    spare = {"motion_adapter"} if getattr(kinds.get("unet"), "__name__", "") == "UNetMotionModel" else set()
    wanted = {name: kind for name, kind in kinds.items() if kind is not None and name not in spare}
    located = locate(
        place, "model", ["model_index.json", *(file for name in wanted for file in files_of(name, pickled))]
    )
    parts: dict[str, Any] = dict.fromkeys(spare)
    for name, kind in wanted.items():
        if issubclass(kind, ModelMixin | PreTrainedModel):
            # Wan's VAE is kept exact, as in all examples of diffusers.
            precision = torch.float32 if kind.__name__ == "AutoencoderKLWan" else dtype
            parts[name] = load_part(kind, located.path, name, precision, pickled)
        elif issubclass(kind, SchedulerMixin):
            parts[name] = load_scheduler(kind, located.path / name)
        elif issubclass(kind, PreTrainedTokenizerBase):
            parts[name] = load_tokenizer(kind, located.path / name)
    pipe = kind_of_pipe.from_pretrained(str(located.path), **parts, local_files_only=True)
    if "unet" in pipe.components:
        for second in ("", "_2") if "tokenizer_2" in pipe.components else ("",):
            check_words(parts[f"tokenizer{second}"], parts[f"text_encoder{second}"], located.path)
        pipe.register_modules(motion_adapter=None)
    return pipe, {"model": located.source}


def classes_of(place: str, index: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class of a saved pipeline and those of its parts, None for a part that is left out.

    Raises:
        InputError: it has a part of a class that is unknown, or does not suit it.
    """
    kind_of_pipe = getattr(diffusers, index["_class_name"])
    hints = get_type_hints(kind_of_pipe.__init__)
    kinds = {name: _kind_of(part, place) for name, part in index.items() if name in hints and isinstance(part, list)}
    for name, kind in kinds.items():
        if kind is not None and not _suits(name, kind, hints[name]):
            raise InputError(f"{place} has a {kind.__name__} as its {name}, which is none; fetch it again.")
    return kind_of_pipe, kinds


def _kind_of(part: list[Any], place: str) -> Any:
    """The class that a part of model_index.json names; None for a part that is left out."""
    if part == [None, None]:
        return None
    library, kind = part if len(part) == 2 else (None, None)
    libraries = {"diffusers": diffusers, "transformers": transformers, schedule.__name__: schedule}
    module: Any = libraries.get(str(library))
    if module is None and isinstance(library, str):  # the pipeline's own, such as LTX-2's vocoder
        module = getattr(diffusers.pipelines, library, None)
    found = getattr(module, kind, None) if isinstance(kind, str) else None
    if not isinstance(found, type):
        raise InputError(f"{place} has a part {said(part, 80)}, which is no class of diffusers or transformers.")
    return found


def _suits(name: str, kind: type, hint: Any) -> bool:
    """Whether a class can be what a pipeline's argument is for; of what reads words and steps, any will do."""
    for of_this_name, expected in _EXCHANGED.items():
        if name.startswith(of_this_name):
            return issubclass(kind, expected)
    networks = tuple(
        each for each in get_args(hint) or (hint,) if isinstance(each, type) and issubclass(each, ModelMixin)
    )
    return issubclass(kind, networks) if networks else not issubclass(kind, ModelMixin)
