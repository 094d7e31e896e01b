"""The clips that come in: limits before anything is decoded, the frames that will be read, and examples."""

from pathlib import Path
from typing import Any

import av
from torch import Tensor

from motionclone.errors import InputError
from motionclone.files import kind_of, whole_file
from motionclone.lab.world import SHAPES, Scene, named_trajectory
from motionclone.media.container import open_video
from motionclone.media.reading import Clip, picture_size, read_clip
from motionclone.media.stills import SUFFIXES as PICTURES
from motionclone.media.writing import encode_video
from motionclone.models.sizes import Sizes
from motionclone.motion import SUFFIX
from motionclone.settings import Settings
from motionclone.studio.asked import Asked

MOST_BYTES = 256 * 2**20
MOST_SECONDS = 600.0
_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif", ".webp", ".png", ".apng", ".avif", ".m4v", ".mpg", ".ts")

OBJECT_PATHS = {
    "Round in a circle": "circle",
    "There and back": "turn-back",
    "To the right": "right",
    "Downwards": "down",
    "Diagonal": "diagonal",
    "Figure eight": "figure-eight",
    "Bouncing": "bounce",
    "Spiral": "spiral",
    "Wave": "wave",
    "Zigzag": "zigzag",
    "Swing": "swing",
    "Loop": "loop",
}
"""Ready motions, by what a person sees of them."""
CAMERA_MOVES = {
    "Camera zooms in": "zoom-in",
    "Camera zooms out": "zoom-out",
    "Camera pans left": "pan-left",
    "Camera pans right": "pan-right",
    "Camera pans up": "pan-up",
    "Camera pans down": "pan-down",
    "Camera rolls": "roll",
    "Camera circles": "orbit",
}
"""Likewise; the picture moves the other way."""
_SEEN_FRAMES, _SEEN_HEIGHT = 8, 176
READY = OBJECT_PATHS | CAMERA_MOVES
EXAMPLES = tuple(READY)
_COLOURS = ("orange", "yellow", "cyan", "red", "white")
_GROUNDS = ("purple", "green", "gray", "blue")
_TEXTURES = ("rocks", "clouds", "checks")  # on which a camera's move is seen


def example_clip(folder: Path, name: str) -> Path:
    """The clip of a ready motion, drawn once: two seconds of 256 x 256 pixels. InputError for a name that is none."""
    if name not in READY:
        raise InputError(f"there is no example {str(name)[:60]!r}; there are {', '.join(EXAMPLES)}.")
    path = folder / f"{READY[name]}.mp4"
    if not path.is_file():
        at = list(READY).index(name)
        looks = (SHAPES, _COLOURS, _TEXTURES, _GROUNDS)
        shape, colour, texture, ground = (each[at % len(each)] for each in looks)
        frames = Scene(shape, colour, texture, ground, named_trajectory(READY[name], 16)).render(256)
        with whole_file(path, overwrite=True) as temporary:
            encode_video(temporary, frames, 8.0)
    return path


def kept_name(clip: Path) -> str:
    """What a copy of a clip is called. Of its name nothing stays but the ending, and that only if it is a clip's."""
    suffix = clip.suffix.lower()
    if is_motion(clip):
        return f"reference{SUFFIX}"
    return f"reference{suffix if suffix in _SUFFIXES else '.mp4'}"


def picture_name(picture: Path) -> str:
    """What a copy of a picture is called. Of its name nothing stays but the ending, and that only if it is one's."""
    suffix = picture.suffix.lower()
    return f"picture{suffix if suffix in PICTURES else '.png'}"


def is_motion(path: Path) -> bool:
    """Whether somebody means a motion file: by its first bytes, or its name."""
    return kind_of(path) == "motion file" or path.suffix.lower() == SUFFIX


def check_clip(path: Path) -> None:
    """Refuse, before anything is decoded, a clip that is larger or longer than the studio takes.

    Raises:
        InputError: which limit it passes and what to do; or that it is none.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"the clip is not here any more ({error.strerror}); drop it again.") from error
    if size > MOST_BYTES:
        raise InputError(
            f"the clip has {size / 2**20:.0f} MB and the studio takes {MOST_BYTES >> 20}; cut out the part you mean."
        )
    if kind_of(path) != "video":  # pictures and what is no clip, of which the reader tells
        return
    with open_video(path) as (container, stream):
        seconds = max(
            (container.duration or 0) / av.time_base,
            float((stream.duration or 0) * stream.time_base) if stream.time_base else 0.0,
        )
    if seconds > MOST_SECONDS:
        raise InputError(
            f"the clip takes {seconds:.0f} s and the studio takes {MOST_SECONDS:.0f}; cut out the part you mean."
        )


def overview(path: Path) -> tuple[Tensor, float]:
    """A few frames of a whole clip, (f, 3, h, w) in [-1, 1] at its own aspect, and seconds from its first to its last.

    Raises:
        InputError: as `check_clip` and `read_clip`.
    """
    check_clip(path)
    height, width = picture_size(path)
    size = (_SEEN_HEIGHT, min(4 * _SEEN_HEIGHT, max(_SEEN_HEIGHT // 4, round(_SEEN_HEIGHT * width / height))))
    clip = read_clip(path, _SEEN_FRAMES, *size, fewer=lambda frames: frames)
    return clip.frames, (len(clip.frames) - 1) / clip.fps


def part_of(asked: Asked) -> dict[str, Any]:
    """Which part of a clip is read, as `read_clip` takes it."""
    names = ("start", "end", "fps", "fit", "crop", "flip")
    return {name: getattr(asked, name) for name in names}


def read_asked(
    path: Path, asked: Asked, settings: Settings, sizes: Sizes, longest: int | None = None
) -> tuple[Clip, Settings]:
    """The part of a clip that is asked for, and the settings at a size that the model makes and the clip has.

    Args:
        path: of the clip, within the limits of `check_clip`.
        asked: for its part.
        settings: whose size counts.
        sizes: that the model makes.
        longest: pixels of the longer side, for frames that are only to be seen; they are the same frames.

    Raises:
        InputError: as `read_clip`, which shortens a video for a clip that has not as many frames as the preset.
    """
    wanted = settings.sampling
    frames, height, width = sizes.nearest(wanted.num_frames, wanted.height, wanted.width)
    scale = 1.0 if longest is None else min(1.0, longest / max(height, width))
    seen = (max(8, round(height * scale)), max(8, round(width * scale)))
    shorten = "frames" not in asked.more or frames > wanted.num_frames  # those that were asked for are not
    clip = read_clip(path, frames, *seen, **part_of(asked), fewer=sizes.most, shorten=shorten)
    size = {"num_frames": len(clip.frames), "height": height, "width": width}
    return clip, settings.model_copy(update={"sampling": wanted.model_copy(update=size)})
