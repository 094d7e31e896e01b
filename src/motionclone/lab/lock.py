"""One run in one folder at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motionclone.errors import InputError
from motionclone.files.locks import hold, owner_of
from motionclone.files.whole import folder_for

LOCK = ".evaluation.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there, for this process alone; the lock goes when the process does.

    Raises:
        InputError: naming the process that holds it, or if the folder cannot be made.
    """
    with folder_for(folder / LOCK):
        try:
            lock = hold(folder / LOCK)
        except OSError as error:
            raise InputError(f"{folder} cannot be used ({error.strerror}); choose another folder.") from error
        if lock is None:
            raise InputError(
                f"{owner_of(folder / LOCK)} is at work in {folder}; wait until it has finished, end it, or choose "
                "another folder."
            )
        try:
            yield
        finally:
            lock.release()
