"""What a file or a request may cost at most. A header costs a few bytes, so nothing it says is taken on trust."""

import math
import operator
from typing import Any

from motionclone.errors import InputError
from motionclone.settings import MOST_PIXELS, MOST_SIDE

# Of one frame of a video: 8K, the largest that cameras and encoders make. A decoder may hold sixteen of them.
MOST_FRAME_PIXELS = 8192 * 4320
# Of an animated WebP, whose every frame is a copy of the whole canvas.
MOST_ANIMATED_PIXELS = 4096 * 4096
# Of a picture, which is held once: above the 61 megapixels of the largest common cameras.
MOST_PICTURE_PIXELS = 8192 * 8192
# Of its longer side: JPEG knows no longer one, and decoders take memory for every row.
MOST_PICTURE_SIDE = 2**16
# Of one clip: two hours at 36 frames per second. Timestamps of all are listed, and a motion takes seconds.
MOST_FRAMES = 2**18
# Of all tracks of an MP4, as far as they take no bytes of its header: 10 hours of picture and sound.
MOST_SAMPLES = 2**22
# Of a folder of pictures, all of which are hashed: 20 minutes at 8 frames per second.
MOST_PICTURES = 10_000
# Pixels that may be decoded for one reading: a thousand frames of 1080p for any file, and more for every byte it
# has. Films have less than 1,000 pixels a byte and still screens about 10,000; a bomb has millions.
FREE_PIXELS, PIXELS_PER_BYTE = 2**31, 2**14
# A pixel's width over its height, or the reverse. Real formats stay below 4; more is a damaged header.
MOST_PIXEL_ASPECT = 16
# Frames per second: outside, timestamps are damaged, and players and encoders differ in what they make of them.
LOWEST_FPS, HIGHEST_FPS = 0.001, 1000.0


def check_size(height: Any, width: Any, num_frames: Any = 1) -> None:
    """InputError unless frames of this size can be held; numbers must be whole (NumPy's are)."""
    for what, number in (("height", height), ("width", width), ("the number of frames", num_frames)):
        if not is_whole(number):
            raise InputError(f"{what} must be a whole number, got {shown(number)}; give one such as 16")
    size = f"{shown(height)}x{shown(width)}"
    if height < 1 or width < 1:
        raise InputError(f"height and width must be positive numbers of pixels, got {size} (height x width)")
    if max(height, width) > MOST_SIDE:
        raise InputError(f"height and width must be at most {MOST_SIDE} pixels, got {size}; ask for less")
    if num_frames > MOST_FRAMES:
        raise InputError(f"the number of frames must be at most {MOST_FRAMES}, got {shown(num_frames)}; ask for fewer")
    if num_frames * height * width > MOST_PIXELS:
        raise InputError(
            f"{num_frames} frames of {height}x{width} are more than the {MOST_PIXELS:,} pixels that are read at "
            "once; ask for fewer or smaller frames"
        )


def shown(value: Any) -> str:
    """A value as a sentence can hold it; Python writes no integers of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_whole(number: Any) -> bool:
    """Whether this is an integer of any type, and not a truth value."""
    try:
        operator.index(number)
    except TypeError:
        return False
    return type(number).__name__ not in ("bool", "bool_")


def is_number(value: Any) -> bool:
    """Whether this is a finite real number of any type, and not a truth value."""
    try:
        return type(value).__name__ not in ("bool", "bool_", "str", "bytes") and math.isfinite(value)
    except (TypeError, OverflowError, ValueError):
        return False
