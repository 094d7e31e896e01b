"""A bundled model and the cases of its world, ready for a suite."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from motionclone.cloning import fitting
from motionclone.errors import InputError
from motionclone.lab.bench import Setup
from motionclone.lab.cases import world_cases
from motionclone.lab.facts import facts_of
from motionclone.lab.methods import Method
from motionclone.lab.suites import Suite
from motionclone.lab.world import Split
from motionclone.models import load_pipeline
from motionclone.settings import Settings, preset, preset_of

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Euler": ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "DPM++": ("DPMSolverMultistepScheduler", {}),
}
"""By name, diffusers' class and what differs from the model's own configuration."""


def load(model: str, scheduler: str | None, dtype: torch.dtype, control: Any = None) -> Any:
    """The model with another scheduler of the same noise. InputError if its own is none that can be exchanged."""
    import diffusers

    pipe = load_pipeline(model, dtype=dtype, control=control)
    if scheduler is not None:
        if type(pipe.scheduler) is not diffusers.DDIMScheduler:
            raise InputError(
                f"{model} is on a {type(pipe.scheduler).__name__}, whose noise other schedulers do not have; leave the "
                "schedulers out."
            )
        kind, changes = SCHEDULERS[scheduler]
        pipe.scheduler = getattr(diffusers, kind).from_config(pipe.scheduler.config, **changes)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def bundled_setup(
    name: str,
    methods: Sequence[Method],
    model: str,
    *,
    split: Split,
    cases: int,
    dtype: torch.dtype,
    settings: Settings | None = None,
    scheduler: str | None = None,
) -> tuple[Setup, Any]:
    """A suite of these methods on the world's cases, and the pipeline that it is for.

    Args:
        name: of the suite.
        methods: each a change of `settings`.
        model: bundled.
        split: of the world.
        cases: of the split.
        dtype: of the networks.
        settings: the model's preset, if not given.
        scheduler: of SCHEDULERS, in place of the model's own.

    Raises:
        InputError: the settings do not fit the model.
    """
    pipe = load(model, scheduler, dtype)
    base = fitting(pipe, preset(preset_of(model)) if settings is None else settings)
    chosen = tuple(world_cases(split, cases, base.sampling))
    setup = Setup(
        suite=Suite(name, tuple(methods)),
        cases=chosen,
        base=base,
        model=model,
        load=partial(load, model, scheduler, dtype),
        loading={"scheduler": scheduler},
        facts=facts_of(pipe, base, [case.prompt for case in chosen]),
        judge="mini",
    )
    return setup, pipe
