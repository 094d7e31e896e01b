"""Locks that end with the process that holds them, however it ends."""

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}


@dataclass(frozen=True)
class Lock:
    """A lock file that this process holds; it says whose it is."""

    path: Path
    descriptor: int

    def release(self) -> None:
        """Give it up, and leave no file."""
        with suppress(OSError):
            self.path.unlink()  # While it is still held: nobody can lock a file in between that is about to go.
        os.close(self.descriptor)
        if os.name == "nt":  # where open files stay
            with suppress(OSError):
                self.path.unlink()


def hold(path: Path) -> Lock | None:
    """Lock the file `path`, made if need be; None if it is held already, by this process or another.

    On a file system that has no locks it is as if nobody else were there.

    Raises:
        OSError: it cannot be made.
    """
    for _ in range(50):
        if (lock := hold_now(path, sure=False)) is not None:
            return lock
        time.sleep(0.01)  # A run that looks for what the dead have left may hold it for a moment.
    return None


def hold_now(path: Path, *, sure: bool) -> Lock | None:
    """As `hold`, without patience; to be `sure`, on a file system without locks it is taken as held."""
    # Never through a symbolic link: in a folder that others write to, it could lead to any file of ours.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        descriptor = os.open(path, flags, 0o644)
        kept = False
        try:
            if not _lock(descriptor) and sure:
                return None
            kept = _is(path, descriptor)
            if kept:
                with suppress(OSError):  # it holds on a full disk, too
                    os.truncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()}".encode())
                return Lock(path, descriptor)
            # Else it was released, and so removed, between opening and locking.
        except OSError as error:
            if error.errno in _TAKEN:
                return None
            raise
        finally:
            if not kept:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file, or raise OSError if it is taken; False where the file system cannot."""
    if fcntl is None:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            raise
        return False
    return True


def _is(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
