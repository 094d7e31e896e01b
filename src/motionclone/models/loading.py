"""`load_pipeline`."""

from pathlib import Path
from typing import Any, Literal, get_args

import diffusers
import torch
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSparseControlNetPipeline,
    DiffusionPipeline,
    LTXImageToVideoPipeline,
    LTXPipeline,
    WanImageToVideoPipeline,
    WanPipeline,
)
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from motionclone.backbones.families import backbone_of
from motionclone.backbones.per_frame_norm import use_per_frame_norm
from motionclone.errors import InputError
from motionclone.models.animatediff import assemble, check_vocabulary, with_control
from motionclone.models.description import (
    ModelDescription,
    could_be_hub_id,
    folder_description,
    read_model_description,
)
from motionclone.models.known import MINI, MINI_DIT, HubModel, name_of, named_models
from motionclone.models.mini_dit import assemble_mini_dit
from motionclone.models.parts import reading

Offload = Literal["none", "model", "sequential"]

# Pipelines that can be loaded whole, from a folder or the hub.
PIPELINES = (
    "AnimateDiffPipeline",
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


def load_pipeline(
    model: str | Path | ModelDescription = "mini",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    offload: Offload = "none",
    vae_tiling: bool = False,
    per_frame_norm: bool = True,
    control: str | Path | None = None,
) -> Any:
    """Load a model and make it ready: an unmodified diffusers pipeline, in evaluation mode, its weights frozen.

    `model` is a name (see `named_models`), a ModelDescription or the .toml or .yaml file of one, a folder (a saved
    pipeline, or `base/` beside `motion_adapter/`), or the hub id of a complete pipeline of a supported family.

    `device` defaults to cuda, mps or cpu, whichever is there first; `dtype` to what the model was trained in
    (float16 for AnimateDiff, bfloat16 for transformers without a name), on a CPU to float32. `offload` keeps the
    weights in main memory and brings to the GPU the part ("model") or the layer ("sequential") at work; `vae_tiling`
    lets the VAE work on tiles.
    `per_frame_norm` is what AnimateDiff was trained with and diffusers leaves out; see `use_per_frame_norm`.
    `control` makes videos follow pictures: "image" or "sketch" for the model's own way (AnimateDiff's SparseCtrl; of
    transformers the image-to-video pipeline of the same weights), or the folder, hub id or file of a SparseCtrl.

    Raises:
        InputError: if the model is not there, cannot be read, or cannot do what is asked of it.
    """
    target = _usable_device(device)
    if offload not in get_args(Offload):
        raise InputError(f"offload is one of {', '.join(get_args(Offload))}, not {offload!r}.")
    if offload != "none" and target.type == "cpu":
        raise InputError(f'offload="{offload}" needs a GPU to move weights to, and this runs on the CPU; use "none".')
    found = model if isinstance(model, ModelDescription) else _find(model)
    if dtype is None:
        dtype = torch.float32 if target.type == "cpu" else _trained_in(found)

    place = _control_place(found, control)
    if model == MINI_DIT:
        pipe: Any = assemble_mini_dit(MINI, dtype)
    elif isinstance(found, ModelDescription):
        pipe = assemble(found, dtype)
    else:
        pipe = _load_complete(found, dtype)
    if control is not None:
        pipe = _controlled(pipe, control, place, dtype)
    pipe.register_to_config(_name_or_path=str(model) if not isinstance(model, ModelDescription) else model.base)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    if per_frame_norm:
        for name in ("unet", "controlnet"):
            if name in pipe.components:
                use_per_frame_norm(pipe.components[name])
    if model == "mini" and target.type == "cpu":  # so small that SDPA, slow backwards on a CPU, saves no memory
        pipe.unet.set_attn_processor(AttnProcessor())
    if vae_tiling:
        pipe.vae.enable_tiling()
    if offload == "model":
        pipe.enable_model_cpu_offload(device=target)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=target)
    else:
        pipe.to(target)
    return pipe


def _usable_device(device: str | torch.device | None) -> torch.device:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device is None:
        return torch.device(next(name for name, there in present.items() if there))
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"{device!r} is no device; name one such as cuda, cuda:1, mps or cpu.") from error
    if not present.get(wanted.type, True):
        raise InputError(f"device {wanted} is not available here; use cpu, or leave the device out.")
    return wanted


def _trained_in(model: ModelDescription | HubModel | str) -> torch.dtype:
    if isinstance(model, HubModel):
        return torch.float16 if model.dtype == "float16" else torch.bfloat16
    if isinstance(model, str):
        with reading(model):
            return torch.bfloat16 if "transformer" in DiffusionPipeline.load_config(model) else torch.float16
    return torch.float16


