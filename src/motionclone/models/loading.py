"""`load_pipeline`."""

import re
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSparseControlNetPipeline,
    LTXImageToVideoPipeline,
    LTXPipeline,
    WanImageToVideoPipeline,
    WanPipeline,
)
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import use_per_frame_norm
from motionclone.backbones.recomputing import within_memory
from motionclone.errors import InputError, either, named
from motionclone.files import check_no_address, kind_of
from motionclone.models.animatediff import assemble, with_control
from motionclone.models.description import ModelDescription, folder_description, read_model_description
from motionclone.models.devices import Offload, check_offload, usable_device
from motionclone.models.empty import (
    empty_animatediff,
    empty_assembled,
    empty_hub_model,
    empty_mini_dit,
    empty_saved,
)
from motionclone.models.known import MINI, MINI_DIT, HubModel, find_named, following, meant, named_models
from motionclone.models.lora import LORA_FILES, merge_lora
from motionclone.models.mini_dit import assemble_mini_dit
from motionclone.models.networks import reading
from motionclone.models.places import check_place, could_be_hub_id, locate_part, path_of
from motionclone.models.saved import load_saved, read_index
from motionclone.models.texts import said
from motionclone.schedule import DistilledFlowScheduler


def load_pipeline(
    model: str | Path | ModelDescription = "mini",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    torch_dtype: torch.dtype | None = None,
    offload: Offload = "none",
    vae_tiling: bool = False,
    per_frame_norm: bool = True,
    control: str | Path | None = None,
    pickled: bool = False,
    weights: bool = True,
) -> Any:
    """Load a model and make it ready: an unmodified diffusers pipeline, in evaluation mode, its weights frozen.

    `model` is a name (see `named_models`), a ModelDescription or the .toml or .yaml file of one, a folder (a saved
    pipeline, or `base/` beside `motion_adapter/`), or the hub id of a complete pipeline of a supported family. Names
    and hub ids may have a revision: name@revision, organisation/name@revision.

    `device` defaults to cuda, mps or cpu, whichever is there first; `dtype`, or diffusers' older name `torch_dtype`, to
    what the model was trained in (float16 for AnimateDiff, bfloat16 for transformers without a name), on a CPU to
    float32. `offload` keeps the weights in main memory and brings to the GPU the part ("model") or the layer
    ("sequential") at work; `vae_tiling` lets the VAE work on tiles.
    `per_frame_norm` is what AnimateDiff was trained with and diffusers leaves out; see `use_per_frame_norm`.
    `control` makes videos follow pictures: "image" or "sketch" for the model's own way (AnimateDiff's SparseCtrl; of
    transformers the image-to-video pipeline of the same weights), or the folder, hub id or file of a SparseCtrl.
    `pickled` lets weights in diffusers' layout be .bin files where there are no .safetensors; code in them is never
    run. Original .ckpt files that a description names are read, likewise as plain weights, without it.
    Without `weights` the networks are empty, on the meta device, and text encoders left out: it shows what a run would
    be, and refuses what configurations tell. Named models are then as they are known here, nothing is fetched, and an
    `offload` may be foretold without a GPU.

    Where the parts came from is in the pipeline's configuration, `_motionclone_sources`: organisation/name@commit, or
    the name of a file or folder without its path.

    Raises:
        InputError: if the model is not there, cannot be read, or cannot do what is asked of it.
    """
    target = usable_device(device)
    if weights:
        check_offload(offload, target)
    found = model if isinstance(model, ModelDescription) else find_model(model)
    has_motion_modules = model != MINI_DIT and _is_animatediff(found)
    if not per_frame_norm and not has_motion_modules:
        raise InputError(
            f"{named('per_frame_norm')} is about AnimateDiff's motion modules, which this model has not; leave it out."
        )
    if torch_dtype is not None:
        if dtype is not None:
            raise InputError("dtype and torch_dtype are two names of one thing, and both were given; leave one out.")
        dtype = torch_dtype
    if isinstance(dtype, dict):
        raise InputError(
            "dtype is one torch.dtype for all parts, not a dict; load with one, and convert a part afterwards, such as "
            "with pipe.vae.to(torch.float32)."
        )
    if dtype is None:
        dtype = torch.float32 if target.type == "cpu" else _trained_in(found)
    elif dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise InputError(f"dtype is torch.float32, torch.float16 or torch.bfloat16, not {dtype!r}.")

    place = _control_place(found, control)
    name = model.base if isinstance(model, ModelDescription) else str(model)
    with reading(said(name, 80)):
        if not weights:
            pipe, sources = _empty(model, found, place, control, pickled), {}
        elif model == MINI_DIT:
            pipe, sources = assemble_mini_dit(MINI, dtype), {"model": MINI_DIT}
        elif isinstance(found, ModelDescription):
            pipe, sources = assemble(found, dtype, control is not None, pickled)
        elif isinstance(found, HubModel):
            pipe, sources = load_saved(found.place, dtype, pickled)
            sources |= _distilled(pipe, found)
        else:
            pipe, sources = load_saved(found, dtype, pickled)
        if control is not None and (weights or not isinstance(pipe, AnimateDiffSparseControlNetPipeline)):
            pipe, of_control = _controlled(pipe, control, place, dtype, pickled)
            sources |= of_control
    pipe.register_to_config(_name_or_path=name, _motionclone_sources=sources)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    if has_motion_modules and per_frame_norm:
        for network in ("unet", "controlnet"):
            if network in pipe.components:
                use_per_frame_norm(pipe.components[network])
    if not weights:
        return pipe
    if model == "mini" and target.type == "cpu":  # so small that SDPA, slow backwards on a CPU, saves no memory
        pipe.unet.set_attn_processor(AttnProcessor())
    if vae_tiling:
        pipe.vae.enable_tiling()
    if offload == "model":
        pipe.enable_model_cpu_offload(device=target)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=target)
    else:
        with within_memory(target, "the model", f"use {named('offload', 'model')}"):
            pipe.to(target)
    return pipe


