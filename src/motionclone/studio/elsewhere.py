"""Workers beside the first: each a process of its own with the model once more, on a GPU of its own if there are some.

Threads would not do: warnings are caught, and some random numbers drawn, for a whole process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from motionclone.batch.pools import Given, Lost, OnStep, Raised, Told, Work
from motionclone.batch.processes import Processes, compute_with, threads_of, visible_gpus
from motionclone.cloning import Step
from motionclone.errors import InputError, named
from motionclone.models.devices import usable_device
from motionclone.studio.making import ModelChoice, load_engine
from motionclone.studio.store import STOP, Entry
from motionclone.studio.worker import CancelledError, Heard, LostError, Make, Maker

_PATIENCE = 0.2
"""Seconds within which a cancellation reaches a process."""


class _UnbegunError(LostError):
    """The process was lost before it said anything of its job."""


def places_of(choice: ModelChoice, workers: int | None) -> tuple[list[str | None], int | None]:
    """The GPU of every worker, the first included, None where there is none; and threads that each computes with.

    Args:
        choice: of the model, whose device counts.
        workers: how many; None is one a GPU, and one without.

    Raises:
        InputError: the device is not here, or is a certain GPU and several workers are asked for.
    """
    device = usable_device(choice.device)
    gpus = visible_gpus() if device.type == "cuda" else []
    certain = device.type == "cuda" and device.index is not None
    count = workers or (1 if certain else len(gpus)) or 1
    if certain and count > 1:
        raise InputError(
            f"each of {count} workers sees its own GPU alone, and {named('device', choice.device)} is a certain one; "
            f"leave {named('device')} out, or say cuda."
        )
    places = [gpus[number % len(gpus)] if gpus else None for number in range(count)]
    return places, None if gpus or count == 1 else threads_of(count)


@contextmanager
def computing_with(threads: int | None) -> Iterator[None]:
    """Inside the `with`, the first worker computes with as many threads as the others, and rounds as they do."""
    before = torch.get_num_threads()
    compute_with(threads or before)
    try:
        yield
    finally:
        compute_with(before)


def loaded(choice: ModelChoice) -> Make:
    """What makes jobs in a process, with its own model. InputError as `load_engine`."""
    return load_engine(choice).make


def elsewhere(load: Callable[[], Make], gpu: str | None, threads: int | None) -> Maker:
    """A worker in a process that is there, with its model, from before its first job until it is closed or lost.

    Args:
        load: gives what makes jobs there; goes there as a pickle.
        gpu: that it sees, as CUDA_VISIBLE_DEVICES calls it; None for all.
        threads: that it computes with; None for as many as it likes.
    """

    @contextmanager
    def entered(check_open: Callable[[], None]) -> Iterator[Make]:
        pool = Processes(1, partial(_there, load), [] if gpu is None else [gpu], threads)
        try:
            try:
                _answer(pool, None, lambda *_: check_open())
            except LostError as error:
                raise InputError(f"it ended while it loaded the model ({error})") from error
            yield partial(_make, pool)
        finally:
            pool.close()

    return entered


def _make(pool: Processes, entry: Entry, folder: Path, heard: Heard) -> str:
    """As `Make`, in a process that goes on whether the job is done, fails or is cancelled."""
    stop = folder / STOP

    def hear(part: str, step: Step | None) -> None:
        try:
            heard(part, step)
        except CancelledError:
            with suppress(OSError):  # it is tried again soon
                stop.touch()

    try:
        try:
            return str(_answer(pool, (entry, folder), hear))
        except _UnbegunError:  # the process had ended at rest, for which its next job is not to blame
            _load_again(pool, hear)
            return str(_answer(pool, (entry, folder), hear))
    finally:
        stop.unlink(missing_ok=True)


def _load_again(pool: Processes, heard: Heard) -> None:
    """A new process with its model. LostError if there is none."""
    try:
        _answer(pool, None, heard)
    except InputError as error:
        raise LostError(str(error)) from error


def _answer(pool: Processes, job: tuple[Entry, Path] | None, heard: Heard) -> Any:
    """What a process answers to a job; meanwhile it is heard how far it is, and time and again that it goes on."""
    part, begun = "reading the clip", False
    pool.give(0, job)
    while True:
        for answer in pool.answers(_PATIENCE):
            match answer:
                case Told(about=(part, step)):
                    begun = True
                    heard(part, step)
                case Given(value=value):
                    return value
                case Raised(error=error):
                    raise error
                case Lost(how=how):
                    raise (LostError if begun else _UnbegunError)(f"{how}; make it again.")
        heard(part, None)


def _there(load: Callable[[], Make]) -> Work:
    """What a process does: load its model when it is given no job, so that what is wrong with it is told; then jobs."""
    makes: list[Make] = []

    def work(job: tuple[Entry, Path] | None, on_step: OnStep) -> str:
        if job is None:
            with redirect_stderr(StringIO()):  # bars, as of every model that is loaded
                makes.append(load())
            return ""
        entry, folder = job

        def heard(part: str, step: Step | None) -> None:
            if (folder / STOP).exists():
                raise CancelledError
            on_step(step.index if step else 0, step.steps if step else 0, (part, step and replace(step, latents=None)))

        return makes[0](entry, folder, heard)

    return work
