"""What every kind of source hands to `read_clip`: a timeline, and the pictures of the frames that are chosen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from motionclone.media.timeline import Timeline


@dataclass(frozen=True)
class Shot:
    """One frame at its own size, upright."""

    picture: NDArray[np.uint8]  # (h, w, 3) RGB
    pixel_aspect: float = 1.0  # width of a pixel over its height
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Take:
    """One way to read a source.

    Attributes:
        timeline: when its frames are shown.
        shots: the frames of rising numbers, one after the other.
        notices: sentences worth telling about the whole.
        certain: whether the timeline was found by decoding, so that a request may be refused for it.
    """

    timeline: Timeline
    shots: Callable[[Sequence[int]], Iterator[Shot]]
    notices: tuple[str, ...] = ()
    certain: bool = True


class UnsteadyError(Exception):
    """Raised by `Take.shots`: the frames are not as the timeline said; the next take may do better."""
