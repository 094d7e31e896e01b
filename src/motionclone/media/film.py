"""Video files: list the timestamps of all frames, then decode those that are chosen.

Memory is bounded by a few frames, whatever the length of the file.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from motionclone.errors import InputError
from motionclone.media.container import Allowance, good_frames, open_video, packets
from motionclone.media.endings import TORN, ends_whole
from motionclone.media.limits import MOST_FRAMES
from motionclone.media.orientation import Orientation, orientation_of, pixel_aspect_of
from motionclone.media.paths import spoken
from motionclone.media.shots import Shot, Take, UnsteadyError
from motionclone.media.timeline import Timeline, rising

# Where timestamps come from, cheapest first. Packets need no decoding, so a long file is listed in no time. Damaged
# files list packets that do not decode. Some files (raw H.264, H.264 in AVI) have no timestamps or wrong ones.
Source = Literal["packets", "frames", "order"]
# Formats whose header says how long the clip is; of others FFmpeg tells what it estimates.
_PROMISING = {"mov", "matroska", "avi", "flv", "asf", "mxf", "ivf"}
# How FFmpeg's scaler turns YUV into RGB: bilinear, FULL_CHR_H_INT (smooth colour edges), ACCURATE_RND (no bias). Its
# quick default is about one level too dark and repeats colour samples.
_ACCURATE = 0x2 | 0x2000 | 0x40000
_HDR_TRANSFERS = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG)
# Frames between two that are taken, beyond which a seek saves time. Damage in less is noticed, since it is decoded.
_WORTH_A_SEEK = 300
# Pixels that are decoded in a few seconds at most: so many are, before a request is refused for what packets tell.
_CHEAP = 2**30


def film_takes(path: Path, quick: bool, sources: Sequence[Source] = get_args(Source)) -> Iterator[Take]:
    """Ways to read a video file, each tried if the one before is wrong; `quick` converts colours as the authors do."""
    survey = _survey(path)
    for source in sources:
        timeline = survey.timeline if source == "packets" else _decoded(path, source, survey)
        if timeline is not None:
            certain = source != "packets" or (survey.pixels > _CHEAP and not (timeline.cut or timeline.damaged))
            yield Take(timeline, partial(_shots, path, source, timeline, survey.keys, quick), certain=certain)


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
class _Survey:
    """What the packets of a file tell, without decoding."""

    timeline: Timeline | None  # None where they tell none that can be right
    keys: tuple[int, ...]  # timestamps at which decoding can begin, rising
    promise: _Promise
    pixels: int  # of all frames


def _survey(path: Path) -> _Survey:
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
    return _Survey(promise.timeline(pts, tick, damaged), tuple(sorted(keys)), promise, pixels)


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


def _decoded(path: Path, source: Source, survey: _Survey) -> Timeline | None:
    """The timeline that decoding all frames tells."""
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


def _shots(
    path: Path, source: Source, timeline: Timeline, keys: Sequence[int], quick: bool, wanted: Sequence[int]
) -> Iterator[Shot]:
    """The wanted frames. UnsteadyError where decoding does not give what was listed."""
    starts = np.searchsorted(timeline.pts, keys) if source == "packets" else np.zeros(0, dtype=np.int64)
    with open_video(path) as (container, stream):
        allowance = Allowance(path)
        orientations: dict[int, Orientation] = {}
        for row in _rows(wanted, [0, *starts]):
            if source == "packets" and row[0] > 0:
                try:
                    container.seek(int(timeline.pts[row[0]]), stream=stream)
                except av.error.FFmpegError as error:
                    raise UnsteadyError from error
            left = iter(row)
            number = next(left)
            for at, frame in _numbered(good_frames(container, stream, allowance), source, timeline):
                if at > number:
                    raise UnsteadyError  # the seek led behind it
                if at == number:
                    # By angle: to ask a frame for its matrix keeps it in memory, in a circle of references.
                    if frame.rotation not in orientations:
                        orientations[frame.rotation] = orientation_of(frame)
                    yield _shot(frame, stream, orientations[frame.rotation], quick)
                    number = next(left, -1)
                    if number < 0:
                        break
            else:
                raise UnsteadyError


def _rows(wanted: Sequence[int], starts: Sequence[int]) -> list[list[int]]:
    """The wanted frames in rows, each of them decoded from a start of its own since that leaves many frames out."""
    rows = [[wanted[0]]]
    for before, number in pairwise(wanted):
        start = starts[bisect_right(starts, number) - 1]
        if start - before > _WORTH_A_SEEK:
            rows.append([])
        rows[-1].append(number)
    return rows


def _numbered(
    frames: Iterator[VideoFrame | None], source: Source, timeline: Timeline
) -> Iterator[tuple[int, VideoFrame]]:
    """The good frames with their numbers in the timeline."""
    at = -1
    for frame in frames:
        if source == "order" and frame is not None:
            at += 1
            yield at, frame
        elif frame is not None and frame.pts is not None:
            found = int(np.searchsorted(timeline.pts, frame.pts))
            listed = found < len(timeline.pts) and timeline.pts[found] == frame.pts
            # Packets must give one frame each: VP8 hides some, and only decoding tells which are damaged.
            if source == "packets" and not (listed and at in (-1, found - 1)):
                raise UnsteadyError
            if listed and found > at:
                at = found
                yield at, frame
        elif source == "packets" and at >= 0:
            raise UnsteadyError


def _shot(frame: VideoFrame, stream: VideoStream, orientation: Orientation, quick: bool) -> Shot:
    """RGB after the file's rotation, and what is done, or not done, to the picture."""
    rgb = frame.to_ndarray(
        format="rgb24",
        interpolation=None if quick else _ACCURATE,
        src_colorspace=frame.colorspace,
        dst_colorspace="ITU601",  # Means nothing for RGB, but PyAV 16 ignores the source's where the two are equal.
        src_color_range=frame.color_range,
    ).astype(np.uint8, copy=False)
    aspect, doubt = pixel_aspect_of(stream)
    notices = [orientation.notice, doubt]
    if stream.codec_context.color_trc in _HDR_TRANSFERS:
        notices.append("HDR source is not tone-mapped: colours may look pale; convert it to SDR first if that matters")
    if frame.interlaced_frame:
        notices.append("interlaced source is not deinterlaced: moving edges may look like combs")
    aspect = 1 / aspect if orientation.transposed else aspect
    return Shot(orientation.apply(rgb), aspect, tuple(notice for notice in notices if notice))
