"""From the gradient of an energy to a change of the model's output (arXiv:2406.05338, Eq. 2). Pure.

Throughout, latents are z = alpha x0 + sigma eps. Diffusion models have alpha^2 + sigma^2 = 1 (alpha = sqrt(abar));
flow models have alpha + sigma = 1. G is the gradient of weight * ramp * energy with respect to z_t.
"""

import math
from dataclasses import dataclass
from typing import Literal

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
