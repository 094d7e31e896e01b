"""Read files of strangers: bounded, and as data."""

import hashlib
import json
from pathlib import Path
from typing import Any

from motionclone.errors import InputError

LARGEST_RECORD = 16 * 2**20
"""Bytes. Records hold a few kilobytes; those of very long runs, a megabyte."""


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file of up to 16 MB.

    Args:
        path: of the file.
        what: what it should be, for the sentence, such as "a record".

    Raises:
        InputError: as `read_bounded`, or it is not JSON as `parse_json` takes it.
    """
    return parse_json(read_bounded(path, what, LARGEST_RECORD), f"{path} is not {what}")


def read_bounded(path: Path, what: str, largest: int, otherwise: str = "give another file") -> bytes:
    """The bytes of a file that has so many at most.

    Args:
        path: of the file.
        what: what it should be, for the sentence, such as "a record".
        largest: number of bytes, whole megabytes.
        otherwise: what to do about one that is larger.

    Raises:
        InputError: it is missing, no ordinary file, or too large.
    """
    try:
        if not path.is_file():
            raise InputError(f"no such file: {path}, where {what} was expected; check the path.")
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give another file.") from error
    if len(data) > largest:
        raise InputError(f"{path} is not {what}: it has more than {largest >> 20} MB; {otherwise}.")
    return data


def parse_json(text: str | bytes, sentence: str) -> Any:
    """JSON in UTF-8, of which every text can be written again.

    Raises:
        InputError: `sentence` and why: not JSON, nested too deeply, numbers of thousands of digits, half a character.
    """
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise InputError(f"{sentence} (it is nested too deeply); give another file.") from error
    except ValueError as error:
        why = "it has text that is no Unicode" if isinstance(error, UnicodeError) else str(error)
        raise InputError(f"{sentence} ({why}); give another file.") from error
    return value


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, hexadecimal; the file is not held in memory.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
