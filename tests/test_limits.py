"""What a file or a request may cost: headers that promise too much, and numbers and paths that cannot be meant."""

import io
import os
import struct
import tracemalloc
import zlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from hostile import pictures, write_video
from PIL import Image
from test_video import encode, numbered, numbers, reject
from torch.nn import functional

from motionclone.errors import InputError
from motionclone.media import boxes, container, survey
from motionclone.media.fitting import fitted
from motionclone.media.pictures import read_picture, read_sketch
from motionclone.media.reading import clip_size, read_clip

# Pictures of extreme shape


def test_the_middle_alone_is_resized_as_if_all_of_it_were():
    """The same as resizing the whole picture and cutting the middle out."""
    draw = np.random.default_rng(0)
    for rows, columns, height, width, aspect in [
        (90, 160, 64, 64, 1.0),
        (64, 64, 90, 160, 1.0),
        (7, 300, 20, 10, 1.0),
        (300, 7, 33, 21, 0.5),
        (48, 64, 32, 32, 16.0),
        (31, 45, 32, 48, 1.0),
        (1080, 1920, 512, 512, 1.0),
    ]:
        picture = draw.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        scale = max(height / rows, width / (columns * aspect))
        size = (max(height, round(rows * scale)), max(width, round(columns * aspect * scale)))
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
        whole = functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)[0]
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        expected = whole[:, top : top + height, left : left + width].float() / 127.5 - 1
        found, _ = fitted(picture, aspect, height, width, "crop")
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)  # Pillow's boxes are of 32-bit floats


@pytest.mark.parametrize("shape", [(1, 2_000_000, 3), (2_000_000, 1, 3)])
def test_a_line_of_pixels_takes_no_more_memory_than_it_has(shape):
    picture = np.zeros(shape, np.uint8)
    tracemalloc.start()
    pixels, notices = fitted(picture, 1.0, 512, 512, "crop")
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    assert pixels.shape == (3, 512, 512)
    assert "centre-cropped" in notices[0]


