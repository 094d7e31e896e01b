"""Write videos and pictures, each whole or not at all, and join clips for the eye. (Reading: `reading`.)"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import torch
from av.container import OutputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from motionclone.errors import InputError, either
from motionclone.files import as_path, check_free, whole_file
from motionclone.media.container import open_video
from motionclone.media.frames import as_frames
from motionclone.media.limits import is_number

# How FFmpeg's scaler turns RGB into YUV: bicubic, FULL_CHR_H_INP (all pixels count for colour), ACCURATE_RND.
_ACCURATE = 0x4 | 0x4000 | 0x40000
VIDEO_SUFFIXES = (".mp4", ".webm", ".gif")
# Both encoders give other bytes with another number of threads, and by default they count the machine's cores.
_THREADS = 4
_FARTHEST = 4.0  # from 0: decoders overshoot 1, and what is beyond this was never meant to lie in [-1, 1]
_SLOWEST, _FASTEST = 1 / 600, 1000  # frames per second: GIF shows one for 655 s at most, WebM counts milliseconds


def check_writable(path: str | os.PathLike[str], overwrite: bool = False, fps: float = 8.0) -> None:
    """Refuse an output video that could not be written later; call it before the hour-long part. Changes nothing.

    Its sidecar (`out.mp4`: `out.json`) must be free as well.

    Raises:
        InputError: unknown suffix, a rate that no player keeps, a file that exists (without `overwrite`), a folder
            that cannot be written to.
    """
    path = as_path(path)
    check_video(path, fps)
    check_free(path, overwrite)
    check_free(path.with_suffix(".json"), overwrite)


def check_video(path: Path, fps: float = 8.0) -> None:
    """Refuse a name, or a rate for it, that no video is written with; looks at no file. InputError says what is."""
    _check_suffix(path, VIDEO_SUFFIXES)
    _rate(path, fps)


def _check_suffix(path: Path, known: Sequence[str]) -> None:
    if path.suffix.lower() not in known:
        got = f"ends in {path.suffix}" if path.suffix else "has no ending"
        kinds = either(known)
        remedy = f"did you mean {path.with_suffix(known[0])}?" if path.name else "give the name of a file"
        raise InputError(f"{path} {got}, and must end in {kinds}; {remedy}")


def write_video(
    path: str | os.PathLike[str],
    frames: Any,
    fps: float,
    *,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write frames as .mp4 (H.264), .webm (VP9) or .gif, by suffix; whole or not at all.

    The same arguments give the same bytes, on every machine whose libraries are the same.

    Args:
        path: output file. In MP4 and WebM odd sizes gain a repeated last row or column (4:2:0 colour needs even ones).
        frames: (f, 3, h, w) RGB in [-1, 1], any float type and device, values outside are clipped; or in another form
            that `as_frames` takes, such as the PIL images of a pipeline of diffusers.
        fps: frames per second, 1/600 to 1000. GIF counts time in 1/100 s, so 8 fps plays at 8.33.
        provenance: what made the clip; kept as JSON in the comment of MP4 and WebM, see `read_provenance`, but for
            the `seconds` it took, which are never the same. GIF has no place that FFmpeg writes, so there only the
            sidecar holds it.
        overwrite: replace an existing file.

    Raises:
        InputError: frames of another shape or not finite, fps out of range, or a path that cannot be written.
    """
    path = as_path(path)
    check_video(path, fps)
    if not (isinstance(frames, Tensor) and frames.is_floating_point()):
        frames = as_frames(frames)
    _check_frames(frames)
    with whole_file(path, overwrite) as temporary:
        encode_video(temporary, frames, fps, provenance)


def encode_video(path: Path, frames: Tensor, fps: float, provenance: Mapping[str, Any] | None = None) -> None:
    """What `write_video` puts into its file, right into `path`: a temporary one, of `whole_files`."""
    _check_frames(frames)
    rate = _rate(path, fps)
    of_this_run = ("seconds", "recomputed")  # the same settings give the same file
    kept = None if provenance is None else {name: v for name, v in provenance.items() if name not in of_this_run}
    write = {".mp4": _write_mp4, ".webm": _write_webm, ".gif": _write_gif}[path.suffix.lower()]
    write(path, frames, rate, None if kept is None else json.dumps(kept))