def _distilled(pipe: Any, model: HubModel) -> dict[str, str]:
    """Give a pipeline the LoRA and the steps that its model has for few of them; and say where the LoRA is from."""
    if model.distilled_timesteps is not None:
        pipe.scheduler = DistilledFlowScheduler(model.distilled_timesteps)
    if model.lora is None:
        return {}
    lora = locate_part(model.lora, model.lora_file, "lora", LORA_FILES)
    merge_lora(pipe.transformer, lora.path, 1.0)
    return {"lora": f"{lora.source} x 1"}


def follows(pipe: Any, model: str | Path, control: Literal["image", "sketch"]) -> bool:
    """Whether a pipeline that was loaded of a model can be made to follow such pictures by what is the model's own."""
    if isinstance(pipe, AnimateDiffPipeline):
        found = find_model(model)
        return getattr(found, f"{control}_control", None) is not None and not _differs_for_pictures(found)
    return control == "image" and (bool(backbone_of(pipe).shown_frames) or type(pipe) in _image_pipelines(pipe))


def _differs_for_pictures(found: Any) -> bool:
    """Whether a model merges its domain adapter where pictures are followed, and else not."""
    return getattr(found, "domain_adapter", None) is not None and found.domain_adapter_for == "pictures"


def made_to_follow(pipe: Any, model: str | Path, control: Literal["image", "sketch"]) -> Any:
    """What `load_pipeline` gives with `control`, of the weights of a pipeline that it gave without, in the same memory.

    Raises:
        InputError: as `load_pipeline`, or the weights are others where pictures are followed.
    """
    device, config, found = pipe._execution_device, pipe.config, find_model(model)
    if _differs_for_pictures(found):
        raise InputError(
            "a domain adapter is merged where pictures are followed; give the picture to `motionclone clone`, or "
            f"load the model with control={control!r}."
        )
    made, of_control = _controlled(pipe, control, _control_place(found, control), pipe.dtype, False)
    if made is pipe:
        return pipe
    sources = config.get("_motionclone_sources", {}) | of_control
    made.register_to_config(_name_or_path=config["_name_or_path"], _motionclone_sources=sources)
    if "controlnet" in made.components:
        made.controlnet.eval().requires_grad_(False).to(device)
        use_per_frame_norm(made.controlnet)
    made.set_progress_bar_config(**getattr(pipe, "_progress_bar_config", {}))
    return made


def _empty(model: Any, found: ModelDescription | HubModel | str, place: str | None, control: Any, pickled: bool) -> Any:
    if model == MINI_DIT:
        return empty_mini_dit(MINI)
    if isinstance(found, HubModel):
        return empty_hub_model(found)
    if isinstance(found, ModelDescription) and found in named_models().values() and found != named_models()["mini"]:
        return empty_animatediff(found.scheduler, control is not None)
    if isinstance(found, ModelDescription):
        return empty_assembled(found, place if control is not None else None, pickled)
    return empty_saved(found, pickled)


