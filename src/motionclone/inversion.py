"""DDIM inversion: the latents from which a clip would have been sampled (Sec. 4.6, "Does video inversion help?").

MotionClone does without it. It is here to be compared with: `inverted_motion` takes the representation at t_alpha from
inverted latents ("Inversion_2"), `inverted_motions` one for every timestep ("Inversion_1", Eq. 4).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from motionclone.backbones.families import backbone_of
from motionclone.errors import InputError
from motionclone.extraction import motion_at
from motionclone.guidance import clean_and_noise
from motionclone.motion import Motion
from motionclone.settings import Extraction
from motionclone.steps import noise_level, prediction_of


@torch.no_grad()
def invert(pipe: Any, latents: Tensor, timesteps: Sequence[int], prompt: str = "") -> dict[int, Tensor]:
    """Run the deterministic sampler backwards, without classifier-free guidance (arXiv:2010.02502, Sec. 4.3).

    z' = alpha' x0(z) + sigma' eps(z), with x0 and eps of the denoiser at z; the first timestep's latents are the clean
    ones, so it should be near 0.

    Args:
        pipe: a diffusers pipeline of a supported family.
        latents: x0, (1, c, f, h, w), scaled.
        timesteps: ascending.
        prompt: what the denoiser is told.

    Returns:
        The latents at every timestep.

    Raises:
        InputError: if the timesteps do not ascend or the latents become not finite.
    """
    if list(timesteps) != sorted(set(timesteps)) or not timesteps:
        raise InputError(f"inversion needs ascending timesteps, got {list(timesteps)}.")
    backbone = backbone_of(pipe)
    z = latents.float()
    found = {timesteps[0]: z}
    for now, after in pairwise(timesteps):
        output = backbone.denoiser(**backbone.denoiser_call(z, now, prompt))[0]
        clean, noise = clean_and_noise(
            output.float(), z, noise_level(pipe.scheduler, now), prediction_of(pipe.scheduler)
        )
        level = noise_level(pipe.scheduler, after)
        z = level.alpha * clean + level.sigma * noise
        if not z.isfinite().all():
            raise InputError(f"inversion is not finite at t = {after}; compute in float32 or bfloat16.")
        found[after] = z
    return found


def inverted_motion(pipe: Any, latents: Tensor, settings: Extraction, steps: int = 20) -> Motion:
    """The motion representation at t_alpha of latents inverted to t_alpha in `steps` even steps (Inversion_2)."""
    timesteps = [round(settings.t_alpha * i / steps) for i in range(steps + 1)]
    inverted = invert(pipe, latents, timesteps, settings.prompt)
    return motion_at(pipe, inverted[settings.t_alpha], settings.t_alpha, settings)


def inverted_motions(
    pipe: Any, latents: Tensor, settings: Extraction, timesteps: Sequence[int], guided_from: int
) -> dict[int, Motion]:
    """A motion representation for every guided timestep, of latents inverted along the schedule (Inversion_1).

    Args:
        pipe: a diffusers pipeline of a supported family.
        latents: x0, (1, c, f, h, w), scaled.
        settings: k, blocks and prompt; t_alpha is not used.
        timesteps: of the generation, in any order.
        guided_from: the lowest guided timestep.
    """
    inverted = invert(pipe, latents, sorted(timesteps), settings.prompt)
    return {t: motion_at(pipe, z, t, settings) for t, z in inverted.items() if t >= guided_from}
