"""Share the videos of a run among processes: the engines of `motionclone batch`, with a bench in every worker."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from motionclone.batch.pools import Failed, OnStep, Work
from motionclone.batch.processes import Processes, visible_gpus
from motionclone.batch.sharing import share
from motionclone.lab.bench import Bench, Setup
from motionclone.lab.cases import Case
from motionclone.lab.methods import Method

Line = dict[str, Any]


def compute_shared(
    setup: Setup, folder: Path, jobs: Sequence[tuple[Method, Case]], workers: int, keep: Callable[[Line], None]
) -> None:
    """Hand the line of every job to `keep` as soon as it is there; each process computes with one thread.

    A job whose process is killed is tried again, and then is a line that says so.

    Raises:
        InputError: if processes are killed before they have made anything.
    """

    def done(number: int, value: Line | Failed) -> None:
        method, case = jobs[number]
        failed = {"method": method.name, "case": case.name, "outcome": "failed"}
        keep(failed | {"reason": value.reason} if isinstance(value, Failed) else value)

    gpus = visible_gpus() if setup.facts.device == "cuda" else ()
    pool = Processes(workers, partial(_bench, setup, folder), gpus, threads=1)
    share([0] * len(jobs), pool, lambda number: tuple(each.name for each in jobs[number]), done)


def _bench(setup: Setup, folder: Path) -> Work:
    bench = Bench(setup, folder)
    methods = {method.name: method for method in setup.suite.methods}
    cases = {case.name: case for case in setup.cases}

    def line(job: tuple[str, str], on_step: OnStep) -> Line:
        method, case = job
        bench.load()
        return bench.line(methods[method], cases[case])

    return line
