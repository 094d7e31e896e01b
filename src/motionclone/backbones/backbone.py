"""What there is to know of a family of video models, by job: guiding it, its latents, calling its pipeline."""

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from motionclone.backbones.capture import Heard
from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.settings import Sampling

Call = dict[str, Any]
"""Keyword arguments of one call of the denoiser."""


class Guidable(Protocol):
    """What guidance needs: the denoiser, where its temporal attention is, and how its calls are made up.

    Latents are (b, c, f, h, w); only in a `Call`, and where they go into the pipeline, they have the family's own
    layout.
    """

    pipe: Any
    """The diffusers pipeline."""
    latents_name: ClassVar[str]
    """Name of the denoiser's argument that holds the latents."""
    halves_together: ClassVar[bool] = True
    """Whether both halves of classifier-free guidance are one call."""

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The network whose calls are guided."""

    @property
    def guided_from(self) -> float:
        """The lowest timestep at which the pipeline calls this denoiser."""
        return 0.0

    def denoiser_at(self, timestep: float) -> nn.Module:
        """The network that the pipeline calls at a timestep, which need not be the guided one."""
        return self.denoiser

    def check_network(self) -> None:
        """InputError if the network wants what this family's calls do not bring."""

    @abstractmethod
    def blocks(self) -> tuple[str, ...]:
        """All blocks that have temporal attention, in the order they run."""

    @abstractmethod
    def sites(self, blocks: Sequence[str]) -> tuple[str, ...]:
        """Module paths of the temporal attentions in `blocks`. InputError if a block has none."""

    @abstractmethod
    def has_site(self, site: str) -> bool:
        """Whether a module path is one of this model's temporal attentions."""

    @abstractmethod
    def after(self, sites: Sequence[str]) -> nn.Module:
        """The module that starts first once every site has run."""

    @abstractmethod
    def heavy_blocks(self) -> list[nn.Module]:
        """Modules worth checkpointing; one may lie inside another."""

    @abstractmethod
    def tap(self, call: Call, site: str, heard: Heard) -> list[RemovableHandle]:
        """Hooks that tell `heard` the site's query and key, (p, heads, f, d), during a call."""

    @abstractmethod
    def map_frames(self, call: Call) -> int:
        """Frames f of the attention maps of a call, of which one may stand for several of the video's."""

    @abstractmethod
    def grid(self, call: Call, query: Tensor) -> tuple[int, int, int]:
        """(f, h, w) of the positions at a site whose query was heard during a call."""

    @abstractmethod
    def split(self, call: Call) -> tuple[Call | None, Call]:
        """The unconditional part (None without classifier-free guidance) and the conditional part of a call."""

    def denoised(self, gradient: Tensor) -> Tensor:
        """Of a gradient with respect to the denoiser's input, the part that belongs to its output."""
        return gradient

    def unpacked(self, output: Tensor, call: Call) -> Tensor:
        """The denoiser's output for the latents of a call, as latents are: (b, c, f, h, w)."""
        return output

    @abstractmethod
    def fingerprint(self, site: str) -> dict[str, float]:
        """A few norms that tell the weights about a temporal attention from others; empty if they cannot be read."""


