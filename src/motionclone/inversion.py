"""DDIM inversion: the latents from which a clip would have been sampled (Sec. 4.6, "Does video inversion help?").

MotionClone does without it. It is here to be compared with: `inverted_motion` takes the representation at t_alpha from
inverted latents ("Inversion_2"), `inverted_motions` one for every timestep ("Inversion_1", Eq. 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from motionclone.backbones.backbone import Backbone, Call
from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import only_here
from motionclone.backbones.recomputing import within_memory
from motionclone.errors import InputError
from motionclone.extraction import check_reading, motion_at
from motionclone.guidance import clean_and_noise
from motionclone.media.conditions import Condition
from motionclone.motion import Motion
from motionclone.settings import Extraction
from motionclone.steps import noise_level, prediction_of


@torch.no_grad()
def invert(
    pipe: Any, latents: Tensor, timesteps: Sequence[float], prompt: str = "", *, frames: Tensor | None = None
) -> dict[float, Tensor]:
    """Run the deterministic sampler backwards, without classifier-free guidance (arXiv:2010.02502, Sec. 4.3).

    z' = alpha' x0(z) + sigma' eps(z), with x0 and eps of the denoiser at z; the first timestep's latents are the clean
    ones, so it should be near 0. Of two experts each is called where the pipeline calls it.

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        latents: x0, (1, c, f, h, w), scaled.
        timesteps: ascending.
        prompt: what the denoiser is told.
        frames: the clip, (f, 3, h, w) in [-1, 1], whose first frame image-to-video models are shown; by default it is
            decoded from the latents.

    Returns:
        The latents at every timestep.

    Raises:
        InputError: if the timesteps do not ascend, frames and latents do not fit, or the latents become not finite.
    """
    backbone = backbone_of(pipe)
    inverted = _invert(backbone, _Clip.of(backbone, latents, frames), timesteps, prompt)
    backbone.pipe.maybe_free_model_hooks()
    return inverted


def inverted_motion(
    pipe: Any, latents: Tensor, settings: Extraction, steps: int = 20, *, frames: Tensor | None = None
) -> Motion:
    """The motion representation at t_alpha of latents inverted to t_alpha in `steps` even steps (Inversion_2).

    `frames` are the clip's, as in `invert`.
    """
    backbone, t_alpha = backbone_of(pipe), settings.t_alpha
    check_reading(backbone, settings)
    timesteps = sorted({round(t_alpha * i / steps) for i in range(steps + 1)})
    return _motions(backbone, latents, settings, timesteps, t_alpha, frames, {})[t_alpha]


def inverted_motions(
    pipe: Any,
    latents: Tensor,
    settings: Extraction,
    timesteps: Sequence[float],
    guided_from: float,
    *,
    frames: Tensor | None = None,
) -> dict[float, Motion]:
    """A motion representation for every guided timestep, of latents inverted along the schedule (Inversion_1).

    Args:
        pipe: a diffusers pipeline of a supported family, or its backbone.
        latents: x0, (1, c, f, h, w), scaled.
        settings: k, blocks and prompt; t_alpha is not used.
        timesteps: of the generation, in any order.
        guided_from: the lowest guided timestep.
        frames: the clip's, as in `invert`.
    """
    backbone = backbone_of(pipe)
    backbone.sites(settings.blocks)
    lowest = max(guided_from, backbone.guided_from)
    return _motions(backbone, latents, settings, sorted(timesteps), lowest, frames, {"t_alpha": None})


@dataclass(frozen=True)
class _Clip:
    """What is inverted: clean latents, and what is known of the video that they are of."""

    latents: Tensor
    shape: tuple[int, int, int]  # frames, height and width
    shown: Condition | None  # what an image-to-video model sees of it

    @classmethod
    def of(cls, backbone: Backbone, latents: Tensor, frames: Tensor | None) -> "_Clip":
        """InputError if frames and latents do not fit."""
        shape = backbone.video_shape(latents) if frames is None else (len(frames), *frames.shape[-2:])
        wanted = backbone.latents_shape(*shape)
        if tuple(latents.shape) != wanted:
            raise InputError(
                f"latents of {shape[0]} frames of {shape[2]}x{shape[1]} are {wanted}, not {latents.shape}."
            )
        numbers, shown = backbone.shown_frames, None
        if numbers:
            frames = backbone.decode_video(latents).clamp(-1, 1) if frames is None else frames
            shown = Condition(frames[list(numbers)], numbers)
            backbone.check_condition(shown)
        return cls(latents.float(), shape, shown)

    def steer(self, backbone: Backbone, call: Call) -> Call:
        """A call in which the denoiser is shown what it is to see of the clip."""
        if self.shown is None:
            return call
        return backbone.conditioned(call, self.shown, self.latents, 1.0)

    def about(self) -> dict[str, Any]:
        """For a motion's record."""
        known: dict[str, Any] = {"num_frames": self.shape[0], "size": self.shape[1:]}
        return known if self.shown is None else known | {"shown_frames": self.shown.frames, "condition_scale": 1.0}


def _invert(backbone: Backbone, clip: _Clip, timesteps: Sequence[float], prompt: str) -> dict[float, Tensor]:
    if list(timesteps) != sorted(set(timesteps)) or not timesteps:
        raise InputError(f"inversion needs ascending timesteps, got {list(timesteps)}.")
    scheduler, kept = backbone.pipe.scheduler, backbone.kept_frames
    z = clip.latents
    found = {timesteps[0]: z}
    for now, after in pairwise(timesteps):
        call = clip.steer(backbone, backbone.denoiser_call(z, now, prompt))
        with only_here(), backbone.reading(call) as reading, within_memory(z.device, "a forward pass of the denoiser"):
            output = backbone.denoiser_at(now)(**reading, return_dict=False)[0]
        output = backbone.unpacked(output, call).float()
        clean, noise = clean_and_noise(output, z, noise_level(scheduler, now), prediction_of(scheduler))
        level = noise_level(scheduler, after)
        z = torch.cat([z[:, :, :kept], (level.alpha * clean + level.sigma * noise)[:, :, kept:]], dim=2)
        if not z.isfinite().all():
            raise InputError(f"inversion is not finite at t = {after:g}; compute in float32 or bfloat16.")
        found[after] = z
    return found


@torch.no_grad()
def _motions(
    backbone: Backbone,
    latents: Tensor,
    settings: Extraction,
    timesteps: Sequence[float],
    lowest: float,
    frames: Tensor | None,
    about: Mapping[str, Any],
) -> dict[float, Motion]:
    """The motions at the timesteps from the lowest on."""
    clip = _Clip.of(backbone, latents, frames)
    inverted = _invert(backbone, clip, timesteps, settings.prompt)
    motions = {
        t: motion_at(backbone, z, t, settings, partial(clip.steer, backbone), {**clip.about(), **about})
        for t, z in inverted.items()
        if t >= lowest
    }
    backbone.pipe.maybe_free_model_hooks()
    return motions
