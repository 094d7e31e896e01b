"""What a batch keeps, in a folder or in object storage: videos with records, why others failed, what was asked for.

A video's name tells by its end all that decides it, so that the list of names is all there is to know: what has a video
and a record, which take their places together, is done. Nothing is counted anywhere else, and nothing can disagree.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motionclone.batch.storage import Storage
from motionclone.errors import InputError
from motionclone.files import parse_json

ASKED = "batches"
DIGEST = 16  # hexadecimal digits of a name
LONGEST_LINE, LARGEST_LIST, LARGEST_ERROR = 2**16, 2**27, 2**20
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


def state_of(storage: Storage) -> State:
    """What is done and what failed; only names are read. A video counts if its record is there, too.

    Raises:
        InputError: they cannot be listed.
    """
    names = storage.names()
    videos = {name: match[1] for name in names if (match := _VIDEO.fullmatch(name))}
    done = frozenset(name for name, stem in videos.items() if f"{stem}.json" in names)
    stems = {stem for name, stem in videos.items() if name in done}
    failed = (name.removesuffix(_ERROR) for name in names if name.endswith(_ERROR))
    return State(done, frozenset(stem for stem in failed if stem not in stems))


def is_done(storage: Storage, name: str) -> bool:
    """Whether a video is there with its record."""
    return storage.has(name) and storage.has(Path(name).with_suffix(".json").name)


def error_of(name: str) -> str:
    """The name of what tells why a video failed."""
    return f"{Path(name).stem}{_ERROR}"


def write_error(storage: Storage, name: str, reason: str, tries: int, job: Mapping[str, Any]) -> None:
    """Tell why a video failed, beside its place."""
    content = {"reason": reason, "tries": tries, "job": job}
    storage.write(error_of(name), json.dumps(content, indent=2) + "\n")


def read_error(storage: Storage, name: str) -> str:
    """Why a video failed; what is no such file says nothing."""
    try:
        content = parse_json(storage.read(error_of(name), "an error", LARGEST_ERROR), "it is no error")
    except InputError:
        return ""
    return str(content.get("reason", ""))[:2000] if isinstance(content, dict) else ""


def write_list(storage: Storage, key: str, jobs: Iterable[Listed]) -> None:
    """Keep what a part of a job file asks for, known by its key, so that others can tell how far it is.

    A job that has another name than before, such as one whose clip was missing, has not failed any more.
    """
    path = f"{ASKED}/{key}.jsonl"
    listed = list(jobs)
    before = {job.name for job in _listed(storage, path)} if storage.has(path) else set()
    for name in before - {job.name for job in listed}:
        storage.remove(error_of(name))
    storage.write(path, "".join(job.model_dump_json() + "\n" for job in listed))


def read_lists(storage: Storage) -> dict[str, Listed]:
    """Every job that was asked for there, by name.

    Raises:
        InputError: there is no batch, or a list is not as it was written.
    """
    names = [name for name in sorted(storage.names(ASKED)) if name.endswith(".jsonl") and name[0] != "."]
    if not names:
        raise InputError(f"{storage} holds no batch; give the folder that `motionclone batch` wrote to.")
    return {job.name: job for name in names for job in _listed(storage, f"{ASKED}/{name}")}


def _listed(storage: Storage, name: str) -> Iterator[Listed]:
    number, lines = 0, io.BytesIO(storage.read(name, "a list of jobs", LARGEST_LIST))
    try:
        while line := lines.readline(LONGEST_LINE):
            number += 1
            yield Listed.model_validate_json(line)
    except ValidationError as error:
        told = f"line {number} of {storage}/{name} is no job"
        raise InputError(f"{told}; take the file away, and call the batch again.") from error
