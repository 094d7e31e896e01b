"""Text from strangers: configurations and descriptions, read as data within bounds; and their words in sentences."""

import json
import math
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from motionclone.errors import InputError

# Far above what people write and models come with, far below what takes long or much memory.
LONGEST_CONFIGURATION = 2**22  # bytes
LONGEST_DESCRIPTION = 2**13  # the parsers of TOML and YAML take the square of what is nested in time
LARGEST_NUMBER = 2**53  # what JSON can be trusted with
DEEPEST = 32


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
        values = parsers.get(suffix, _yaml)(path.read_bytes().decode("utf-8-sig"))
        if not isinstance(values, dict):
            raise InputError(f"{path} is no {what}: names with values were expected, not a {type(values).__name__}.")
        for depth, value in _all_values(values):
            _check_value(depth, value)
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


def _yaml(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        # An alias may stand for aliases, a few lines for a billion; PyYAML takes a tag at its word.
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise ValueError("aliases (*name) and tags (!name) are not read; write out what they stand for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        _check_value(depth, None)
    return yaml.safe_load(text)


def _all_values(values: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    """Every key and value with its depth; a loop, so that no depth is too much for it."""
    waiting: list[tuple[int, Any]] = [(0, values)]
    while waiting:
        depth, value = waiting.pop()
        yield depth, value
        inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(depth + 1, each) for each in inner]


def _check_value(depth: int, value: Any) -> None:
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(value, float) and math.isnan(value):  # infinite is what some schedulers' limits are
        raise ValueError("a number in it is none (nan)")
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise ValueError("a number in it is larger than 2^53")
    if isinstance(value, str) and b"\0" in value.encode():  # which also refuses half a surrogate pair
        raise ValueError("a text in it has a zero byte")
