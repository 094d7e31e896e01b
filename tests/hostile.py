"""Small files of many formats, and ways to damage them; the same for the same number. (Not a test.)"""

import random
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

# name, codec, sound
VIDEOS = (
    ("a.mp4", "libx264", "aac"),
    ("b.mp4", "mpeg4", None),
    ("fragments.mp4", "libx264", None),
    ("a.mov", "mjpeg", "pcm_s16le"),
    ("a.mkv", "libx264", "aac"),
    ("b.mkv", "ffv1", None),
    ("a.webm", "libvpx-vp9", "libopus"),
    ("b.webm", "libvpx", None),
    ("a.avi", "mpeg4", None),
    ("b.avi", "mjpeg", None),
    ("a.ts", "libx264", "aac"),
    ("a.mpg", "mpeg1video", "mp2"),
    ("a.m2v", "mpeg2video", None),
    ("a.flv", "flv1", None),
    ("a.nut", "libx264", None),
    ("a.ivf", "libvpx", None),
    ("a.h264", "libx264", None),
    ("a.mxf", "mpeg2video", None),
    ("a.y4m", "wrapped_avframe", None),
)
PICTURES = (
    ("a.png", {}),
    ("a.jpg", {}),
    ("b.jpg", {"progressive": True}),
    ("a.bmp", {}),
    ("a.tif", {}),
    ("b.tif", {"compression": "tiff_lzw"}),
    ("c.tif", {"compression": "jpeg"}),
    ("still.webp", {}),
    ("a.avif", {}),
    ("a.ppm", {}),
    ("a.jp2", {}),
    ("a.tga", {"compression": "tga_rle"}),
)
ANIMATIONS = ("a.gif", "moving.png", "moving.webp", "moving.avif")


def pictures(count: int = 12, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A bright square that moves to the right over noise."""
    noise = np.random.default_rng(0).integers(30, 60, (height, width, 3), dtype=np.uint8)
    found = []
    for number in range(count):
        picture = noise.copy()
        picture[8:20, 2 * number : 2 * number + 12] = (250, 60, 40)
        found.append(picture)
    return found


def write_video(path: Path, codec: str, sound: str | None) -> None:
    """Twelve pictures at 25 per second, and a little sound."""
    options = {"movflags": "frag_keyframe+empty_moov"} if path.name == "fragments.mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25, options={"x264-params": "mbtree=0"} if codec == "libx264" else {})
        stream.height, stream.width = 48, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.thread_count = 1
        audio = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            size = audio.codec_context.frame_size or 1024
            wanted = audio.codec_context.format.name
            for start in range(0, 12000, size):
                samples = np.zeros((1, size), np.float32 if "flt" in wanted else np.int16)
                frame = av.AudioFrame.from_ndarray(samples, format=wanted, layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())


def seeds(folder: Path) -> Iterator[Path]:
    """One sound file of every format that this machine can write."""
    for name, codec, sound in VIDEOS:
        try:
            write_video(folder / name, codec, sound)
        except (av.error.FFmpegError, ValueError):  # an FFmpeg without this codec
            (folder / name).unlink(missing_ok=True)
            continue
        yield folder / name
    images = [Image.fromarray(picture) for picture in pictures()]
    for name in ANIMATIONS:
        images[0].save(folder / name, save_all=True, append_images=images[1:], duration=40)
        yield folder / name
    for name, options in PICTURES:
        images[0].save(folder / name, **options)
        yield folder / name


def flip_bits(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 3, 20))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def break_header(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 2, 6))):
        data[draw.randrange(min(len(data), 400))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    return data


def exaggerate(data: bytearray, draw: random.Random) -> bytearray:
    """A number of four bytes becomes extreme."""
    at = draw.randrange(max(1, min(len(data), draw.choice((64, 512, 1 << 20))) - 4))
    number = draw.choice((0, 1, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, draw.randrange(2**32)))
    data[at : at + 4] = struct.pack(draw.choice(("<I", ">I")), number)
    return data


def cut(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(1, len(data))]


def blank(data: bytearray, draw: random.Random) -> bytearray:
    at, length = draw.randrange(len(data)), draw.choice((4, 64, 600))
    data[at : at + length] = bytes([draw.choice((0, 0xFF))]) * len(data[at : at + length])
    return data


def swap(data: bytearray, draw: random.Random) -> bytearray:
    a, b = sorted(draw.randrange(len(data)) for _ in range(2))
    size = draw.choice((4, 16, 200))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


def repeat(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data))
    return data[:at] + data[at : at + draw.choice((8, 100, 2000))] * draw.choice((1, 3)) + data[at:]


def insert(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.choice((1, 7, 100))) + data[at:]


def trail(data: bytearray, draw: random.Random) -> bytearray:
    return data + draw.choice((draw.randbytes(500), bytes(500), b"rubbish\n" * 60))


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    flip_bits,
    break_header,
    exaggerate,
    cut,
    blank,
    swap,
    repeat,
    insert,
    trail,
)


def mutated(data: bytes, number: int) -> tuple[str, bytes]:
    """What was done, and the file after it."""
    draw = random.Random(number)
    mutation = MUTATIONS[number % len(MUTATIONS)]
    return mutation.__name__, bytes(mutation(bytearray(data), draw))
