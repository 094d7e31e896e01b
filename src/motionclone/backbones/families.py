"""The one list of families, and which of them a pipeline belongs to."""

from typing import Any, TypeAlias

from diffusers import DiffusionPipeline, ModularPipeline
from torch import nn

from motionclone.backbones.animatediff import AnimateDiff
from motionclone.backbones.animatediff_sdxl import AnimateDiffSDXL
from motionclone.backbones.backbone import Backbone
from motionclone.backbones.cogvideox import CogVideoX
from motionclone.backbones.hunyuan_video import HunyuanVideo, HunyuanVideo15
from motionclone.backbones.ltx import LTX
from motionclone.backbones.ltx2 import LTX2
from motionclone.backbones.modular import classic, is_modular
from motionclone.backbones.wan import Wan
from motionclone.errors import InputError

FAMILIES = (AnimateDiffSDXL, AnimateDiff, CogVideoX, Wan, LTX, LTX2, HunyuanVideo, HunyuanVideo15)

Pipeline: TypeAlias = DiffusionPipeline | ModularPipeline | Backbone


def backbone_of(pipe: Any) -> Backbone:
    """The backbone of a diffusers pipeline; one that is a backbone already stays what it is.

    That of a modular pipeline is bound to the classic one of the same parts.

    Raises:
        InputError: if its family is not supported, or its denoiser is compiled, keeps what it computed or wants more
            than its family's calls bring.
    """
    if isinstance(pipe, FAMILIES):
        return pipe
    if is_modular(pipe):
        pipe = classic(pipe)
    denoiser = next((part for name in ("unet", "transformer") if (part := getattr(pipe, name, None)) is not None), None)
    if isinstance(denoiser, nn.Module):
        check_denoiser(denoiser)
    for family in FAMILIES:
        if family.fits(pipe):
            backbone = family(pipe)
            backbone.check_network()
            return backbone
    if type(pipe).__name__ == "PIAPipeline":
        raise InputError("PIAPipeline is not supported: its UNet takes an image; use AnimateDiff with a SparseCtrl.")
    raise InputError(
        f"{type(pipe).__name__} is not supported: expected a pipeline of AnimateDiff (its unet a UNetMotionModel), "
        "CogVideoX, Wan, LTX-Video, LTX-2 (from text), HunyuanVideo or HunyuanVideo-1.5 (guided by "
        "ClassifierFreeGuidance)."
    )


def check_denoiser(denoiser: nn.Module) -> None:
    """InputError if a denoiser cannot be listened to, or does not compute the same whenever it is called again."""
    parts = list(denoiser.modules())
    if any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in parts):
        raise InputError("the denoiser is compiled and cannot be listened to; guide the one from before torch.compile.")
    if getattr(denoiser, "is_cache_enabled", False):
        raise InputError("a feature cache skips blocks of the denoiser; call disable_cache() on it before guidance.")
    for part in parts:
        for name, hook in getattr(getattr(part, "_diffusers_hook", None), "hooks", {}).items():
            if hook._is_stateful:
                raise InputError(
                    f"{name} keeps what the denoiser computed in earlier calls, which guidance computes again; take it "
                    "off with diffusers.hooks.HookRegistry.check_if_exists_or_initialize(denoiser)."
                    f'remove_hook("{name}", recurse=True).'
                )
