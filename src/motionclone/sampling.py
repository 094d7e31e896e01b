"""Guide an unmodified pipeline by a motion (Sec. 3.4).

    with motion_guidance(pipe, motion, preset("camera")) as trace:
        frames = pipe(prompt, guidance_scale=8.5, num_inference_steps=100).frames[0]

The pipeline's denoiser is wrapped inside the `with`, given whole settings the uneven schedule stands in for its DDIM
scheduler, and nothing else is touched; calls of other pipelines that share it are theirs. Classifier-free guidance
forms u + s (c - u), so an increment on both u and c is that increment on the guided output; likewise other guidances,
which add differences between c and further calls of the same step.
"""

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from motionclone.backbones.backbone import Call, Guidable, named_arguments, with_increment
from motionclone.backbones.families import Pipeline, backbone_of, check_denoiser
from motionclone.backbones.modular import is_modular
from motionclone.backbones.patching import Forward, eta_of, is_call_of, is_under, layered
from motionclone.backbones.per_frame_norm import has_per_frame_norm
from motionclone.backbones.recomputing import Recomputed, Recomputing, within_memory
from motionclone.calling import check_function
from motionclone.errors import GuidanceWarning, InputError
from motionclone.gradient import energy_and_gradient, guided_costs, inner_direction, strong_gradient
from motionclone.guidance import output_increment
from motionclone.idle import tell_idle_guidance, tell_idle_scale_factor
from motionclone.motion import Motion
from motionclone.objectives import objective_named
from motionclone.plan import Plan, PlannedStep, plan_run
from motionclone.schedule import UnevenDDIMScheduler, uneven_schedule, value_of
from motionclone.settings import Guidance, Settings, or_default
from motionclone.steps import prediction_of


@dataclass(frozen=True)
class GuidedStep:
    """What happened in one guided step."""

    index: int  # among the guided steps
    timestep: float
    energy: float  # summed over sites, before weight and ramp
    energy_by_site: dict[str, float] = field(repr=False)
    weight: float  # lambda times ramp; with a strength, of the gradient at unit size; more if it moves for other steps
    gradient_norm: float  # of weight * energy with respect to the latents


@dataclass(frozen=True)
class _Unread:
    """A guided step whose numbers nobody has asked the device for."""

    planned: PlannedStep
    timestep: float
    sites: tuple[str, ...]
    numbers: Tensor  # energies by site, norm of the weighted gradient, and 1 if the gradient was finite before
    precision: torch.dtype  # of the denoiser's input
    weight: float  # of the settings

    def read(self) -> GuidedStep:
        """Waits for the device. InputError if they are not finite."""
        *energies, norm, finite = self.numbers.tolist()
        where, energy = f"guided step {self.planned.index + 1} (t = {self.timestep:g}) is not finite", sum(energies)
        if not (math.isfinite(energy) and finite):
            most, name = torch.finfo(self.precision).max, str(self.precision).removeprefix("torch.")
            raise InputError(
                f"{where} before any weight: energy {energy:g}, gradient {'' if finite else 'not '}finite, in {name}, "
                f"which ends at {most:.3g}; compute in float32 or bfloat16 if this is float16, else look for NaN in "
                "the latents and the model's weights."
            )
        if not math.isfinite(norm):
            raise InputError(
                f"{where}: energy {energy}, gradient norm {norm}; use a lower weight than {self.weight:g}."
            )
        by_site = dict(zip(self.sites, energies, strict=True))
        return GuidedStep(self.planned.index, self.timestep, math.fsum(energies), by_site, self.planned.weight, norm)


class Trace:
    """The guided steps so far."""

    shortfall: str | None = None
    """After the `with`, what was asked for and not reached, as the warning says it."""
    recomputed: Recomputed | None = None
    """What the last guided step computed again in its backward pass, and why."""

    def __init__(self) -> None:
        self._steps: list[GuidedStep] = []
        self._unread: deque[_Unread] = deque()

    @property
    def steps(self) -> list[GuidedStep]:
        """To look waits for the device. InputError if a step is not finite."""
        self._read()
        return self._steps

    def _read(self, but: int = 0) -> None:
        """All steps but so many of the last, so that the device need not be waited for."""
        while len(self._unread) > but:
            self._steps.append(self._unread.popleft().read())

    def __repr__(self) -> str:
        steps = self.steps
        fell = f", energy {steps[0].energy:.4g} to {steps[-1].energy:.4g}" if steps else ""
        return f"Trace({len(steps)} guided steps{fell})"


