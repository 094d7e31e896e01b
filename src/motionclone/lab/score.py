"""Score videos, however they were made, against the clips whose motion they should have.

Memory is bounded by what is held at once: one video and its reference, each at its measuring size, and a few references
for the floor.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from motionclone.errors import InputError
from motionclone.lab.identity import shortened
from motionclone.lab.measures import measure_motion
from motionclone.lab.metric import Goal, Video
from motionclone.lab.metrics import SMALLEST_SIDE, Embedder
from motionclone.lab.score_list import ListedVideo
from motionclone.lab.scoring import Scores, floor, score
from motionclone.media.reading import clip_size, read_clip
from motionclone.media.writing import write_video

MEASURED_PIXELS = 20_000_000
"""Of all frames of a video together: 49 frames of 720x480 are measured as they are, 30 s of 1080p at 210x118."""
FLOOR_VIDEOS, FLOOR_PIXELS = 16, 2 * MEASURED_PIXELS
"""The floor is the mean over the references of so many other videos, fewer if together they have more pixels."""


@dataclass(frozen=True)
class ScoredVideo:
    """One video's scores, its floor (others' references and words) and its ceiling (the reference, re-encoded)."""

    listed: ListedVideo
    scores: Scores
    floor: Scores
    ceiling: Scores


@dataclass(frozen=True)
class _Reference:
    goal: Goal
    ceiling: Scores


Size = tuple[int, int, int]  # frames, height, width


def measuring_size(frames: int, height: int, width: int) -> tuple[int, int]:
    """Height and width at which a video is measured: its own, or less if all frames are more than `MEASURED_PIXELS`.

    Raises:
        InputError: if that leaves too little to see.
    """
    scale = min(1.0, math.sqrt(MEASURED_PIXELS / (frames * height * width)))
    measured = int(height * scale), int(width * scale)
    if min(measured) < SMALLEST_SIDE:
        raise InputError(
            f"{frames} frames of {width}x{height} would be measured at {measured[1]}x{measured[0]}, and motion cannot "
            f"be seen below {SMALLEST_SIDE}x{SMALLEST_SIDE}; give a shorter video, or one that is not so narrow."
        )
    return measured


def score_videos(
    listed: Sequence[ListedVideo], judge: Embedder, on_done: Callable[[int, int], None] | None = None
) -> list[ScoredVideo]:
    """Score every video. References are read at the length and measuring size of their videos.

    Raises:
        InputError: if the videos differ in length, or a file cannot be read or measured.
    """
    sizes = [_size(each) for each in listed]
    odd = next((i for i, size in enumerate(sizes) if size[0] != sizes[0][0]), None)
    if odd is not None:
        first, other = shortened(listed[0].video), shortened(listed[odd].video)
        raise InputError(
            f"{first} has {sizes[0][0]} frames and {other} has {sizes[odd][0]}; "
            "scores depend on the length, so score videos of each length by themselves."
        )
    if on_done is not None:
        on_done(0, len(listed))
    words = judge.texts([each.prompt for each in listed])

    def reference_of(number: int) -> _Reference:
        each = listed[number]
        reference = _reference(each, sizes[number], judge)
        return replace(reference, goal=replace(reference.goal, prompt=each.prompt, words=words[number]))

    largest = max(frames * height * width for frames, height, width in sizes)
    kept = {number: reference_of(number) for number in _spread(len(listed), max(2, FLOOR_PIXELS // largest))}
    scored = []
    for number, (each, size) in enumerate(zip(listed, sizes, strict=True)):
        reference = kept[number] if number in kept else reference_of(number)
        video = Video(read_clip(each.video, *size).frames, judge)
        unrelated = [
            other.goal
            for place, other in kept.items()
            if listed[place].reference != each.reference and sizes[place] == size
        ]
        scores = score(video, reference.goal)
        scored.append(ScoredVideo(each, scores, floor(video, each.prompt, unrelated), reference.ceiling))
        if on_done is not None:
            on_done(number + 1, len(listed))
    return scored


def _spread(count: int, room: int) -> list[int]:
    """Up to `FLOOR_VIDEOS` of so many numbers, evenly spread, and no more than there is room for."""
    taken = min(count, FLOOR_VIDEOS, room)
    return [round(i * (count - 1) / max(taken - 1, 1)) for i in range(taken)]


def _size(listed: ListedVideo) -> Size:
    """Of the video as it is measured."""
    frames, height, width = clip_size(listed.video)
    if frames < 2:
        raise InputError(f"{shortened(listed.video)} has a single frame, and motion needs two; take it out.")
    try:
        return frames, *measuring_size(frames, height, width)
    except InputError as error:
        raise InputError(f"{shortened(listed.video)}: {error}") from error


def _reference(listed: ListedVideo, size: Size, judge: Embedder) -> _Reference:
    options = {"start": listed.start, "end": listed.end, "fps": listed.fps, "fit": listed.fit,
               "crop": listed.crop, "flip": listed.flip}  # fmt: skip
    frames = read_clip(listed.reference, *size, **options).frames  # type: ignore[arg-type]
    goal = Goal(measure_motion(frames), "real", judge.images(frames), None, None)  # nobody said what it shows
    return _Reference(goal, score(Video(_reencoded(frames), judge), goal))


def _reencoded(frames: Tensor) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.mp4"
        write_video(path, frames, 8.0)
        return read_clip(path, len(frames), *frames.shape[-2:]).frames
