"""What a scheduler's step does: its noise levels, and how far its result follows the denoiser's output.

Both are in terms of z = alpha x0 + sigma eps, the scale of the denoiser's input, whatever scale the sampler keeps its
latents at.
"""

import copy
import inspect
from typing import Any, get_args

import torch
from diffusers import CogVideoXDDIMScheduler, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from motionclone.errors import InputError
from motionclone.guidance import NoiseLevel, Prediction
from motionclone.schedule import UnevenDDIMScheduler


def prediction_of(scheduler: Any) -> Prediction:
    """What the scheduler takes the denoiser's output to be. InputError if that cannot be guided."""
    found = scheduler.config.get("prediction_type")
    if found is None and hasattr(scheduler, "sigmas") and not hasattr(scheduler, "alphas_cumprod"):
        return "flow_prediction"  # FlowMatchEuler and its like know no other
    if found not in get_args(Prediction):
        raise InputError(f"prediction type {found!r} cannot be guided; there are {', '.join(get_args(Prediction))}.")
    prediction: Prediction = found
    return prediction


def noise_level(scheduler: Any, timestep: float) -> NoiseLevel:
    """Of latents at `timestep`, whether or not it is one of the schedule's.

    Of flow models sigma is the share of the training timesteps; of diffusion models sigma / alpha is interpolated
    between timesteps, as Euler schedulers do.
    """
    if prediction_of(scheduler) == "flow_prediction":
        sigma = timestep / scheduler.config.num_train_timesteps
        return NoiseLevel(1 - sigma, sigma)
    abar = scheduler.alphas_cumprod
    if timestep == int(timestep):
        return NoiseLevel.of_diffusion(float(abar[int(timestep)]))
    below, above = (float((1 / abar[t] - 1).sqrt()) for t in (int(timestep), int(timestep) + 1))
    ratio = below + (timestep - int(timestep)) * (above - below)
    return NoiseLevel.of_diffusion(1 / (1 + ratio**2))


def step_index(scheduler: Any, timestep: float) -> int:
    """The step that starts at `timestep`."""
    return int((scheduler.timesteps.cpu().double() - timestep).abs().argmin())


def coming_step(scheduler: Any, timestep: float) -> int:
    """The step that the scheduler takes next, for which the denoiser is called.

    Many know it. Of others it is told by the timestep, which denoisers may be told in half precision.
    """
    known = getattr(scheduler, "step_index", None)
    return step_index(scheduler, timestep) if known is None else int(known)


def noise_levels(scheduler: Any, timestep: float) -> tuple[NoiseLevel, NoiseLevel]:
    """Of the latents before and after the coming step, at `timestep`."""
    index = coming_step(scheduler, timestep)
    if prediction_of(scheduler) == "flow_prediction":
        before, behind = (float(sigma) for sigma in scheduler.sigmas[index : index + 2])
        return NoiseLevel(1 - before, before), NoiseLevel(1 - behind, behind)
    now = noise_level(scheduler, timestep)
    if isinstance(scheduler, UnevenDDIMScheduler):
        return now, NoiseLevel.of_diffusion(float(scheduler.alpha_bar_after(int(timestep))))
    if isinstance(scheduler, DDIMScheduler | CogVideoXDDIMScheduler):
        earlier = int(timestep) - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        abar = scheduler.alphas_cumprod[earlier] if earlier >= 0 else scheduler.final_alpha_cumprod
        return now, NoiseLevel.of_diffusion(float(abar))
    later = [t for t in scheduler.timesteps.tolist() if t < timestep]
    return now, noise_level(scheduler, later[0]) if later else NoiseLevel(1.0, 0.0)


def has_first_order_steps(scheduler: Any) -> bool:
    """Whether a step is the deterministic one of DDIM or Euler, whose response `output_increment` knows."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return not scheduler.config.get("stochastic_sampling")
    return isinstance(scheduler, DDIMScheduler | CogVideoXDDIMScheduler)


def probed_response(scheduler: Any, timestep: float, after: NoiseLevel, latents: Tensor) -> float:
    """dz_after / dm of the step at `timestep`, of any scheduler whose step is affine in the output m.

    Two copies of the scheduler, as it is now, take the step with outputs 0 and 1.

    Args:
        scheduler: about to step; it is left alone.
        timestep: of the step.
        after: noise level after it.
        latents: that the denoiser is called with; only their device and number of axes matter.
    """
    index = coming_step(scheduler, timestep)
    takes = inspect.signature(scheduler.step).parameters
    arguments: dict[str, Any] = {"timestep": scheduler.timesteps[index], "return_dict": False}
    zero = torch.zeros([1] * latents.ndim, device=latents.device)
    if "old_pred_original_sample" in takes:  # CogVideoX's DPM solver is told its own past
        before = index > 0
        arguments["old_pred_original_sample"] = zero if before else None
        arguments["timestep_back"] = scheduler.timesteps[index - 1] if before else None
    ends = []
    for output in (zero, zero + 1):
        if "generator" in takes:  # the same noise both times, and none from the global generator
            arguments["generator"] = torch.Generator(latents.device).manual_seed(0)
        ends.append(copy.deepcopy(scheduler).step(model_output=output, sample=zero, **arguments)[0].flatten()[0])
    scaled = float(ends[1] - ends[0])
    # Samplers that start from noise of more than unit variance keep x0 + s eps, which is z / alpha.
    return scaled * after.alpha if float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1 else scaled