@dataclass(frozen=True)
class _Guided:
    """A call that was guided, and whose increment all further ones of the same step are to have."""

    plan: Plan
    timestep: float
    latents: Tensor  # of the conditional part
    increment: Tensor

    def has_step(self, plan: Plan, timestep: float, latents: Tensor) -> bool:
        """Whether a call with these belongs to the same step."""
        same = self.plan is plan and self.timestep == timestep and self.latents.shape == latents.shape
        return same and (self.latents is latents or bool((self.latents == latents).all()))


@contextmanager
def motion_guidance(
    pipe: Pipeline,
    motion: Motion | Mapping[float, Motion],
    settings: Guidance | Settings | None = None,
    *,
    on_guided_step: Callable[[GuidedStep], None] | None = None,
) -> Iterator[Trace]:
    """Guide every call of `pipe` inside the `with` by `motion`.

    The pipeline's timesteps in the noisiest `guided_fraction` are guided, whatever its scheduler and their number. The
    paper guides more of them than a scheduler has there: given whole settings, their uneven schedule stands in for a
    DDIM scheduler inside the `with` (other schedulers are kept), for calls with as many steps as they say. With
    strength or weight 0, and in every other step, the pipeline computes bit for bit what it computes without guidance.
    Pipelines that share a network may be guided at the same time, each by its own motion, and let go in any order.

    Args:
        pipe: a diffusers pipeline of a supported family, or a modular one; it may be offloaded, adapted, given another
            scheduler.
        motion: extracted with the same model; or one for every guided timestep, as from inversion (Eq. 4).
        settings: strength or weight, share of the schedule, ramps; or whole settings, such as from `preset`.
        on_guided_step: called after every guided step, for which the device is then waited for.

    Yields:
        The trace of guided steps.

    Raises:
        InputError: if the motion does not fit the model or the frames, the pipeline is guided already or called with
            another number of steps than the settings', or a step is not finite, which is seen in the next.
    """
    if not isinstance(settings, Settings):
        settings = or_default(settings, Guidance)
    check_function("on_guided_step", on_guided_step)
    whole = settings if isinstance(settings, Settings) else None
    settings = settings.guidance if isinstance(settings, Settings) else settings
    backbone = backbone_of(pipe)
    runner: Any = pipe if is_modular(pipe) else backbone.pipe
    objective = objective_named(settings.objective)
    for each in motions_in(motion):
        check_fits(backbone, each)
    tell_idle_guidance(settings)
    trace = Trace()
    near: Motion | None = None  # the motion, on the latents' device
    recomputing = Recomputing(backbone, settings.checkpointing)
    plans: list[Plan] = []
    last: _Guided | None = None
    calls_of_others = halves_together = False

    def guided(plain: Forward, *args: Any, **kwargs: Any) -> Any:
        nonlocal last, near, calls_of_others, halves_together
        if not is_call_of(runner):
            calls_of_others = calls_of_others or not is_under(runner)  # else it is one that reads a motion
            return plain(*args, **kwargs)
        call = named_arguments(backbone.denoiser, args, kwargs)
        timestep = value_of(call["timestep"], runner.scheduler)
        latents = call[backbone.latents_name]
        fitting = within_memory(latents.device, "a forward pass of the denoiser")
        if not plans or not plans[-1].goes_on(runner.scheduler, timestep):  # a run begins
            if whole is not None:
                _check_steps(runner.scheduler, whole)
            plans.append(plan_run(runner.scheduler, timestep, settings, backbone.guided_from, eta_of(runner)))
            if plans[-1].steps:
                check_denoiser(backbone.denoiser)
        if last is not None and last.has_step(plans[-1], timestep, latents):
            with fitting:
                return with_increment(None, plain(*args, **kwargs), last.increment, call)
        planned = plans[-1].coming(runner.scheduler, timestep)
        if planned is None:
            trace._read()
            with fitting:
                return plain(*args, **kwargs)
        if near is None or not isinstance(motion, Motion):
            wanted = motion if isinstance(motion, Motion) else _motion_at(motion, planned.timestep)
            near = wanted.to(latents.device)
        unconditional_call, conditional_call = backbone.split(call)
        halves_together = halves_together or unconditional_call is not None
        with torch.no_grad(), fitting:
            unconditional = plain(**unconditional_call) if unconditional_call else None
        reference = near

        def differentiated(call: Call) -> tuple[Any, dict[str, Tensor], Tensor]:
            guided_call = (backbone, plain, call, reference)
            return recomputing.run(
                latents,
                lambda blocks: guided_costs(*guided_call, blocks, objective=objective),
                lambda blocks: energy_and_gradient(*guided_call, recompute=blocks, objective=objective),
            )

        conditional, by_site, gradient = differentiated(conditional_call)
        if settings.gradients > 1:
            gradient = inner_direction(
                backbone,
                gradient,
                conditional_call,
                planned.move,
                settings.gradients,
                lambda call: differentiated(call)[2],
            )
        trace.recomputed = recomputing.chosen
        finite = gradient.isfinite().all()
        if settings.strength is None:
            gradient = planned.weight * gradient
        else:
            gradient = strong_gradient(backbone, gradient, conditional_call, planned.weight, planned.now.sigma)
        numbers = torch.stack([*by_site.values(), torch.linalg.vector_norm(gradient), finite])
        trace._unread.append(_Unread(planned, timestep, tuple(by_site), numbers, latents.dtype, settings.weight))
        prediction = prediction_of(runner.scheduler)
        increment = output_increment(gradient, planned.now, planned.after, prediction, settings.rule, planned.response)
        if on_guided_step is not None:
            on_guided_step(trace.steps[-1])
        trace._read(but=1)
        last = _Guided(plans[-1], timestep, conditional_call[backbone.latents_name], increment)
        return with_increment(unconditional, conditional, increment, call, settings.guidance_scale_factor)

    counts = None if whole is None else (whole.sampling.guided_steps, settings.guided_fraction)
    with (
        nullcontext() if counts is None else uneven_schedule(runner, *counts),
        layered(backbone.denoiser, "forward", guided, owner=runner, under_hooks=True),
    ):
        yield trace
    trace._read()
    trace.shortfall = next((plan.shortfall for plan in plans if plan.shortfall), None)
    if calls_of_others and not plans and not settings.off:
        trace.shortfall = (
            "guidance guided no step: another pipeline called the network, and guidance was given "
            f"{type(runner).__name__}; give it the pipeline that runs."
        )
    if whole is None and trace.steps and not halves_together:
        tell_idle_scale_factor(settings)
    if trace.shortfall is not None:
        warnings.warn(trace.shortfall, GuidanceWarning, stacklevel=3)


