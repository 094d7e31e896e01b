"""From the name of a model to a diffusers pipeline that is ready to run.

A model is a Stable Diffusion base and a motion adapter, in diffusers' layout or in the original files. Nothing here is
needed to use motionclone: any AnimateDiffPipeline made elsewhere does as well.
"""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from re import fullmatch
from typing import Any, Literal, get_args

import torch
import yaml
from accelerate import init_empty_weights
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSparseControlNetPipeline,
    AutoencoderKL,
    DDIMScheduler,
    MotionAdapter,
    SparseControlNetModel,
    UNet2DConditionModel,
    UNetMotionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from motionclone.backbones.per_frame_norm import use_per_frame_norm
from motionclone.checkpoints import (
    WEIGHT_SUFFIXES,
    fill,
    load_dreambooth,
    load_motion_module,
    load_sparse_control,
    merge_domain_adapter,
)
from motionclone.errors import InputError

Offload = Literal["none", "model", "sequential"]

_PLACES = ("base", "motion_adapter", "dreambooth", "domain_adapter", "image_control", "sketch_control")
_BASE_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


class ModelDescription(BaseModel, frozen=True, extra="forbid"):
    """The parts of an AnimateDiff model: folders and files here, or ids on the Hugging Face hub."""

    base: str
    """Stable Diffusion 1.x in diffusers' layout: a folder with model_index.json, or a hub id."""
    motion_adapter: str
    """A MotionAdapter (folder or hub id), or an original motion module file such as v3_sd15_mm.ckpt."""
    dreambooth: str | None = None
    """A single-file checkpoint whose UNet, VAE and text encoder take the place of the base's."""
    domain_adapter: str | None = None
    """An original domain adapter file such as v3_sd15_adapter.ckpt, merged into the UNet."""
    domain_adapter_scale: float = 1.0
    image_control: str | None = None
    """SparseCtrl for pictures: a folder, a hub id, or an original file such as v3_sd15_sparsectrl_rgb.ckpt."""
    sketch_control: str | None = None
    """SparseCtrl for sketches, likewise."""


def named_models() -> Mapping[str, ModelDescription]:
    """Every model that `load_pipeline` knows by name, with its parts."""
    return {
        "mini": _folder_description(Path(str(files("motionclone") / "mini"))),
        "animatediff": ModelDescription(
            base="SG161222/Realistic_Vision_V5.1_noVAE",
            motion_adapter="guoyww/animatediff-motion-adapter-v1-5-3",
            image_control="guoyww/animatediff-sparsectrl-rgb",
            sketch_control="guoyww/animatediff-sparsectrl-scribble",
        ),
    }