def _find(model: str | Path) -> ModelDescription | HubModel | str:
    """Which description `model` means, or which folder or hub id of a complete pipeline."""
    named = named_models()
    name = name_of(model) if isinstance(model, str) and not Path(model).exists() else model
    if name in named:
        return named[str(name)]
    path = Path(model).expanduser()
    if path.suffix in (".toml", ".yaml", ".yml"):
        return read_model_description(path)
    if (path / "model_index.json").is_file():
        return str(path)
    if (path / "base").is_dir() and (path / "motion_adapter").is_dir():
        return folder_description(path)
    if path.is_dir():
        raise InputError(f"{path} is no model folder: it has neither model_index.json nor base and motion_adapter.")
    if path.is_file():
        raise InputError(
            f"{path} is one part of a model; write a description (.toml) that names base and motion_adapter."
        )
    if isinstance(model, str) and could_be_hub_id(model):
        return model
    raise InputError(
        f"there is no model {str(model)!r}: give a name ({', '.join(named)}), a folder, a model description "
        "(.toml, .yaml) or the hub id of a pipeline."
    )


def _control_place(model: ModelDescription | HubModel | str, control: str | Path | None) -> str | None:
    """Where the SparseCtrl is that was asked for; None if none was, or if the pipeline itself must know."""
    if control is None:
        return None
    if control in ("image", "sketch"):
        own = getattr(model, f"{control}_control", None)
        if own is None and isinstance(model, ModelDescription):
            raise _no_control(control)
        return own
    place = Path(control).expanduser()
    if not place.exists() and not (isinstance(control, str) and could_be_hub_id(control)):
        raise InputError(f"there is no SparseCtrl {control}; give a folder, a file or a hub id.")
    return str(place) if place.exists() else str(control)


def _no_control(control: str | Path) -> InputError:
    what = "sketches" if control == "sketch" else "pictures"
    return InputError(f"this model has no SparseCtrl of its own for {what}; say which to use (control).")


def _controlled(pipe: Any, control: str | Path, place: str | None, dtype: torch.dtype) -> Any:
    """The pipeline that follows pictures, made of the same weights and, for AnimateDiff, a SparseCtrl."""
    if isinstance(pipe, AnimateDiffPipeline | AnimateDiffSparseControlNetPipeline):
        if place is not None:
            return with_control(pipe, place, dtype)
        if "controlnet" not in pipe.components:
            raise _no_control(control)
        return pipe  # saved with its SparseCtrl
    if control == "image" and backbone_of(pipe).shown_frames:
        return pipe  # an image-to-video model
    kinds: dict[Any, Any] = {LTXPipeline: LTXImageToVideoPipeline}
    if isinstance(pipe, WanPipeline) and pipe.config.expand_timesteps:
        kinds[WanPipeline] = WanImageToVideoPipeline
    if control != "image" or type(pipe) not in kinds:
        raise InputError(f"this model, a {type(pipe).__name__}, cannot be made to follow {control}; try another model.")
    return kinds[type(pipe)].from_pipe(pipe)


def _load_complete(model: HubModel | str, dtype: torch.dtype) -> Any:
    """A saved pipeline, from a folder or the hub; its scheduler is kept."""
    place = model.hub_id if isinstance(model, HubModel) else model
    with reading(place):
        index = DiffusionPipeline.load_config(place)
        name = str(index.get("_class_name"))
        if name not in PIPELINES:
            raise InputError(
                f"{place} is a {name}, which is not supported ({', '.join(PIPELINES)}); to give a Stable Diffusion "
                "base a motion adapter, write a description (.toml): base, motion_adapter, ..."
            )
        # A saved UNetMotionModel has the motion adapter's weights already; the adapter would only be a second copy.
        spare: dict[str, Any] = {"motion_adapter": None} if "UNetMotionModel" in index.get("unet", ()) else {}
        precision: Any = dtype
        if index.get("vae", [None])[-1] == "AutoencoderKLWan":  # as all examples of diffusers load it
            precision = {"default": dtype, "vae": torch.float32}
        pipe = getattr(diffusers, name).from_pretrained(place, dtype=precision, **spare)
    if "unet" in pipe.components:
        check_vocabulary(pipe.tokenizer, place)
        pipe.register_modules(motion_adapter=None)
    for part_name, part in pipe.components.items():
        if isinstance(part, nn.Module) and any(weight.is_meta for weight in part.parameters()):
            raise InputError(f"the {part_name} of {place} lacks weights.")
    return pipe
