"""Read a reference clip: real files of any kind in, `f c h w` frames in [-1, 1] out. (Writing: `video_writing`.)

A clip is read in two steps: list the timestamps of all frames, choose some, then decode and keep only those,
already at their final size. So memory is bounded by what is asked for, whatever the length and size of the file.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from motionclone.errors import InputError

Fit = Literal["crop", "squash"]

# Only real video and picture files. Without the list FFmpeg also "plays" .txt files as terminal art, and follows
# playlists (.m3u8, ffconcat) to other files and hosts, which a web app must not do for its users.
_FORMATS = (
    "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,mxf,dv,nut,yuv4mpegpipe,"
    "apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
# How FFmpeg's scaler turns YUV into RGB: bilinear, FULL_CHR_H_INT (smooth colour edges), ACCURATE_RND (no bias). Its
# quick default is about one level too dark and repeats colour samples.
_ACCURATE = 0x2 | 0x2000 | 0x40000
_HDR_TRANSFERS = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG)


@dataclass(frozen=True)
class Clip:
    """Frames taken from a video file, and what must be known of where they came from."""

    frames: Tensor  # (f, 3, h, w) float32, RGB in [-1, 1]
    fps: float  # frames per second at which these frames play as fast as the source: 1 / (mean spacing in seconds)
    sha256: str  # of the source file's bytes, hexadecimal
    notices: tuple[str, ...]  # sentences worth telling the user, e.g. "centre-cropped 1920x1080 to 1:1"


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
) -> Clip:
    """Read `num_frames` frames of a video or animated GIF, resized to `height` by `width` pixels.

    Args:
        path: the file; its rotation and its pixel aspect are applied, transparency is dropped.
        num_frames: f, at least 2.
        height: of the result, in pixels.
        width: of the result, in pixels.
        start: seconds after the first frame.
        end: seconds after the first frame, inclusive; None is the end of the clip.
        fps: None spreads the frames evenly over the frames of [start, end], from the first to the last: numbers
            `floor(linspace(0, n - 1, f))` for a constant rate, else by time. A number takes the frames shown at
            `start + i / fps`. Between two timestamps the earlier frame counts.
        fit: "crop" keeps the aspect (scale until the target is covered, cut the middle out); "squash" does not, and
            repeats the MotionClone authors' frames exactly (quick YUV conversion; bilinear with aligned corners and
            without antialiasing, rounded to 8 bits).

    Raises:
        InputError: the file or a number is no good; the sentence says which and what to do.
    """
    _check_numbers(num_frames, height, width, start, end, fps, fit)
    path = Path(path)
    for source in get_args(_Source):
        timeline = _list_frames(path, source)
        if timeline is None:
            continue
        chosen, rate = _choose(timeline, path, num_frames, start, end, fps)
        notices = list(timeline.notices())
        if len(set(chosen)) < len(chosen):
            notices.append(f"{len(chosen) - len(set(chosen))} of the {num_frames} frames repeat the one before")
        pictures = _decode(path, timeline, sorted(set(chosen)), height, width, fit)
        if pictures is not None:
            kept, about = pictures
            frames = torch.stack([kept[index] for index in chosen])
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Clip(frames, rate, digest, (*about, *notices))
    raise InputError(f"{path} could not be decoded twice alike; re-encode it as MP4 and give that file")


def clip_size(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Frames, height and width in pixels of a video file, as shown; `read_clip` with these takes every frame as it is.

    Raises:
        InputError: as `read_clip`.
    """
    path = Path(path)
    with open_video(path) as (container, stream):
        frames = [frame for frame in _good_frames(container, stream) if frame is not None]
        if not frames:
            raise InputError(f"{path}: not one frame could be decoded; export the video again or convert it to MP4")
        picture, pixel_aspect = _upright(frames[0], float(stream.sample_aspect_ratio or 1), quick=True)
    return len(frames), picture.shape[0], round(picture.shape[1] * pixel_aspect)