class Codec(Protocol):
    """From frames to latents and back, and the sizes of both."""

    @abstractmethod
    def latents_shape(self, num_frames: int, height: int, width: int) -> tuple[int, ...]:
        """Of one video of that many frames and pixels. InputError, with the remedy, if the model cannot take them."""

    @abstractmethod
    def video_shape(self, latents: Tensor) -> tuple[int, int, int]:
        """Frames, height and width of the video that encoded latents (1, c, f, h, w) are of."""

    @abstractmethod
    def nearest_size(self, num_frames: int, height: int, width: int) -> tuple[int, int, int]:
        """The nearest number of frames, height and width that the model takes."""

    @abstractmethod
    def encode_video(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Latents (1, c, f, h, w) of frames (f, 3, H, W) in [-1, 1], scaled as the denoiser wants them."""

    @abstractmethod
    def decode_video(self, latents: Tensor) -> Tensor:
        """Frames (f, 3, H, W), about [-1, 1], of latents (1, c, f, h, w)."""


class Caller(Protocol):
    """How the pipeline and its denoiser are called."""

    @property
    def shown_frames(self) -> tuple[int, ...]:
        """Frames of a clip that the denoiser cannot do without: the first, for image-to-video models."""
        return ()

    @property
    def kept_frames(self) -> int:
        """Latent frames that stay those of a picture while the ones behind them are denoised."""
        return 0

    @abstractmethod
    def check_prompt(self, prompt: str) -> None:
        """InputError if the text encoder would cut the prompt short."""

    @abstractmethod
    def check_condition(self, condition: Condition | None) -> None:
        """InputError if the model cannot be shown pictures and there are some, or needs pictures and there are none."""

    @property
    def picture_arguments(self) -> tuple[str, ...]:
        """Arguments of the pipeline, without which it cannot be called, that `pipeline_condition` brings."""
        return ()

    @abstractmethod
    def pipeline_condition(self, condition: Condition, scale: float) -> dict[str, Any]:
        """Arguments of the pipeline that carry pictures."""

    @abstractmethod
    def conditioned(self, call: Call, condition: Condition, latents: Tensor, scale: float) -> Call:
        """A call of the denoiser in which it is shown frames of the clip whose clean latents are (1, c, f, h, w)."""

    @abstractmethod
    def denoiser_call(self, latents: Tensor, timestep: float, prompt: str) -> Call:
        """The denoiser's arguments for noisy latents (1, c, f, h, w), without classifier-free guidance."""

    @abstractmethod
    def initial_latents(self, noise: Tensor, condition: Condition | None = None) -> Tensor:
        """Noise (1, c, f, h, w) as the pipeline takes it for its `latents`, with the picture if it looks there."""

    @abstractmethod
    def pipeline_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """How the pipeline is told the video's size, guidance scale and negative prompt, and what else it needs.

        InputError if there is something that it would ignore.
        """

    def reading(self, call: Call) -> AbstractContextManager[Call]:
        """The call as it is made to read the network: pictures for adapters, which nobody gave, have no part in it."""
        return nullcontext(call)

    def unused_parts(self) -> dict[str, str]:
        """Parts of the pipeline of which nothing comes when it is called with `pipeline_arguments`; and why."""
        return {}

    def prepared(self, sampling: Sampling) -> AbstractContextManager[None]:
        """Inside the `with`, the pipeline is as the sampling wants it where no argument can say so."""
        return nullcontext()


class Backbone(Guidable, Codec, Caller, Protocol):
    """One family of models, bound to a pipeline."""


def named_arguments(denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """A call of the denoiser, all arguments by name."""
    call = dict(inspect.signature(type(denoiser).forward).bind(denoiser, *args, **kwargs).arguments)
    del call["self"]
    return call


_stacks: WeakIdKeyDictionary = WeakIdKeyDictionary()  # the schedule of a run: rows of a call that was stacked


def is_stacked(pipe: Any, latents: Tensor) -> bool:
    """Whether a call of the denoiser holds the same latents twice, for the negative prompt and then for the prompt.

    The pipeline tells by its guidance scale, and is believed after the first call of a run, for looking waits for the
    device. Without one, in a loop of somebody's own, the latents tell.

    Raises:
        InputError: if the pipeline stacks something else.
    """
    if getattr(pipe, "do_perturbed_attention_guidance", False):
        raise InputError(
            f"{type(pipe).__name__} stacks a part with perturbed attention, which cannot be guided; call it with "
            "pag_scale=0."
        )
    scale = getattr(pipe, "guidance_scale", None)
    wanted = getattr(pipe, "do_classifier_free_guidance", scale is None or scale > 1)
    half, odd = divmod(len(latents), 2)
    if not wanted or len(latents) == 1:
        return False
    schedule = pipe.scheduler.timesteps
    if scale is not None and _stacks.get(schedule) == len(latents):  # type: ignore[no-untyped-call]
        return True
    same = not odd and torch.allclose(latents[:half], latents[half:], rtol=0, atol=0, equal_nan=True)
    if same:
        _stacks[schedule] = len(latents)
    if scale is not None and not same:
        raise InputError(
            f"the denoiser was called with {len(latents)} rows, which are not the same latents for the negative prompt "
            "and for the prompt; switch off other kinds of guidance than by text."
        )
    return same


def with_increment(unconditional: Any, conditional: Any, increment: Tensor, call: Call, scale_factor: float = 1) -> Any:
    """The denoiser's output for a whole call, `increment` added to both parts; `unconditional` may be None.

    Of several outputs the first is the video's. The difference between both parts, classifier-free guidance, is
    multiplied by `scale_factor`.
    """
    parts = [part for part in (unconditional, conditional) if part is not None]
    videos = [part[0] for part in parts]
    if len(parts) == 2 and scale_factor != 1:
        videos[1] = videos[0] + scale_factor * (videos[1] - videos[0])
    video = torch.cat([(each + increment).to(part[0].dtype) for each, part in zip(videos, parts, strict=True)])
    others = map(torch.cat, zip(*(part[1:] for part in parts), strict=True))
    return type(conditional)(video, *others) if call.get("return_dict", True) else (video, *others)
