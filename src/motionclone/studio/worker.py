"""The queue: workers make the jobs of a store in their order, tell how far they are, and can be stopped."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Condition, Thread

from motionclone.cloning import Step
from motionclone.errors import InputError, in_one_line
from motionclone.studio.asked import Asked
from motionclone.studio.placeless import placeless
from motionclone.studio.store import Entry, Store

MOST_WAITING = 200
"""Jobs in line; more are refused."""
Heard = Callable[[str, Step | None], None]
"""Called with the part of the work that is at hand, and the step that it has done."""
Make = Callable[[Entry, Path, Heard], str]
"""Makes a job in its folder; gives what is to be said of it."""
Maker = Callable[[Callable[[], None]], AbstractContextManager[Make]]
"""What a worker enters to make jobs, which may take long; it is given what raises as soon as the worker is closed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a job at work is."""

    part: str
    step: int = 0
    steps: int = 0
    energies: tuple[float, ...] = ()
    left: float | None = None
    """Seconds that this part will take, about."""
    made: int = 0
    """Videos that were made before, of a job that has several."""


class CancelledError(Exception):
    """Raised inside the work, by what it tells its progress to, when nobody wants the job any more."""


class LostError(InputError):
    """What made a job is gone, and the job with it; what is entered anew may make others."""


class _ClosedError(Exception):
    """Raised likewise, when the studio ends."""


@dataclass
class _Job:
    """That is being made."""

    progress: Progress = Progress("reading the clip")
    began: float = field(default_factory=time.monotonic)
    """Its part that is at hand."""
    cancelled: bool = False


def here(make: Make) -> Maker:
    """A worker without anything of its own."""
    return lambda _: nullcontext(make)


class Workers:
    """Make what waits in the order in which it came, each in a thread of its own, until they are closed."""

    def __init__(self, store: Store, *makers: Maker) -> None:
        """A worker for each of `makers`; those that come first are given jobs first."""
        self.store = store
        self._news = Condition()
        self._at_work: dict[str, _Job] = {}
        self._idle: set[int] = set()
        self._closed = False
        self._coming = 0  # jobs that are being put in line
        self._threads = [
            Thread(target=self._live, args=each, name=f"motionclone studio worker {each[0] + 1}", daemon=True)
            for each in enumerate(makers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def size(self) -> int:
        """How many are at work, or ready to be."""
        with self._news:
            return len(self._idle) + len(self._at_work)

    def submit(
        self, asked: Asked, clip: Path, reference: str, model: str, poster: bytes, picture: Path | None = None
    ) -> Entry:
        """Put a job at the end of the line, as `Store.add`. InputError if that is too long."""
        with self._news:
            if len(self._waiting()) + self._coming >= MOST_WAITING:
                raise InputError(f"{MOST_WAITING} jobs wait already; come back later.")
            self._coming += 1
        try:  # a large clip takes a while to copy, in which the work goes on
            return self.store.add(asked, clip, reference, model, poster, picture)
        finally:
            with self._news:
                self._coming -= 1
                self._news.notify_all()

    def cancel(self, identity: str) -> None:
        """Take a job out of the line, or stop it after the step that it is at; what is over stays as it is."""
        with self._news:
            if identity in self._at_work:
                self._at_work[identity].cancelled = True
            elif self.store.entry(identity).state == "waiting":
                self.store.change(identity, state="cancelled")

    def before(self, identity: str) -> list[Entry]:
        """The jobs that are begun before one that waits, in their order; the first of them are at work."""
        with self._news:
            line = [entry for entry in self.store.entries() if entry.state == "waiting" or entry.id in self._at_work]
            ids = [entry.id for entry in line]
            return line[: ids.index(identity)] if identity in ids else []

    def progress(self, identity: str) -> Progress | None:
        """Of a job at work; None of any other."""
        with self._news:
            return self._at_work[identity].progress if identity in self._at_work else None

    def close(self) -> None:
        """Stop after the steps that are being made; what they were of is told when the store is opened again."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    def _waiting(self) -> list[Entry]:
        entries = self.store.entries()
        return [entry for entry in entries if entry.state == "waiting" and entry.id not in self._at_work]

    def _live(self, number: int, maker: Maker) -> None:
        """The life of a worker; it ends early if it cannot begin, so that others make the jobs."""
        while True:
            try:
                with maker(self._check_open) as make:
                    while (entry := self._next(number)) is not None:
                        self._do(entry, make)
                return
            except LostError:  # of which its job tells
                pass
            except _ClosedError:
                return
            except Exception as error:
                _log.warning("worker %d of the studio makes no jobs: %s", number + 1, in_one_line(error))
                return

    def _check_open(self) -> None:
        if self._closed:
            raise _ClosedError

    def _next(self, number: int) -> Entry | None:
        """The first job that waits, which this worker takes if it is the first that is free; None at the end."""
        with self._news:
            self._idle.add(number)
            found = self._news.wait_for(lambda: self._closed or (number == min(self._idle) and self._waiting()))
            self._idle.remove(number)
            if not isinstance(found, list):
                return None
            entry = found[0]
            self._at_work[entry.id] = _Job()
            with suppress(InputError):  # there is no room, as the work will tell
                self.store.change(entry.id, state="running")
            self._news.notify_all()
            return entry

    def _do(self, entry: Entry, make: Make) -> None:
        job, began, lost = self._at_work[entry.id], time.monotonic(), None
        place = self.store.jobs / entry.id
        try:
            told = make(entry, place, partial(self._heard, job))
            became = {"state": "done", "sentence": told, "seconds": round(time.monotonic() - began, 2)}
        except Exception as error:
            self._check_open()  # else it stays "running" on the disk
            lost = error if isinstance(error, LostError) else None
            # A library may have made an error of its own of a cancellation.
            became = (
                {"state": "cancelled"} if job.cancelled else {"state": "failed", "sentence": _why(entry, place, error)}
            )
        try:
            self.store.change(entry.id, **became)
        except Exception:  # such as that there is no room to write how it went; others still wait
            _log.exception("what became of job %s cannot be written", entry.id)
        finally:
            with self._news:
                del self._at_work[entry.id]
        if lost is not None:
            raise lost

    def _heard(self, job: _Job, part: str, step: Step | None) -> None:
        """Note how far the work is; the work ends here if nobody wants it any more."""
        now = time.monotonic()
        with self._news:
            self._check_open()
            if job.cancelled:
                raise CancelledError
            before = job.progress
            if part != before.part:
                job.began, before = now, Progress(part, made=before.made + (before.steps > 0))
            if step is not None:
                energies = (*before.energies, step.guided.energy) if step.guided else before.energies
                left = (now - job.began) / step.index * (step.steps - step.index)
                before = replace(before, step=step.index, steps=step.steps, energies=energies, left=left)
            job.progress = before


def _why(entry: Entry, place: Path, error: Exception) -> str:
    if isinstance(error, InputError):
        said = str(error)
    else:
        _log.error("job %s failed", entry.id, exc_info=error)
        said = f"{type(error).__name__}: {in_one_line(error)[:500]}"
    return placeless(said, place)