def _check_numbers(
    num_frames: int, height: int, width: int, start: float, end: float | None, fps: float | None, fit: str
) -> None:
    """The errors that need no file."""
    if num_frames < 2:
        raise InputError(f"the number of frames must be at least 2, got {num_frames}; motion needs two frames")
    if height < 1 or width < 1:
        raise InputError(f"height and width must be positive numbers of pixels, got {height}x{width} (height x width)")
    if fit not in get_args(Fit):
        raise InputError(f"fit must be one of {', '.join(get_args(Fit))}, got {fit!r}")
    if not (math.isfinite(start) and start >= 0):
        raise InputError(f"start must be 0 or more seconds after the first frame, got {start}")
    if end is not None and not (math.isfinite(end) and end > start):
        raise InputError(f"end must come after start, got start {start} s and end {end} s")
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise InputError(f"fps must be a positive number of frames per second, got {fps}")


def _check_file(path: Path) -> None:
    """The errors that need no decoder."""
    try:
        path.stat()
    except FileNotFoundError:
        pass  # said below
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check the path and its permissions") from error
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a video file in it")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path, it is looked up from {Path.cwd()}")
    if not path.is_file():
        raise InputError(f"{path} is not an ordinary file; save the video to disk and give that file")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); download or export the video again")


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open file and its main video stream.

    Raises:
        InputError: not there, not a video, or without a video stream.
    """
    _check_file(path)
    try:  # An absolute path is never taken for a protocol, as "http:x" would be.
        container = av.open(str(path.absolute()), options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"})
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path} cannot be read as a video ({error.strerror}): it is of another kind, damaged, or cut short; "
            "give a complete MP4, MOV, WebM, MKV, AVI or GIF file"
        ) from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            kind = "only sound" if container.streams.audio else "no video stream, or was cut short"
            raise InputError(f"{path} holds {kind}; give a complete video file")
        yield container, stream


# Where timestamps come from, cheapest first. Packets need no decoding, so a long file is listed in no time. Damaged
# files list packets that do not decode. Some files (raw H.264, H.264 in AVI) have no timestamps or wrong ones.
_Source = Literal["packets", "frames", "order"]


@dataclass(frozen=True)
class _Timeline:
    """When each frame that can be decoded is shown."""

    source: _Source
    pts: NDArray[np.int64]  # (n,) strictly increasing, in ticks; the frames' own, or 0, 1, 2 ... for source "order"
    tick: Fraction  # seconds
    damaged: int  # packets that could not be used
    promised: float  # seconds that the header announces; 0 if it does not

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(n,) seconds after the first frame."""
        return np.asarray((self.pts - self.pts[0]) * float(self.tick))

    @property
    def spacing(self) -> float:
        """Mean seconds from frame to frame; the last frame is taken to be shown for as long."""
        return float(self.seconds[-1]) / max(len(self.pts) - 1, 1)

    @property
    def slack(self) -> float:
        """Rounding error of a timestamp in seconds: one tick, unless ticks are as long as frames (AVI)."""
        return min(float(self.tick), self.spacing / 3) + 1e-9

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.seconds[-1]) + self.spacing

    @property
    def cut_short(self) -> bool:
        """Whether the header promises clearly more than there is."""
        return len(self.pts) > 1 and self.promised - self.length > max(2 * self.spacing, 0.1 * self.promised)

    def notices(self) -> Iterator[str]:
        """What is wrong with the file although it can be used."""
        if self.cut_short:
            yield (
                f"the file looks cut short or damaged: its header promises {self.promised:.2f} s; "
                f"used the {len(self.pts)} frames ({self.length:.2f} s) that could be read"
            )
        elif self.damaged:
            yield f"the file is damaged: used the {len(self.pts)} frames that could be read"


