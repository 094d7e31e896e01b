"""Share the videos of a run among workers: the engines of `motionclone batch`, with a bench in every worker."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from motionclone.batch.pools import Failed, OnStep, Pool, Work
from motionclone.batch.processes import Processes, visible_gpus
from motionclone.batch.sharing import share
from motionclone.lab.bench import Bench, Setup
from motionclone.lab.cases import Case
from motionclone.lab.methods import Method

Line = dict[str, Any]


def compute_shared(
    setup: Setup,
    folder: Path,
    jobs: Sequence[tuple[Method, Case]],
    workers: int | None,
    keep: Callable[[Line], None],
    ray: str | None = None,
    shared: bool = False,
) -> None:
    """Hand the line of every job to `keep` as soon as it is there; each worker computes with one thread.

    A job whose worker is killed is tried again, and then is a line that says so.

    Args:
        setup: suite, cases and model.
        folder: of the run.
        jobs: what is to be made.
        workers: how many; with `ray`, by default as many as `Rays` has.
        keep: called with each line.
        ray: the address of a Ray, as `Rays` takes it; processes of this machine without it.
        shared: as `Rays` takes it.

    Raises:
        InputError: if workers are killed before they have made anything, or Ray cannot be used.
    """

    def done(number: int, value: Line | Failed) -> None:
        method, case = jobs[number]
        failed = {"method": method.name, "case": case.name, "outcome": "failed"}
        keep(failed | {"reason": value.reason} if isinstance(value, Failed) else value)

    bench = partial(_bench, setup, folder, Path.cwd())
    pool: Pool
    if ray is not None:
        from motionclone.batch.rays import Rays

        pool = Rays(ray, bench, workers, shared)
    else:
        gpus = visible_gpus() if setup.facts.device == "cuda" else ()
        pool = Processes(workers or 1, bench, gpus, threads=1)
    share([0] * len(jobs), pool, lambda number: tuple(each.name for each in jobs[number]), done)


def _bench(setup: Setup, folder: Path, here: Path) -> Work:
    os.chdir(here)  # to which model, judge, clips and folder may be relative
    bench = Bench(setup, folder)
    methods = {method.name: method for method in setup.suite.methods}
    cases = {case.name: case for case in setup.cases}

    def line(job: tuple[str, str], on_step: OnStep) -> Line:
        method, case = job
        bench.load()
        return bench.line(methods[method], cases[case])

    return line
