"""What guidance needs to know of a family of video models."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from motionclone.backbones.capture import Heard
from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling

Call = dict[str, Any]
"""Keyword arguments of one call of the denoiser."""


class Backbone(Protocol):
    """One family of models, bound to a pipeline.

    Latents are (b, c, f, h, w); only in a `Call`, and where they go into the pipeline, they have the family's own
    layout.
    """

    @property
    def pipe(self) -> Any:
        """The diffusers pipeline."""

    @property
    def denoiser(self) -> nn.Module:
        """The network whose calls are guided."""

    @property
    def latents_name(self) -> str:
        """Name of the denoiser's argument that holds the latents."""

    @property
    def guided_from(self) -> float:
        """The lowest timestep at which the pipeline calls this denoiser."""

    @property
    def shown_frames(self) -> tuple[int, ...]:
        """Frames of a clip that the denoiser cannot do without: the first, for image-to-video models."""

    def blocks(self) -> tuple[str, ...]:
        """All blocks that have temporal attention."""

    def sites(self, blocks: Sequence[str]) -> tuple[str, ...]:
        """Module paths of the temporal attentions in `blocks`. InputError if a block has none."""

    def has_site(self, site: str) -> bool:
        """Whether a module path is one of this model's temporal attentions."""

    def after(self, sites: Sequence[str]) -> nn.Module:
        """The module that starts first once every site has run."""

    def heavy_blocks(self) -> list[nn.Module]:
        """Modules worth checkpointing; one may lie inside another."""

    def tap(self, call: Call, site: str, heard: Heard) -> list[RemovableHandle]:
        """Hooks that tell `heard` the site's query and key, (p, heads, f, d), during a call."""

    def map_frames(self, call: Call) -> int:
        """Frames f of the attention maps of a call, of which one may stand for several of the video's."""

    def grid(self, call: Call, query: Tensor) -> tuple[int, int, int]:
        """(f, h, w) of the positions at a site whose query was heard during a call."""

    def split(self, call: Call) -> tuple[Call | None, Call]:
        """The unconditional part (None without classifier-free guidance) and the conditional part of a call."""

    def denoised(self, gradient: Tensor) -> Tensor:
        """Of a gradient with respect to the denoiser's input, the part that belongs to its output."""

    def latents_shape(self, num_frames: int, height: int, width: int) -> tuple[int, ...]:
        """Of one video of that many frames and pixels. InputError, with the remedy, if the model cannot take them."""

    def nearest_size(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """The nearest number of frames, height and width that the model takes."""

    def check_prompt(self, prompt: str) -> None:
        """InputError if the text encoder would cut the prompt short."""

    def check_condition(self, condition: Condition | None) -> None:
        """InputError if the model cannot be shown pictures and there are some, or needs pictures and there are none."""

    def pipeline_condition(self, condition: Condition, scale: float) -> dict[str, Any]:
        """Arguments of the pipeline that carry pictures."""

    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """A call of the denoiser in which it is shown frames of the clip whose clean latents are (1, c, f, h, w)."""

    def fingerprint(self, site: str) -> list[float]:
        """A few norms that tell the weights of a temporal attention from others; empty if they cannot be read."""

    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Latents (1, c, f, h, w) of frames (f, 3, H, W) in [-1, 1], scaled as the denoiser wants them."""

    def decode_video(self, latents: Tensor) -> Tensor:
        """Frames (f, 3, H, W), about [-1, 1], of latents (1, c, f, h, w)."""

    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        """The denoiser's arguments for noisy latents (1, c, f, h, w), without classifier-free guidance."""

    def initial_latents(self, noise: Tensor, condition: Condition | None = None) -> Tensor:
        """Noise (1, c, f, h, w) as the pipeline takes it for its `latents`, with the picture if it looks there."""

    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """How the pipeline is told the video's size, guidance scale and negative prompt, and what else it needs.

        InputError if there is something that it would ignore.
        """

    def guider_set(self, sampling: Sampling) -> AbstractContextManager[None]:
        """Inside the `with`, pipelines whose guidance scale is no argument have that of the sampling."""


def named_arguments(denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """A call of the denoiser, all arguments by name."""
    call = dict(inspect.signature(type(denoiser).forward).bind(denoiser, *args, **kwargs).arguments)
    del call["self"]
    return call


def with_increment(unconditional: Any, conditional: Any, increment: Tensor, call: Call) -> Any:
    """The denoiser's output for a whole call, `increment` added to both parts; `unconditional` may be None.

    Of several outputs the first is the video's.
    """
    parts = [part for part in (unconditional, conditional) if part is not None]
    video = torch.cat([(part[0] + increment).to(part[0].dtype) for part in parts])
    others = map(torch.cat, zip(*(part[1:] for part in parts), strict=True))
    return type(conditional)(video, *others) if call.get("return_dict", True) else (video, *others)


def projection_norms(attention: Any) -> list[float]:
    """Norms of the first rows of an attention's projections to query and key; none if they are offloaded."""
    norms: list[float] = []
    for projection in (attention.to_q, attention.to_k):
        weight = getattr(projection, "base_layer", projection).weight  # PEFT wraps adapted layers
        if weight.is_meta:
            return []
        norms += weight[:4].detach().float().norm(dim=1).tolist()
    return norms


def backbone_of(pipe: Any) -> Backbone:
    """The backbone of a diffusers pipeline.

    Raises:
        InputError: if its family is not supported, or its denoiser is compiled or skips blocks.
    """
    from motionclone.backbones.animatediff import AnimateDiff
    from motionclone.backbones.cogvideox import CogVideoX
    from motionclone.backbones.hunyuan_video import HunyuanVideo, HunyuanVideo15
    from motionclone.backbones.ltx import LTX
    from motionclone.backbones.ltx2 import LTX2
    from motionclone.backbones.wan import Wan

    denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    parts = denoiser.modules() if isinstance(denoiser, nn.Module) else ()
    if any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in parts):
        raise InputError("the denoiser is compiled and cannot be listened to; guide the one from before torch.compile.")
    if getattr(denoiser, "is_cache_enabled", False):
        raise InputError("a feature cache skips blocks of the denoiser; call disable_cache() on it before guidance.")
    for family in (AnimateDiff, CogVideoX, Wan, LTX, LTX2, HunyuanVideo, HunyuanVideo15):
        if family.fits(pipe):
            return family(pipe)
    raise InputError(
        f"{type(pipe).__name__} is not supported: expected a pipeline of AnimateDiff (its unet a UNetMotionModel), "
        "CogVideoX, Wan, LTX-Video, LTX-2 (from text), HunyuanVideo or HunyuanVideo-1.5 (guided by "
        "ClassifierFreeGuidance)."
    )
