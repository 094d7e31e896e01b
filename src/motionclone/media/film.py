"""Video files: list the timestamps of all frames, then decode those that are chosen.

Memory is bounded by a few frames, whatever the length of the file.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import get_args

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from motionclone.media.container import Allowance, good_frames, open_video
from motionclone.media.orientation import Orientation, orientation_of, pixel_aspect_of
from motionclone.media.shots import Shot, Take, UnsteadyError
from motionclone.media.survey import Source, decoded_timeline, survey_of
from motionclone.media.timeline import Timeline

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
    survey = survey_of(path)
    for source in sources:
        timeline = survey.timeline if source == "packets" else decoded_timeline(path, source, survey)
        if timeline is not None:
            certain = source != "packets" or (survey.pixels > _CHEAP and not (timeline.cut or timeline.damaged))
            yield Take(timeline, partial(_shots, path, source, timeline, survey.keys, quick), certain=certain)


def _shots(
    path: Path, source: Source, timeline: Timeline, keys: Sequence[int], quick: bool, wanted: Sequence[int]
) -> Iterator[Shot]:
    """The wanted frames. UnsteadyError where decoding does not give what was listed."""
    starts = np.searchsorted(timeline.pts, keys) if source == "packets" else np.zeros(0, dtype=np.int64)
    with open_video(path) as (container, stream):
        allowance = Allowance(path)
        orientations: dict[int, Orientation] = {}
        rows = _rows(wanted, [0, *starts])
        allowance.check(sum(row[-1] - row[0] + 1 for row in rows) * stream.width * stream.height)
        for row in rows:
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
