"""What guidance needs to know of a family of video models."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from motionclone.capture import Found
from motionclone.conditions import Condition
from motionclone.errors import InputError
from motionclone.guidance import NoiseLevel, Prediction

Call = dict[str, Any]
"""Keyword arguments of one call of the denoiser."""


class Backbone(Protocol):
    """One family of models, bound to a pipeline. Latents are always (b, c, f, h, w)."""

    @property
    def denoiser(self) -> nn.Module:
        """The network whose calls are guided."""

    @property
    def latents_name(self) -> str:
        """Name of the denoiser's argument that holds the latents."""

    def sites(self, blocks: Sequence[str]) -> tuple[str, ...]:
        """Module paths of the temporal attentions in `blocks`. InputError if a block has none."""

    def has_site(self, site: str) -> bool:
        """Whether a module path is one of this model's temporal attentions."""

    def after(self, sites: Sequence[str]) -> nn.Module:
        """The module that starts first once every site has run."""

    def heavy_blocks(self) -> list[nn.Module]:
        """Modules worth checkpointing; one may lie inside another."""

    def tap(self, site: str, found: Found) -> list[RemovableHandle]:
        """Hooks that put the site's query and key, (p, heads, f, d), into `found`."""

    def grid(self, site: str, found: Found, latents: Tensor) -> tuple[int, int, int]:
        """(f, h, w) of the positions at a site that was heard during a call with these latents."""

    def bind(self, *args: Any, **kwargs: Any) -> Call:
        """The denoiser's arguments by name."""

    def split(self, call: Call) -> tuple[Call | None, Call]:
        """The unconditional part (None without classifier-free guidance) and the conditional part of a call."""

    def join(self, unconditional: Any, conditional: Any, increment: Tensor, call: Call) -> Any:
        """The denoiser's output for the whole call, with `increment` added to both parts."""

    def noise_level(self, timestep: float) -> NoiseLevel:
        """Of latents at `timestep`."""

    def noise_levels(self, timestep: float) -> tuple[NoiseLevel, NoiseLevel]:
        """Of the latents before and after the scheduler's step at `timestep`."""

    def prediction(self) -> Prediction:
        """What the denoiser's output means."""

    def latents_shape(self, num_frames: int, height: int, width: int) -> tuple[int, ...]:
        """Of one video of that many frames and pixels. InputError, with the remedy, if the model cannot take them."""

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

    def text_call(self, prompt: str, num_frames: int) -> Call:
        """The denoiser's arguments that carry `prompt`, for one video without classifier-free guidance."""


def backbone_of(pipe: Any) -> Backbone:
    """The backbone of a diffusers pipeline.

    Raises:
        InputError: if its family is not supported.
    """
    from motionclone.backbones.animatediff import AnimateDiff

    if AnimateDiff.fits(pipe):
        return AnimateDiff(pipe)
    raise InputError(
        f"{type(pipe).__name__} is not supported: expected a pipeline whose unet is a UNetMotionModel (AnimateDiff)."
    )
