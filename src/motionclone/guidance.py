"""From the gradient of an energy to a change of the model's output (arXiv:2406.05338, Eq. 2). Pure.

Throughout, latents are z = alpha x0 + sigma eps. Diffusion models have alpha^2 + sigma^2 = 1 (alpha = sqrt(abar));
flow models have alpha + sigma = 1. G is the gradient of weight * ramp * energy with respect to z_t.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motionclone.errors import InputError
from motionclone.settings import Update

Prediction = Literal["epsilon", "v_prediction", "flow_prediction"]


@dataclass(frozen=True)
class NoiseLevel:
    """z = alpha x0 + sigma eps."""

    alpha: float
    sigma: float

    @classmethod
    def of_diffusion(cls, alpha_bar: float) -> "NoiseLevel":
        """The level of a variance-preserving model, from its cumulative alpha."""
        return cls(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    @classmethod
    def of_ratio(cls, ratio: float) -> "NoiseLevel":
        """The level of a variance-preserving model, from sigma / alpha."""
        return cls.of_diffusion(1 / (1 + ratio**2))


def ramp(step: int, guided_steps: int, warm_up: int = 10, cool_down: int = 10) -> float:
    """Weight of guided step `step` of `guided_steps`: rises over the first, falls over the last steps.

    As in the authors' code (the paper has no ramp); the two are multiplied where they overlap.
    """
    up = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    down = min(1.0, (guided_steps - step) / cool_down) if cool_down else 1.0
    return up * down


DISPLACEMENT = 0.6
"""By how much the guided steps of a run together move the latents at strength 1: the sum of their root mean squares."""


def strength_weights(
    strength: float, ramps: Sequence[float], levels: Sequence[tuple[NoiseLevel, NoiseLevel]]
) -> list[float]:
    """What to multiply a gradient of unit size by in every guided step, so that all of them together have a strength.

    Latents have about unit size, whatever their resolution, length and model, and so has the noise in them. A step is
    to move them by its share of `strength * DISPLACEMENT`: in proportion to its ramp and to the noise that it leaves,
    so that what is nearly clean is hardly touched and the number of steps does not matter. No step moves them further
    than the noise that it leaves, so one step alone may come to less.

    Args:
        strength: 1 is what is recommended.
        ramps: of the guided steps, 0 or more.
        levels: noise levels before and after each of them.

    Returns:
        A weight for each: `output_increment` by `direction` moves the latents by weight * sigma_after * sigma.
    """
    left = [share * after.sigma for share, (_, after) in zip(ramps, levels, strict=True)]
    per_share = strength * DISPLACEMENT / sum(left) if any(left) else 0.0
    return [min(1.0, share * per_share) / now.sigma for share, (now, _) in zip(ramps, levels, strict=True)]


def motion_direction(gradient: Tensor, kept_frames: int = 0) -> Tensor:
    """Of a gradient what changes motion and not looks, at unit size.

    Its mean over frames is one picture for the whole video, and its means over pixels a tint of every frame: both cost
    words and carry hardly any motion.

    Args:
        gradient: (b, c, f, h, w).
        kept_frames: of the first ones, which stay those of a picture and do not move.

    Returns:
        (b, c, f, h, w). The root mean square of each video is 1 over the frames that move, and nothing is left of it in
        the others; 0 for a gradient that is 0.
    """
    moving = gradient[:, :, kept_frames:]
    moving = _moving_part(moving / moving.abs().amax((1, 2, 3, 4), keepdim=True).clamp(min=_tiny(gradient)))
    return torch.cat([torch.zeros_like(gradient[:, :, :kept_frames]), moving / _size(moving, (1, 2, 3, 4))], dim=2)


def on_sphere(step: Tensor, latents: Tensor, kept_frames: int = 0) -> Tensor:
    """Turn a step so that it leaves the latents about as large as they are (after DSG, arXiv:2402.03201).

    Steps add up, and would leave more in the latents than their noise level has, which the denoiser takes for texture:
    grounds boil and words are lost. Here what moves in the latents is turned, not enlarged.

    Args:
        step: that is to be taken from the latents, (b, c, f, h, w), in the space of `motion_direction`.
        latents: of the same shape.
        kept_frames: of the first ones, which do not move.

    Returns:
        A step of the same shape, space and root mean square of each video.
    """
    moving, around = step[:, :, kept_frames:], _moving_part(latents[:, :, kept_frames:])
    video = (1, 2, 3, 4)
    size = around.square().mean(video, keepdim=True).clamp(min=_tiny(step))
    growth = (moving.square() - 2 * moving * around).mean(video, keepdim=True) / size
    shorter = -torch.expm1(-0.5 * torch.log1p(growth.clamp(min=-0.99)))  # the share by which to shorten what it becomes
    turned = shorter * around + (1 - shorter) * moving
    turned = turned * (_size(moving, video) / _size(turned, video))
    return torch.cat([step[:, :, :kept_frames], turned], dim=2)


def _moving_part(latents: Tensor) -> Tensor:
    """Without the mean over frames, if there are several, and without the means over pixels."""
    moving = latents - latents.mean(2, keepdim=True) if latents.shape[2] > 1 else latents
    return moving - moving.mean((3, 4), keepdim=True)


def _size(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Root mean square, and never 0."""
    return values.square().mean(dims, keepdim=True).sqrt().clamp(min=_tiny(values))


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny


