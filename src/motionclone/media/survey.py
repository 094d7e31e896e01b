"""When the frames of a video file are shown: as its packets tell, or as decoding all of it does."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from motionclone.errors import InputError
from motionclone.media.container import Allowance, good_frames, open_video, packets
from motionclone.media.endings import TORN, ends_whole
from motionclone.media.limits import MOST_FRAMES
from motionclone.media.paths import spoken
from motionclone.media.timeline import Timeline, rising

# Where timestamps come from, cheapest first. Packets need no decoding, so a long file is listed in no time. Damaged
# files list packets that do not decode. Some files (raw H.264, H.264 in AVI) have no timestamps or wrong ones.
Source = Literal["packets", "frames", "order"]
# Formats whose header says how long the clip is; of others FFmpeg tells what it estimates.
_PROMISING = {"mov", "matroska", "avi", "flv", "asf", "mxf", "ivf"}


@dataclass(frozen=True)
class _Promise:
    """What a file says of its length.

    Attributes:
        seconds: that the header promises for the picture, or else for all that is in the file; 0 for neither.
        others: seconds at which all other tracks have ended, by the file's clock, if the promise is theirs too.
        rest: seconds for which the last picture is shown; 0 if not known.
        frames: of the picture, as far as they are to be shown; 0 if the header does not say.
        torn: how the file shows that its last picture is not whole, or "".
    """

    seconds: float
    others: float
    rest: float
    frames: int
    torn: str

    def timeline(
        self, pts: Sequence[int | None], tick: Fraction, damaged: bool, partly: bool = False
    ) -> Timeline | None:
        """Of frames with these timestamps; None if they cannot be right, of which some may be wrong if `partly`."""
        found = rising(pts)
        if not found or (len(found) < len(pts) and not partly) or found[-1] - found[0] >= 2**62:
            return None
        return Timeline(np.array(found, dtype=np.int64), tick, self.rest, damaged, self._cut(found, tick))

    def _cut(self, pts: Sequence[int], tick: Fraction) -> str:
        """How the file with these frames shows that its end is missing, or ""."""
        begin, last = float(pts[0] * tick), float(pts[-1] * tick)
        spacing = (last - begin) / max(len(pts) - 1, 1)
        end = last + (self.rest or spacing)
        # Some headers tell the length and some the end by the file's clock, which need not begin at 0.
        reached = max(end, end - begin, self.others, self.others - begin)
        if len(pts) > 1 and self.seconds - reached > max(2 * spacing, 0.03 * self.seconds):
            return (
                f"its header promises {self.seconds:.2f} s and {reached:.{2 if reached >= 0.1 else 6}f} s can be read"
            )
        return self.torn


@dataclass(frozen=True)
class Survey:
    """What the packets of a file tell, without decoding."""

    timeline: Timeline | None  # None where they tell none that can be right
    keys: tuple[int, ...]  # timestamps at which decoding can begin, rising
    promise: _Promise
    pixels: int  # of all frames


def survey_of(path: Path) -> Survey:
    """Read all packets.

    Raises:
        InputError: not a video, or too many frames.
    """
    with open_video(path) as (container, stream):
        tick = stream.time_base or Fraction(1, 1000)
        promised, own = _promised(container, stream, tick)
        pts: list[int | None] = []
        keys: list[int] = []
        others, discarded, damaged = 0.0, 0, False
        last: Packet[Stream] | None = None
        for packet in packets(container, *([stream] if own else container.streams)):
            if packet is None or packet.is_corrupt:
                damaged = True
            elif packet.stream_index != stream.index:
                if packet.pts is not None and packet.time_base:
                    others = max(others, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            elif packet.is_discard:
                discarded += 1
            elif packet.size:
                pts.append(packet.pts)
                _check_count(pts, path)
                if packet.pts is not None and packet.is_keyframe:
                    keys.append(packet.pts)
                if last is None or (packet.pts or 0) >= (last.pts or 0):
                    last = packet
        rest = 0.0 if last is None else max(0.0, float((last.duration or 0) * tick))
        torn = "" if last is None or ends_whole(container.format.name, last, path) else TORN
        pixels = len(pts) * stream.width * stream.height
        promise = _Promise(promised, others, rest, max(0, stream.frames - discarded), torn)
    if torn and len(pts) > 1:
        pts.pop()
    pts.sort(key=lambda value: -1 if value is None else value)
    return Survey(promise.timeline(pts, tick, damaged), tuple(sorted(keys)), promise, pixels)


def _promised(container: InputContainer, stream: VideoStream, tick: Fraction) -> tuple[float, bool]:
    """Seconds by the header, and whether they are of the picture alone."""
    if not _PROMISING & set(container.format.name.split(",")):
        return 0.0, True
    if stream.duration:
        return float(stream.duration * tick), True
    return (container.duration or 0) / 1_000_000, False


def _check_count(frames: Sequence[object], path: Path) -> None:
    if len(frames) > MOST_FRAMES:
        raise InputError(
            f"{spoken(path)} has more than {MOST_FRAMES} frames, the most that are read; cut out the part that is meant"
        )


def decoded_timeline(path: Path, source: Source, survey: Survey) -> Timeline | None:
    """The timeline that decoding all frames tells; None if they have no timestamps that can be right.

    Raises:
        InputError: not one frame can be decoded, or too many.
    """
    pts: list[int | None] = []
    damaged = 0
    with open_video(path) as (container, stream):
        tick = stream.time_base or Fraction(1, 1000)
        for frame in good_frames(container, stream, Allowance(path)):
            if frame is None:
                damaged += 1
            else:
                pts.append(frame.pts)
                _check_count(pts, path)
        if source == "order":
            pts, tick = list(range(len(pts))), 1 / (stream.average_rate or Fraction(25))
    if not pts:
        raise InputError(f"{spoken(path)}: not one frame could be decoded; export the video again or convert it to MP4")
    hurt = damaged > 0 or survey.promise.frames > len(pts)  # Some lost frames raise no error.
    return survey.promise.timeline(pts, tick, hurt, partly=hurt and source == "frames")
