"""Where the steps go: the paper's uneven DDIM schedule, most of it on the guided, noisy part (Sec. 4.1)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers import (
    SchedulerMixin as SchedulerMixin,
)  # pipelines saved with our scheduler look here for how to load it
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from motionclone.errors import InputError
from motionclone.guidance import NoiseLevel, clean_and_noise

_read: WeakIdKeyDictionary = WeakIdKeyDictionary()  # schedules, which are made anew for every run, and their values


def timesteps_of(scheduler: Any) -> list[float]:
    """The values of a scheduler's timesteps; the device is asked for them once a run."""
    schedule = scheduler.timesteps
    if schedule not in _read:
        _read[schedule] = schedule.tolist()
    values: list[float] = _read[schedule]
    return values


def value_of(timestep: Any, scheduler: Any) -> float:
    """What a timestep is; of several the largest. Of one of the schedule's own the device need not be asked.

    Those of diffusers' loops are views of the schedule, for one video or expanded for a batch.
    """
    schedule, timestep = scheduler.timesteps, torch.as_tensor(timestep)
    if timestep.untyped_storage()._cdata == schedule.untyped_storage()._cdata and timestep.dtype == schedule.dtype:
        place, beyond = divmod(timestep.storage_offset() - schedule.storage_offset(), schedule.stride(0))
        one = all(size == 1 or step == 0 for size, step in zip(timestep.shape, timestep.stride(), strict=True))
        if one and not beyond and 0 <= place < len(schedule):
            return float(timesteps_of(scheduler)[place])
    return float(timestep.max())


def first_guided_timestep(guided_fraction: float, train_timesteps: int = 1000) -> int:
    """The lowest timestep that is guided: guidance covers the noisiest `guided_fraction` of the schedule.

    Fractions are meant as they are written, in decimals: .8 of 1000 begins at 200, not at 199.99999999999997.
    """
    return int(round((1 - guided_fraction) * train_timesteps, 6))


def uneven_timesteps(steps: int, guided_steps: int, guided_fraction: float, train_timesteps: int = 1000) -> list[int]:
    """Descending timesteps: `guided_steps` over the noisiest fraction, the others over the rest.

    Raises:
        InputError: if the counts do not fit.
    """
    if not 0 < guided_fraction <= 1:
        raise InputError(f"guided_fraction must be more than 0 and at most 1, got {guided_fraction}.")
    if not 1 <= guided_steps <= steps:
        raise InputError(f"guided_steps must be between 1 and the {steps} steps, got {guided_steps}.")
    boundary = first_guided_timestep(guided_fraction, train_timesteps)
    if guided_steps > train_timesteps - boundary or steps - guided_steps > boundary:
        raise InputError(
            f"{guided_steps} guided_steps of {steps} steps do not fit: the fraction {guided_fraction} leaves them "
            f"{train_timesteps - boundary} timesteps, and {boundary} to the others."
        )
    guided = np.linspace(boundary, train_timesteps - 1, guided_steps)
    guided[-1] = train_timesteps - 1  # a single step starts from pure noise, too
    rest = np.linspace(0, boundary - 1, steps - guided_steps)
    return [int(t) for t in np.round(np.concatenate([rest, guided]))[::-1]]