def _rate(path: Path, fps: float) -> Fraction:
    """Frames per second as the container wants them."""
    if not (is_number(fps) and _SLOWEST <= fps <= _FASTEST):
        raise InputError(
            f"fps must be a positive number of frames per second that players keep, 1/600 to {_FASTEST}, got {fps}; "
            "read the clip at another rate"
        )
    if path.suffix.lower() == ".gif" and fps > 100:
        raise InputError(f"GIF counts time in 1/100 s and cannot play {fps:g} fps; use 50 or less, or .mp4")
    return Fraction(fps).limit_denominator(1001)


def _check_frames(frames: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise InputError(f"frames must have shape (f, 3, h, w) with every size 1 or more, got {tuple(frames.shape)}")
    if not torch.isfinite(frames).all():
        raise InputError("the frames hold NaN or infinity; generate them again in float32 or bfloat16")
    if (most := max(abs(float(end)) for end in frames.detach().aminmax())) > _FARTHEST:
        raise InputError(f"the frames reach {most:g}, and are meant to lie in [-1, 1]; scale them to that")


def _bytes(frame: Tensor) -> NDArray[np.uint8]:
    """(3, h, w) in [-1, 1] to (h, w, 3) in 0..255."""
    levels = ((frame.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    return cast(NDArray[np.uint8], levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def _write_mp4(path: Path, frames: Tensor, rate: Fraction, comment: str | None) -> None:
    # The second flag keeps the comment whole. faststart (play while downloading) needs a real path.
    with av.open(str(path.absolute()), "w", options={"movflags": "+faststart+use_metadata_tags"}) as container:
        # Without mbtree: with it, x264's AVX-512 code encodes small frames differently one time in twenty.
        options = {"crf": "16", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.codec_context.thread_count = _THREADS
        _encode_yuv420(container, stream, frames, comment)


def _write_webm(path: Path, frames: Tensor, rate: Fraction, comment: str | None) -> None:
    # Otherwise its tracks are numbered at random.
    with av.open(str(path.absolute()), "w", options={"fflags": "+bitexact"}) as container:
        quality = {"crf": "18", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "1"}
        stream = container.add_stream("libvpx-vp9", rate=rate, options=quality)
        stream.codec_context.thread_count = _THREADS
        _encode_yuv420(container, stream, frames, comment)


def _encode_yuv420(container: OutputContainer, stream: VideoStream, frames: Tensor, comment: str | None) -> None:
    """4:2:0 in BT.709 colours, tagged so: what every browser plays."""
    if comment is not None:
        container.metadata["comment"] = comment
    height, width = frames.shape[-2:]
    pad = ((0, height % 2), (0, width % 2), (0, 0))
    stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
    context = stream.codec_context
    context.color_primaries = context.color_trc = context.colorspace = 1  # BT.709
    context.color_range = 1  # 16..235
    for number, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(np.pad(_bytes(frame), pad, mode="edge"), format="rgb24")
        picture = picture.reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=_ACCURATE
        )
        picture.pts, picture.time_base = number, 1 / context.framerate
        container.mux(stream.encode(picture))
    container.mux(stream.encode())


def _write_gif(path: Path, frames: Tensor, rate: Fraction, _comment: str | None) -> None:
    """One palette of 256 colours for the whole clip, dithered."""
    height, width = frames.shape[-2:]
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate)
    split, palette, use = graph.add("split"), graph.add("palettegen", "stats_mode=full"), graph.add("paletteuse")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for number, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(_bytes(frame), format="rgb24")
        picture.pts, picture.time_base = number, 1 / rate
        source.push(picture)
    source.push(None)
    with av.open(str(path.absolute()), "w") as container:
        stream = container.add_stream("gif", rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "pal8"
        for _ in range(len(frames)):
            container.mux(stream.encode(cast(VideoFrame, sink.pull())))
        container.mux(stream.encode())


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The record that `write_video` put into an MP4 or WebM; None if there is none (sites strip it, GIF has none).

    Raises:
        InputError: not a video.
    """
    with open_video(as_path(path)) as (container, _):
        for key, text in container.metadata.items():
            if key.lower() == "comment":
                try:
                    record = json.loads(text)
                except json.JSONDecodeError:
                    return None
                return record if isinstance(record, dict) else None
    return None


def write_image(path: str | os.PathLike[str], frame: Tensor, overwrite: bool = False) -> None:
    """Write one frame, (3, h, w) RGB in [-1, 1], as PNG.

    Raises:
        InputError: another shape or suffix, values that are not finite, or a path that cannot be written.
    """
    path = as_path(path)
    _check_suffix(path, (".png",))
    _check_frames(frame[None])
    with whole_file(path, overwrite) as temporary:
        Image.fromarray(_bytes(frame)).save(temporary)


def side_by_side(
    clips: Sequence[Tensor], gap: int = 4, *, labels: Sequence[str] | None = None, min_height: int = 192
) -> Tensor:
    """Clips next to each other, with white gaps, for the eye.

    Args:
        clips: (f, 3, h, w) each, RGB in [-1, 1]; f must agree, sizes need not.
        gap: white pixels between clips.
        labels: one text per clip, written above it.
        min_height: lower clips are enlarged by the whole factor that reaches it, so that 64 pixels can be seen; then
            all are resized to the tallest (whole factors repeat pixels, others are bilinear).

    Returns:
        (f, 3, H, W) in [-1, 1], float32 on the CPU.

    Raises:
        InputError: no clips, clips of different length or wrong shape, or not one label per clip.
    """
    if not clips:
        raise InputError("there are no clips to put side by side; give at least one")
    for clip in clips:
        _check_frames(clip)
    lengths = [len(clip) for clip in clips]
    if len(set(lengths)) > 1:
        raise InputError(f"clips side by side must have equally many frames, got {lengths}; cut them to {min(lengths)}")
    if labels is not None and len(labels) != len(clips):
        raise InputError(f"there must be one label per clip, got {len(labels)} labels for {len(clips)} clips")

    tallest = max(clip.shape[-2] * max(1, math.ceil(min_height / clip.shape[-2])) for clip in clips)
    columns = [_enlarged(clip.detach().float().cpu(), tallest) for clip in clips]
    if labels is not None:
        columns = [
            torch.cat([_label(text, column.shape[-1]).expand(lengths[0], -1, -1, -1), column], dim=-2)
            for text, column in zip(labels, columns, strict=True)
        ]
    white = torch.ones(*columns[0].shape[:3], gap)
    parts = [part for column in columns for part in (white, column)]
    return torch.cat(parts[1:], dim=-1)


def _enlarged(clip: Tensor, height: int) -> Tensor:
    """(f, 3, h, w) to (f, 3, height, w') with the same aspect."""
    rows, columns = clip.shape[-2:]
    size = (height, max(1, round(columns * height / rows)))
    if height % rows == 0:
        return functional.interpolate(clip, size, mode="nearest")
    return functional.interpolate(clip, size, mode="bilinear", align_corners=False)


def _label(text: str, width: int, height: int = 24) -> Tensor:
    """Black text on a white strip, (3, height, width) in [-1, 1]; cut with dots if it is too long."""
    font = ImageFont.load_default(size=14)
    shown = text
    while shown and font.getlength(shown) > width - 8:
        text = text[:-1]
        shown = text + "..." if text else ""
    strip = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(strip).text((4, height // 2), shown, fill="black", font=font, anchor="lm")
    return torch.from_numpy(np.array(strip)).permute(2, 0, 1).float() / 127.5 - 1
