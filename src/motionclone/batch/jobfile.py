"""Read a job file: YAML, JSON lines or CSV in, every job it stands for out, each made when it is asked for."""

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any, overload

from pydantic import ValidationError

from motionclone.batch.schema import MOST_JOBS, Job, Part, Products
from motionclone.errors import InputError, choice, in_one_line
from motionclone.files import check_no_address, check_plain, parse_json, parse_yaml, read_bounded, unique

LARGEST = {".yaml": 2**20, ".yml": 2**20, ".jsonl": 2**26, ".csv": 2**26}
"""Bytes, by how the file's name ends. Libraries read YAML slowly."""
_SINGULAR = {"seeds": "seed", "prompts": "prompt", "references": "reference", "motions": "motion", "models": "model"}
_LISTS = ("blocks", "crop", "image", "sketch", "sketch_from", *Products.model_fields)
_KNOWN = (*Job.model_fields, *Products.model_fields)


@dataclass(frozen=True)
class Entry:
    """One entry of a job file, which stands for every combination of what it lists."""

    where: str
    base: Part
    axes: tuple[tuple[str, Sequence[Any]], ...]

    def __len__(self) -> int:
        return prod(len(values) for _, values in self.axes)

    def job(self, number: int) -> Part:
        """One combination; the last list changes fastest."""
        chosen = {}
        for name, values in reversed(self.axes):
            number, place = divmod(number, len(values))
            chosen[name] = values[place]
        return self.base.model_copy(update=chosen) if chosen else self.base