def read_model_description(path: str | Path) -> ModelDescription:
    """Read a .toml, .yaml or .yml file with the fields of ModelDescription.

    A relative path is relative to the file. What exists there is that path; what does not, but could be a hub id
    ("organisation/name"), is left as it is.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no model description {path}.")
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
        description = ModelDescription.model_validate(content)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors())
        raise InputError(f"{path} is no model description ({said}).") from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({_said(error)}).") from error
    places = {}
    for name in _PLACES:
        place = getattr(description, name)
        if place is not None:
            here = path.parent / Path(place).expanduser()
            places[name] = str(here) if here.exists() or not _could_be_hub_id(place) else place
    return description.model_copy(update=places)


def load_pipeline(
    model: str | Path | ModelDescription = "mini",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    offload: Offload = "none",
    per_frame_norm: bool = True,
    control: str | Path | None = None,
) -> AnimateDiffPipeline | AnimateDiffSparseControlNetPipeline:
    """Load a model and make it ready: evaluation mode, no gradients to weights, AnimateDiff's noise schedule.

    `model` is a name (see `named_models`), a ModelDescription or the .toml or .yaml file of one, a folder (a saved
    AnimateDiffPipeline, or `base/` beside `motion_adapter/`), or the hub id of a complete AnimateDiff pipeline.

    `device` defaults to cuda, mps or cpu, whichever is there first; `dtype` to float16, on a CPU to float32. `offload`
    keeps the weights in main memory and brings to the GPU the part ("model") or the layer ("sequential") at work.
    `per_frame_norm` is what AnimateDiff was trained with and diffusers leaves out; see `use_per_frame_norm`.
    `control` adds a SparseCtrl, so that videos follow pictures: "image" or "sketch" for the model's own, or the folder,
    hub id or original file of one.
    """
    target = _usable_device(device)
    if offload not in get_args(Offload):
        raise InputError(f"offload is one of {', '.join(get_args(Offload))}, not {offload!r}.")
    if offload != "none" and target.type == "cpu":
        raise InputError(f'offload="{offload}" needs a GPU to move weights to, and this runs on the CPU; use "none".')
    if dtype is None:
        dtype = torch.float32 if target.type == "cpu" else torch.float16

    found = model if isinstance(model, ModelDescription) else _find(model)
    place = _control_place(found, control)
    pipe = _assemble(found, dtype) if isinstance(found, ModelDescription) else _load_complete(found, dtype)
    if place is not None:
        pipe = _with_control(pipe, place, dtype)
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


def _could_be_hub_id(place: str) -> bool:
    """Whether `place` has the form organisation/name and is not plainly a file."""
    return fullmatch(r"\w[\w.-]*/\w[\w.-]*", place) is not None and Path(place).suffix.lower() not in WEIGHT_SUFFIXES


def _find(model: str | Path) -> ModelDescription | str:
    """Which description `model` means, or which folder or hub id of a complete pipeline."""
    named = named_models()
    if isinstance(model, str) and model in named:
        return named[model]
    path = Path(model).expanduser()
    if path.suffix in (".toml", ".yaml", ".yml"):
        return read_model_description(path)
    if (path / "model_index.json").is_file():
        return str(path)
    if (path / "base").is_dir() and (path / "motion_adapter").is_dir():
        return _folder_description(path)
    if path.is_dir():
        raise InputError(f"{path} is no model folder: it has neither model_index.json nor base and motion_adapter.")
    if path.is_file():
        raise InputError(
            f"{path} is one part of a model; write a description (.toml) that names base and motion_adapter."
        )
    if isinstance(model, str) and _could_be_hub_id(model):
        return model
    raise InputError(
        f"there is no model {str(model)!r}: give a name ({', '.join(named)}), a folder, a model description "
        "(.toml, .yaml) or the hub id of an AnimateDiff pipeline."
    )


def _folder_description(folder: Path) -> ModelDescription:
    """A folder with base, motion_adapter and, if there are any, image_control and sketch_control."""
    parts = ("base", "motion_adapter", "image_control", "sketch_control")
    return ModelDescription.model_validate({name: str(folder / name) for name in parts if (folder / name).is_dir()})


def _control_place(model: ModelDescription | str, control: str | Path | None) -> str | None:
    """Where the SparseCtrl is that was asked for; None if none was, or the model comes with it."""
    if control is None:
        return None
    if control not in ("image", "sketch"):
        place = Path(control).expanduser()
        if not place.exists() and not (isinstance(control, str) and _could_be_hub_id(control)):
            raise InputError(f"there is no SparseCtrl {control}; give a folder, a file or a hub id.")
        return str(place) if place.exists() else str(control)
    if isinstance(model, str):
        with _reading(model):
            if "controlnet" in AnimateDiffPipeline.load_config(model):
                return None  # saved with its SparseCtrl
    own = getattr(model, f"{control}_control", None)
    if own is None:
        what = "pictures" if control == "image" else "sketches"
        raise InputError(f"this model has no SparseCtrl of its own for {what}; say which to use (control).")
    return str(own)


def _with_control(pipe: AnimateDiffPipeline, place: str, dtype: torch.dtype) -> AnimateDiffSparseControlNetPipeline:
    """The same parts and a SparseCtrl, in diffusers' pipeline for both."""
    if Path(place).is_file():
        network = load_sparse_control(Path(place), dtype)
    else:
        with _reading(place):
            kind = SparseControlNetModel.load_config(place).get("_class_name")
            if kind != "SparseControlNetModel":
                raise InputError(f"{place} is a {kind}, not a SparseControlNetModel.")
            network = _load_part(SparseControlNetModel, place, "", dtype)
    unet = pipe.unet
    for name in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
        wanted, found = (_listed(getattr(part.config, name), len(unet.down_blocks)) for part in (unet, network))
        if wanted != found:
            raise InputError(f"{place} does not fit the model: its {name} is {found}, the model's {wanted}.")
    if network.config.use_simplified_condition_embedding and pipe.vae.config.latent_channels != 4:
        raise InputError(
            f"{place} takes latents and diffusers' pipeline gives it 4 channels; this model's VAE has "
            f"{pipe.vae.config.latent_channels}."
        )
    return AnimateDiffSparseControlNetPipeline(**{**pipe.components, "controlnet": network})


def _listed(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] * count


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


