"""Animated WebP, which FFmpeg does not unpack: timestamps from its chunks, pictures by Pillow (libwebp)."""

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from motionclone.errors import InputError
from motionclone.media.container import Allowance
from motionclone.media.limits import MOST_ANIMATED_PIXELS, MOST_FRAMES
from motionclone.media.paths import spoken
from motionclone.media.shots import Shot, Take
from motionclone.media.stills import flattened, open_picture
from motionclone.media.timeline import Timeline

# As browsers do: a frame that is to be shown for less than can be seen is shown for this long, in ms.
_LEAST, _INSTEAD = 11, 100

_COPIES = 4  # of the canvas that libwebp and Pillow make for a frame, taken or not


def is_animated_webp(path: Path) -> bool:
    """Whether the header says so; false for what cannot be opened, of which others complain."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(21)
    except (OSError, ValueError):
        return False
    return len(head) == 21 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


def animation_takes(path: Path) -> Iterator[Take]:
    """The one way to read an animated WebP.

    Raises:
        InputError: it is cut short, damaged, or too large.
    """
    durations = np.array(_durations(path), dtype=np.int64)
    durations[durations < _LEAST] = _INSTEAD
    with open_picture(path, MOST_ANIMATED_PIXELS) as picture:
        canvas = picture.width * picture.height
    if not len(durations):
        raise InputError(f"{spoken(path)} is an animation without a picture; export it again.")
    pts = np.cumsum(durations) - durations
    timeline = Timeline(pts, Fraction(1, 1000), rest=float(durations[-1]) / 1000)
    yield Take(timeline, partial(_shots, path, canvas))


def _durations(path: Path) -> list[int]:
    """Milliseconds for which each frame is shown, from the headers of its chunks."""
    durations: list[int] = []
    with path.open("rb") as file:
        size = struct.unpack("<I", file.read(8)[4:])[0] + 8
        if size > path.stat().st_size:
            raise InputError(f"{spoken(path)} is cut short: it should have {size:,} bytes; give the whole file.")
        at = 12
        while at + 8 <= size:
            file.seek(at)
            head = file.read(24)
            length = struct.unpack("<I", head[4:8])[0]
            if head[:4] == b"ANMF" and len(head) == 24:
                durations.append(int.from_bytes(head[20:23], "little"))
            if len(durations) > MOST_FRAMES:
                raise InputError(f"{spoken(path)} has more than {MOST_FRAMES} frames; cut out the part that is meant.")
            at += 8 + length + length % 2
    return durations


def _shots(path: Path, canvas: int, wanted: Sequence[int]) -> Iterator[Shot]:
    Allowance(path).check(_COPIES * canvas * (wanted[-1] + 1))  # each frame is drawn over the one before
    with open_picture(path, MOST_ANIMATED_PIXELS) as picture:
        for number in wanted:
            picture.seek(number)
            rgb, notices = flattened(picture)
            yield Shot(rgb, notices=tuple(f"the animation {notice}" for notice in notices))
