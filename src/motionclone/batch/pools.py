"""Who does jobs: what every engine can do, and what it hears from its workers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Failed:
    """What a worker gives for a job that it could not do: tried again once, then given up."""

    reason: str


@dataclass(frozen=True)
class Busy:
    """What a worker gives for a job that another run is doing: asked for again when all others are done."""


@dataclass(frozen=True)
class Told:
    """While a worker is at work: how far it is."""

    worker: int
    step: int
    steps: int
    about: Any = None
    """What else the work says of it."""


@dataclass(frozen=True)
class Given:
    """A worker has done its job."""

    worker: int
    value: Any


@dataclass(frozen=True)
class Raised:
    """A worker met what stops every other, too, such as a full disk."""

    worker: int
    error: Exception


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with its job; another takes its number when it is given one."""

    worker: int
    how: str


Answer = Told | Given | Raised | Lost


class OnStep(Protocol):
    """Hears how far the work is."""

    def __call__(self, step: int, steps: int, about: Any = None, /) -> None:
        """A step, from 1, of so many; and what else is to be said of it, in values that can be handed over."""


Work = Callable[[Any, OnStep], Any]
"""Does a job; what it gives, `Failed` and `Busy` among it, goes to whoever shares the jobs. Errors stop them all."""
Setup = Callable[[], Work]
"""Called once in every worker; goes there as a pickle."""


class Pool(Protocol):
    """Workers by number, from 0; each does one job at a time, and is started when it is given its first."""

    size: int

    def ready(self, worker: int) -> bool:
        """Whether a worker without a job could be given one now; not, if there is no place to start it."""

    def give(self, worker: int, job: Any) -> None:
        """Let a worker that has no job do one."""

    def answers(self, patience: float) -> Iterable[Answer]:
        """What workers have said meanwhile; nothing, once so many seconds are over."""

    def close(self) -> Iterable[Answer]:
        """End all workers, within seconds; what they still had said."""
