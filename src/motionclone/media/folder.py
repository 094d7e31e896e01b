"""A folder of numbered pictures, played as a clip."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from motionclone.errors import InputError, named
from motionclone.files import sha256_of
from motionclone.media.limits import MOST_PICTURES
from motionclone.media.paths import spoken
from motionclone.media.shots import Shot, Take
from motionclone.media.stills import SUFFIXES, read_still
from motionclone.media.timeline import Timeline

FOLDER_FPS = 8.0  # pictures have no rate of their own: this is AnimateDiff's, and that of the videos made here


def folder_takes(folder: Path, fps: float, given: bool) -> Iterator[Take]:
    """The one way to read a folder of pictures; `given` is whether somebody asked for this rate.

    Raises:
        InputError: no pictures, too many, or two of one name.
    """
    pictures, others = _pictures(folder)
    notices = []
    if not given:
        notices.append(
            f"a folder has no rate: its pictures are taken to play at {fps:g} frames per second; {named('fps')} changes"
            " it"
        )
    if len(kinds := sorted({path.suffix.lower() for path in pictures})) > 1:
        notices.append(f"the folder holds pictures of several kinds ({', '.join(kinds)}): all are taken, by name")
    if others:
        some = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        notices.append(
            f"{len(others)} in the folder {'is' if len(others) == 1 else 'are'} no picture and left out: {some}"
        )
    if gap := _gap(pictures):
        notices.append(f"the numbers of the pictures have gaps, such as between {gap}: they play without a pause")
    timeline = Timeline(np.arange(len(pictures)), 1 / Fraction(fps), paced=not given)
    yield Take(timeline, partial(_shots, pictures), tuple(notices))


def _pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """The pictures in order, and the names of what else is there."""
    found: list[Path] = []
    others: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(found) + len(others) >= MOST_PICTURES:
                    raise InputError(
                        f"the folder {spoken(folder)} holds more than {MOST_PICTURES} files, the most that are read; "
                        "put those that are meant into a folder of their own"
                    )
                if entry.is_file() and Path(entry.name).suffix.lower() in SUFFIXES and not entry.name.startswith("."):
                    found.append(folder / entry.name)
                else:
                    others.append(spoken(entry.name))
    except OSError as error:
        raise InputError(
            f"the folder {spoken(folder)} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not found:
        raise InputError(
            f"{spoken(folder)} is a folder without pictures ({', '.join(SUFFIXES)}); give a video file, or a folder of "
            "numbered pictures"
        )
    found.sort(key=lambda path: _natural(path.name))
    stems: dict[str, Path] = {}
    for path in found:
        twin = stems.setdefault(path.stem, path)
        if twin != path:
            raise InputError(
                f"the folder {spoken(folder)} has {spoken(twin.name)} and {spoken(path.name)}, and one picture a frame "
                "was expected; move one kind elsewhere"
            )
    return found, sorted(others)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts names with the numbers in them as numbers: 2 before 10."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if at % 2 else (0, part) for at, part in enumerate(parts)], name


def _gap(pictures: Sequence[Path]) -> str:
    """Two neighbours between which numbers are missing, if all pictures are numbered and some steps are as small."""
    numbers = []
    for path in pictures:
        found = re.findall(r"[0-9]+", path.stem)
        if not found:
            return ""
        numbers.append(int(found[-1]))
    steps = np.diff(numbers)
    if not len(steps) or steps.max() == steps.min():
        return ""
    wide = int(steps.argmax())
    return f"{spoken(pictures[wide].name)} and {spoken(pictures[wide + 1].name)}"


def _shots(pictures: Sequence[Path], wanted: Sequence[int]) -> Iterator[Shot]:
    """The wanted pictures, all of one size."""
    size = None
    for number in wanted:
        path = pictures[number]
        rgb, notices = read_still(path)
        size = size or rgb.shape
        if rgb.shape != size:
            raise InputError(
                f"{spoken(path)} is {rgb.shape[1]}x{rgb.shape[0]} and pictures before it are {size[1]}x{size[0]}; give "
                "a folder of pictures of one size"
            )
        yield Shot(rgb, notices=tuple(f"some picture {notice}" for notice in notices))


def sha256_of_folder(folder: Path) -> str:
    """The hash of the hashes (bytes, one after the other) of the pictures in their order, hexadecimal."""
    pictures, _ = _pictures(folder)
    return hashlib.sha256(b"".join(bytes.fromhex(sha256_of(path)) for path in pictures)).hexdigest()
