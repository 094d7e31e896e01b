"""The door to FFmpeg: what is opened, what of it may be decoded, and how its complaints are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from motionclone.errors import InputError
from motionclone.media.boxes import check_boxes
from motionclone.media.limits import FREE_PIXELS, MOST_FRAME_PIXELS, PIXELS_PER_BYTE
from motionclone.media.paths import check_file, spoken

# Only real video and picture files. Without the list FFmpeg also "plays" .txt files as terminal art, and follows
# playlists (.m3u8, ffconcat) to other files and hosts, which a web app must not do for its users.
_FORMATS = (
    "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,mxf,dv,nut,yuv4mpegpipe,"
    "apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
# Decoders refuse larger frames. FFmpeg decodes a few already as it opens a file; PyAV before 17.1 crashes if it is
# given options for that and a format tells its streams late (FLV, MPEG).
_BOUND = {"max_pixels": str(MOST_FRAME_PIXELS)}
_BOUNDED_PROBES = tuple(int(part) for part in av.__version__.split(".")[:2]) >= (17, 1)
# What PyAV raises over files that are no good; its own errors are of FFmpeg's numbers.
_FILE_ERRORS = (av.error.FFmpegError, OSError, EOFError, ValueError, MemoryError, OverflowError)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open file and its main video stream.

    Raises:
        InputError: not there, not a video, without a video stream or with frames that are too large; and whatever
            FFmpeg raises over the file while the block reads it.
    """
    check_file(path, "video")
    name = spoken(path)
    try:  # An absolute path is never taken for a protocol, as "http:x" would be.
        check_boxes(path)
        with av.open(
            str(path.absolute()),
            options=_BOUND if _BOUNDED_PROBES else {},
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        ) as container:
            stream = _main_stream(container)
            if stream is None:
                kind = "only sound" if container.streams.audio else "no video stream, or was cut short"
                raise InputError(f"{name} holds {kind}; give a complete video file")
            if stream.width * stream.height > MOST_FRAME_PIXELS:
                raise InputError(
                    f"the frames of {name} are {stream.width}x{stream.height} by its header, and at most "
                    f"{MOST_FRAME_PIXELS:,} pixels were expected; give a smaller version"
                )
            stream.codec_context.options = _BOUND  # its frames may say otherwise
            yield container, stream
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{name} cannot be opened ({error.strerror}); check its permissions") from error
    except _FILE_ERRORS as error:
        said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name} cannot be read as a video ({said}): it is of another kind, damaged, or cut short; "
            "give a complete MP4, MOV, WebM, MKV, AVI or GIF file"
        ) from error


def _main_stream(container: InputContainer) -> VideoStream | None:
    """The stream that plays: FFmpeg's best, unless that is the single picture beside an animation (AVIF)."""
    best = container.streams.best("video")
    if isinstance(best, VideoStream) and best.frames == 1:
        best = max(container.streams.video, key=lambda stream: stream.frames)
    return best if isinstance(best, VideoStream) and best.codec_context is not None else None


def packets(container: InputContainer, *streams: Stream) -> "Iterator[Packet[Stream] | None]":
    """The packets of these streams; None, and no more, where the file cannot be read on."""
    try:
        yield from container.demux(*streams)
    except av.error.FFmpegError:
        yield None


class Allowance:
    """How many pixels may still be decoded of a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        self.pixels = FREE_PIXELS + PIXELS_PER_BYTE * self.size

    def spend(self, pixels: int) -> None:
        """InputError if the file unpacks to so much that it must be a bomb."""
        self.check(pixels)
        self.pixels -= pixels

    def check(self, pixels: int) -> None:
        """InputError if so many may not be decoded."""
        if pixels > self.pixels:
            raise InputError(
                f"{spoken(self.path)} unpacks to more pixels than {self.size:,} bytes of video can hold; "
                "give the part of it that is meant, or a smaller version"
            )


def good_frames(container: InputContainer, stream: VideoStream, allowance: Allowance) -> Iterator[VideoFrame | None]:
    """Decoded frames in the order of display; None for each packet or frame that is damaged."""
    for packet in packets(container, stream):
        if packet is None:
            yield None
        try:
            decoded = stream.decode(packet)  # of no packet: the frames that the decoder still holds
        except av.error.FFmpegError:
            yield None
            continue
        for frame in decoded:
            allowance.spend(frame.width * frame.height)
            yield None if frame.is_corrupt else frame
