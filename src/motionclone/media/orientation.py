"""How a decoded frame is turned, mirrored and stretched before it is shown: its display matrix and pixel aspect."""

import struct
from dataclasses import dataclass
from math import hypot
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from motionclone.media.limits import MOST_PIXEL_ASPECT

# Transposed, mirrored left to right, flipped upside down (in this order): what it looks like.
_NAMES = {
    (False, False, False): "",
    (False, True, False): "mirrored left to right",
    (False, False, True): "flipped upside down",
    (False, True, True): "rotated by 180 degrees",
    (True, True, False): "rotated by 90 degrees clockwise",
    (True, False, True): "rotated by 90 degrees anticlockwise",
    (True, False, False): "rotated by 90 degrees clockwise and mirrored left to right",
    (True, True, True): "rotated by 90 degrees anticlockwise and mirrored left to right",
}


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a rectangle on its place, nearest to the file's matrix."""

    transposed: bool = False  # first: rows become columns
    mirrored: bool = False  # then: left to right
    flipped: bool = False  # and upside down
    exact: bool = True  # whether the matrix says just this, but for a scale

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A picture (h, w, 3) as it is shown."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        return np.ascontiguousarray(picture[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1])

    @property
    def notice(self) -> str:
        """What is done, or "" if nothing is."""
        done = _NAMES[self.transposed, self.mirrored, self.flipped]
        if not self.exact:
            return (
                "the file asks for a slant, a shear or a perspective, which is not applied: the picture is "
                f"{done or 'as it is stored'}"
            )
        return f"{done}, as the file says" if done else ""


_QUARTERS = {
    90: Orientation(transposed=True, flipped=True),
    180: Orientation(mirrored=True, flipped=True),
    270: Orientation(transposed=True, mirrored=True),
}


def orientation_of(frame: VideoFrame) -> Orientation:
    """What the frame's display matrix says.

    A pixel at column x and row y is shown at (a x + c y, b x + d y), moved so that the whole lies at the origin.
    """
    try:
        side_data: Any = frame.side_data  # typed otherwise
        found = [data for data in side_data if data.type.name == "DISPLAYMATRIX"]
    except ValueError:  # beside data of a kind that PyAV does not know, such as EXIF, it tells the angle alone
        return _QUARTERS.get(frame.rotation % 360, Orientation())
    if not found:
        return Orientation()
    a, b, u, c, d, v, *_ = struct.unpack("=9i", bytes(found[0])[:36])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0, exact=not (u or v) and _aligned(a, c) and _aligned(d, b))
    return Orientation(True, c < 0, b < 0, exact=not (u or v) and _aligned(c, a) and _aligned(b, d))


def _aligned(along: int, across: int) -> bool:
    """Whether a direction is that of an axis, to half a degree."""
    return along != 0 and abs(across) < 0.01 * hypot(along, across)


def pixel_aspect_of(stream: VideoStream) -> tuple[float, str]:
    """Width of a stored pixel over its height, and a notice if what the file says cannot be."""
    said = stream.sample_aspect_ratio
    if not said or said <= 0:  # unknown
        return 1.0, ""
    if not 1 / MOST_PIXEL_ASPECT <= said <= MOST_PIXEL_ASPECT:
        return 1.0, f"the file says that pixels are {said.numerator}:{said.denominator}, which cannot be: taken as 1:1"
    return float(said), ""
