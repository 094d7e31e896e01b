"""Read a reference clip: real files of any kind in, `f c h w` frames in [-1, 1] out. (Writing: `writing`.)

A clip is read in two steps: list the timestamps of all frames, choose some, then decode and keep only those,
already at their final size. So memory is bounded by what is asked for, whatever the length and size of the file.
"""

import operator
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from motionclone.errors import InputError, named
from motionclone.files import as_path, sha256_of
from motionclone.media.animation import animation_takes, is_animated_webp
from motionclone.media.film import film_takes
from motionclone.media.fitting import Crop, Fit, fitted, part_of
from motionclone.media.folder import FOLDER_FPS, folder_takes, sha256_of_folder
from motionclone.media.limits import HIGHEST_FPS, LOWEST_FPS, check_size, is_number, shown
from motionclone.media.paths import is_folder, spoken
from motionclone.media.shots import Take, UnsteadyError
from motionclone.media.timeline import Request, choose


@dataclass(frozen=True)
class Clip:
    """Frames taken from a video or pictures, and what must be known of where they came from.

    Attributes:
        frames: (f, 3, h, w) float32, RGB in [-1, 1].
        fps: frames per second at which these frames play as fast as the source: 1 / (mean spacing in seconds).
        sha256: of the source file's bytes, hexadecimal; of a folder, of its pictures' hashes in their order.
        notices: sentences worth telling the user, e.g. "centre-cropped 1920x1080 to 1:1".
    """

    frames: Tensor
    fps: float
    sha256: str
    notices: tuple[str, ...]

    def __repr__(self) -> str:
        frames, _, height, width = self.frames.shape
        return f"Clip({frames} frames of {width}x{height} at {self.fps:g} fps, sha256 {self.sha256[:12]}...)"


def read_clip(
    path: str | os.PathLike[str],
    num_frames: int = 16,
    height: int = 512,
    width: int = 512,
    *,
    start: float = 0.0,
    end: float | None = None,
    fps: float | None = None,
    fit: Fit = "crop",
    crop: Crop | None = None,
    flip: bool = False,
    fewer: Callable[[int], int] | None = None,
    shorten: bool = True,
) -> Clip:
    """Read `num_frames` frames of a video, an animated picture or a folder of pictures, resized to `height` by `width`.

    Args:
        path: a video file; an animated GIF, PNG, WebP or AVIF; or a folder of pictures, which are taken in the order
            of their names with numbers as numbers (2 before 10). Rotation, mirroring and pixel aspect are applied as
            the file says; transparency is dropped, or put on white where pictures are (WebP, folders).
        num_frames: f, at least 2.
        height: of the result, in pixels.
        width: of the result, in pixels.
        start: seconds after the first frame.
        end: seconds after the first frame, inclusive; None is the end of the clip.
        fps: None spreads the frames evenly over the frames of [start, end], from the first to the last: numbers
            `floor(linspace(0, n - 1, f))` for a constant rate, else by time. A number takes the frames shown at
            `start + i / fps`. Between two timestamps the earlier frame counts. A folder plays at this rate, or at 8
            frames per second, so with a number its pictures are taken one by one.
        fit: "crop" keeps the aspect (scale until the target is covered, cut the middle out); "squash" does not, and
            repeats the MotionClone authors' frames exactly (quick YUV conversion; bilinear with aligned corners and
            without antialiasing, rounded to 8 bits).
        crop: (left, top, right, bottom) in [0, 1] of the picture, as shown: nothing else of it is looked at.
        flip: whether left and right change places.
        fewer: of how many frames there are, how many are of use, such as the largest number up to it that a model
            makes. Where the clip is too short for `num_frames` it tells how many are taken, or (not `shorten`) how many
            the refusal advises; None refuses such a clip, too.

    Raises:
        InputError: the file or a number is no good; the sentence says which and what to do. Limits are in
            `motionclone.media.limits`.
    """
    _check_numbers(num_frames, height, width, start, end, fps, fit)
    crop = None if crop is None else _checked(crop)
    path = as_path(path)
    num_frames, height, width = (operator.index(number) for number in (num_frames, height, width))
    request = Request(
        num_frames, float(start), None if end is None else float(end), None if fps is None else float(fps)
    )
    if fewer is not None:
        request = replace(request, fewer=fewer, shorten=shorten)
    for take in _takes(path, fit == "squash", request.fps):
        try:
            chosen, rate = choose(take.timeline, request, spoken(path))
        except InputError:
            if take.certain:
                raise
            continue
        try:
            frames, about = _fitted_frames(take, chosen, height, width, fit, crop, flip)
        except UnsteadyError:
            continue
        notices = [*about, *take.notices, *take.timeline.notices()]
        if len(set(chosen)) < len(chosen):
            notices.append(f"{len(chosen) - len(set(chosen))} of the {len(chosen)} frames repeat the one before")
        return Clip(frames, rate, (sha256_of_folder if is_folder(path) else sha256_of)(path), tuple(notices))
    raise InputError(f"{spoken(path)} could not be decoded twice alike; re-encode it as MP4 and give that file")


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width in pixels of a clip's pictures, as shown; only the first one is decoded.

    Raises:
        InputError: as `read_clip`.
    """
    path = as_path(path)
    for take in _takes(path, quick=True, fps=None):
        try:
            shot = next(take.shots([0]))
        except UnsteadyError:
            continue
        return shot.picture.shape[0], max(1, round(shot.picture.shape[1] * shot.pixel_aspect))
    raise InputError(f"{spoken(path)} could not be decoded; re-encode it as MP4 and give that file")


def clip_size(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Frames, height and width in pixels of a clip, as shown; `read_clip` with these takes every frame as it is.

    Raises:
        InputError: as `read_clip`.
    """
    path = as_path(path)
    for take in _takes(path, quick=True, fps=None, listed=False):
        shot = next(take.shots([0]))
        return len(take.timeline.pts), shot.picture.shape[0], round(shot.picture.shape[1] * shot.pixel_aspect)
    raise InputError(f"{spoken(path)} could not be decoded; re-encode it as MP4 and give that file")