def matching_weight(now: NoiseLevel, after: NoiseLevel) -> float:
    """Factor on the weight of the `noise` update that makes it equal to `direction` in a DDIM step.

    rho_after / (rho_now - rho_after) with rho = sigma / alpha.
    """
    return after.sigma * now.alpha / (now.sigma * after.alpha - after.sigma * now.alpha)


def clean_and_noise(
    output: Tensor, latents: Tensor, level: NoiseLevel, prediction: Prediction
) -> tuple[Tensor, Tensor]:
    """x0 and eps of which latents consist, according to a model's output.

    Args:
        output: the model's.
        latents: z = alpha x0 + sigma eps.
        level: their noise level; alpha > 0 for epsilon predictions.
        prediction: what the output means: eps; v = alpha eps - sigma x0; or the flow velocity eps - x0.
    """
    if prediction == "epsilon":
        return (latents - level.sigma * output) / level.alpha, output
    if prediction == "v_prediction":
        return level.alpha * latents - level.sigma * output, level.alpha * output + level.sigma * latents
    return latents - level.sigma * output, latents + (1 - level.sigma) * output


def output_increment(
    gradient: Tensor,
    now: NoiseLevel,
    after: NoiseLevel,
    prediction: Prediction,
    update: Update,
    response: float | None = None,
) -> Tensor:
    """What to add to the model's output so that the sampler's step descends the energy.

    `noise` is Eq. 2 as printed: the noise estimate moves by sigma G, through the whole step (x0 and direction).
    `direction` is what the authors' code does, and what their weight of 2000 belongs to: x0 stays, and only the
    direction term of the DDIM step moves, z_after -= sigma_after sigma G. Written as an increment of the output m it is
    that latent update divided by dz_after/dm, the step's response.

    Args:
        gradient: G, of the latents' shape.
        now: noise level of the latents z_t.
        after: noise level after this step.
        prediction: what the model's output means.
        update: the rule.
        response: dz_after/dm of the step, as the solver carries it on; by default that of a deterministic first-order
            one (DDIM, Euler).

    Returns:
        The increment, of the gradient's shape.

    Raises:
        InputError: at alpha = 0 (zero terminal SNR), where only `direction` on v or flow predictions is finite.
    """
    if now.alpha == 0 and (update == "noise" or prediction == "epsilon"):
        raise InputError(f"update {update!r} has no finite form at zero terminal SNR; use direction on a v model.")
    if update == "noise":
        per_noise = 1.0 if prediction == "epsilon" else 1 / now.alpha  # dm / d eps at fixed z
        return gradient * (now.sigma * per_noise)
    if response is None:
        response = first_order_response(now, after, prediction)
    return gradient * (-after.sigma * now.sigma / response)


def first_order_response(now: NoiseLevel, after: NoiseLevel, prediction: Prediction) -> float:
    """dz_after/dm of a deterministic first-order step; at alpha = 0 only for v and flow predictions."""
    if prediction == "epsilon":
        return after.sigma - after.alpha * now.sigma / now.alpha
    if prediction == "v_prediction":
        return after.sigma * now.alpha - after.alpha * now.sigma
    return after.sigma - now.sigma
