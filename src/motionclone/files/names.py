"""Refuse the names of outputs that could not be written, or that would cost an input. Changes nothing."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from motionclone.errors import InputError, named
from motionclone.files.kinds import check_no_address


def as_path(given: object) -> Path:
    """The path that a caller gives. InputError for what is none on any machine."""
    try:
        path = Path(os.fspath(given))  # type: ignore[call-overload]
        os.fsencode(path)
    except TypeError as error:
        raise InputError(
            f"a path was expected, got {type(given).__name__}; give the name of a file or folder"
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{given!r} cannot be a path ({error.reason}); give the name of a file or folder") from error
    if given == "" or "\0" in str(path):
        why = "embedded null byte" if given else "it is empty"
        raise InputError(f"{given!r} cannot be a path ({why}); give the name of a file or folder")
    return path


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a path that could not be written now; parent folders may be missing.

    Raises:
        InputError: it exists (without `overwrite`), is no ordinary file or no name, or its folder cannot be written to.
    """
    check_no_address(path)
    if "\0" in str(path) or not _is_text(str(path)):
        raise InputError(f"{str(path)!r} is no name of a file (it has bytes that are no UTF-8, or NUL); choose another")
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file in it")
        if os.path.lexists(path) and not overwrite:
            raise InputError(f"{path} exists already; choose another name or pass {named('overwrite', True)}")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no ordinary file; choose another name")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise InputError(f"{path} cannot be made because {folder} is a file; choose another folder")
        # Asking for permissions does not tell of read-only and virtual file systems.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be made ({error.strerror}); choose another name or folder") from error


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_not_input(outputs: Iterable[Path], inputs: Iterable[Path], made: str = "the video") -> None:
    """Refuse outputs that are inputs, or files of a folder that is one, by whatever name or link.

    Args:
        outputs: files that are to be written or replaced.
        inputs: files and folders that are read.
        made: what is made of them, for the sentence.

    Raises:
        InputError: one of the outputs is there and is read.
    """
    read = [path for path in inputs if _is_there(path)]
    for output in filter(_is_there, outputs):
        folders = output.resolve().parents
        # By the file itself, not its name: spelling, case, hard and symbolic links make no difference.
        if any(path.samefile(output) or any(path.samefile(folder) for folder in folders) for path in read):
            raise InputError(f"{output} is what {made} is made from; choose another output.")


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):  # names that are too long, or hold NUL
        return False
    return True
