"""Which steps of a run are guided, how strongly, and what is to be said if that is less than was asked for."""

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from motionclone.errors import named
from motionclone.guidance import DISPLACEMENT, NoiseLevel, matching_weight, ramp, strength_weights
from motionclone.schedule import first_guided_timestep, timesteps_of
from motionclone.settings import Guidance
from motionclone.steps import Response, coming_step, has_first_order_steps, noise_levels, solver_responses

# Steps from purer noise than this are not guided by the `noise` update: there x0 hangs on eps without bound.
LEAST_ALPHA = 1e-3


@dataclass(frozen=True)
class PlannedStep:
    """A step that is to be guided."""

    index: int  # among the guided steps
    timestep: float
    weight: float  # of the gradient: lambda times ramp; of one of unit size, by strength; more if it moves for others
    now: NoiseLevel
    after: NoiseLevel
    response: float | None = None  # of `output_increment`; None if it knows

    @property
    def move(self) -> float:
        """How far the latents are to be moved, by `direction`, in gradients of the energy."""
        return self.weight * self.now.sigma * self.after.sigma


@dataclass(frozen=True)
class Plan:
    """Of one run of a pipeline, from the first step that it takes."""

    schedule: Tensor  # the scheduler's own timesteps, which it makes anew for every run
    first: int  # index in it
    steps: dict[int, PlannedStep]  # by index
    shortfall: str | None  # what was asked for and is not reached, why, and what to do

    def goes_on(self, scheduler: Any, timestep: float) -> bool:
        """Whether the step that the scheduler takes next belongs to this run."""
        return self.schedule is scheduler.timesteps and coming_step(scheduler, timestep, self.first) >= self.first

    def coming(self, scheduler: Any, timestep: float) -> PlannedStep | None:
        """The step that the scheduler takes next, if it is to be guided."""
        return self.steps.get(coming_step(scheduler, timestep, self.first))


def plan_run(
    scheduler: Any, timestep: float, settings: Guidance, guided_from: float = 0.0, eta: float | None = None
) -> Plan:
    """The plan of a run whose first step the scheduler is about to take.

    Args:
        scheduler: of the pipeline.
        timestep: that the denoiser is called with.
        settings: strength or weight, update rule, share of the schedule, ramps.
        guided_from: the lowest timestep at which the denoiser is called.
        eta: share of noise that the run draws anew, if the scheduler is told one.
    """
    schedule, first = scheduler.timesteps, coming_step(scheduler, timestep)
    if settings.off:
        return Plan(schedule, first, {}, None)
    timesteps, train = timesteps_of(scheduler), scheduler.config.num_train_timesteps
    boundary = max(first_guided_timestep(settings.guided_fraction, train), guided_from)
    covered = [index for index in range(first, len(timesteps)) if timesteps[index] >= boundary]
    shares = [ramp(i, len(covered), settings.warm_up, settings.cool_down) for i in range(len(covered))]
    levels = [noise_levels(scheduler, timesteps[index], index) for index in covered]
    if settings.strength is None:
        weights = [settings.weight * share for share in shares]
    else:
        weights = strength_weights(settings.strength, shares, levels)
    planned = zip(covered, weights, levels, strict=True)
    steps = {
        index: PlannedStep(i, timesteps[index], weight, *before_and_after)
        for i, (index, weight, before_and_after) in enumerate(planned)
    }
    if settings.rule == "noise":
        steps = {index: step for index, step in steps.items() if step.now.alpha >= LEAST_ALPHA}
    if settings.strength is None:
        reached = max((step.weight for step in steps.values()), default=0.0)
    else:
        reached = sum(step.move for step in steps.values()) / DISPLACEMENT
    if settings.rule == "noise" and settings.match_direction:
        matching = {index: matching_weight(step.now, step.after) for index, step in steps.items()}
        steps = {index: replace(step, weight=step.weight * matching[index]) for index, step in steps.items()}
    if settings.rule == "direction" and steps and not has_first_order_steps(scheduler, eta):
        steps = _through_solver(steps, solver_responses(scheduler, first, eta))
    shortfall = None
    fraction = f"{named('guided_fraction')} {settings.guided_fraction:g}"
    if not covered:
        least = math.ceil(1000 * (1 - timesteps[first] / train)) / 1000
        shortfall = (
            f"guidance guided no step: {fraction} covers t >= {boundary:g} and the run begins at "
            f"t = {timesteps[first]:g}; set it to {least:g} or more"
            f"{', or begin with more noise' if first else ''}."
        )
    elif not steps:
        shortfall = (
            f"guidance guided no step: {fraction} covers {len(covered)} and the "
            f"update {settings.update!r} can guide none of them; raise it, or take the other update."
        )
    else:
        shortfall = _too_weak(settings, reached, len(covered))
    if settings.strength is not None:  # the last step leaves no noise, and so is not moved: it needs no gradient
        steps = {index: step for index, step in steps.items() if step.move > 0}
    return Plan(schedule, first, steps, shortfall)


def _too_weak(settings: Guidance, reached: float, guided: int) -> str | None:
    """What is to be said of the weight or strength that guided steps reached, if it is less than was asked for."""
    many = f"{guided} guided step{'s' * (guided > 1)}"
    if settings.strength is not None and reached < 0.999 * settings.strength:
        return (
            f"guidance reached {reached:.2g} of the strength {settings.strength:g} in {many}: none moves the latents "
            "further than the noise that it leaves; guide more steps, or ask for less."
        )
    if settings.strength is None and reached < settings.weight:
        ramps = f"{named('warm_up')} {settings.warm_up}, {named('cool_down')} {settings.cool_down}"
        return (
            f"guidance reached {reached:g} of the weight {settings.weight:g}: the ramps ({ramps}) are too long for "
            f"{many}; set them to {(guided + 1) // 2} or less, or guide more steps."
        )
    return None


def _through_solver(steps: dict[int, PlannedStep], answers: dict[int, Response]) -> dict[int, PlannedStep]:
    """The steps whose outputs move the latents for good; they do so for those whose outputs do not, too."""
    moved = {index: response for index in steps if (response := answers[index].moves) is not None}
    able = [index for index in moved if steps[index].move > 0]
    more = dict.fromkeys(moved, 0.0)
    for index in steps.keys() - moved.keys() if able else ():
        other = next((later for later in able if later > index), able[-1])
        between = range(min(index, other) + 1, max(index, other) + 1)
        carried = math.prod(answers[i].carries for i in between)
        more[other] += steps[index].move * (carried if other > index else 1 / max(carried, 1.0))
    return {
        index: replace(
            steps[index],
            weight=steps[index].weight * (1 + more[index] / steps[index].move if more[index] else 1),
            response=response,
        )
        for index, response in moved.items()
    }