def _check_steps(scheduler: Any, settings: Settings) -> None:
    """InputError if a run on the uneven schedule has another number of steps, of which most would fall elsewhere."""
    found, wanted = scheduler.num_inference_steps, settings.sampling.steps
    if isinstance(scheduler, UnevenDDIMScheduler) and found != wanted:
        raise InputError(
            f"the pipeline was called with {found} steps and guidance has settings for {wanted}; call it with "
            f"num_inference_steps={wanted}, or set sampling.steps and guided_steps."
        )


def motions_in(motion: Motion | Mapping[float, Motion]) -> tuple[Motion, ...]:
    """One motion, or those of a mapping. InputError for what is neither, or holds none."""
    found = (motion,) if isinstance(motion, Motion) else tuple(motion.values()) if isinstance(motion, Mapping) else ()
    if not found or not all(isinstance(each, Motion) for each in found):
        raise InputError(
            f"a Motion or a mapping of timesteps to Motions was expected, not {type(motion).__name__}; read one with "
            "extract_motion or load_motion."
        )
    return found


def _motion_at(motions: Mapping[float, Motion], timestep: float) -> Motion:
    if timestep not in motions:
        raise InputError(
            f"there is no motion for t = {timestep:g}, but for {', '.join(map(str, sorted(motions)))}; "
            "invert along the schedule of the generation."
        )
    return motions[timestep]


def check_fits(backbone: Guidable, motion: Motion) -> None:
    """Raise InputError if a motion cannot guide a model."""
    record, model = motion.record, motion.record.model or "another model"
    strangers = [site for site in motion.maps if not backbone.has_site(site)]
    if strangers:
        raise InputError(
            f"the motion was extracted with {model} and this model has no {strangers[0]}; extract it again with this "
            "model."
        )
    for site in motion.maps:
        kept, own = record.fingerprints.get(site), backbone.fingerprint(site)
        if not isinstance(kept, Mapping):
            continue  # of a file that is older than these fingerprints, or of nobody's
        if any(not math.isclose(kept[name], own[name], rel_tol=0.02, abs_tol=1e-6) for name in kept.keys() & own):
            raise InputError(
                f"the motion was extracted with {model} and this model has other weights at {site}; extract it again "
                "with this model."
            )
    norm = has_per_frame_norm(backbone.denoiser)
    if record.per_frame_norm not in (None, norm):
        raise InputError(
            f"the motion was extracted with per_frame_norm={not norm} and this pipeline has {norm}; use the same."
        )
