"""What the folder of a batch holds: videos with their records, why others failed, and what was asked for.

A video's name tells by its end all that decides it, so that the list of names is all there is to know: what has a video
and a record, which take their places together, is done. Nothing is counted anywhere else, and nothing can disagree.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motionclone.errors import InputError
from motionclone.files import read_json, whole_file

ASKED, MOTIONS = "batches", "motions"
DIGEST = 16  # hexadecimal digits of a name
LONGEST_LINE, LARGEST_LIST = 2**16, 2**27
_VIDEO = re.compile(rf"^([^/\\]+-[0-9a-f]{{{DIGEST}}})\.(?:mp4|webm|gif)$")
_ERROR = ".error.json"


class Listed(BaseModel):
    """A job as the lists in `batches/` have it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(max_length=255, pattern=_VIDEO.pattern)
    prompt: str = Field(max_length=1000)  # its beginning
    source: str = Field(max_length=1000)
    model: str = Field(max_length=1000)
    seed: int | None = None


@dataclass(frozen=True)
class State:
    """What has become of jobs, by the names of their videos."""

    done: frozenset[str]
    failed: frozenset[str]


def video_name(label: str, decides: Mapping[str, Any], suffix: str) -> str:
    """A name whose end tells everything that decides the video, in plain values."""
    return f"{label}-{digest_of(decides)}{suffix}"


def digest_of(decides: Any) -> str:
    """Of plain values."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:DIGEST]


def state_of(folder: Path) -> State:
    """What is done and what failed; only names are read. A video counts if its record is there, too.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        names = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error
    videos = {name: match[1] for name in names if (match := _VIDEO.fullmatch(name))}
    done = frozenset(name for name, stem in videos.items() if f"{stem}.json" in names)
    stems = {stem for name, stem in videos.items() if name in done}
    failed = (name.removesuffix(_ERROR) for name in names if name.endswith(_ERROR))
    return State(done, frozenset(stem for stem in failed if stem not in stems))


def is_done(folder: Path, name: str) -> bool:
    """Whether a video is there with its record."""
    return (folder / name).is_file() and (folder / name).with_suffix(".json").is_file()


def error_of(folder: Path, name: str) -> Path:
    """Where it is told why a video failed."""
    return folder / f"{Path(name).stem}{_ERROR}"


def write_error(folder: Path, name: str, reason: str, tries: int, job: Mapping[str, Any]) -> None:
    """Tell why a video failed, beside its place."""
    content = {"reason": reason, "tries": tries, "job": job}
    with whole_file(error_of(folder, name), overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_error(folder: Path, name: str) -> str:
    """Why a video failed; what is no such file says nothing."""
    try:
        content = read_json(error_of(folder, name), "an error")
    except InputError:
        return ""
    return str(content.get("reason", ""))[:2000] if isinstance(content, dict) else ""


def write_list(folder: Path, key: str, jobs: Iterable[Listed]) -> None:
    """Keep what a part of a job file asks for, known by its key, so that others can tell how far it is.

    A job that has another name than before, such as one whose clip was missing, has not failed any more.
    """
    path = folder / ASKED / f"{key}.jsonl"
    listed = list(jobs)
    before = {job.name for job in _listed(path)} if path.exists() else set()
    for name in before - {job.name for job in listed}:
        error_of(folder, name).unlink(missing_ok=True)
    with whole_file(path, overwrite=True) as temporary:
        temporary.write_text("".join(job.model_dump_json() + "\n" for job in listed), encoding="utf-8")


def read_lists(folder: Path) -> dict[str, Listed]:
    """Every job that was asked for in this folder, by name.

    Raises:
        InputError: there is no batch, or a list is not as it was written.
    """
    paths = sorted((folder / ASKED).glob("[!.]*.jsonl")) if folder.is_dir() else []
    if not paths:
        raise InputError(f"{folder} holds no batch; give the folder that `motionclone batch` wrote to.")
    return {job.name: job for path in paths for job in _listed(path)}


def _listed(path: Path) -> Iterator[Listed]:
    number = 0
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_LIST:
            raise InputError(f"{path} is no list of jobs; take it away.")
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                yield Listed.model_validate_json(line)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except ValidationError as error:
        raise InputError(f"line {number} of {path} is no job; take the file away, and call the batch again.") from error
