"""What a run keeps in its folder: `suite.json`, which says what was to be run, and `results.jsonl`, a line a video."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from motionclone.errors import InputError
from motionclone.files import whole_file
from motionclone.lab.cases import CaseKind
from motionclone.lab.identity import shortened

RESULTS, DESCRIPTION, VIDEOS = "results.jsonl", "suite.json", "videos"
LARGEST_DESCRIPTION, LARGEST_RESULTS, LONGEST_LINE, MOST_LINES = 1 << 24, 1 << 27, 1 << 20, 100_000


class _Kept(BaseModel):
    """Read strictly: the folder may be anybody's. Keys that are not needed are left alone."""

    model_config = ConfigDict(frozen=True, strict=True)


def _file_name(name: str) -> str:
    if name.strip(". ") == "" or "/" in name or "\\" in name or not name.isprintable():
        raise ValueError("should be the name of a file, without its folder")
    return name


def _video_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if len(parts) != 3 or parts[0] != VIDEOS:
        raise ValueError(f"should be a path such as {VIDEOS}/method/case.mp4")
    for part in parts:
        _file_name(part)
    return path


def _score(value: float | None) -> float | None:
    """NaN and infinity, which JSON does not have but Python writes, say nothing."""
    if value is None or not math.isfinite(value):
        return None
    if abs(value) > 1e6:
        raise ValueError("should be between -1e6 and 1e6")
    return value


Text = Annotated[str, Field(max_length=5000)]
FileName = Annotated[str, Field(max_length=200), AfterValidator(_file_name)]
Scores = dict[Text, Annotated[float | None, AfterValidator(_score)]]


class DescribedMethod(_Kept):
    """One way of making the videos, as `suite.json` has it."""

    name: FileName
    label: Text
    experiment: Text
    about: Text
    changes: dict[str, dict[str, Any]] = {}
    kind: Text = "clone"  # or "ceiling", "drawn", "heat map"
    prompt: Text = "null"
    inversion: Text = "none"
    condition: Text = "none"
    curve: Text = ""
    factor: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class DescribedCase(_Kept):
    """One reference with the words to clone it into, as `suite.json` has it."""

    name: FileName
    number: int | None = None
    motion: Text
    kind: CaseKind
    prompt: Text
    reference: dict[str, Any] | Text | None = None  # what it is, by its content


class DescribedOmission(_Kept):
    """A method that the suite has and this model has no use for."""

    label: Text
    reason: Text


class Description(_Kept):
    """All that decides the results of a run, and the machine; what `suite.json` holds."""

    suite: Text
    model: Text
    model_content: str | None = None
    judge: Text = Field(default="mini", validation_alias=AliasChoices("judge", "clip"))
    judge_content: str | None = None
    loading: dict[str, Any] = {}  # how the model is loaded, such as {"offload": "none"}
    device: Text | None = None
    dtype: Text | None
    seed: int
    settings: dict[str, Any] = {}
    methods: tuple[DescribedMethod, ...] = Field(min_length=1, max_length=1000)
    left_out: tuple[DescribedOmission, ...] = ()
    cases: tuple[DescribedCase, ...] = Field(min_length=1, max_length=1000)
    motionclone: Text
    libraries: dict[str, str] = {}
    machine: Text  # told, but does not decide


class ResultLine(_Kept):
    """What came of one method on one case: scores, or why there are none."""

    method: FileName
    case: FileName
    outcome: Literal["made", "refused", "failed"] = "made"
    reason: Text = ""  # why it was refused, or with what it failed
    video: Annotated[str, Field(max_length=1000), AfterValidator(_video_path)] | None = None
    scores: Scores = {}
    floor: Scores = {}
    embedding: Annotated[tuple[float, ...], Field(max_length=8192)] | None = None
    seconds: float = math.nan

    @model_validator(mode="after")
    def _whole(self) -> "ResultLine":
        if self.outcome == "made" and (self.video is None or "scores" not in self.model_fields_set):
            raise ValueError("should have a video and scores")
        return self


def read_description(folder: Path) -> Description:
    """What was to be run.

    Raises:
        InputError: if `suite.json` cannot be read or is not as it was written.
    """
    path = folder / DESCRIPTION
    try:
        return Description.model_validate_json(_bytes(path, LARGEST_DESCRIPTION))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); give a folder that motionclone evaluate has written."
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{path} is not as motionclone evaluate writes it ({_first(error)}); run it again in another folder."
        ) from error


