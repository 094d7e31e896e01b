"""Files that appear whole or not at all."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motionclone.errors import InputError


@contextmanager
def whole_file(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of the same suffix, that becomes `path` if the block ends well.

    Whatever else happens, Ctrl-C included, the temporary file is removed and an older `path` stays as it was.
    Missing parent folders are made.

    Raises:
        InputError: `path` exists and `overwrite` is false, is a folder, or its folder cannot be written to.
    """
    path = Path(path)
    check_free(path, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent} ({error.strerror}); choose another output") from error
    temporary = path.parent / f".motionclone-{secrets.token_hex(6)}{path.suffix}"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a path that could not be written now; parent folders may be missing. Changes nothing.

    Raises:
        InputError: it exists (without `overwrite`), is a folder, or its folder cannot be written to.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file in it")
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already; choose another name or pass --overwrite")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise InputError(f"{path} cannot be made because {folder} is a file; choose another folder")
        # Asking for permissions does not tell of read-only and virtual file systems.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be made ({error.strerror}); choose another name or folder") from error