def _list_frames(path: Path, source: _Source) -> _Timeline | None:
    """Timestamps of all frames, or None where this source of them is no good."""
    with open_video(path) as (container, stream):
        tick = stream.time_base or Fraction(1, 1000)
        whole = None if stream.duration is None else float(stream.duration * tick)
        promised = (container.duration or 0) / 1_000_000 if whole is None else whole
        pts: list[int | None] = []
        damaged = 0
        if source == "packets":
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    damaged += 1
                elif packet.size and not packet.is_discard:
                    pts.append(packet.pts)
            pts.sort(key=lambda value: -1 if value is None else value)
        else:
            for frame in _good_frames(container, stream):
                if frame is None:
                    damaged += 1
                else:
                    pts.append(frame.pts)
            damaged = max(damaged, stream.frames - len(pts))  # Some lost frames raise no error.
        if source == "order":
            pts, tick = list(range(len(pts))), 1 / (stream.average_rate or Fraction(25))
    if not pts and source == "packets":
        return None
    if not pts:
        raise InputError(f"{path}: not one frame could be decoded; export the video again or convert it to MP4")
    rising = _rising(pts)
    if len(rising) < len(pts) and not (damaged and source == "frames"):
        return None
    return _Timeline(source, np.array(rising, dtype=np.int64), tick, damaged, promised)


def _rising(pts: Sequence[int | None]) -> list[int]:
    """The timestamps that are later than all before them: all of them, in a sound file."""
    rising: list[int] = []
    for value in pts:
        if value is not None and (not rising or value > rising[-1]):
            rising.append(value)
    return rising


def _good_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | None]:
    """Decoded frames in the order of display; None for each packet or frame that is damaged."""
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            yield None
            continue
        for frame in decoded:
            yield None if frame.is_corrupt else frame


def _choose(
    timeline: _Timeline, path: Path, num_frames: int, start: float, end: float | None, fps: float | None
) -> tuple[list[int], float]:
    """Numbers of the frames to take, in time order, and their rate in frames per second."""
    seconds, slack, length = timeline.seconds, timeline.slack, timeline.length
    because = "".join(f" ({notice})" for notice in timeline.notices())
    if len(seconds) < 2:
        raise InputError(
            f"{path} holds a single picture, and motion needs several; give a video or an animated GIF{because}"
        )
    if timeline.cut_short and end is None:
        raise InputError(
            f"{path} is cut short: its header promises {timeline.promised:.2f} s and {length:.2f} s can be read; "
            f"give the whole file, or --end {math.floor(length * 100) / 100:g} to use what is there"
        )
    if start >= length - slack:
        raise InputError(f"start {start:g} s is past the end of {path}, which lasts {length:.3f} s; lower it{because}")
    if end is not None and end > length + slack:
        raise InputError(f"end {end:g} s is past the end of {path}, which lasts {length:.3f} s; lower it{because}")

    if fps is not None:
        targets = start + np.arange(num_frames) / fps
        if targets[-1] > (length if end is None else end) + (-slack if end is None else slack):
            room = (length - slack if end is None else end) - start
            least = math.ceil((num_frames - 1) / room * 100) / 100
            raise InputError(
                f"{num_frames} frames at {fps:g} fps from {start:g} s reach {targets[-1]:.3f} s, but {path} is used "
                f"up to {length if end is None else end:.3f} s; use --fps {least:g} or more, "
                f"fewer --frames or a longer clip{because}"
            )
        return _shown_at(targets, seconds, slack), fps

    first = int(np.searchsorted(seconds, start - slack, "left"))
    stop = int(np.searchsorted(seconds, (length if end is None else end) + slack, "right"))
    held = seconds[first:stop]
    if len(held) < num_frames:
        where = f"{path} between {start:g} s and {length if end is None else end:.3f} s"
        remedy = f"use --frames {len(held)} or fewer, or" if len(held) >= 2 else "use"
        raise InputError(
            f"{num_frames} frames are needed, but {where} has {len(held)}; {remedy} a longer clip or range{because}"
        )
    span = float(held[-1] - held[0])
    even = np.abs(held - held[0] - np.linspace(0, span, len(held))).max() <= slack
    if even:
        chosen = np.linspace(0, len(held) - 1, num_frames).astype(int).tolist()
    else:
        chosen = _shown_at(np.linspace(held[0], held[-1], num_frames), held, slack)
    return [first + index for index in chosen], (num_frames - 1) / span


def _shown_at(targets: NDArray[np.float64], seconds: NDArray[np.float64], slack: float) -> list[int]:
    """For each target the number of the last frame whose timestamp is not after it."""
    return [int(index) for index in np.searchsorted(seconds, targets + slack, "right") - 1]