def _is_animatediff(model: ModelDescription | HubModel | str) -> bool:
    return isinstance(model, ModelDescription) or (isinstance(model, str) and "unet" in read_index(model))


def _trained_in(model: ModelDescription | HubModel | str) -> torch.dtype:
    if isinstance(model, HubModel):
        return torch.float16 if model.dtype == "float16" else torch.bfloat16
    return torch.float16 if _is_animatediff(model) else torch.bfloat16


def find_model(model: str | Path) -> ModelDescription | HubModel | str:
    """Which description `model` means, or which folder or hub id of a complete pipeline."""
    if model == "":
        raise InputError(f"no model was named; {meant('')}")
    _check_no_address(str(model))
    named = named_models()
    path = path_of(model)
    may_be_named = isinstance(model, str) and (model.partition("@")[0] in named or not path.exists())
    if may_be_named and (known := find_named(str(model))) is not None:
        return known
    if path.suffix in (".toml", ".yaml", ".yml"):
        return read_model_description(path)
    if (path / "model_index.json").is_file():
        return str(path)
    if (path / "base").is_dir() and (path / "motion_adapter").is_dir():
        return folder_description(path)
    if path.is_dir():
        raise InputError(f"{path} is no model folder: it has neither model_index.json nor base and motion_adapter.")
    if path.is_file():
        kind = kind_of(path)
        if kind not in (None, "file of weights"):
            raise InputError(f"{path} is a {kind}, and a model was expected; `motionclone models` lists them.")
        raise InputError(
            f"{path} is one part of a model; write a description (.toml) that names base and motion_adapter."
        )
    if isinstance(model, str) and could_be_hub_id(model):
        return model
    raise InputError(f"there is no model {said(repr(str(model)), 80)}; {meant(str(model))}")


def _check_no_address(model: str) -> None:
    """InputError for an address of the web; of a page of the hub, it tells the id."""
    page = re.match(r"https?:/+(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)", model)
    if page is not None:
        raise InputError(f"{model} is a page of the hub; did you mean its id, {page[1]}?")
    check_no_address(model)


def _control_place(model: ModelDescription | HubModel | str, control: str | Path | None) -> str | None:
    """Where the SparseCtrl is that was asked for; None if none was, or if the pipeline itself must know."""
    if control is None:
        return None
    if control in ("image", "sketch"):
        own = getattr(model, f"{control}_control", None)
        if own is None and isinstance(model, ModelDescription):
            raise _no_control(control)
        return own
    check_place(str(control), "SparseCtrl")
    return str(control)


def _no_control(control: str | Path) -> InputError:
    what = "sketches" if control == "sketch" else "pictures"
    return InputError(f"this model has no SparseCtrl of its own for {what}; say which to use ({named('control')}).")


def _controlled(
    pipe: Any, control: str | Path, place: str | None, dtype: torch.dtype, pickled: bool
) -> tuple[Any, dict[str, str]]:
    """The pipeline that follows pictures, made of the same weights and, for AnimateDiff, a SparseCtrl from there."""
    if isinstance(pipe, AnimateDiffPipeline | AnimateDiffSparseControlNetPipeline):
        if place is not None:
            pipe, source = with_control(pipe, place, dtype, pickled)
            return pipe, {"control": source}
        if "controlnet" not in pipe.components:
            raise _no_control(control)
        return pipe, {}  # saved with its SparseCtrl
    if control == "image" and backbone_of(pipe).shown_frames:
        return pipe, {}  # an image-to-video model
    kinds = _image_pipelines(pipe)
    if control != "image" or type(pipe) not in kinds:
        what = "a picture" if control == "image" else "a sketch"
        able = either(following("image" if control == "image" else "sketch"))
        raise InputError(f"this model, a {type(pipe).__name__}, cannot be made to follow {what}; {able} can.")
    return kinds[type(pipe)].from_pipe(pipe), {}


def _image_pipelines(pipe: Any) -> dict[Any, Any]:
    """Kinds of pipelines from text, and those from a picture that are made of the same weights."""
    kinds: dict[Any, Any] = {LTXPipeline: LTXImageToVideoPipeline}
    if isinstance(pipe, WanPipeline) and pipe.config.expand_timesteps:
        kinds[WanPipeline] = WanImageToVideoPipeline
    return kinds
