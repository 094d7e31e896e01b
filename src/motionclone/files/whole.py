"""Write files whole or not at all; several together, so that a reader never meets some old and some new.

No file system renames two files at once, so files that belong together take the place of older ones in this order:

1. All are written beside their places under names of our own, and synced to the disk.
2. A journal says which shall go where, and is synced. From here on the new files win; before, the old ones.
3. The older files but the first are removed, the first is replaced, the others are put in place; the journal goes.

However a run ends between 2 and 3, a reader finds fewer files, never a new one beside an old one, and the next run that
writes to this folder (or reads a record in it) finishes what the journal says. A run holds a lock on what it writes,
which the system gives up with the process: so what is not locked is left over from a dead run, and what is locked is
nobody else's business.
"""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

from motionclone.errors import InputError
from motionclone.files.journal import commit, keys, own, settle, sync
from motionclone.files.locks import hold, hold_now, owner_of
from motionclone.files.names import as_path, check_free


@contextmanager
def whole_file(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of the same suffix, that becomes `path` if the block ends well.

    Whatever else happens, Ctrl-C included, the temporary file is removed and an older `path` stays as it was.
    Missing parent folders are made.

    Raises:
        InputError: `path` exists and `overwrite` is false, is a folder, or cannot be written, for lack of room or else.
    """
    with whole_files(path, overwrite=overwrite) as (temporary,):
        yield temporary


@contextmanager
def whole_files(
    *paths: str | os.PathLike[str], overwrite: bool = False, gone: Iterable[Path] = ()
) -> Iterator[tuple[Path, ...]]:
    """As `whole_file`, for files of one folder that belong together: all become what they should be, or none does.

    Args:
        paths: in the order in which a reader may see them while they take their places.
        overwrite: replace files that are there.
        gone: older files of the same folder that belong to what is replaced, and go with it.
    """
    targets = [as_path(path).absolute() for path in paths]
    for target in targets:
        check_free(target, overwrite)
    with folder_for(targets[0]) as folder:
        sweep(folder)
        try:
            with _temporary(folder, [target.suffix for target in targets]) as (key, temporary):
                yield temporary
                for path in temporary:
                    sync(path)
                for target in targets:
                    if not overwrite and os.path.lexists(target):
                        raise InputError(f"{target} has been made by another program meanwhile; choose another name")
                commit(folder, key, list(zip(temporary, targets, strict=True)), [path.name for path in gone])
        except OSError as error:
            named = [each for n, each in enumerate(targets) if str(error.filename).endswith(f"-{n}{each.suffix}")]
            raise _unwritable((named or targets)[0], error) from error


@contextmanager
def scratch_file(suffix: str) -> Iterator[Path]:
    """Yield the path of a file, not made yet, that is gone in the end; if the run dies, a later one removes it."""
    folder = Path(tempfile.gettempdir())
    sweep(folder)
    try:
        with _temporary(folder, [suffix]) as (_, (path,)):
            yield path
    except OSError as error:
        raise _unwritable(folder, error) from error


@contextmanager
def _temporary(folder: Path, suffixes: list[str]) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """A key, and paths of its own in a folder; in the end a commit that was begun is finished, and they are removed."""
    key = secrets.token_hex(6)
    lock = hold(own(folder, key, ".lock"))
    assert lock is not None  # nobody else knows the key
    try:
        yield key, tuple(own(folder, key, f"-{n}{suffix}") for n, suffix in enumerate(suffixes))
    finally:
        try:
            with suppress(OSError):  # a later run tries again
                settle(folder, key)
        finally:
            lock.release()


class TakenError(InputError):
    """Another run is at work on the same output."""


@contextmanager
def claimed(*paths: Path) -> Iterator[None]:
    """Keep outputs, and all that is written beside them under their stems, for this run.

    All paths are of one folder, which is made if it is missing, and unmade if nothing is put into it. What dead runs
    left there is finished or removed first.

    Raises:
        TakenError: another run is at work on one of them.
        InputError: the folder cannot be written to.
    """
    with folder_for(paths[0]) as folder, ExitStack() as held:
        sweep(folder)
        for path in paths:
            # Case does not count, as on file systems where it does not.
            stem = path.stem.casefold().encode("utf-8", "surrogateescape")
            place = own(folder, hashlib.sha256(stem).hexdigest()[:12], ".lock")
            try:
                lock = hold(place)
            except OSError as error:
                raise _unwritable(path, error) from error
            if lock is None:
                owner = owner_of(place)
                raise TakenError(
                    f"another run of motionclone, {owner}, is writing {path}; wait, or choose another output"
                )
            held.callback(lock.release)
        yield


@contextmanager
def folder_for(path: Path) -> Iterator[Path]:
    """The folder of `path`, absolute; made if it is missing, and unmade if it is empty in the end."""
    folder = path.absolute().parent
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder} ({error.strerror}); choose another output") from error
        yield folder
    finally:
        with suppress(OSError):
            for each in missing:
                each.rmdir()


def sweep(folder: Path) -> None:
    """Finish what dead runs had begun to put in place in a folder, and remove what else they left there."""
    with suppress(OSError):
        for key in keys(folder):
            with suppress(OSError):
                if (lock := hold_now(own(folder, key, ".lock"), sure=True)) is not None:
                    try:
                        settle(folder, key)
                    finally:
                        lock.release()


def _unwritable(path: Path, error: OSError) -> InputError:
    why = error.strerror or str(error) or type(error).__name__
    if error.errno in (ENOSPC, EDQUOT, EFBIG):
        return InputError(f"there is no room for {path} ({why}); make room, or choose another folder")
    return InputError(f"{path} cannot be written ({why}); choose another name or folder")
