"""One run in one folder at a time."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from motionclone.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has none; there nothing keeps two runs apart
    fcntl = None  # type: ignore[assignment]

LOCK = ".evaluation.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made if it is not there, for this process alone; the lock goes when the process does.

    Raises:
        InputError: naming the process that holds it, or if the folder cannot be made.
    """
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _hold(folder / LOCK)
    except OSError as error:
        raise InputError(f"{folder} cannot be used ({error.strerror}); choose another --out-dir.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(descriptor)
        if made:
            with suppress(OSError):
                folder.rmdir()  # if nothing came of it


def _hold(path: Path) -> int:
    """The open lock file, with this process' name in it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
                os.close(descriptor)  # its last owner has just taken it away
                continue
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"process": os.getpid(), "host": platform.node()}).encode(), 0)
            return descriptor
        except BlockingIOError as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise InputError(
                f"{owner} is at work in {path.parent}; wait until it has finished, end it, or choose another --out-dir."
            ) from error


def _owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {int(owner['process'])} on {str(owner['host'])[:100]}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"
