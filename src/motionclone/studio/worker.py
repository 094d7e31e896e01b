"""The queue: one worker makes the jobs of a store in their order, tells how far it is, and can be stopped."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Condition, Thread

from motionclone.cloning import Step
from motionclone.errors import InputError, in_one_line
from motionclone.studio.asked import Asked
from motionclone.studio.store import Entry, Store

MOST_WAITING = 200
"""Jobs in line; more are refused."""
Heard = Callable[[str, Step | None], None]
"""Called with the part of the work that is at hand, and the step that it has done."""
Make = Callable[[Entry, Path, Heard], str]
"""Makes a job in its folder; gives what is to be said of it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far the job at work is."""

    part: str
    step: int = 0
    steps: int = 0
    energies: tuple[float, ...] = ()
    left: float | None = None
    """Seconds that this part will take, about."""
    made: int = 0
    """Videos that were made before, of a job that has several."""


class _CancelledError(Exception):
    """Raised inside the work, by what it tells its progress to."""


class Worker:
    """Makes what waits, one after the other, in a thread of its own, until it is closed."""

    def __init__(self, store: Store, make: Make) -> None:
        self.store = store
        self._make = make
        self._news = Condition()
        self._at_work: str | None = None
        self._progress = Progress("starting")
        self._cancelled = self._closed = False
        self._coming = 0  # jobs that are being put in line
        self._thread = Thread(target=self._work, name="motionclone studio worker", daemon=True)
        self._thread.start()

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
            if identity == self._at_work:
                self._cancelled = True
            elif self.store.entry(identity).state == "waiting":
                self.store.change(identity, state="cancelled")

    def before(self, identity: str) -> list[Entry]:
        """The jobs that are made before one that waits, in their order; the first is at work, if one is."""
        with self._news:
            line = [entry for entry in self.store.entries() if entry.state == "waiting" or entry.id == self._at_work]
            ids = [entry.id for entry in line]
            return line[: ids.index(identity)] if identity in ids else []

    def progress(self, identity: str) -> Progress | None:
        """Of the job at work; None of any other."""
        with self._news:
            return self._progress if identity == self._at_work else None

    def close(self) -> None:
        """Stop after the step that is being made; what it was is told when the store is opened again."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._thread.join()

    def _waiting(self) -> list[Entry]:
        return [entry for entry in self.store.entries() if entry.state == "waiting"]

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closed or self._waiting())
                if self._closed:
                    return
                entry = self._waiting()[0]
                self._at_work, self._cancelled = entry.id, False
                self._progress = Progress("reading the clip")
            try:
                self._do(entry)
            except Exception:  # such as that there is no room to write how it went; others still wait
                _log.exception("what became of job %s cannot be written", entry.id)
            finally:
                with self._news:
                    self._at_work = None

    def _do(self, entry: Entry) -> None:
        began = time.monotonic()
        try:
            self.store.change(entry.id, state="running")
            told = self._make(entry, self.store.place(entry.id), self._heard)
        except Exception as error:
            if self._closed:  # it stays "running" on the disk
                return
            if self._cancelled:  # a library may have made an error of its own of it
                self.store.change(entry.id, state="cancelled")
                return
            if not isinstance(error, InputError):
                _log.exception("job %s failed", entry.id)
            why = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {in_one_line(error)[:500]}"
            self.store.change(entry.id, state="failed", sentence=why)
        else:
            self.store.change(entry.id, state="done", sentence=told, seconds=round(time.monotonic() - began, 2))

    def _heard(self, part: str, step: Step | None) -> None:
        """Note how far the work is; the work ends here if nobody wants it any more."""
        now = time.monotonic()
        with self._news:
            if self._cancelled or self._closed:
                raise _CancelledError
            before = self._progress
            if part != before.part:
                self._began, before = now, Progress(part, made=before.made + (before.steps > 0))
            if step is not None:
                energies = (*before.energies, step.guided.energy) if step.guided else before.energies
                left = (now - self._began) / step.index * (step.steps - step.index)
                before = replace(before, step=step.index, steps=step.steps, energies=energies, left=left)
            self._progress = before
