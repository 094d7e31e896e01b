"""Text from strangers: configurations and descriptions, read as data within bounds; and their words in sentences."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from motionclone.errors import InputError
from motionclone.files import check_plain, parse_yaml

# Far above what people write and models come with, far below what takes long or much memory.
LONGEST_CONFIGURATION = 2**22  # bytes
LONGEST_DESCRIPTION = 2**13  # the parsers of TOML and YAML take the square of what is nested in time


def said(words: object, longest: int = 300) -> str:
    """What others wrote, such as an exception's message, fit for a sentence: one short line of printable characters."""
    line = " ".join(str(words).split()).rstrip(".")
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= longest else f"{line[:longest]}..."


def read_mapping(path: Path, what: str = "configuration") -> dict[str, Any]:
    """The values of a .json, .toml, .yaml or .yml file in UTF-8: plain and not deeply nested.

    Raises:
        InputError: it is not there, not of that form, or no `what`.
    """
    suffix = path.suffix.lower()
    longest = LONGEST_CONFIGURATION if suffix == ".json" else LONGEST_DESCRIPTION
    parsers: dict[str, Callable[[str], Any]] = {".json": json.loads, ".toml": tomllib.loads}
    check_file(path, longest)
    try:
        values = parsers.get(suffix, parse_yaml)(path.read_bytes().decode("utf-8-sig"))
        if not isinstance(values, dict):
            raise InputError(f"{path} is no {what}: names with values were expected, not a {type(values).__name__}.")
        check_plain(values)
    except InputError:
        raise
    except Exception as error:  # the parsers raise whatever they stumble over
        raise InputError(f"{path} cannot be read ({said(error)}); mend it, or fetch it again.") from error
    return values


def check_file(path: Path, longest: int) -> None:
    """Refuse what is not there, no plain file, or longer than `longest` bytes."""
    try:
        there, size = path.is_file(), path.stat().st_size if path.exists() else 0
    except (OSError, ValueError) as error:
        raise InputError(f"{said(path)} cannot be read ({said(error)}); check the path.") from error
    if not there:
        raise InputError(f"there is no file {said(path)}; check the path.")
    if size > longest:
        raise InputError(f"{path} has {size} bytes where at most {longest} make sense; give another file.")