class Jobs(Sequence[Part]):
    """All jobs of a file, in its order; what is held is the file's entries."""

    def __init__(self, folder: Path, entries: Sequence[Entry]) -> None:
        self.folder = folder  # to which paths in the file are relative
        self._entries = entries
        self._ends = list(accumulate(map(len, entries)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Part: ...
    @overload
    def __getitem__(self, number: slice) -> list[Part]: ...
    def __getitem__(self, number: int | slice) -> Part | list[Part]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        entry, place = self._find(number)
        return entry.job(place)

    def where(self, number: int) -> str:
        """Of which entry of the file a job is."""
        return self._find(number)[0].where

    def _find(self, number: int) -> tuple[Entry, int]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        at = bisect_right(self._ends, number)
        return self._entries[at], number - (self._ends[at - 1] if at else 0)


def read_jobs(path: Path) -> Jobs:
    """The jobs of a .yaml, .jsonl or .csv file.

    Raises:
        InputError: it is not there, too large, not of its form, or asks for what no job has, or for too many jobs.
    """
    readers: dict[str, Callable[[str, Path], Iterator[tuple[str, Any]]]] = {
        ".yaml": _of_yaml,
        ".yml": _of_yaml,
        ".jsonl": _of_lines,
        ".csv": _of_csv,
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InputError(f"a job file is .yaml, .jsonl or .csv, not {path}; rename or convert it.")
    entries, count = [], 0
    for where, data in readers[suffix](_text(path, LARGEST[suffix]), path):
        entries.append(_entry(where, data))
        count += len(entries[-1])
        if count > MOST_JOBS:
            raise InputError(
                f"{path} asks for {count:,} jobs or more, and a batch has {MOST_JOBS:,} at most; split it."
            )
    if not entries:
        raise InputError(f"{path} holds no job; write one with a reference and a prompt.")
    return Jobs(path.absolute().parent, entries)


def _text(path: Path, largest: int) -> str:
    check_no_address(path)
    more = "write .jsonl, which may be longer" if path.suffix.lower() in (".yaml", ".yml") else "split it"
    try:
        return read_bounded(path, "a job file", largest, more).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8; save it as that.") from error


def _of_yaml(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    try:
        content = parse_yaml(text)
        check_plain(content)
    except Exception as error:  # the parser raises whatever it stumbles over
        raise InputError(f"{path} cannot be read ({in_one_line(error)}); mend it.") from error
    defaults: Any = {}
    if isinstance(content, dict):
        if unknown := [name for name in content if name not in ("jobs", "defaults")]:
            raise InputError(f"{path}: {unknown[0]} is unknown; a job file has a list of jobs, and perhaps defaults.")
        defaults, content = content.get("defaults") or {}, content.get("jobs")
    if not isinstance(content, list) or not isinstance(defaults, dict):
        raise InputError(f"{path} is no job file: a list of jobs was expected; write one below `jobs:`.")
    for number, entry in enumerate(content, 1):
        where = f"{path.name}, job {number}"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: names with values were expected, not a {type(entry).__name__}.")
        own = {_SINGULAR.get(str(name), str(name)) for name in (*entry, *_each(entry))}
        others = {name: value for name, value in defaults.items() if _SINGULAR.get(str(name), str(name)) not in own}
        yield where, others | entry


def _each(entry: dict[Any, Any]) -> list[Any]:
    """What an entry lists by name."""
    return list(entry["each"]) if isinstance(entry.get("each"), dict) else []


def _of_lines(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path.name}, line {number}"
            entry = parse_json(line, f"{where} is no JSON")
            if not isinstance(entry, dict):
                raise InputError(f"{where}: an object was expected, not a {type(entry).__name__}.")
            yield where, _checked(entry, where, line)


def _of_csv(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """A cell that is empty says nothing; lists are written as JSON."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in rows:
            where = f"{path.name}, line {rows.line_num}"
            if header is None:
                header = [name.strip() for name in row]
                if len(set(header)) < len(header):
                    raise InputError(f"{where}: a column is there twice; take one out.")
            elif any(cell.strip() for cell in row):
                if len(row) != len(header):
                    raise InputError(f"{where} has {len(row)} cells where the header has {len(header)}; quote commas.")
                cells = {name: cell.strip() for name, cell in zip(header, row, strict=True) if cell.strip()}
                lists = {
                    name: parse_json(cell, f"{where}, {name}, is no JSON")
                    for name, cell in cells.items()
                    if cell[0] in "[{" and name in _LISTS
                }
                yield where, _checked(cells | lists, where)
    except csv.Error as error:
        raise InputError(f"{path.name}, line {rows.line_num} is no CSV ({error}); mend it.") from error


def _checked(entry: dict[str, Any], where: str, line: str = "{}") -> dict[str, Any]:
    try:
        check_plain(entry)
        json.loads(line, object_pairs_hook=unique)
    except ValueError as error:
        raise InputError(f"{where}: {error}; mend it.") from error
    return entry


def _entry(where: str, data: dict[Any, Any]) -> Entry:
    given = {str(name): value for name, value in data.items()}
    listed = {name: given.pop(name) for name in Products.model_fields if name in given}
    try:
        products = Products.model_validate(listed)
        axes = dict(products.each)
        for name, single in _SINGULAR.items():
            if (values := getattr(products, name)) is not None:
                if single in axes or single in given:
                    raise InputError(f"{where}: {single} is given twice; give {name} alone.")
                axes[single] = values
        for name, values in axes.items():
            if name not in Job.model_fields:
                raise InputError(f"{where}: each.{name} is unknown; {choice(name, Job.model_fields)}")
            if name in given:
                raise InputError(f"{where}: {name} is given twice; give it in each alone.")
            if not isinstance(values, list | range) or not values:
                wanted = "a list" if name != "seed" else "a list, or a range such as 0..9,"
                raise InputError(f"{where}: {wanted} of one value or more was expected for {name}.")
        count = prod(map(len, axes.values()))
        if count > MOST_JOBS:
            raise InputError(f"{where} asks for {count:,} jobs, and a batch has {MOST_JOBS:,} at most; split it.")
        first = given | {name: values[0] for name, values in axes.items()}
        base = Job.model_validate(first)
        checked = [(name, _values(name, values, first)) for name, values in axes.items()]
    except ValidationError as error:
        raise InputError(f"{where}: {_told(error)}") from error
    # Seeds last, so that they change fastest, and words before them: what is read of a clip may be of use again.
    order = sorted(checked, key=lambda axis: (axis[0] == "seed", axis[0] == "prompt"))
    return Entry(where, base, tuple(order))


def _told(error: ValidationError) -> str:
    told = in_one_line(error, _KNOWN).replace("Value error, ", "").removeprefix("the whole: ")
    return told if told.endswith("?") else f"{told}."


def _values(name: str, values: Sequence[Any], first: dict[str, Any]) -> Sequence[Any]:
    """As the job has them, checked one by one; of a range, its ends."""
    if isinstance(values, range):
        for value in (values[0], values[-1]):
            Job.model_validate(first | {name: value})
        return values
    return [getattr(Job.model_validate(first | {name: value}), name) for value in values]


def as_given(job: Part) -> dict[str, Any]:
    """What a job says, in plain values."""
    given: dict[str, Any] = json.loads(job.model_dump_json(exclude_defaults=True))
    return given
