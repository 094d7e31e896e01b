"""What a clip may be: containers that last longer than their picture, all ways to lie, animations, folders, damage."""

import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hostile import pictures, write_video
from PIL import Image
from test_video import cut, encode, numbered, numbers, reject

from motionclone.cli.options import as_option
from motionclone.errors import InputError, naming
from motionclone.media import film
from motionclone.media.reading import clip_size, read_clip
from motionclone.media.timeline import Request, Timeline, choose

ALL = list(range(20))


@pytest.fixture(autouse=True)
def _at_a_shell():
    """Sentences name options, which tests then take as advised."""
    with naming(as_option):
        yield


def with_sound(path, seconds, codec="libx264", sound="aac", first=0):
    """Twenty pictures at 10 per second from number `first` on, and `seconds` of silence from 0 on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        audio = container.add_stream(sound, rate=48000, layout="mono")
        for number, picture in enumerate(numbered(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = first + number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        kind, step = {"aac": ("fltp", 1024), "libopus": ("flt", 960), "pcm_s16le": ("s16", 1024)}[sound]
        for start in range(0, int(seconds * 48000), step):
            silence = np.zeros((1, step), np.int16 if kind == "s16" else np.float32)
            samples = av.AudioFrame.from_ndarray(silence, format=kind, layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 48000, start, Fraction(1, 48000)
            container.mux(audio.encode(samples))
        container.mux(audio.encode())
    return path


# How long it is


@pytest.mark.parametrize(
    ("name", "codec", "sound", "first"),
    [
        ("a.mkv", "libx264", "aac", 0),
        ("late.mkv", "libx264", "aac", 15),  # the picture begins when the sound has played for 1.5 s
        ("a.webm", "libvpx-vp9", "libopus", 0),
        ("a.mp4", "libx264", "aac", 0),
        ("late.mp4", "libx264", "aac", 15),
        ("a.flv", "libx264", "aac", 0),
        ("late.flv", "libx264", "aac", 15),
        ("a.nut", "libx264", "aac", 0),
        ("a.ts", "libx264", "aac", 0),
        ("a.avi", "ffv1", "pcm_s16le", 0),
    ],
)
def test_sound_may_last_longer_than_the_picture(tmp_path, name, codec, sound, first):
    clip = read_clip(with_sound(tmp_path / name, 4.5, codec, sound, first), 20, 32, 48)
    assert numbers(clip) == ALL
    assert clip.fps == pytest.approx(10, rel=1e-3)
    assert clip.notices == ()


def test_a_file_cut_in_its_sound_and_picture_is_cut_short(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream, audio = container.add_stream("ffv1", rate=10), container.add_stream("pcm_s16le", rate=8000)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for number, picture in enumerate(numbered(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = 8000, 800 * number, Fraction(1, 8000)
            container.mux(audio.encode(samples))
        container.mux(stream.encode())
    reject("is cut short", "promises 2.00 s", "--end", path=cut(path, 0.6), num_frames=4)


def resting(path):
    """Twelve pictures at 25 per second, of which the last stays for a second."""
    images = [Image.fromarray(picture) for picture in pictures()]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[40] * 11 + [1000], lossless=True)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_a_picture_may_rest_at_the_end(tmp_path, name):
    path = resting(tmp_path / name)
    clip = read_clip(path, 12, 48, 64)
    expected = torch.from_numpy(np.stack(pictures())).permute(0, 3, 1, 2) / 127.5 - 1
    assert (clip.frames - expected).abs().mean() < 0.03  # GIF has 256 colours
    assert clip.fps == pytest.approx(25)
    assert clip.notices == ()
    late = read_clip(path, 3, 48, 64, start=0.4, fps=2)  # at 0.4, 0.9 and 1.4 s: number 10, and 11 twice
    assert torch.equal(late.frames, clip.frames[[10, 11, 11]])
    reject("lasts 1.440 s", path=path, start=1.5, num_frames=2)
    assert clip_size(path) == (12, 48, 64)


def test_a_last_frame_of_a_video_may_be_long(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for number, picture in enumerate(numbered(6)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            for packet in stream.encode(frame):
                packet.duration = 30 if number == 5 else 1
                container.mux(packet)
    clip = read_clip(tmp_path / "a.mp4", 6, 32, 48)
    assert (numbers(clip), clip.notices) == (ALL[:6], ())
    assert numbers(read_clip(tmp_path / "a.mp4", 4, 32, 48, fps=1)) == [0, 5, 5, 5]


def edited(path, *edits):
    """An MP4 of 10 frames per second whose track plays (milliseconds, from which frame) after each other."""
    with av.open(str(path)) as container:
        ticks = 1 / (10 * container.streams.video[0].time_base)
    data = path.read_bytes()
    at = data.index(b"edts") - 4
    old = struct.unpack(">I", data[at : at + 4])[0]
    rows = b"".join(struct.pack(">IiI", long, int(max(-1, first * ticks)), 1 << 16) for long, first in edits)
    inner = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    new = struct.pack(">I4s", 8 + len(inner), b"edts") + inner
    found = bytearray(data[:at] + new + data[at + old :])
    for name in (b"moov", b"trak"):
        begin = found.index(name) - 4
        size = struct.unpack(">I", found[begin : begin + 4])[0]
        found[begin : begin + 4] = struct.pack(">I", size + len(new) - old)
    path.write_bytes(found)
    return path


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([(1000, 10)], ALL[10:]),  # the first second is trimmed
        ([(1000, 0)], ALL[:10]),  # the last is
        ([(3000, -1), (2000, 0)], ALL),  # it begins after three seconds of nothing
        ([(1000, 10), (1000, 0)], ALL[10:] + ALL[:10]),  # its halves change places
        ([(90_000, 0)], ALL),  # it is said to last for longer than there is
    ],
)
def test_edit_lists(tmp_path, edits, expected):
    path = encode(tmp_path / "whole.mp4", numbered(20), rate=10, options={"bf": "0"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "a.mp4"), "w") as container:  # the index at the end
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    clip = read_clip(edited(tmp_path / "a.mp4", *edits), len(expected), 32, 48)
    assert numbers(clip) == expected
    assert not any("cut short" in notice for notice in clip.notices)


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
@pytest.mark.parametrize("share", [0.8, 0.9, 0.99])
def test_animations_that_are_cut(tmp_path, name, share):
    path = cut(resting(tmp_path / name), share)
    with pytest.raises(InputError, match="is cut short: it ends in the middle of a picture") as caught:
        read_clip(path, 2, 48, 64)
    end = float(re.search(r"--end ([0-9.]+)", str(caught.value))[1])
    clip = read_clip(path, 2, 48, 64, end=end)
    assert any("cut short" in notice for notice in clip.notices)


def test_a_webp_that_is_cut(tmp_path):
    reject("a.webp is cut short", "give the whole file", path=cut(resting(tmp_path / "a.webp"), 0.8), num_frames=2)


# How it is turned


@pytest.mark.parametrize(
    ("matrix", "turned", "said"),
    [
        ((1, 0, 0, 1), lambda p: p, None),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1], "mirrored left to right"),
        ((1, 0, 0, -1), lambda p: p[::-1], "flipped upside down"),
        ((-1, 0, 0, -1), lambda p: p[::-1, ::-1], "rotated by 180 degrees"),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1), "rotated by 90 degrees clockwise"),
        ((0, -1, 1, 0), lambda p: np.rot90(p), "rotated by 90 degrees anticlockwise"),
        ((0, 1, 1, 0), lambda p: np.rot90(p, -1)[:, ::-1], "clockwise and mirrored"),
        ((0, -1, -1, 0), lambda p: np.rot90(p)[:, ::-1], "anticlockwise and mirrored"),
        ((0, 0.5, -0.5, 0), lambda p: np.rot90(p, -1), "rotated by 90 degrees clockwise"),  # a scale is no turn
        ((0.9, 0.44, -0.44, 0.9), lambda p: p, "which is not applied: the picture is as it is stored"),
        ((-1, 0.2, 0, 1), lambda p: p[:, ::-1], "which is not applied: the picture is mirrored left to right"),
        ((0, 0, 0, 0), lambda p: p, "not applied"),
    ],
)
def test_the_whole_display_matrix_counts(tmp_path, matrix, turned, said):
    picture = np.full((48, 48, 3), 90, np.uint8)
    picture[4:16, 4:20] = (220, 30, 30)
    picture[28:44, 4:16] = (30, 30, 220)  # no two of the eight look alike
    path = encode(tmp_path / "a.mp4", [picture] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (round(number * (1 << 16)) for number in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    clip = read_clip(path, 2, 48, 48, fit="squash")  # a shear changes the pixel aspect as well
    seen = ((clip.frames[0].permute(1, 2, 0) + 1) * 127.5).numpy()
    assert np.abs(seen - turned(picture)).mean() < 6
    assert clip.notices == () if said is None else said in clip.notices[0]


def test_a_turned_picture_keeps_its_pixel_aspect(tmp_path):
    def wide(stream):
        stream.sample_aspect_ratio = Fraction(2, 1)

    path = encode(tmp_path / "a.mp4", numbered(3), setup=wide)  # 48x32 pixels, shown as 96x32
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frames, height, width = clip_size(path)
    assert (frames, height * 32) == (3, width * 96)


# Other sources


def test_webp_is_put_on_white_and_its_short_delays_are_those_of_browsers(tmp_path):
    images = [Image.new("RGBA", (16, 16), (255, 20 * number, 0, 255 if number else 0)) for number in range(4)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=[5, 5, 200, 200])
    clip = read_clip(tmp_path / "a.webp", 3, 16, 16, fps=10)  # shown for 100, 100, 200 and 200 ms
    assert clip.frames[0].min() == 1
    assert clip.frames[1, 2].max() < -0.95
    assert clip.notices == ("the animation is transparent in parts and was put on white",)
    assert read_clip(tmp_path / "a.webp", 4, 16, 16).fps == pytest.approx(3 / 0.4)


def test_an_animated_avif_is_read(tmp_path):
    images = [Image.fromarray(picture) for picture in numbered(8)]
    try:
        images[0].save(tmp_path / "a.avif", save_all=True, append_images=images[1:], duration=100, quality=95)
    except (KeyError, OSError):
        pytest.skip("this Pillow writes no AVIF")
    clip = read_clip(tmp_path / "a.avif", 8, 32, 48)
    assert numbers(clip) == ALL[:8]
    assert clip.fps == pytest.approx(10)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(numbered(12)):
        Image.fromarray(picture).save(folder / f"shot{number}.png")
    return folder


def test_a_folder_of_pictures_plays_in_the_order_of_its_numbers(folder):
    clip = read_clip(folder, 12, 32, 48)
    assert numbers(clip) == ALL[:12]  # 2 before 10
    assert clip.fps == pytest.approx(8)
    assert clip.notices == (
        "a folder has no rate: its pictures are taken to play at 8 frames per second; --fps changes it",
    )
    assert numbers(read_clip(folder, 4, 32, 48)) == [0, 3, 7, 11]
    given = read_clip(folder, 4, 32, 48, fps=24, start=0.25)
    assert (numbers(given), given.fps, given.notices) == ([6, 7, 8, 9], 24, ())
    assert clip_size(folder) == (12, 32, 48)
    reject("13 frames are needed", "has 12", "--frames 12", path=folder, num_frames=13)
    reject("use --frames 10, or", path=folder, num_frames=13, fps=24, start=1 / 12)  # no other rate would do


def test_the_hash_of_a_folder_is_that_of_its_pictures_in_order(folder):
    before = read_clip(folder, 2, 32, 48).sha256
    (folder / "notes.txt").write_text("no picture")
    assert read_clip(folder, 2, 32, 48).sha256 == before
    one, two = (folder / f"shot{number}.png" for number in (3, 4))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert read_clip(folder, 2, 32, 48).sha256 != before


def test_what_is_odd_in_a_folder_is_told(folder):
    (folder / "notes.txt").write_text("no picture")
    (folder / "shot5.png").unlink()
    (folder / "shot7.png").rename(folder / "shot7.txt")
    Image.fromarray(numbered(8)[7]).save(folder / "shot7.bmp")
    clip = read_clip(folder, 11, 32, 48, fps=8)
    assert numbers(clip) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    kinds, others, gap = clip.notices
    assert ".bmp, .png" in kinds
    assert "2 in the folder" in others
    assert "notes.txt, shot7.txt" in others
    assert "between shot4.png and shot6.png" in gap


def test_folders_that_cannot_be_played(folder, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    reject("is a folder without pictures", path=tmp_path / "empty")
    Image.new("RGB", (48, 32)).save(folder / "shot3.jpg")
    reject("shot3.jpg and shot3.png", "one picture a frame", path=folder)
    (folder / "shot3.jpg").unlink()
    Image.new("RGB", (64, 32)).save(folder / "shot3.png")
    reject("shot3.png is 64x32", "48x32", "one size", path=folder, num_frames=12)
    (folder / "shot3.png").write_text("no picture")
    reject("shot3.png cannot be read as a picture", path=folder, num_frames=12)
    assert len(read_clip(folder, 2, 32, 48).frames) == 2  # the first and the last
    monkeypatch.setattr("motionclone.media.folder.MOST_PICTURES", 11)
    reject("more than 11 files", path=folder, num_frames=2)


# What is wrong with it


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_text_in_a_file_may_be_in_any_encoding(tmp_path, name):
    with av.open(str(tmp_path / name), "w") as container:
        container.metadata["title"] = "caf\u00e9 au lait"
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for picture in numbered(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    data = (tmp_path / name).read_bytes()
    assert b"caf\xc3\xa9" in data
    (tmp_path / name).write_bytes(data.replace(b"caf\xc3\xa9", b"caf\xe9\xe9"))
    assert numbers(read_clip(tmp_path / name, 4, 32, 48)) == [0, 1, 2, 3]


def test_a_damaged_stream_without_timestamps_is_read_in_order(tmp_path):
    path = tmp_path / "a.h264"
    write_video(path, "libx264", None)
    units = path.read_bytes().split(b"\0\0\1")
    largest = max(range(len(units) // 2, len(units)), key=lambda number: len(units[number]))
    units[largest] = units[largest][:1] + b"\xff" * (len(units[largest]) - 1)
    path.write_bytes(b"\0\0\1".join(units))
    clip = read_clip(path, 6, 48, 64)
    assert any("damaged" in notice for notice in clip.notices)
    assert (clip.frames[0] - clip.frames[-1]).abs().max() > 0.5


@pytest.mark.parametrize("name", ["a.y4m", "a.gif", "a.ts", "a.h264", "a.mkv", "a.mp4"])
def test_bytes_behind_the_last_frame_cost_none(tmp_path, name):
    if name == "a.gif":
        resting(tmp_path / name)
    else:
        write_video(tmp_path / name, "wrapped_avframe" if name == "a.y4m" else "libx264", None)
    whole = read_clip(tmp_path / name, 12, 48, 64)
    with (tmp_path / name).open("ab") as file:
        file.write(b"rubbish\n" * 80)
    clip = read_clip(tmp_path / name, 12, 48, 64)
    assert torch.equal(clip.frames, whole.frames)
    assert not any("cut short" in notice for notice in clip.notices)


def test_errors_while_reading_on_end_the_clip_there(tmp_path):
    path = resting(tmp_path / "a.png")
    data = path.read_bytes()
    at = data.index(b"fcTL", data.index(b"fdAT"))  # what says where the third picture goes
    path.write_bytes(data[: at + 8] + struct.pack(">II", 500, 500) + data[at + 16 :])
    clip = read_clip(path, 2, 48, 64, end=0.05)
    assert any("cut short" in notice for notice in clip.notices)


# Advice


def follow(message):
    """The options that a sentence advises, as arguments."""
    found = re.search(r"; use (.*?), or ", message)
    arguments = {}
    for option in found[1].split(" and ") if found else ():
        name, _, value = option.removeprefix("no ").removeprefix("--").partition(" ")
        arguments["num_frames" if name == "frames" else name] = (
            None if option.startswith("no ") else int(value) if name == "frames" else float(value)
        )
    return arguments


@pytest.mark.parametrize("cut", ["", "its end is missing"])
@pytest.mark.parametrize("spacing", [1, 40, 3_000_000])  # ms
@pytest.mark.parametrize("count", [1, 2, 5, 20])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"num_frames": 2},
        {"num_frames": 30},
        {"start": 0.03},
        {"start": 9.0},
        {"end": 0.001},
        {"end": 7.0},
        {"fps": 900.0},
        {"fps": 0.01},
        {"start": 0.1, "end": 0.7, "fps": 3.0},
    ],
)
def test_what_is_advised_would_do(cut, spacing, count, asked):
    timeline = Timeline(spacing * np.arange(count), Fraction(1, 1000), cut=cut)
    request = Request(**{"num_frames": 4, **asked})
    try:
        choose(timeline, request, "the clip")
    except InputError as error:
        advised = follow(str(error))
        assert advised.get("end") != 0
        assert advised.get("num_frames", 2) >= 2
        if advised:
            choose(timeline, Request(**{**vars(request), **advised}), "the clip")


def test_a_cut_file_advises_what_is_left(tmp_path):
    timeline = Timeline(40 * np.arange(5), Fraction(1, 1000), cut="its end is missing")
    with pytest.raises(InputError, match=r"use --end 0.2 and --frames 5, or give the whole file$"):
        choose(timeline, Request(16), "the clip")
    with pytest.raises(InputError, match=r"; give the whole file$"):
        choose(timeline, Request(16, start=0.19), "the clip")
    with pytest.raises(InputError, match=r"play at 1e\+06 frames per second .*; convert it to a constant rate"):
        choose(Timeline(np.arange(20), Fraction(1, 1_000_000)), Request(20), "the clip")


# Long clips


def test_frames_far_apart_are_sought(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", numbered(50), options={"g": "5", "bf": "2"})
    near = read_clip(path, 5, 32, 48)
    monkeypatch.setattr(film, "_WORTH_A_SEEK", 3)
    decoded = []
    counted = film._numbered
    monkeypatch.setattr(
        film, "_numbered", lambda *given: (decoded.append(at) or (at, frame) for at, frame in counted(*given))
    )
    far = read_clip(path, 5, 32, 48)
    assert numbers(far) == [0, 12, 24, 36, 49]
    assert torch.equal(far.frames, near.frames)
    assert len(decoded) < 25
