"""Where a batch writes, what it asks of such a place, and a folder of this machine."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from motionclone.errors import InputError
from motionclone.files import TakenError, check_free, claimed, read_bounded, sweep, whole_file

MOTIONS = "motions"
PAUSE = 0.5
"""Seconds before another run is asked again whether it has done what it does."""


class UnusableError(InputError):
    """Nothing can be kept there, so that every job would fail, not only this one."""


class Storage(Protocol):
    """Files by name, in one place and in its `MOTIONS`."""

    def check(self) -> None:
        """Refuse, before anything is made, a place that cannot be written to. InputError."""

    def names(self, under: str = "") -> set[str]:
        """Of all files, of which none is read. InputError if they cannot be listed."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def read(self, name: str, what: str, largest: int) -> bytes:
        """A file of so many bytes at most. InputError if there is none, or it is longer."""

    def write(self, name: str, text: str) -> None:
        """Write or replace a file. InputError if that cannot be."""

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""

    def output(self, name: str) -> AbstractContextManager[Path]:
        """Yield a path for a video, to be written there with its record, both of which are kept in the end.

        Raises:
            TakenError: another run is at work on it.
            InputError: they cannot be kept.
        """

    def obtain(self, motion: Path, make: Callable[[], None]) -> None:
        """See that a motion is at its path, in `MOTIONS` beside an output; if nobody has made it, `make` does."""

    def sweep(self) -> None:
        """Take away what workers that were ended left half written."""

    def room(self) -> int | None:
        """Free bytes, if there is an end of them."""

    def is_lost(self) -> bool:
        """Whether nothing can be written there any more."""


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, which others may have mounted; what is written in it is locked meanwhile."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def check(self) -> None:
        """As `Storage` says."""
        check_free(self.path / "batch.mp4", overwrite=True)

    def names(self, under: str = "") -> set[str]:
        """As `Storage` says."""
        folder = self.path / under
        try:
            return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        except OSError as error:
            raise InputError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error

    def has(self, name: str) -> bool:
        """As `Storage` says."""
        return (self.path / name).is_file()

    def read(self, name: str, what: str, largest: int) -> bytes:
        """As `Storage` says."""
        return read_bounded(self.path / name, what, largest)

    def write(self, name: str, text: str) -> None:
        """As `Storage` says."""
        with whole_file(self.path / name, overwrite=True) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def remove(self, name: str) -> None:
        """As `Storage` says."""
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def output(self, name: str) -> Iterator[Path]:
        """As `Storage` says."""
        with claimed(self.path / name):
            yield self.path / name

    def obtain(self, motion: Path, make: Callable[[], None]) -> None:
        """As `Storage` says."""
        while not motion.is_file():
            try:
                with claimed(motion):
                    if not motion.is_file():
                        make()
            except TakenError:
                time.sleep(PAUSE)

    def sweep(self) -> None:
        """As `Storage` says."""
        sweep(self.path)
        sweep(self.path / MOTIONS)

    def room(self) -> int | None:
        """As `Storage` says."""
        here = self.path.absolute()
        return shutil.disk_usage(next(each for each in (here, *here.parents) if each.exists())).free

    def is_lost(self) -> bool:
        """As `Storage` says."""
        return not os.access(self.path, os.W_OK)
