"""Reading video: real files, made here."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from motionclone.errors import InputError
from motionclone.media.reading import Clip, read_clip


def encode(path, pictures, codec="libx264", rate=10, pix_fmt="yuv420p", pts=None, options=None, setup=None):
    """Write (h, w, 3) uint8 pictures; `pts` are in units of 1/rate; `setup` may change the stream first."""
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as container:
        # With mbtree, x264's AVX-512 code does not always write the same bytes.
        steady = {"x264-params": "mbtree=0"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=rate, options=steady | (options or {}))
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pix_fmt
        stream.thread_count = 1
        if setup:
            setup(stream)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number if pts is None else pts[number], Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered(count, height=32, width=48):
    """Pictures that carry their number as a grey level."""
    return [np.full((height, width, 3), 20 + 4 * number, np.uint8) for number in range(count)]


def numbers(clip: Clip) -> list[int]:
    return (((clip.frames.mean((1, 2, 3)) + 1) * 127.5 - 20) / 4).round().int().tolist()


def linspace(n: int, frames: int) -> list[int]:
    return np.floor(np.linspace(0, n - 1, frames)).astype(int).tolist()


# Which frames


@pytest.mark.parametrize("n", [16, 17, 50])
def test_a_constant_rate_gives_floor_of_linspace(tmp_path, n):
    path = encode(tmp_path / "a.mp4", numbered(n), rate=30)
    for frames in (2, 3, 8, 15, 16, n):
        if frames <= n:
            clip = read_clip(path, frames, 8, 8)
            assert numbers(clip) == linspace(n, frames)
            assert clip.fps == pytest.approx((frames - 1) / (n - 1) * 30)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.webm", "libvpx-vp9", "yuv420p"),  # no frame count in the file, timestamps rounded to 1 ms
        ("a.gif", "gif", "gray"),  # rounded to 10 ms
        ("a.avi", "ffv1", "yuv420p"),  # a tick is a whole frame
        ("b.avi", "libx264", "yuv420p"),  # timestamps in the wrong order
        ("a.h264", "libx264", "yuv420p"),  # none at all
    ],
)
def test_containers_with_poor_timestamps(tmp_path, name, codec, pix_fmt):
    path = encode(tmp_path / name, numbered(23), codec, rate=25 if name == "a.h264" else 30, pix_fmt=pix_fmt)
    for frames in (4, 16, 23):
        assert numbers(read_clip(path, frames, 8, 8)) == linspace(23, frames)


def test_a_variable_rate_is_sampled_by_time(tmp_path):
    pts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 30, 40]  # a fast start, then two long frames
    path = encode(tmp_path / "a.mp4", numbered(len(pts)), rate=20, pts=pts)
    clip = read_clip(path, 5, 8, 8)  # at 0, 10, 20, 30, 40 twentieths of a second
    assert numbers(clip) == [0, 8, 8, 9, 10]
    assert clip.fps == pytest.approx(2)
    assert any("1 of the 5 frames repeat" in notice for notice in clip.notices)


def test_start_end_and_fps(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(40), rate=10, options={"g": "8"})
    assert numbers(read_clip(path, 3, 8, 8, start=1.0, end=2.0)) == [10, 15, 20]
    assert numbers(read_clip(path, 4, 8, 8, start=3.55)) == [36, 37, 38, 39]
    assert numbers(read_clip(path, 2, 8, 8, end=4.0)) == [0, 39]  # the last frame lasts until 4.0
    clip = read_clip(path, 4, 8, 8, start=1.25, fps=4)
    assert numbers(clip) == [12, 15, 17, 20]
    assert clip.fps == 4
    assert numbers(read_clip(path, 3, 8, 8, fps=20)) == [0, 0, 1]
    assert numbers(read_clip(path, 40, 8, 8, fps=10)) == list(range(40))


# The picture


def corner(height=48, width=64):
    """Red in the top left quarter, else grey."""
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    return picture


@pytest.mark.parametrize(("degrees", "where"), [(90, (-1, 0)), (-90, (0, -1)), (180, (-1, -1))])
def test_rotation_is_applied(tmp_path, degrees, where):
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a rotated file")
    path = encode(tmp_path / "a.mp4", [corner()] * 3, setup=lambda stream: stream.set_display_rotation(degrees))
    clip = read_clip(path, 2, *((48, 64) if degrees == 180 else (64, 48)))
    assert len(clip.notices) == 1  # nothing is cropped: the turned picture has exactly this size
    assert "rotated by" in clip.notices[0]
    redness = clip.frames[0, 0] - clip.frames[0, 1]
    expected = np.rot90(corner()[..., 0] > 100, degrees // 90)
    assert np.mean((redness.numpy() > 0.5) == expected) > 0.95
    assert redness[where] > 1


def test_pixel_aspect_is_applied(tmp_path):
    def wide(stream):
        stream.sample_aspect_ratio = Fraction(2, 1)

    path = encode(tmp_path / "a.mp4", [corner()] * 3, setup=wide)  # 64x48 pixels shown as 128x48
    assert read_clip(path, 2, 48, 128).notices == ()
    clip = read_clip(path, 2, 48, 48)
    assert clip.notices == ("centre-cropped 128x48 to 1:1",)
    assert (clip.frames[0, 0, :20, :20] > 0.5).all()  # the middle 48 of 128: red up to its own middle
    assert (clip.frames[0, 0, :20, 28:] < 0).all()


def test_crop_keeps_the_aspect_and_squash_keeps_everything(tmp_path):
    picture = np.full((32, 96, 3), 128, np.uint8)
    picture[:, :24], picture[:, -24:] = 255, 0
    path = encode(tmp_path / "a.mp4", [picture] * 2)
    crop, squash = read_clip(path, 2, 64, 64), read_clip(path, 2, 64, 64, fit="squash")
    assert crop.frames.shape == squash.frames.shape == (2, 3, 64, 64)
    assert crop.frames.dtype == torch.float32
    assert crop.frames.abs().max() < 0.1  # the ends are gone
    assert squash.frames[..., 0].min() > 0.9
    assert squash.frames[..., -1].max() < -0.9
    assert squash.notices == ()
    assert crop.notices == ("centre-cropped 96x32 to 1:1",)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_part_is_read_as_a_clip_of_that_part_alone(tmp_path, fit):
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    path = encode(tmp_path / "a.mkv", [picture] * 2, "ffv1", pix_fmt="bgr0")
    alone = encode(
        tmp_path / "b.mkv", [np.ascontiguousarray(picture[12:36, 8:40][:, ::-1])] * 2, "ffv1", pix_fmt="bgr0"
    )
    part = read_clip(path, 2, 16, 16, fit=fit, crop=(0.125, 0.25, 0.625, 0.75), flip=True)
    assert torch.equal(part.frames, read_clip(alone, 2, 16, 16, fit=fit).frames)
    speck = read_clip(path, 2, 8, 8, fit=fit, crop=(0.999, 0.999, 1, 1))  # never less than a pixel
    torch.testing.assert_close(speck.frames[0, :, 0, 0], torch.from_numpy(picture[-1, -1] / 127.5 - 1).float())


def test_squash_aligns_corners_and_rounds_as_the_authors_do(tmp_path):
    picture = np.zeros((16, 2, 3), np.uint8)
    picture[:, 1] = 200
    path = encode(tmp_path / "a.mkv", [picture] * 2, "ffv1", pix_fmt="bgr0")  # lossless
    row = (read_clip(path, 2, 16, 4, fit="squash").frames[0, 0, 0] + 1) * 127.5
    torch.testing.assert_close(row, torch.tensor([0.0, 67, 133, 200]))


def test_hdr_is_told(tmp_path):
    def pq(stream):
        stream.codec_context.color_trc = 16

    assert any(
        "HDR" in notice for notice in read_clip(encode(tmp_path / "a.mp4", numbered(3), setup=pq), 2, 32, 48).notices
    )


# Bad input


def reject(*words, path, **arguments):
    with pytest.raises(InputError) as caught:
        read_clip(path, **{"num_frames": 8, "height": 16, "width": 16, **arguments})
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_frames": 21}, ("21 frames are needed", "has 20", "num_frames=20", "longer clip")),
        ({"start": 1.0, "end": 1.5}, ("between 1 s and 1.500 s", "has 6", "num_frames=6")),
        ({"start": 1.95}, ("has 0", "longer clip")),
        ({"start": 2.0}, ("start 2 s", "lasts 2.000 s")),
        ({"end": 2.5}, ("end 2.5 s", "lasts 2.000 s")),
        ({"start": 1.0, "end": 1.0}, ("end must come after start",)),
        ({"start": -1.0}, ("start must be 0 or more",)),
        ({"start": float("nan")}, ("start must be 0 or more",)),
        ({"fps": 3.0}, ("2.333 s", "up to 2.000 s", "fps=3.51")),
        ({"fps": 8.0, "end": 0.5}, ("0.875 s", "up to 0.500 s", "fps=14.0")),
        ({"fps": 0.0}, ("fps must be a positive",)),
        ({"num_frames": 1}, ("at least 2",)),
        ({"height": 0}, ("positive", "0x16")),
        ({"width": -3}, ("positive", "16x-3")),
        ({"fit": "stretch"}, ("crop, squash", "stretch")),
        ({"crop": (0.5, 0, 0.5, 1)}, ("crop is left, top, right and bottom", "(0.5, 0, 0.5, 1)")),
        ({"crop": (0, 0, 1)}, ("crop is left, top, right and bottom", "from 0 to 1")),
        ({"crop": (0, 0, 1, float("nan"))}, ("crop is left, top, right and bottom",)),
    ],
)
def test_numbers_that_do_not_fit_the_clip(tmp_path, arguments, words):
    reject(*words, path=encode(tmp_path / "a.mp4", numbered(20)), **arguments)


def test_the_fps_suggested_works(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(20))
    assert len(read_clip(path, 8, 8, 8, fps=3.51).frames) == 8
    assert len(read_clip(path, 8, 8, 8, fps=14, end=0.5).frames) == 8


def test_files_that_are_no_video(tmp_path):
    reject("missing.mp4 does not exist", path=tmp_path / "missing.mp4")
    reject("is a folder", path=tmp_path)
    (tmp_path / "empty.mp4").touch()
    reject("empty.mp4 is empty", path=tmp_path / "empty.mp4")
    for name in ("text.mp4", "text.txt"):  # FFmpeg would play .txt as terminal art
        (tmp_path / name).write_text("no video at all\n" * 50)
        reject(name, "cannot be read as a video", path=tmp_path / name)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    reject("a.png holds a single picture", path=tmp_path / "a.png")
    reject("single picture", path=encode(tmp_path / "one.mp4", numbered(1)))
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    reject("only sound", path=tmp_path / "sound.mp4")


def test_playlists_do_not_reach_other_files(tmp_path):
    encode(tmp_path / "a.mp4", numbered(10))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    reject("list.mp4 cannot be read as a video", path=tmp_path / "list.mp4")


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9")])
def test_a_truncated_file_is_refused_unless_its_good_part_is_asked_for(tmp_path, name, codec):
    noise = np.random.default_rng(0).integers(0, 12, (40, 32, 48, 3), dtype=np.uint8)  # so that all frames weigh
    path = cut(encode(tmp_path / name, [a + b for a, b in zip(numbered(40), noise, strict=True)], codec), 0.6)
    reject("is cut short", "4.00 s", "end=", path=path, num_frames=4)
    clip = read_clip(path, 4, 16, 16, end=0.5)
    assert any("cut short" in notice and "4.00 s" in notice for notice in clip.notices)
    assert numbers(clip)[0] in (0, 1, 2)
    assert numbers(clip)[-1] in (4, 5, 6)


def test_a_file_without_its_index_or_with_damage(tmp_path):
    pictures = numbered(40, 64, 96)
    path = encode(tmp_path / "a.mkv", pictures, options={"g": "5"})
    reject("cannot be read as a video", path=cut(path, 0.01))
    data = bytearray(encode(tmp_path / "b.mp4", pictures, options={"g": "5"}).read_bytes())
    part = slice(len(data) * 3 // 4, len(data) * 17 // 20)
    data[part] = bytes(len(data[part]))
    (tmp_path / "b.mp4").write_bytes(data)
    clip = read_clip(tmp_path / "b.mp4", 4, 16, 16)
    assert any("damaged" in notice for notice in clip.notices)
    assert (numbers(clip)[0], numbers(clip)[-1]) == (0, 39)  # damage in the middle does not cost the end