class UnevenDDIMScheduler(DDIMScheduler):  # type: ignore[misc]
    """diffusers' DDIM on any descending timesteps: it steps to the next one instead of assuming a stride.

    Make one with `uneven`; give it to a pipeline as `pipe.scheduler`. Its counts, `guided_steps` and `guided_fraction`,
    are part of its config.
    """

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any
    ) -> "UnevenDDIMScheduler | tuple[UnevenDDIMScheduler, dict[str, Any]]":
        """From a config of its own, or of another scheduler and the counts; by default those of `camera`."""
        counts = {
            name: kwargs.pop(name, config.get(name, usual))
            for name, usual in (("guided_steps", 50), ("guided_fraction", 0.3))
        }
        others = {name: value for name, value in config.items() if name not in counts}
        made, unused = super().from_config(others, return_unused_kwargs=True, **kwargs)
        made.register_to_config(**counts)
        return (made, unused) if return_unused_kwargs else made

    @classmethod
    def uneven(cls, scheduler: DDIMScheduler, guided_steps: int, guided_fraction: float) -> "UnevenDDIMScheduler":
        """The uneven twin of a scheduler: same betas and prediction type.

        Raises:
            InputError: if that is no such scheduler, or clips or thresholds samples, which is for pixels, not latents;
                or the counts do not fit.
        """
        if not isinstance(scheduler, DDIMScheduler):
            raise InputError(f"a DDIMScheduler was expected, not {type(scheduler).__name__}; give pipe.scheduler.")
        train_timesteps = scheduler.config.num_train_timesteps
        uneven_timesteps(guided_steps, guided_steps, guided_fraction, train_timesteps)
        if scheduler.config.get("clip_sample") or scheduler.config.get("thresholding"):
            raise InputError(
                "the uneven schedule is for latents: set the scheduler's clip_sample and thresholding to False."
            )
        made = cls.from_config(scheduler.config, guided_steps=guided_steps, guided_fraction=guided_fraction)
        assert isinstance(made, cls)
        return made

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Called by the pipeline. Raises InputError if there are fewer steps than guided ones."""
        self.num_inference_steps = num_inference_steps
        config = self.config
        timesteps = uneven_timesteps(
            num_inference_steps, config.guided_steps, config.guided_fraction, config.num_train_timesteps
        )
        self.timesteps = torch.tensor(timesteps, device=device)

    def alpha_bar_after(self, timestep: int) -> Tensor:
        """Cumulative alpha that the step from `timestep` arrives at."""
        timesteps = timesteps_of(self)
        index = timesteps.index(timestep)
        if index + 1 == len(timesteps):
            return torch.as_tensor(self.final_alpha_cumprod)
        return torch.as_tensor(self.alphas_cumprod[int(timesteps[index + 1])])

    def step(
        self,
        model_output: Tensor,
        timestep: int | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[Tensor, Tensor]:
        """One DDIM step (arXiv:2010.02502, Eqs. 12, 16) to the next timestep of the schedule."""
        timestep = int(value_of(timestep, self))
        now, after = self.alphas_cumprod[timestep], self.alpha_bar_after(timestep)
        prediction = self.config.prediction_type
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction type must be epsilon or v_prediction, got {prediction}")
        level = NoiseLevel(float(now**0.5), float((1 - now) ** 0.5))  # rounded as diffusers rounds
        clean, noise = clean_and_noise(model_output, sample, level, prediction)
        deviation = eta * ((1 - after) / (1 - now) * (1 - now / after)) ** 0.5
        earlier = after**0.5 * clean + (1 - after - deviation**2) ** 0.5 * noise
        if eta > 0:
            earlier = earlier + deviation * randn_tensor(
                sample.shape, generator=generator, device=sample.device, dtype=sample.dtype
            )
        if not return_dict:
            return earlier, clean
        return DDIMSchedulerOutput(prev_sample=earlier, pred_original_sample=clean)


class DistilledFlowScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """diffusers' Euler for flow models, on the noise levels that a model was distilled for and on no others.

    Make one with their timesteps, the largest first; give it to a pipeline as `pipe.scheduler`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, distilled_timesteps: Sequence[float] = (1000.0,), num_train_timesteps: int = 1000) -> None:
        super().__init__(num_train_timesteps=num_train_timesteps, shift=1.0)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Called by the pipeline, of whose own spacing only the count matters. InputError for another count."""
        asked = next((len(given) for given in (sigmas, timesteps) if given is not None), num_inference_steps)
        self.check_steps(asked)
        config = self.config
        super().set_timesteps(
            sigmas=[t / config.num_train_timesteps for t in config.distilled_timesteps], device=device
        )

    def check_steps(self, steps: int | None) -> None:
        """InputError for a number of steps that the model was not distilled for."""
        known = self.config.distilled_timesteps
        if steps != len(known):
            levels = ", ".join(f"{t:g}" for t in known)
            raise InputError(f"this model was distilled for {len(known)} steps, at t = {levels}; ask for as many.")


def keeps_its_steps(scheduler: Any) -> bool:
    """Whether a scheduler is no DDIM, in whose place the uneven schedule stands."""
    return not isinstance(scheduler, DDIMScheduler)


def check_schedule(scheduler: Any, steps: int, guided_steps: int, guided_fraction: float) -> None:
    """InputError if the counts do not fit; schedulers other than DDIM keep their own timesteps, whatever the counts.

    Those of distilled models have as many steps as these were distilled for.
    """
    if isinstance(scheduler, DistilledFlowScheduler):
        scheduler.check_steps(steps)
    if not keeps_its_steps(scheduler):
        uneven_timesteps(steps, guided_steps, guided_fraction, scheduler.config.num_train_timesteps)


@contextmanager
def uneven_schedule(pipe: Any, guided_steps: int, guided_fraction: float) -> Iterator[None]:
    """The uneven schedule in place of a pipeline's DDIM scheduler inside the `with`; other schedulers are kept."""
    before = pipe.scheduler
    if not keeps_its_steps(before):
        pipe.scheduler = UnevenDDIMScheduler.uneven(before, guided_steps, guided_fraction)
    try:
        yield
    finally:
        pipe.scheduler = before