def _takes(path: Path, quick: bool, fps: float | None, listed: bool = True) -> Iterator[Take]:
    """Ways to read what is there, best first; without `listed`, only those that have decoded every frame."""
    if is_folder(path):
        return folder_takes(path, fps or FOLDER_FPS, given=fps is not None)
    if is_animated_webp(path):
        return animation_takes(path)
    return film_takes(path, quick) if listed else film_takes(path, quick, ("frames", "order"))


def _fitted_frames(
    take: Take, chosen: Sequence[int], height: int, width: int, fit: Fit, crop: Crop | None, flip: bool
) -> tuple[Tensor, list[str]]:
    """The chosen frames (f, 3, height, width), and notices on their pictures."""
    frames = torch.empty(len(chosen), 3, height, width)
    notices: dict[str, None] = {}  # in order, each once
    wanted = sorted(set(chosen))
    for number, shot in zip(wanted, take.shots(wanted), strict=True):
        frame, cropped = fitted(part_of(shot.picture, crop, flip), shot.pixel_aspect, height, width, fit)
        frames[[at for at, index in enumerate(chosen) if index == number]] = frame
        notices |= dict.fromkeys((*shot.notices, *cropped))
    return frames, list(notices)


def _checked(crop: Any) -> Crop:
    """The four shares of a crop. InputError if they are none, or leave nothing."""
    whole = list(crop) if isinstance(crop, Sequence) and not isinstance(crop, str) else []
    if len(whole) != 4 or not all(is_number(share) for share in whole):
        whole = [1.0, 1.0, 0.0, 0.0]
    left, top, right, bottom = map(float, whole)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise InputError(
            f"{named('crop')} is left, top, right and bottom of the part that is meant, as shares of the picture from "
            f"0 to 1, such as 0.25 0 0.75 1; got {shown(crop)}"
        )
    return left, top, right, bottom


def _check_numbers(num_frames: Any, height: Any, width: Any, start: Any, end: Any, fps: Any, fit: Any) -> None:
    """The errors that need no file."""
    check_size(height, width, num_frames)
    if num_frames < 2:
        raise InputError(f"the number of frames must be at least 2, got {shown(num_frames)}; motion needs two frames")
    if fit not in get_args(Fit):
        raise InputError(f"fit must be one of {', '.join(get_args(Fit))}, got {shown(fit)}")
    if not (is_number(start) and start >= 0):
        raise InputError(f"{named('start')} must be 0 or more seconds after the first frame, got {shown(start)}")
    if end is not None and not (is_number(end) and end > start):
        raise InputError(f"{named('end')} must come after {named('start')}, got start {start} s and end {shown(end)} s")
    if fps is not None and not (is_number(fps) and fps > 0):
        raise InputError(f"{named('fps')} must be a positive number of frames per second, got {shown(fps)}")
    if fps is not None and not LOWEST_FPS <= fps <= HIGHEST_FPS:
        raise InputError(
            f"{named('fps')} must be from {LOWEST_FPS:g} to {HIGHEST_FPS:g} frames per second, got {fps:g}"
        )
