"""What is said and shown while a command runs."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motionclone.cloning import Step


def say(sentence: str) -> None:
    """Tell the user, on standard error."""
    print(sentence, file=sys.stderr)


def quiet_libraries() -> None:
    """Keep the libraries' loading bars out of the terminal."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


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
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
