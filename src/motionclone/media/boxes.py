"""MP4 and MOV are boxes in boxes. FFmpeg makes an index of as many samples as they say there are before it reads one,
and some boxes say so in four bytes, so that 2 kB of file would take 5 GB of memory. So samples are counted first.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from motionclone.errors import InputError
from motionclone.media.limits import MOST_SAMPLES
from motionclone.media.paths import spoken

# Boxes that hold boxes, and how deep FFmpeg follows them.
_WITHIN = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf", b"udta", b"edts", b"dinf", b"gmhd"}
_DEPTH = 10
_MOST_BOXES = 2**20  # of one row
_MOST_UNPACKED = 2**26  # bytes of a header that is compressed, as QuickTime once did
_PIECE = 1024  # samples of raw sound that FFmpeg takes for one


def check_boxes(path: Path) -> None:
    """InputError if an MP4 or MOV promises more samples than are read; other files pass."""
    with path.open("rb") as file:
        samples = _samples(file, path.stat().st_size)
    if samples > MOST_SAMPLES:
        raise InputError(
            f"the header of {spoken(path)} promises {samples:,} samples, and at most {MOST_SAMPLES:,} are read: it is "
            "damaged or too long; cut out the part that is meant"
        )


def _samples(file: BinaryIO, size: int, depth: int = 0) -> int:
    """Samples for which FFmpeg would take memory although they take no bytes of the header."""
    found = 0
    table: dict[bytes, int] = {}  # of one track
    for kind, at, end in _leaves(file, 0, size):
        try:
            if kind == b"trak":
                found += _in_table(file, table)
                table = {}
            elif kind == b"trun":
                found += _numbers(file, at + 4, 1)[0]
            elif kind == b"cmov" and depth < _DEPTH:
                header = _unpacked(file, at, end)
                found += _samples(BytesIO(header), len(header), depth + 1)
            else:
                table[kind] = at
        except (struct.error, zlib.error):
            continue  # cut short, as FFmpeg will find
    return found


def _leaves(file: BinaryIO, at: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """The innermost boxes, with where their content begins and ends; each track is ended by an empty one."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        head = file.read(16)
        size, kind = struct.unpack(">I4s", head[:8])
        begin = at + 8
        if size == 1 and len(head) == 16:
            size, begin = struct.unpack(">Q", head[8:])[0], at + 16
        elif size == 0:
            size = end - at
        if size < begin - at:
            return
        if kind in _WITHIN and depth < _DEPTH:
            yield from _leaves(file, begin, min(at + size, end), depth + 1)
            if kind == b"trak":
                yield kind, end, end
        elif kind != b"trak":
            yield kind, begin, min(at + size, end)
        at += size


def _in_table(file: BinaryIO, boxes: dict[bytes, int]) -> int:
    """Samples of one size for all, of a track with these boxes."""
    if b"stsz" not in boxes:
        return 0
    size, count = _numbers(file, boxes[b"stsz"] + 4, 2)
    if size == 0:
        return 0  # each has its size written
    groups, places = boxes.get(b"stsc"), boxes.get(b"stco", boxes.get(b"co64"))
    if groups is not None and places is not None and _is_raw_sound(file, boxes.get(b"stts")):
        rows = min(_numbers(file, groups + 4, 1)[0], _MOST_BOXES)
        longest = max(_numbers(file, groups + 8, 3 * rows)[1::3], default=0)
        return longest * _numbers(file, places + 4, 1)[0] // _PIECE
    return count


def _is_raw_sound(file: BinaryIO, durations: int | None) -> bool:
    """Whether all samples last one tick: FFmpeg takes such by the chunk."""
    return durations is not None and _numbers(file, durations + 4, 1) == (1,) == _numbers(file, durations + 12, 1)


def _unpacked(file: BinaryIO, at: int, end: int) -> bytes:
    """The header in a compressed one."""
    for kind, begin, stop in _leaves(file, at, end):
        if kind == b"cmvd":
            file.seek(begin + 4)  # behind its size
            return zlib.decompressobj().decompress(file.read(stop - begin - 4), _MOST_UNPACKED)
    return b""


def _numbers(file: BinaryIO, at: int, count: int) -> tuple[int, ...]:
    """Unsigned 32-bit numbers from a place on."""
    file.seek(at)
    return struct.unpack(f">{count}I", file.read(4 * count))
