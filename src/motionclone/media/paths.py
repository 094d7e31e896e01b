"""Paths as people give them: said in one line, and checked before a decoder sees them."""

import os
import stat
from pathlib import Path
from typing import Literal

from motionclone.errors import InputError, printable
from motionclone.files import check_kind, check_no_address


def spoken(path: str | os.PathLike[str]) -> str:
    """A path as a sentence can hold it: on one line, every character printable."""
    return printable(str(path))


def is_folder(path: Path) -> bool:
    """Whether this is a folder; false for a path that cannot be."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # "\\0" and lone surrogates are no paths
        return False


def check_file(path: Path, kind: Literal["video", "picture"]) -> None:
    """The errors that need no decoder. A pipe or a device is refused unopened: it might never end.

    Raises:
        InputError: an address, not there, out of reach, empty, not an ordinary file, or plainly not of this kind.
    """
    name = spoken(path)
    check_no_address(path)
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise InputError(
            f"there is no {kind}: {name} does not exist; check the path, it is looked up from {_here()}"
        ) from error
    except OSError as error:
        raise InputError(f"{name} cannot be opened ({error.strerror}); check the path and its permissions") from error
    except ValueError as error:
        raise InputError(f"{name} cannot be the path of a file ({error}); check the path") from error
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{name} is a folder; give a {kind} file in it")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{name} is not an ordinary file; save the {kind} to disk and give that file")
    if found.st_size == 0:
        raise InputError(f"{name} is empty (0 bytes); download or export the {kind} again")
    check_kind(path, kind, "picture", "GIF")  # which may be animated, or one as well


def _here() -> str:
    try:
        return spoken(Path.cwd())
    except OSError:
        return "a folder that is gone"
