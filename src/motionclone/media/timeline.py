"""When the frames of a clip are shown, and which of them are taken."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motionclone.errors import InputError, named
from motionclone.media.limits import HIGHEST_FPS, LOWEST_FPS


@dataclass(frozen=True)
class Timeline:
    """When each frame that can be decoded is shown."""

    pts: NDArray[np.int64]  # (n,) n >= 1, strictly increasing, in ticks
    tick: Fraction  # seconds
    rest: float = 0.0  # seconds that the last frame is shown; 0 if the file does not say
    damaged: bool = False  # whether some frames could not be read
    cut: str = ""  # how it shows that the end of the file is missing; "" if it is not
    paced: bool = True  # whether it has a rate of its own, and not the one that is asked for

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(n,) seconds after the first frame."""
        return np.asarray((self.pts - self.pts[0]) * float(self.tick))

    @property
    def spacing(self) -> float:
        """Mean seconds from frame to frame."""
        return float(self.seconds[-1]) / max(len(self.pts) - 1, 1)

    @property
    def slack(self) -> float:
        """Rounding error of a timestamp in seconds: one tick, unless ticks are as long as frames (AVI)."""
        return min(float(self.tick), self.spacing / 3) + 1e-9

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.seconds[-1]) + (self.rest or self.spacing)

    def notices(self) -> Iterator[str]:
        """What is wrong with the file although it can be used."""
        used = f"used the {len(self.pts)} frames" if len(self.pts) > 1 else "used the one frame"
        if self.cut:
            yield f"the file looks cut short or damaged: {self.cut}; {used} ({self.length:.2f} s) that could be read"
        elif self.damaged:
            yield f"the file is damaged: {used} that could be read"


@dataclass(frozen=True)
class Request:
    """Which frames are asked for; see `read_clip`."""

    num_frames: int
    start: float = 0.0
    end: float | None = None
    fps: float | None = None
    fewer: Callable[[int], int] = lambda frames: frames
    """The most frames up to a number that are of use, such as those that a model makes; 0 if none are."""
    shorten: bool = False
    """Whether to take so many where there are not as many as were asked for."""


class _RefusedError(Exception):
    """A request that the clip cannot meet, and changes of it that might do, best first."""

    def __init__(self, why: str, *changes: dict[str, Any], otherwise: str) -> None:
        super().__init__(why)
        self.why, self.changes, self.otherwise = why, changes, otherwise


def choose(timeline: Timeline, request: Request, name: str) -> tuple[list[int], float]:
    """Numbers of the frames to take, in time order, and their rate in frames per second.

    Raises:
        InputError: the clip called `name` cannot meet the request. Options are advised only if they would do.
    """
    try:
        return _chosen(timeline, request, name)
    except _RefusedError as refused:
        counts = [change for change in refused.changes if change.keys() == {"num_frames"}]
        if request.shorten and (change := next((each for each in counts if _works(timeline, request, each)), None)):
            return _chosen(timeline, replace(request, **change), name)
        advice = next((_said(change) for change in refused.changes if _works(timeline, request, change)), "")
        told = timeline.cut and timeline.cut in refused.why
        because = "" if told else "".join(f" ({notice})" for notice in timeline.notices())
        raise InputError(
            f"{refused.why}; {f'use {advice}, or ' if advice else ''}{refused.otherwise}{because}"
        ) from None


def _works(timeline: Timeline, request: Request, change: dict[str, Any]) -> bool:
    changed = replace(request, **change)
    if changed.num_frames < 2 or (changed.end is not None and changed.end <= changed.start):
        return False
    try:
        _chosen(timeline, changed, "")
    except _RefusedError:
        return False
    return True


def _said(change: dict[str, Any]) -> str:
    """The change as arguments."""
    return " and ".join(named(name, value) for name, value in change.items())