def _decode(
    path: Path, timeline: _Timeline, wanted: Sequence[int], height: int, width: int, fit: Fit
) -> tuple[dict[int, Tensor], list[str]] | None:
    """The wanted frames by number, (3, h, w) each, and notices on the picture; None if some are not there."""
    number = {int(timeline.pts[index]): index for index in wanted}
    kept: dict[int, Tensor] = {}
    notices: list[str] = []
    with open_video(path) as (container, stream):
        if wanted[0] > 0 and timeline.source == "packets":
            container.seek(int(timeline.pts[wanted[0]]), stream=stream)
        order, first, previous = -1, 0, None
        for frame in _good_frames(container, stream):
            if frame is None:
                if kept and timeline.source == "packets":
                    return None  # Damaged: only decoding tells which frames are good.
                continue
            order += 1
            pts = order if timeline.source == "order" else frame.pts
            if pts is None or (previous is not None and pts <= previous):
                if timeline.source == "packets":
                    return None  # The order of the packets' timestamps is not the order of the frames.
                continue
            previous = pts
            if pts in number:
                shape = stream.sample_aspect_ratio or Fraction(1)
                picture, pixel_aspect = _upright(frame, float(shape), quick=fit == "squash")
                kept[number[pts]], cropped = fitted(picture, pixel_aspect, height, width, fit)
                if len(kept) == 1:
                    first = order
                    notices = [*_picture_notices(frame, stream), *cropped]
            if pts >= timeline.pts[wanted[-1]]:
                break
    if timeline.source == "packets" and order - first != wanted[-1] - wanted[0]:
        return None  # Not every packet gives a frame: hidden frames of VP8, or damage.
    return (kept, notices) if len(kept) == len(wanted) else None


def _upright(frame: VideoFrame, pixel_aspect: float, quick: bool) -> tuple[NDArray[np.uint8], float]:
    """RGB (h, w, 3) after the file's rotation, and the width of a pixel over its height then."""
    turns = frame.rotation // 90
    rgb = frame.to_ndarray(
        format="rgb24",
        interpolation=None if quick else _ACCURATE,
        src_colorspace=frame.colorspace,
        dst_colorspace="ITU601",  # Means nothing for RGB, but PyAV 16 ignores the source's where the two are equal.
        src_color_range=frame.color_range,
    )
    picture = np.rot90(rgb, k=turns)
    return np.ascontiguousarray(picture, dtype=np.uint8), 1 / pixel_aspect if turns % 2 else pixel_aspect


def fitted(
    picture: NDArray[np.uint8], pixel_aspect: float, height: int, width: int, fit: Fit
) -> tuple[Tensor, list[str]]:
    """RGB (h, w, 3) to a (3, height, width) tensor in [-1, 1], and a notice if something was cut off."""
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None]
    if fit == "squash":
        # As the authors' numbers show: on 8-bit pixels, with aligned corners.
        resized = functional.interpolate(pixels, (height, width), mode="bilinear", align_corners=True).float()
        return resized[0] / 127.5 - 1, []
    rows, columns = picture.shape[0], picture.shape[1] * pixel_aspect
    scale = max(height / rows, width / columns)
    size = (max(height, round(rows * scale)), max(width, round(columns * scale)))
    resized = functional.interpolate(pixels.float(), size, mode="bilinear", align_corners=False, antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    cut = resized[0, :, top : top + height, left : left + width].clamp(0, 255)
    ratio = Fraction(width, height)
    lost = size[0] - height > 1 or size[1] - width > 1
    what = f"centre-cropped {round(columns)}x{rows} to {ratio.numerator}:{ratio.denominator}"
    return cut / 127.5 - 1, [what] if lost else []


def _picture_notices(frame: VideoFrame, stream: VideoStream) -> Iterator[str]:
    """What is done, or not done, to the picture."""
    if frame.rotation // 90 % 4:
        yield f"rotated by {frame.rotation % 360} degrees, as the file says"
    if stream.codec_context.color_trc in _HDR_TRANSFERS:
        yield "HDR source is not tone-mapped: colours may look pale; convert it to SDR first if that matters"
    if frame.interlaced_frame:
        yield "interlaced source is not deinterlaced: moving edges may look like combs"
