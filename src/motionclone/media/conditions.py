"""Pictures that a new video follows: a first frame, or sketches at some of its frames (Sec. 4.5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from torch import Tensor

from motionclone.errors import InputError
from motionclone.media.frames import as_frames
from motionclone.media.limits import is_whole, shown


@dataclass(frozen=True)
class Condition:
    """What SparseCtrl is shown.

    Attributes:
        pictures: (n, 3, h, w), RGB in [-1, 1], or another form that `as_frames` takes; sketches are white lines on
            black.
        frames: the number of the frame that each picture stands for, from 0.
        source: facts about the pictures for the record, plain JSON values.

    Raises:
        InputError: if pictures and frames do not fit each other.
    """

    pictures: Tensor
    frames: tuple[int, ...] = (0,)
    source: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.pictures, str | PathLike):
            raise InputError(
                f"pictures are values, not the name of a file; read it with read_picture({self.pictures!r})."
            )
        object.__setattr__(self, "pictures", as_frames(self.pictures, what="pictures"))
        if not isinstance(self.frames, Sequence):
            raise InputError(f"frames are the numbers of the pictures' frames, such as (0,), not {self.frames!r}.")
        if len(self.frames) != len(self.pictures):
            raise InputError(
                f"{len(self.pictures)} pictures came with {len(self.frames)} frame numbers; give every picture the "
                "number of its frame."
            )
        for frame in self.frames:
            if not is_whole(frame) or frame < 0:
                raise InputError(f"frames are numbered by whole numbers from 0, not {shown(frame)}; give such.")
            if self.frames.count(frame) > 1:
                raise InputError(f"two pictures are for frame {frame}; give every picture a frame of its own.")

    def __repr__(self) -> str:
        _, _, height, width = self.pictures.shape
        return f"Condition({width}x{height} for frames {', '.join(map(str, self.frames[:16]))})"

    def check_fits(self, num_frames: int, height: int, width: int) -> None:
        """InputError if a video of this length and size cannot follow the pictures."""
        for frame in self.frames:
            if not 0 <= frame < num_frames:
                raise InputError(
                    f"a picture is for frame {frame} and the video's frames are 0 to {num_frames - 1}; choose one."
                )
        if tuple(self.pictures.shape[-2:]) != (height, width):
            found = "x".join(map(str, reversed(self.pictures.shape[-2:])))
            raise InputError(f"the pictures are {found} and the video is {width}x{height}; fit them to its size.")