@contextmanager
def _reading(place: str, part: str = "") -> Iterator[None]:
    """Say in one sentence what went wrong when diffusers, transformers or the hub cannot read `place`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, OSError) and not Path(place).exists():
            raise InputError(
                f"{place} is no folder here and could not be fetched from the Hugging Face hub; "
                "check the id and the connection, or download it and give its folder."
            ) from error
        what = f"the {part} of {place}" if part else place
        raise InputError(f"{what} cannot be read ({_said(error)}).") from error


def _load_complete(place: str, dtype: torch.dtype) -> AnimateDiffPipeline:
    """A saved AnimateDiffPipeline, from a folder or the hub; its scheduler is kept."""
    with _reading(place):
        index = AnimateDiffPipeline.load_config(place)
        kinds = {kind.__name__: kind for kind in (AnimateDiffPipeline, AnimateDiffSparseControlNetPipeline)}
        kind = kinds.get(str(index.get("_class_name")))
        if kind is None:
            raise InputError(
                f"{place} is a {index.get('_class_name')}, not an AnimateDiffPipeline; to give a Stable Diffusion base "
                "a motion adapter, write a description (.toml): base, motion_adapter, ..."
            )
        # A saved UNetMotionModel has the motion adapter's weights already; the adapter would only be a second copy.
        spare: dict[str, Any] = {"motion_adapter": None} if "UNetMotionModel" in index.get("unet", ()) else {}
        pipe = kind.from_pretrained(place, dtype=dtype, **spare)
    _check_vocabulary(pipe.tokenizer, place)
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module) and any(weight.is_meta for weight in part.parameters()):
            raise InputError(f"the {name} of {place} lacks weights.")
    pipe.register_modules(motion_adapter=None)
    return pipe


def _assemble(description: ModelDescription, dtype: torch.dtype) -> AnimateDiffPipeline:
    """The pipeline of a description, each of its weights in memory once."""
    _check_places(description)
    base = description.base
    adapter = _load_motion_adapter(description.motion_adapter, dtype)
    with _reading(base):
        index = AnimateDiffPipeline.load_config(base)
        lacking = [part for part in _BASE_PARTS if index.get(part, [None])[0] is None]
        if lacking or "UNet2DConditionModel" not in index["unet"] or "text_encoder_2" in index:
            raise InputError(
                f"{base} is a {index.get('_class_name')}; the base of a motion adapter is a Stable Diffusion 1.x model "
                f"with {', '.join(_BASE_PARTS)}."
            )
        tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
        _check_vocabulary(tokenizer, base)
        scheduler = _animatediff_scheduler(base)
        if description.dreambooth is not None:
            unet, vae, text_encoder = load_dreambooth(Path(description.dreambooth), base, dtype)
        else:
            unet = _load_part(UNet2DConditionModel, base, "unet", dtype)
            vae = _load_part(AutoencoderKL, base, "vae", dtype)
            text_encoder = _load_part(CLIPTextModel, base, "text_encoder", dtype)
    if description.domain_adapter is not None:
        merge_domain_adapter(unet, Path(description.domain_adapter), description.domain_adapter_scale)
    return AnimateDiffPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=_join(unet, adapter, f"{description.motion_adapter} on {base}"),
        motion_adapter=None,
        scheduler=scheduler,
    )


def _check_places(description: ModelDescription) -> None:
    """Refuse what is plainly not there before anything large is read."""
    for name in _PLACES:
        place = getattr(description, name)
        remote = name not in ("dreambooth", "domain_adapter") and _could_be_hub_id(place or "")
        if place is not None and not remote and not Path(place).exists():
            raise InputError(f"there is no {name} {place}.")


def _check_vocabulary(tokenizer: CLIPTokenizer, place: str) -> None:
    """Refuse what transformers makes of a tokenizer folder that is missing or empty: a tokenizer without words."""
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise InputError(f"the tokenizer of {place} has no vocabulary; vocab.json and merges.txt were expected.")


def _load_motion_adapter(place: str, dtype: torch.dtype) -> MotionAdapter:
    if Path(place).is_file():
        return load_motion_module(Path(place), dtype)
    with _reading(place):
        config = MotionAdapter.load_config(place)
        if config.get("_class_name") != "MotionAdapter":
            raise InputError(f"{place} is a {config.get('_class_name')}, not a MotionAdapter.")
        if config.get("conv_in_channels"):
            raise InputError(f"{place} is a motion adapter for PIA, whose UNet takes an image; AnimateDiff's does not.")
        return _load_part(MotionAdapter, place, "", dtype)


def _load_part(kind: Any, place: str, subfolder: str, dtype: torch.dtype) -> Any:
    """A network in diffusers' or transformers' layout; these would only log that weights are missing and go on."""
    with _reading(place, subfolder):
        network, report = kind.from_pretrained(place, subfolder=subfolder, dtype=dtype, output_loading_info=True)
    missing = sorted(set(report["missing_keys"]) & {name for name, _ in network.named_parameters()})
    if missing:
        raise InputError(f"{place} lacks weights of its {kind.__name__}, such as {missing[0]}.")
    return network


def _animatediff_scheduler(base: str) -> DDIMScheduler:
    """DDIM on the linear betas AnimateDiff was trained with, unless the base's scheduler is that already."""
    config = DDIMScheduler.load_config(base, subfolder="scheduler")
    betas = (config.get("beta_schedule"), config.get("beta_start"), config.get("beta_end"))
    if config.get("_class_name") == "DDIMScheduler" and betas == ("linear", 0.00085, 0.012):
        return DDIMScheduler.from_config(config, clip_sample=False)
    return DDIMScheduler(
        beta_schedule="linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="linspace",
        prediction_type=config.get("prediction_type", "epsilon"),
    )


def _join(unet: UNet2DConditionModel, adapter: MotionAdapter, source: str) -> UNetMotionModel:
    """UNetMotionModel.from_unet2d, sharing the weights of the two where that initialises and copies all of them."""
    try:
        with init_empty_weights():
            motion_unet = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False)
    except ValueError as error:
        raise InputError(f"{source} does not fit ({error}).") from error
    fill(motion_unet, {**unet.state_dict(), **adapter.state_dict()}, source)
    return motion_unet
