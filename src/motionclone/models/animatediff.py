"""An AnimateDiff pipeline from its parts, each of its weights in memory once."""

from pathlib import Path
from typing import Any

import torch
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
from transformers import CLIPTextModel, CLIPTokenizer

from motionclone.errors import InputError
from motionclone.models.checkpoints import (
    fill,
    load_dreambooth,
    load_motion_module,
    load_sparse_control,
    merge_domain_adapter,
)
from motionclone.models.description import PLACES, ModelDescription, could_be_hub_id
from motionclone.models.parts import load_part, reading

_BASE_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def assemble(description: ModelDescription, dtype: torch.dtype) -> AnimateDiffPipeline:
    """The pipeline of a description, each of its weights in memory once."""
    _check_places(description)
    base = description.base
    adapter = _load_motion_adapter(description.motion_adapter, dtype)
    with reading(base):
        index = AnimateDiffPipeline.load_config(base)
        lacking = [part for part in _BASE_PARTS if index.get(part, [None])[0] is None]
        if lacking or "UNet2DConditionModel" not in index["unet"] or "text_encoder_2" in index:
            raise InputError(
                f"{base} is a {index.get('_class_name')}; the base of a motion adapter is a Stable Diffusion 1.x model "
                f"with {', '.join(_BASE_PARTS)}."
            )
        tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
        check_vocabulary(tokenizer, base)
        scheduler = _animatediff_scheduler(base)
        if description.dreambooth is not None:
            unet, vae, text_encoder = load_dreambooth(Path(description.dreambooth), base, dtype)
        else:
            unet = load_part(UNet2DConditionModel, base, "unet", dtype)
            vae = load_part(AutoencoderKL, base, "vae", dtype)
            text_encoder = load_part(CLIPTextModel, base, "text_encoder", dtype)
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


def with_control(pipe: AnimateDiffPipeline, place: str, dtype: torch.dtype) -> AnimateDiffSparseControlNetPipeline:
    """The same parts and a SparseCtrl, in diffusers' pipeline for both."""
    if Path(place).is_file():
        network = load_sparse_control(Path(place), dtype)
    else:
        with reading(place):
            kind = SparseControlNetModel.load_config(place).get("_class_name")
            if kind != "SparseControlNetModel":
                raise InputError(f"{place} is a {kind}, not a SparseControlNetModel.")
            network = load_part(SparseControlNetModel, place, "", dtype)
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


def _check_places(description: ModelDescription) -> None:
    """Refuse what is plainly not there before anything large is read."""
    for name in PLACES:
        place = getattr(description, name)
        remote = name not in ("dreambooth", "domain_adapter") and could_be_hub_id(place or "")
        if place is not None and not remote and not Path(place).exists():
            raise InputError(f"there is no {name} {place}.")


def check_vocabulary(tokenizer: CLIPTokenizer, place: str) -> None:
    """Refuse what transformers makes of a tokenizer folder that is missing or empty: a tokenizer without words."""
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise InputError(f"the tokenizer of {place} has no vocabulary; vocab.json and merges.txt were expected.")


def _load_motion_adapter(place: str, dtype: torch.dtype) -> MotionAdapter:
    if Path(place).is_file():
        return load_motion_module(Path(place), dtype)
    with reading(place):
        config = MotionAdapter.load_config(place)
        if config.get("_class_name") != "MotionAdapter":
            raise InputError(f"{place} is a {config.get('_class_name')}, not a MotionAdapter.")
        if config.get("conv_in_channels"):
            raise InputError(f"{place} is a motion adapter for PIA, whose UNet takes an image; AnimateDiff's does not.")
        return load_part(MotionAdapter, place, "", dtype)


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
