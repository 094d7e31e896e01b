"""What a scheduler's step does: its noise levels, and how far the run follows the denoiser's output.

Both are in terms of z = alpha x0 + sigma eps, the scale of the denoiser's input, whatever scale the sampler keeps its
latents at.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any, get_args

import torch
from diffusers import CogVideoXDDIMScheduler, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.utils._pytree import tree_leaves

from motionclone.errors import InputError
from motionclone.guidance import NoiseLevel, Prediction
from motionclone.schedule import UnevenDDIMScheduler, timesteps_of

LONGEST_MEMORY = 16
"""Calls after which no solver remembers an output: PNDM takes 12 Runge-Kutta calls and four multistep ones."""

LEAST_MOVE = 0.25
"""Of what an output does to the latents right after its step, the share that has to last.

Steps of less would need a push so strong that the next call of the denoiser sees latents of another video.
"""


def prediction_of(scheduler: Any) -> Prediction:
    """What the scheduler takes the denoiser's output to be. InputError if that cannot be guided."""
    found = scheduler.config.get("prediction_type")
    has_alphas = hasattr(scheduler, "alphas_cumprod")
    if found is None and hasattr(scheduler, "sigmas") and not has_alphas:
        return "flow_prediction"  # FlowMatchEuler and its like know no other
    if found not in get_args(Prediction):
        raise InputError(f"prediction type {found!r} cannot be guided; there are {', '.join(get_args(Prediction))}.")
    if found != "flow_prediction" and not has_alphas:
        raise InputError(
            f"{type(scheduler).__name__} does not tell the noise of its timesteps; take another scheduler."
        )
    prediction: Prediction = found
    return prediction


def noise_level(scheduler: Any, timestep: float) -> NoiseLevel:
    """Of latents at `timestep`, whether or not it is one of the schedule's. InputError if the model knows no such.

    Of flow models sigma is the share of the training timesteps; of diffusion models sigma / alpha is interpolated
    between timesteps, as Euler schedulers do.
    """
    last = scheduler.config.num_train_timesteps
    if prediction_of(scheduler) == "flow_prediction":
        if not 0 <= timestep <= last:
            raise InputError(
                f"the model knows noise from t = 0 to {last}, not at t = {timestep:g}; choose one of them."
            )
        return NoiseLevel(1 - timestep / last, timestep / last)
    if not 0 <= timestep <= last - 1:
        raise InputError(
            f"the model knows noise from t = 0 to {last - 1}, not at t = {timestep:g}; choose one of them."
        )
    abar = scheduler.alphas_cumprod
    if timestep == int(timestep):
        return NoiseLevel.of_diffusion(float(abar[int(timestep)]))
    below, above = (float((1 / abar[t] - 1).sqrt()) for t in (int(timestep), int(timestep) + 1))
    return NoiseLevel.of_ratio(below + (timestep - int(timestep)) * (above - below))


def step_index(scheduler: Any, timestep: float) -> int:
    """The step that starts at `timestep`."""
    values = timesteps_of(scheduler)
    return min(range(len(values)), key=lambda index: abs(values[index] - timestep))


def coming_step(scheduler: Any, timestep: float, first: int | None = None) -> int:
    """The step that the scheduler takes next, for which the denoiser is called.

    Many know it, or where they were told to begin; PNDM, which steps twice from some timesteps, counts from the `first`
    of the run. Of others it is told by the timestep, which denoisers may be told in half precision.
    """
    for name in ("step_index", "begin_index"):
        known = getattr(scheduler, name, None)
        if known is not None:
            return int(known)
    counted = getattr(scheduler, "counter", None)
    return step_index(scheduler, timestep) if counted is None or first is None else first + int(counted)


def noise_levels(scheduler: Any, timestep: float, index: int | None = None) -> tuple[NoiseLevel, NoiseLevel]:
    """Of the latents before and after the step at `timestep`, which is that of an index, or else the coming one."""
    if index is None:
        index = coming_step(scheduler, timestep)
    flow = prediction_of(scheduler) == "flow_prediction"
    between = hasattr(scheduler, "sigmas_interpol") or hasattr(scheduler, "mid_point_sigma")  # of two sigmas: KDPM2
    if flow or (hasattr(scheduler, "sigmas") and not between):
        before, behind = (float(sigma) for sigma in scheduler.sigmas[index : index + 2])
        if flow:
            return NoiseLevel(1 - before, before), NoiseLevel(1 - behind, behind)
        return NoiseLevel.of_ratio(before), NoiseLevel.of_ratio(behind)
    now = noise_level(scheduler, timestep)
    if isinstance(scheduler, UnevenDDIMScheduler):
        return now, NoiseLevel.of_diffusion(float(scheduler.alpha_bar_after(int(timestep))))
    if isinstance(scheduler, DDIMScheduler | CogVideoXDDIMScheduler):
        earlier = int(timestep) - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        abar = scheduler.alphas_cumprod[earlier] if earlier >= 0 else scheduler.final_alpha_cumprod
        return now, NoiseLevel.of_diffusion(float(abar))
    later = [t for t in timesteps_of(scheduler) if t < timestep]
    return now, noise_level(scheduler, later[0]) if later else NoiseLevel(1.0, 0.0)


