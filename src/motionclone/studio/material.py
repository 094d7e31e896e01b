"""What one video is made of, as it is read: a clip or a motion file, and perhaps a picture that it starts from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.media.conditions import Condition
from motionclone.media.overlay import overlay
from motionclone.media.pictures import read_picture, read_sketch
from motionclone.models.sizes import Sizes
from motionclone.motion import Motion, load_motion
from motionclone.settings import Extraction, Settings
from motionclone.studio.asked import Asked
from motionclone.studio.clips import read_asked

_MOST_OF_A_MOTION = 4
"""So many times the model's own frames and pixels."""


@dataclass(frozen=True)
class Material:
    """Everything that is read before a video is made.

    Attributes:
        frames: (f, 3, h, w) in [-1, 1], the reference; of a motion file, where it sees motion.
        fps: of the reference.
        settings: at the size of the video.
        sha256: of the clip or the motion file.
        notices: sentences on what was done to what was read.
        motion: of a motion file; of a clip it has to be read yet.
        condition: the picture that the video follows.
        picture_sha256: of its file.
    """

    frames: Tensor
    fps: float
    settings: Settings
    sha256: str
    notices: tuple[str, ...]
    motion: Motion | None = None
    condition: Condition | None = None
    picture_sha256: str | None = None


def read_material(
    path: Path, picture: Path | None, asked: Asked, settings: Settings, sizes: Sizes, longest: int | None = None
) -> Material:
    """Read what is asked for.

    Args:
        path: of the clip or the motion file.
        picture: of the first frame or the sketch.
        asked: for which parts.
        settings: whose size counts; of a motion file, its own.
        sizes: that the model makes.
        longest: pixels of the longer side, for frames that are only to be seen.

    Raises:
        InputError: something cannot be read, or does not go together.
    """
    if asked.motion:
        return _of_motion(path, settings, "frames" in asked.more)
    clip, fitted = read_asked(path, asked, settings, sizes, longest)
    if picture is None:
        return Material(clip.frames, clip.fps, fitted, clip.sha256, clip.notices)
    read = read_picture if asked.image else read_sketch
    found = read(picture, fitted.sampling.height, fitted.sampling.width)
    facts = {"name": picture.name, "kind": asked.follows, "sha256": found.sha256}
    condition = Condition(found.pixels[None], (0,), (facts,))
    notices = (*clip.notices, *found.notices)
    return Material(clip.frames, clip.fps, fitted, clip.sha256, notices, None, condition, found.sha256)


def _of_motion(path: Path, settings: Settings, counted: bool) -> Material:
    """The number of frames is the motion's; `counted` says that one was asked for."""
    motion, own = load_motion(path), settings.sampling
    if counted and motion.video_frames != own.num_frames:
        raise InputError(
            f"a motion file is taken as it is: this one is of {motion.video_frames} frames, and {own.num_frames} were "
            "asked for; ask for as many, or drop the clip that it was read from."
        )
    record = motion.record
    height, width = record.size or (own.height, own.width)
    if motion.video_frames * height * width > _MOST_OF_A_MOTION * own.num_frames * own.height * own.width:
        raise InputError(
            f"the motion is of {motion.video_frames} frames of {width}x{height}, which this model's studio does not "
            f"make; take one of about {own.num_frames} frames of {own.width}x{own.height}."
        )
    size: dict[str, Any] = {"num_frames": motion.video_frames, "height": height, "width": width}
    if record.seed != settings.seed:  # its own noise would be taken, whatever the seed
        size["shared_noise"] = False
    read_with = {name: value for name in Extraction.model_fields if (value := getattr(record, name)) is not None}
    fitted = settings.model_copy(
        update={
            "sampling": own.model_copy(update=size),
            "extraction": settings.extraction.model_copy(update=read_with),
        }
    )
    dark = torch.full((motion.video_frames, 3, height, width), -1.0)
    return Material(overlay(motion, dark, 1.0), record.source.fps, fitted, sha256_of(path), (), motion)