def _chosen(timeline: Timeline, request: Request, name: str) -> tuple[list[int], float]:
    seconds, slack, length = timeline.seconds, timeline.slack, timeline.length
    start, end, fps, num_frames = request.start, request.end, request.fps, request.num_frames
    if len(seconds) < 2:
        raise _RefusedError(
            f"{name} holds a single picture, and motion needs several",
            otherwise="give a video, an animated picture or a folder of pictures",
        )
    if timeline.cut and end is None:
        why = f"{name} is cut short: {timeline.cut}"
        raise _RefusedError(why, *_up_to_the_end(timeline, start), otherwise="give the whole file")
    if start >= length - slack:
        why = f"start {start:g} s is past the end of {name}, which lasts {length:.3f} s"
        raise _RefusedError(why, {"start": 0.0}, otherwise="give a longer clip")
    if end is not None and end > length + slack:
        why = f"end {end:g} s is past the end of {name}, which lasts {length:.3f} s"
        raise _RefusedError(why, *_up_to_the_end(timeline, start), otherwise="give a longer clip")
    stop = length if end is None else end
    taken = _at_rate(timeline, request, fps, stop, name) if fps is not None else _spread(timeline, request, stop, name)
    if not LOWEST_FPS <= taken[1] <= HIGHEST_FPS:
        raise _RefusedError(
            f"{num_frames} frames of {name} play at {taken[1]:g} frames per second by their timestamps, and "
            f"{LOWEST_FPS:g} to {HIGHEST_FPS:g} were expected",
            {"fps": 8.0},
            otherwise="convert it to a constant rate",
        )
    return taken


def _at_rate(timeline: Timeline, request: Request, fps: float, stop: float, name: str) -> tuple[list[int], float]:
    """The frames shown at `start + i / fps`."""
    start, num_frames, slack = request.start, request.num_frames, timeline.slack
    targets = start + np.arange(num_frames) / fps
    # A clip's own end is when its last frame is no longer shown; an end that was given is taken in.
    last = stop - slack if request.end is None else stop + slack
    if targets[-1] > last:
        room = (stop - slack if request.end is None else stop) - start
        raise _RefusedError(
            f"{num_frames} frames at {fps:g} fps from {start:g} s reach {targets[-1]:.3f} s, but {name} is used "
            f"up to {stop:.3f} s",
            *([{"fps": math.ceil((num_frames - 1) / room * 100) / 100}] if timeline.paced else []),
            {"num_frames": request.fewer(int(room * fps) + 1)},
            {"num_frames": request.fewer(int(room * fps))},
            otherwise="take fewer frames of a longer clip",
        )
    return _shown_at(targets, timeline.seconds, slack), fps


def _spread(timeline: Timeline, request: Request, stop: float, name: str) -> tuple[list[int], float]:
    """Frames spread evenly over [start, stop]: by number if they are even, else by time."""
    num_frames, slack = request.num_frames, timeline.slack
    held = _held(timeline, request.start, stop)
    if len(held) < num_frames:
        raise _RefusedError(
            f"{num_frames} frames are needed, but {name} between {request.start:g} s and {stop:.3f} s has {len(held)}",
            {"num_frames": request.fewer(len(held))},
            otherwise="give a longer clip or range",
        )
    seconds = timeline.seconds[held]
    span = float(seconds[-1] - seconds[0])
    if np.abs(seconds - seconds[0] - np.linspace(0, span, len(held))).max() <= slack:
        chosen = np.linspace(0, len(held) - 1, num_frames).astype(int).tolist()
    else:
        chosen = _shown_at(np.linspace(seconds[0], seconds[-1], num_frames), seconds, slack)
    return [held[index] for index in chosen], (num_frames - 1) / span


def _up_to_the_end(timeline: Timeline, start: float) -> Iterator[dict[str, Any]]:
    """Changes with which all that is there from the start on may be used."""
    for end in (None, _floor(timeline.length)):
        yield {"end": end}
        yield {"end": end, "num_frames": len(_held(timeline, start, timeline.length if end is None else end))}


def _held(timeline: Timeline, start: float, stop: float) -> range:
    """Numbers of the frames that begin in [start, stop]."""
    first = np.searchsorted(timeline.seconds, start - timeline.slack, "left")
    return range(int(first), int(np.searchsorted(timeline.seconds, stop + timeline.slack, "right")))


def _shown_at(targets: NDArray[np.float64], seconds: NDArray[np.float64], slack: float) -> list[int]:
    """For each target the number of the last frame whose timestamp is not after it."""
    return [int(index) for index in np.searchsorted(seconds, targets + slack, "right") - 1]


def _floor(seconds: float) -> float:
    """A little less, with few digits."""
    parts = 100 if seconds >= 0.1 else 1_000_000
    return math.floor(seconds * parts) / parts


def rising(pts: Sequence[int | None]) -> list[int]:
    """The timestamps that are later than all before them: all of them, in a sound file."""
    found: list[int] = []
    for value in pts:
        if value is not None and (not found or value > found[-1]):
            found.append(value)
    return found