def has_first_order_steps(scheduler: Any, eta: float | None = None) -> bool:
    """Whether a step is the deterministic one of DDIM or Euler, whose response `output_increment` knows."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return not scheduler.config.get("stochastic_sampling")
    return isinstance(scheduler, DDIMScheduler | CogVideoXDDIMScheduler) and not eta


@dataclass(frozen=True)
class Response:
    """How a solver answers in one of its steps."""

    moves: float | None
    """dz_after / dm as it lasts: of the change of the latents that the rest of the run is left with, what it was right
    after the step. None if next to nothing lasts, as of the first of two calls for a step by the midpoint."""
    carries: float
    """dz_after / dz: what becomes of a change of the latents in the step."""


def solver_responses(scheduler: Any, first: int, eta: float | None = None) -> dict[int, Response]:
    """How the solver answers in every step from `first`, the coming one, to the end of its run.

    Multistep solvers use an output in several steps, with opposite signs; correctors replace half of what the step
    before did. So a step alone does not tell what an increment of the output comes to. Here a copy of the scheduler
    runs to the end on numbers in place of latents, one for every unit change of one step's output and one for every
    unit change of the latents before one step, all else 0. Steps are affine in both, so the difference from a run
    without the changes tells how each goes on. A change by an output has lasted when it goes on like one of the latents
    that is so old that the solver's memory is full of it; their ratio then is that of the changes right after the step.

    Args:
        scheduler: about to step; it is left alone.
        first: index of the coming step.
        eta: share of noise that the run draws anew, as TCD and DDIM are told it; by default the scheduler's own.

    Raises:
        InputError: if its steps are not affine, as those of schedulers that clip.
    """
    still, changes, doubled = (_run(scheduler, first, change, eta) for change in (0.0, 1.0, 2.0))
    changes, doubled = changes - still, doubled - still
    if not torch.allclose(doubled, 2 * changes, rtol=1e-2, atol=1e-3, equal_nan=True):
        raise InputError(
            f"{type(scheduler).__name__} bends what guidance adds, as clipping and thresholding of pixels do; set its "
            "clip_sample and thresholding to False."
        )
    count = len(changes) - 1
    by_output, by_latents = changes[:, :count], changes[:, count:]  # of the latents before each step, and at the end
    # Samplers that scale the denoiser's input keep x0 + s eps, which is z / alpha.
    divided = hasattr(scheduler, "scale_model_input") and _scale(scheduler, first) < 1
    found = {}
    for step in range(count):
        now, after = noise_levels(scheduler, float(scheduler.timesteps[first + step]), first + step)
        moved = by_output[step + 1 :, step]
        lasting = moved[0]
        if step + 1 < count:
            carried = _oldest(by_latents, step + 1)[step + 1 :]
            seen = (carried.abs() >= 1e-2 * carried[0].abs()).long().cumprod(0)  # noisy steps forget both alike
            lasting = (moved * carried[0] / carried)[int(seen.sum()) - 1]
        before, behind = _oldest(by_latents, step)[step : step + 2].tolist()
        found[first + step] = Response(
            float(lasting) * (after.alpha if divided else 1) if float(lasting / moved[0]) >= LEAST_MOVE else None,
            behind / before * (after.alpha / now.alpha if divided else 1),
        )
    return found


def _oldest(by_latents: Tensor, row: int) -> Tensor:
    """The column of a change that the solver's memory is full of, and that is still to be seen at a row.

    That of the initial latents always was; where noise has drowned it, the oldest that the solver may remember.
    """
    begun = [0, *range(max(1, row - LONGEST_MEMORY), row + 1)]
    return by_latents[:, next((column for column in begun if by_latents[row, column].abs() >= 1e-2), row)]


@torch.no_grad()
def _run(scheduler: Any, first: int, change: float, eta: float | None) -> Tensor:
    """Numbers in place of latents before every step from `first`, and at the end: (steps + 1, 2 steps).

    Number i has had the change as its output in step i, and number steps + i was raised by it before step i.
    """
    solver = _at_rest(scheduler)
    timesteps = solver.timesteps[first:]
    count = len(timesteps)
    takes = inspect.signature(solver.step).parameters
    arguments: dict[str, Any] = {"return_dict": False}
    if "generator" in takes:  # the same noise in every run
        arguments["generator"] = torch.Generator().manual_seed(0)
    if "eta" in takes and eta is not None:
        arguments["eta"] = eta
    if hasattr(solver, "noise_sampler_seed"):
        solver.noise_sampler, solver.noise_sampler_seed = None, 0
    told_its_past = "old_pred_original_sample" in takes  # CogVideoX's DPM solver
    clean = None
    numbers = torch.zeros(2 * count, 1, 1, 1, 1)
    rows = []
    for step, timestep in enumerate(timesteps):
        numbers = numbers.clone()
        numbers[count + step] += change
        rows.append(numbers.flatten().double())
        output = torch.zeros_like(numbers)
        output[step] = change
        if told_its_past:
            arguments["old_pred_original_sample"] = clean
            arguments["timestep_back"] = timesteps[step - 1] if step else None
        if hasattr(solver, "scale_model_input"):
            solver.scale_model_input(numbers, timestep)
        numbers, *others = solver.step(model_output=output, timestep=timestep, sample=numbers, **arguments)
        clean = others[0] if told_its_past else None
    return torch.stack([*rows, numbers.flatten().double()])


def _scale(scheduler: Any, first: int) -> float:
    """What the scheduler multiplies the denoiser's input by in its step `first`."""
    return float(_at_rest(scheduler).scale_model_input(torch.ones(1), scheduler.timesteps[first].cpu()))


def _at_rest(scheduler: Any) -> Any:
    """A copy on the CPU with no past: in place of latents that it remembers it has 0."""
    tensors = [leaf for leaf in tree_leaves(vars(scheduler)) if torch.is_tensor(leaf)]
    twins = {id(each): torch.zeros([1] * 5) if each.ndim > 1 else each.detach().cpu().clone() for each in tensors}
    return copy.deepcopy(scheduler, twins)
