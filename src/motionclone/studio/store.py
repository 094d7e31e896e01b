"""The studio's folder: every job a folder of its own, whole or not there, from which all is known after a restart.

jobs/20261127-031845-9f2c.../job.json   what was asked for, and what became of it
                            reference.* the clip
                            out.mp4, out.json and others, once it is made
"""

import re
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from motionclone.errors import InputError, named
from motionclone.files import read_json, sweep, whole_file
from motionclone.files.locks import Lock, hold, owner_of
from motionclone.studio.asked import Asked
from motionclone.studio.clips import picture_name
from motionclone.studio.placeless import nameless

State = Literal["waiting", "running", "done", "failed", "cancelled"]
UPLOADS = "uploads"
"""The folder beside that of the jobs, of what was uploaded."""
PREVIEW = "preview.webp"
"""What is to be seen of the video that is being made."""
STOP = ".stop"
"""Tells a process that makes a job that nobody wants it any more."""
OVER: tuple[State, ...] = ("done", "failed", "cancelled")
OWN = (".new-", ".gone-")
"""What names begin with of what is not there yet, or not any more."""
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{16}")
_YEAR_3000 = 32503680000.0  # up to which every system tells the date of a time
_STOPPED = "the studio was stopped while this was being made; make it again."


class Entry(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str
    asked: Asked
    reference: str = Field(pattern=r"^reference\.[a-z0-9]+$")
    """Name of the clip, or the motion file, in the job's folder."""
    picture: str | None = Field(default=None, pattern=r"^picture\.[a-z0-9]+$")
    """Likewise, of the first frame or the sketch that the video follows."""
    model: str
    created: float = Field(ge=0, lt=_YEAR_3000)
    """Seconds since 1970."""
    state: State = "waiting"
    sentence: str = ""
    """Why it failed, or what is to be said of what was made."""
    seconds: float | None = Field(default=None, ge=0, lt=_YEAR_3000)
    """That it took."""
    chosen: bool = False
    """Whether somebody chose it as a winner."""


class Store:
    """All jobs of a folder, which belongs to this process until it is closed. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open a folder, made if need be; what a dead studio was making is marked as failed, what waited still waits.

        Raises:
            InputError: another studio is at work there, or it cannot be written to.
        """
        self.jobs = folder.absolute() / "jobs"
        try:
            self.jobs.mkdir(parents=True, exist_ok=True)
            lock = hold(self.jobs.parent / ".lock")
        except OSError as error:
            raise InputError(
                f"{folder} cannot be used ({error.strerror}); choose another {named('folder')}."
            ) from error
        if lock is None:
            owner = owner_of(self.jobs.parent / ".lock")
            raise InputError(
                f"another studio, {owner}, is at work in {folder}; stop it, or choose another {named('folder')}."
            )
        self._lock: Lock = lock
        self._guard = RLock()
        self._entries: dict[str, Entry] = {}
        self.unreadable: list[str] = []
        """Names of folders among the jobs that are none."""
        for place in sorted(self.jobs.iterdir()):
            if place.name.startswith(OWN):
                shutil.rmtree(place, ignore_errors=True)
                place.unlink(missing_ok=True) if place.is_file() else None
            elif not place.name.startswith("."):
                self._read(place)
        for entry in self.entries():
            if entry.state == "running":
                self.change(entry.id, state="failed", sentence=_STOPPED)

    def _read(self, place: Path) -> None:
        _tidy(place)
        try:
            entry = Entry.model_validate(read_json(place / "job.json", "a job"))
            if entry.id != place.name or not _ID.fullmatch(entry.id):
                raise InputError("it is a job of another folder.")
        except (InputError, ValidationError):
            self.unreadable.append(place.name)
        else:
            self._entries[entry.id] = entry

    def close(self) -> None:
        """Leave the folder to others."""
        self._lock.release()

    def add(
        self, asked: Asked, clip: Path, reference: str, model: str, poster: bytes, picture: Path | None = None
    ) -> Entry:
        """A new job that waits, with a copy of the clip under the name `reference`, and a picture (PNG) for the eye.

        A `picture` that the video follows is copied, too.
        """
        now = time.time()
        identity = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{secrets.token_hex(8)}"
        followed = None if picture is None else picture_name(picture)
        new = self.jobs / f".new-{identity}"
        try:
            new.mkdir()
            shutil.copyfile(clip, new / reference)
            if picture is not None and followed is not None:
                shutil.copyfile(picture, new / followed)
            (new / "poster.png").write_bytes(poster)
            with self._guard:  # it is in line from here on, however long the copy took
                last = max((each.created for each in self._entries.values()), default=0.0)
                entry = Entry(
                    id=identity,
                    asked=asked,
                    reference=reference,
                    picture=followed,
                    model=model,
                    created=max(time.time(), last + 1e-6),  # the last one, even if the clock was put back
                )
                (new / "job.json").write_text(entry.model_dump_json(indent=2), encoding="utf-8")
                new.rename(self.jobs / identity)
                self._entries[identity] = entry
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            raise InputError(f"the job cannot be kept ({error.strerror}); make room in the studio's folder.") from error
        return entry

    def keep(self, identity: str, name: str, write: Callable[[Path], None]) -> Path:
        """A further file of a job that is over, whole or not there. InputError if the job is gone meanwhile."""
        new = self.jobs / f".new-{secrets.token_hex(8)}"
        try:
            write(new)
            with self._guard:
                return new.rename(self.place(identity) / name)
        except OSError as error:
            self.entry(identity)  # or it was deleted meanwhile, with what was read for this
            raise InputError(f"it cannot be kept ({error.strerror}); make room in the studio's folder.") from error
        finally:
            new.unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """All jobs, the oldest first."""
        with self._guard:
            return sorted(self._entries.values(), key=lambda entry: (entry.created, entry.id))

    def entry(self, identity: str) -> Entry:
        """One job. InputError if there is none of that name, or no more."""
        with self._guard:
            if not isinstance(identity, str) or identity not in self._entries:
                raise InputError("there is no such job here, or no more; choose one of the history.")
            return self._entries[identity]

    def place(self, identity: str) -> Path:
        """The folder of a job. InputError if there is none, or somebody took it away."""
        place = self.jobs / self.entry(identity).id
        if not place.is_dir():
            raise InputError("the files of this job were taken away; delete it.")
        return place

    def change(self, identity: str, **changes: object) -> Entry:
        """Write what became of a job. InputError if that cannot be; it is known until the studio ends all the same."""
        with self._guard:
            ended = self.entry(identity).state == "running" and changes.get("state") in OVER
            self._entries[identity] = entry = self.entry(identity).model_copy(update=changes)
            if ended:
                _tidy(self.jobs / identity)
            path = self.jobs / identity / "job.json"
            with nameless(path), whole_file(path, overwrite=True) as temporary:
                temporary.write_text(entry.model_dump_json(indent=2), encoding="utf-8")
            return entry

    def delete(self, identity: str) -> None:
        """Remove a job with all its files. InputError while it is being made, or if that cannot be."""
        with self._guard:
            if self.entry(identity).state == "running":
                raise InputError("this video is being made; cancel it first.")
            gone = self.jobs / f".gone-{identity}"
            try:
                with suppress(FileNotFoundError):  # somebody took it away
                    (self.jobs / identity).rename(gone)
            except OSError as error:
                raise InputError(f"it cannot be deleted ({error.strerror}); see to the studio's folder.") from error
            del self._entries[identity]
        shutil.rmtree(gone, ignore_errors=True)


def _tidy(place: Path) -> None:
    """Take away what was for a job only while it was made, and what a process that died has left half written."""
    sweep(place)
    for name in (PREVIEW, f".{PREVIEW}", STOP):
        with suppress(OSError):
            (place / name).unlink()