def write_description(folder: Path, description: Description) -> None:
    """Write `suite.json`, or make sure that the one that is there is the same.

    Raises:
        InputError: if the folder holds results of something else.
    """
    path = folder / DESCRIPTION
    if path.exists() or path.is_symlink():
        kept = read_description(folder)
        names = [name for name in Description.model_fields if name != "machine"]
        different = [name.replace("_", " ") for name in names if getattr(kept, name) != getattr(description, name)]
        if different:
            raise InputError(
                f"{folder} holds results of another {' and '.join(different)}; choose another folder, or remove it."
            )
        return
    if (folder / RESULTS).exists():
        raise InputError(f"{folder} holds results but no {DESCRIPTION}; choose another folder, or remove it.")
    with whole_file(path) as temporary:
        temporary.write_text(description.model_dump_json(indent=1), encoding="utf-8")


def read_results(folder: Path) -> tuple[list[ResultLine], bool]:
    """The lines so far, and whether the last one is torn: of a run that was killed while it wrote.

    Raises:
        InputError: naming the first line that is no result.
    """
    path = folder / RESULTS
    lines: list[ResultLine] = []
    dimensions = None
    for number, (line, whole) in enumerate(_lines(path), 1):
        if not whole:
            return lines, True
        try:
            result = ResultLine.model_validate_json(line)
        except ValidationError as error:
            raise _damaged(path, number, _first(error)) from error
        if result.embedding is not None:
            dimensions = dimensions or len(result.embedding)
            if len(result.embedding) != dimensions:
                raise _damaged(path, number, f"embedding: should have {dimensions} numbers, as the lines before it")
        lines.append(result)
    return lines, False


@contextmanager
def appending(folder: Path) -> Iterator[Any]:
    """Yield a function that adds a line to the results, whole or not at all; a torn last line is taken away first.

    Raises:
        InputError: if the file cannot be written; what it holds stays.
    """
    path = folder / RESULTS
    try:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags, 0o666)  # less what the user's umask takes
    except OSError as error:
        raise _unwritten(path, error) from error
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        end = sum(len(line) for line, whole in _lines(path) if whole)
        file.truncate(end)

        def append(line: Mapping[str, Any]) -> None:
            nonlocal end
            data = json.dumps(line).encode() + b"\n"
            try:
                file.seek(end)
                if file.write(data) != len(data):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
            except OSError as error:
                file.truncate(end)
                raise _unwritten(path, error) from error
            end += len(data)

        yield append


def video_place(folder: Path, method: str, case: str) -> Path:
    """Where the video of a case lies.

    Raises:
        InputError: if a link leads out of the folder's videos.
    """
    path = folder / VIDEOS / method / f"{case}.mp4"
    if not path.resolve().is_relative_to(folder.resolve() / VIDEOS):
        raise InputError(f"{path} leads out of the folder of the run; put the video itself there, or take it away.")
    return path


def _lines(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Each line with its end, and whether it has one."""
    if not path.exists() and not path.is_symlink():
        return
    try:
        size = _checked_size(path, LARGEST_RESULTS)
        with path.open("rb") as file:
            number = 0
            while file.tell() < size and (line := file.readline(LONGEST_LINE)):
                number += 1
                if len(line) == LONGEST_LINE or number > MOST_LINES:
                    raise _damaged(path, number, "it is too long, or there are too many")
                yield line, line.endswith(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); make it readable, or take it away.") from error


def _bytes(path: Path, most: int) -> bytes:
    if path.exists():
        _checked_size(path, most)
    return path.read_bytes()


def _checked_size(path: Path, most: int) -> int:
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path} is no ordinary file; take it away.")
    size = path.stat().st_size
    if size > most:
        raise InputError(f"{path} has {size / 1e6:.0f} MB and should have {most / 1e6:.0f} at the most; take it away.")
    return size


def _damaged(path: Path, number: int, why: str) -> InputError:
    return InputError(f"line {number} of {path} is no result ({why}); remove that line, or the file to start anew.")


def _unwritten(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written ({error.strerror}); what it holds is kept: make room and call again.")


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = shortened(".".join(map(str, first["loc"]))) or "the whole"
    return f"{where}: {shortened(first['msg'])}"