def test_a_pixel_aspect_that_cannot_be_is_not_applied(tmp_path):
    for said in ("60000:1", "1:100000"):
        frame = b"FRAME\n" + bytes(48 * 64 * 3 // 2)
        (tmp_path / "a.y4m").write_bytes(f"YUV4MPEG2 W64 H48 F10:1 A{said} C420\n".encode() + 3 * frame)
        clip = read_clip(tmp_path / "a.y4m", 2, 48, 64)
        assert clip.notices == (f"the file says that pixels are {said}, which cannot be: taken as 1:1",)
        assert clip_size(tmp_path / "a.y4m") == (3, 48, 64)


# Headers that promise too much


def png(width, height, chunks=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def patched(suffix, marker, after, layout, *values, **options):
    """A picture whose header has other numbers."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64)).save(stream, suffix, **options)
    data = bytearray(stream.getvalue())
    at = data.index(marker) + after
    data[at : at + struct.calcsize(layout)] = struct.pack(layout, *values)
    return bytes(data)


HUGE = {
    "line.png": png(80_000_000, 1),
    "column.png": png(1, 66_000_000),
    "square.png": png(16_000, 16_000),
    "largest.png": png(2**31 - 1, 2**31 - 1),
    "a.jpg": patched("JPEG", b"\xff\xc0", 5, ">HH", 65500, 65500),
    "a.bmp": patched("BMP", b"BM", 18, "<ii", 100_000, 100_000),
    "a.webp": patched("WEBP", b"VP8 ", 14, "<HH", 16383, 16383, quality=50),
    "a.jp2": patched("JPEG2000", b"ihdr", 4, ">II", 100_000, 100_000),
    "a.ppm": b"P6\n100000 100000\n255\n",
    "a.gif": patched("GIF", b"GIF8", 6, "<HH", 16_000, 16_000),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_header_is_not_believed(tmp_path, name):
    (tmp_path / name).write_bytes(HUGE[name])
    for read in (read_picture, read_sketch):
        with pytest.raises(InputError, match="more pixels than can be trusted"):
            read(tmp_path / name, 16, 16)
    with pytest.raises(InputError):
        read_clip(tmp_path / name, 2, 16, 16)


def test_a_canvas_of_a_moving_picture_is_not_believed(tmp_path):
    images = [Image.fromarray(picture) for picture in pictures(3)]
    for name, at, layout, words in [
        ("a.gif", 6, "<HH", "35,389,440 pixels"),
        ("a.png", 16, ">II", "35,389,440 pixels"),
        ("a.webp", 24, "<HxHx", "more pixels"),
    ]:
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:], duration=40)
        data = bytearray((tmp_path / name).read_bytes())
        data[at : at + struct.calcsize(layout)] = struct.pack(layout, 16000, 16000)
        (tmp_path / name).write_bytes(data)
        reject(words, path=tmp_path / name, num_frames=2)


def test_frames_that_grow_in_the_middle_are_damage(tmp_path, monkeypatch):
    """What the header says is not all: a frame that is larger than is taken does not get memory."""
    small, large = (encode(tmp_path / f"{n}.m2v", numbered(6, n, n), "mpeg2video", rate=25) for n in (32, 96))
    (tmp_path / "a.m2v").write_bytes(small.read_bytes() + large.read_bytes())
    assert clip_size(tmp_path / "a.m2v")[0] > 6
    monkeypatch.setattr(container, "MOST_FRAME_PIXELS", 48 * 48)
    monkeypatch.setattr(container, "_BOUND", {"max_pixels": str(48 * 48)})
    assert 5 <= clip_size(tmp_path / "a.m2v")[0] <= 6
    reject("pixels", path=large)


def test_a_small_file_that_unpacks_to_much_is_a_bomb(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mkv", numbered(20, 64, 64))
    monkeypatch.setattr(container, "FREE_PIXELS", 10 * 64 * 64)
    monkeypatch.setattr(container, "PIXELS_PER_BYTE", 0)
    reject("unpacks to more pixels", path=path, num_frames=20)
    images = [Image.fromarray(picture) for picture in pictures(12)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=40)
    reject("unpacks to more pixels", path=tmp_path / "a.webp", num_frames=12)


def test_too_many_frames_are_not_listed(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mkv", numbered(20))
    monkeypatch.setattr(survey, "MOST_FRAMES", 19)
    reject("more than 19 frames", "cut out the part", path=path)
    monkeypatch.setattr("motionclone.media.animation.MOST_FRAMES", 2)
    images = [Image.fromarray(picture) for picture in pictures(4)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=40)
    reject("more than 2 frames", path=tmp_path / "a.webp")


@pytest.mark.parametrize("count", [5_000_000, 100_000_000, 2**32 - 1])
@pytest.mark.parametrize("kind", ["table", "fragment", "compressed"])
def test_samples_are_counted_before_they_get_memory(tmp_path, kind, count):
    write_video(tmp_path / "a.mp4", "mpeg4", None)
    write_video(tmp_path / "fragments.mp4", "libx264", None)
    data = bytearray((tmp_path / ("fragments.mp4" if kind == "fragment" else "a.mp4")).read_bytes())

    def put(name, after, *values):
        at = data.index(name) + 4 + after
        data[at : at + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)

    if kind == "fragment":
        put(b"trun", 0, 1, count)  # no sample of which anything is said
    else:
        put(b"stsz", 4, 1, count)
        put(b"stts", 8, count, 512)
        put(b"stsc", 8, 1, count)
    if kind == "compressed":
        at = data.index(b"moov") - 4
        header = bytes(data[at:])
        packed = struct.pack(">I", len(header)) + zlib.compress(header)
        inner = struct.pack(">I4s4s", 12, b"dcom", b"zlib") + struct.pack(">I4s", 8 + len(packed), b"cmvd") + packed
        outer = struct.pack(">I4s", 8 + len(inner), b"cmov") + inner
        data[at:] = struct.pack(">I4s", 8 + len(outer), b"moov") + outer
    (tmp_path / "b.mp4").write_bytes(data)
    reject("samples", "at most 4,194,304 are read", path=tmp_path / "b.mp4")


def test_raw_sound_is_not_counted_by_the_sample(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mov", "mjpeg", "pcm_s16le")
    monkeypatch.setattr(boxes, "MOST_SAMPLES", 5000)  # there are 12,000
    assert len(read_clip(tmp_path / "a.mov", 12, 48, 64).frames) == 12


def test_boxes_in_boxes_end(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0\xff\xff\xfftrak" * 50_000)
    reject("cannot be read as a video", path=tmp_path / "a.mp4")


# Requests


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"num_frames": 10**9}, ("at most 262144", "1000000000")),
        ({"num_frames": 10**5000}, ("at most 262144",)),
        ({"num_frames": 16.0}, ("whole number", "16.0")),
        ({"num_frames": True}, ("whole number", "True")),
        ({"num_frames": None}, ("whole number", "None")),
        ({"height": 10**9}, ("at most 8192", "1000000000x16")),
        ({"width": 2**70}, ("at most 8192",)),
        ({"width": float("nan")}, ("whole number", "nan")),
        ({"height": "64"}, ("whole number", "'64'")),
        ({"num_frames": 100_000, "height": 8192, "width": 8192}, ("268,435,456 pixels", "fewer or smaller")),
        ({"start": True}, ("start must be 0 or more", "True")),
        ({"start": "1"}, ("start must be 0 or more", "'1'")),
        ({"start": 1e300}, ("1e+300", "lasts 2.000 s")),
        ({"end": 10**400}, ("end must come after start",)),
        ({"fps": 1e300}, ("0.001 to 1000", "1e+300")),
        ({"fps": 1e9}, ("0.001 to 1000",)),
        ({"fps": 1e-9}, ("0.001 to 1000",)),
        ({"fps": 10**5000}, ("positive number of frames per second",)),
        ({"fit": ["crop"]}, ("crop, squash",)),
    ],
)
def test_numbers_that_cannot_be_meant(tmp_path, asked, words):
    reject(*words, path=encode(tmp_path / "a.mp4", numbered(20)), **asked)
    size = {name: asked[name] for name in ("height", "width") if name in asked and "num_frames" not in asked}
    if size:
        Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
        for read in (read_picture, read_sketch):
            with pytest.raises(InputError, match=words[0]):
                read(tmp_path / "a.png", **{"height": 16, "width": 16, **size})


def test_numbers_of_other_types_are_taken(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(20))
    clip = read_clip(path, np.int64(4), np.int32(32), 48, start=np.float32(0.5), fps=Fraction(5))
    assert numbers(clip) == [5, 7, 9, 11]
    assert type(clip.fps) is float


def test_clips_whose_timestamps_cannot_be_meant(tmp_path):
    pts = [0, 1, 2, 400_000_000]  # twelve years at 1 per second
    path = encode(tmp_path / "a.mkv", numbered(4), "ffv1", rate=1, pts=pts)
    reject("by their timestamps", "fps=8.0", path=path, num_frames=4)
    assert numbers(read_clip(path, 2, 32, 48, fps=1.0)) == [0, 1]


# Paths


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("a\0b.mp4", "null"),
        ("x" * 300 + ".mp4", "too long"),
        ("a/" * 3000, "too long"),
        ("~nosuchuser/a.mp4", "does not exist"),
        ("\ud800.mp4", "surrogates"),
        (os.fsdecode(b"\xff.mp4"), r"\\udcff.mp4 does not exist"),
        ("two\nlines.mp4", r"two\\nlines.mp4 does not exist"),
        ("/dev/zero", "not an ordinary file"),
        (b"a.mp4", "got bytes"),
        (None, "got NoneType"),
    ],
)
def test_paths_that_lead_nowhere(path, word):
    for read in (read_clip, clip_size, lambda path: read_picture(path, 16, 16), lambda path: read_sketch(path, 16, 16)):
        with pytest.raises(InputError, match=word) as caught:
            read(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["two\nlines", os.fsdecode(b"\xff"), "\u6a5f \u00a0", "-i", "a%03d", "http:", "x" * 240]
)
def test_files_of_any_name_are_read(tmp_path, name):
    path = encode(tmp_path / "a.mp4", numbered(4)).rename(tmp_path / f"{name}.mp4")
    assert len(read_clip(path, 4, 16, 16).frames) == 4
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    assert read_picture((tmp_path / "a.png").rename(tmp_path / f"{name}.png"), 16, 16).notices == ()


def test_a_pipe_is_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    for read in (read_clip, clip_size, lambda path: read_picture(path, 16, 16)):
        with pytest.raises(InputError, match="not an ordinary file"):
            read(tmp_path / "a.mp4")


def test_what_cannot_be_opened_is_told(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()

    def closed(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", closed)
    reject("cannot be read (Permission denied)", path=tmp_path / "folder")
    path = encode(tmp_path / "a.mp4", numbered(3))
    monkeypatch.setattr(container.av, "open", closed)
    reject("cannot be opened (Permission denied)", path=path)
