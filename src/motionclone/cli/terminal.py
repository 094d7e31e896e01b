"""What is said and shown while a command runs, and what becomes of it if nobody can hear or stops it."""

import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from motionclone.errors import GuidanceWarning, InputError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motionclone.cloning import Step


class Stopped(KeyboardInterrupt):
    """A person (SIGINT) or the system (SIGTERM) asked to stop, or the terminal is gone (SIGHUP)."""

    def __init__(self, number: int) -> None:
        self.number = number


class NobodyReads(Exception):  # noqa: N818 - no error
    """The program that was given our output has ended, as `head` does."""


@contextmanager
def stopping_in_order() -> "Iterator[list[int]]":
    """Signals that would end the process at once raise `Stopped`, so that everything is cleaned up.

    Yields the numbers of those that came: a library may make an error of its own of what was raised in it.
    """
    came: list[int] = []

    def stop(number: int, _: object) -> NoReturn:
        came.append(number)
        raise Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # Only the main thread may ask.
    # What is ignored stays so, such as SIGHUP under nohup.
    usual = (signal.SIG_DFL, signal.default_int_handler)
    kept = {number: signal.signal(number, stop) for number in numbers if signal.getsignal(number) in usual}
    try:
        yield came
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


class _Stream:
    """A standard stream that takes any text, and tells or ignores it when it cannot be written to."""

    def __init__(self, stream: TextIO, failed: "Callable[[OSError], None]") -> None:
        self._stream, self._failed = stream, failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            try:
                return self._stream.write(text)
            except UnicodeEncodeError:  # half a character, or a terminal that knows few
                encoding = self._stream.encoding
                return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def end(self) -> None:
        """If something still waits that cannot be written, it goes nowhere: else Python tries again when it ends."""
        try:
            self._stream.flush()
        except OSError:
            with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextmanager
def standard_streams() -> "Iterator[None]":
    """Standard output that tells in one sentence if it cannot be written to, and standard error that does not mind.

    Results belong to standard output; but no work is lost because nobody hears what is said of it.
    """

    def lost(error: OSError) -> NoReturn:
        if isinstance(error, BrokenPipeError):
            raise NobodyReads from error
        raise InputError(f"standard output cannot be written to ({error.strerror}); send it elsewhere") from error

    # If they are closed, the next files that are opened would get their numbers, and with them what is meant for them.
    while (filler := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(filler)
    kept = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - a device
        streams = _Stream(kept[0] or nowhere, lost), _Stream(kept[1] or nowhere, lambda _: None)
        sys.stdout, sys.stderr = streams
        try:
            yield
        finally:
            sys.stdout, sys.stderr = kept
            for stream in streams:
                stream.end()


def say(sentence: str) -> None:
    """Tell the user, on standard error."""
    print(printable(sentence), file=sys.stderr)


def quiet_libraries() -> None:
    """Keep the libraries' loading bars out of the terminal."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


@contextmanager
def warnings_said() -> "Iterator[None]":
    """Tell what guidance warns of as all notes are told, without the place in the code."""
    with warnings.catch_warnings():
        plain = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, GuidanceWarning):
                say(f"note: {message}")
            else:
                plain(message, category, *place, **more)

        warnings.showwarning = show
        yield


@contextmanager
def progress_bars() -> "Iterator[Callable[[str, Step], None]]":
    """A bar for every name it is called with: step, energy, time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[energy]:>14}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def show(name: str, step: "Step") -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=step.steps, energy="")
            energy = f"energy {step.guided.energy:.4f}" if step.guided else ""
            bars.update(tasks[name], completed=step.index, energy=energy)

        yield show


@contextmanager
def counting_bar(name: str) -> "Iterator[Callable[[int, int], None]]":
    """A bar that is called with how many are done, of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True))
    task = bars.add_task(name, total=None)

    def show(done: int, total: int) -> None:
        bars.start()  # not before: what is refused has no bar
        bars.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if bars.live.is_started:
            bars.stop()


@contextmanager
def batch_bars(
    total: int, follow: bool
) -> "Iterator[tuple[Callable[[int, int], None], Callable[[int, str | None, int, int], None]]]":
    """Bars of a batch: one is called with how many are made and failed; to `follow`, the other with a worker's step."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[more]}"),
        TimeRemainingColumn(),
    )
    workers: dict[int, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:
        whole = bars.add_task("videos", total=total, more="")

        def count(made: int, failed: int) -> None:
            bars.update(whole, completed=made + failed, more=f"{failed} failed" if failed else "")

        def step(worker: int, name: str | None, index: int, steps: int) -> None:
            if not follow:
                return
            if name is None:
                if worker in workers:
                    bars.remove_task(workers.pop(worker))
                return
            if worker not in workers:
                workers[worker] = bars.add_task("", total=None, more="")
            bars.update(
                workers[worker],
                description=f"  {worker + 1}: {printable(name)[:40]}",
                completed=index,
                total=steps or None,  # not known yet, or on Ray, which tells no steps
            )

        yield count, step
