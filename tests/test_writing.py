"""Writing video: real files, read again; the same bytes every time; and a record that stays with its video."""

import resource

import av
import numpy as np
import pytest
import torch
from PIL import Image

from motionclone.errors import InputError
from motionclone.files import sha256_of
from motionclone.media import writing as video_writing
from motionclone.media.reading import read_clip
from motionclone.media.records import check_belongs, check_outputs, read_record, write_run
from motionclone.media.writing import (
    check_video,
    check_writable,
    read_provenance,
    side_by_side,
    write_image,
    write_video,
)


def colours(frames=6, height=32, width=48):
    """Smooth in space and time, every channel moving; (f, 3, h, w) in [-0.9, 0.9]."""
    f, y, x = (torch.linspace(0, 1, n) for n in (frames, height, width))
    phase = f[:, None, None] + torch.stack(torch.meshgrid(y, x, indexing="ij")).sum(0)
    return torch.stack([0.9 * torch.sin(2 * phase + shift) for shift in (0, 2, 4)], dim=1)


@pytest.mark.parametrize(
    ("suffix", "size", "bound"),
    [(".mp4", (32, 48), 2.5), (".mp4", (31, 45), 2.5), (".webm", (31, 45), 2.0), (".gif", (31, 45), 1.5)],
)
def test_round_trip(tmp_path, suffix, size, bound):
    path, frames = tmp_path / f"new/out{suffix}", colours(6, *size)
    record = {"tool": "motionclone", "prompt": "ein Löwe, 狮子", "seed": 3}
    write_video(path, frames, 8.0, provenance=record)
    even = size if suffix == ".gif" else [n + n % 2 for n in size]
    clip = read_clip(path, 6, *even)
    error = (clip.frames[..., : size[0], : size[1]] - frames).abs() * 127.5
    assert error.mean() < bound  # of 255 levels
    assert (clip.frames[..., : size[0], : size[1]] - frames).mean().abs() * 127.5 < 0.3  # neither darker nor brighter
    assert clip.fps == pytest.approx(8, rel=0.05 if suffix == ".gif" else 1e-3)
    assert clip.notices == ()
    assert read_provenance(path) == (None if suffix == ".gif" else record)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_colours_are_tagged_as_they_are_written(tmp_path, suffix):
    green = torch.tensor([-0.8, 0.6, -0.6])[None, :, None, None].expand(3, 3, 32, 32)
    write_video(tmp_path / f"a{suffix}", green, 10)
    assert (read_clip(tmp_path / f"a{suffix}", 3, 32, 32).frames - green).abs().max() * 127.5 < 4
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1  # BT.709
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_odd_frames_precision_range_and_rates_are_written(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, (3 * colours(2, 1, 1)).bfloat16().requires_grad_(), 29.97)
    assert read_clip(path, 2, 2, 2).fps == pytest.approx(29.97, rel=1e-3)
    write_video(tmp_path / "b.gif", colours(1), 8)  # one frame


def test_bad_frames_are_refused_before_anything_is_written(tmp_path):
    for frames, fps, word in [
        (colours()[:, :1], 8, "shape"),
        (colours()[:0], 8, "shape"),
        (colours() * float("nan"), 8, "NaN"),
        (colours(), 0, "fps"),
    ]:
        with pytest.raises(InputError, match=word):
            write_video(tmp_path / "a.mp4", frames, fps)
    with pytest.raises(TypeError):
        write_video(tmp_path / "a.mp4", colours(), 8, provenance={"path": object()})
    with pytest.raises(InputError, match="1/100 s"):
        write_video(tmp_path / "a.gif", colours(), 120)
    with pytest.raises(InputError, match=r"\.mp4, \.webm or \.gif"):
        write_video(tmp_path / "a.mov", colours(), 8)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_as_it_was(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("precious")
    with pytest.raises(InputError, match="overwrite=True"):
        write_video(path, colours(), 8)
    assert path.read_text() == "precious"
    write_video(path, colours(), 8, overwrite=True)
    assert len(read_clip(path, 6, 8, 8).frames) == 6


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, InputError)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_a_failure_in_the_middle_leaves_nothing(tmp_path, monkeypatch, suffix, error, told):
    path, seen, real = tmp_path / f"a{suffix}", [], video_writing._bytes

    def break_at_the_third(frame):
        seen.append(frame)
        if len(seen) == 3:
            raise error
        return real(frame)

    monkeypatch.setattr(video_writing, "_bytes", break_at_the_third)
    path.write_text("precious")
    with pytest.raises(told):
        write_video(path, colours(), 8, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "precious"


def test_check_writable(tmp_path):
    check_writable(tmp_path / "not/yet/there.mp4")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.webm").touch()
    (tmp_path / "b.json").touch()
    (tmp_path / "c.gif").mkdir()
    for name, word in [
        ("a.webm", "overwrite=True"),
        ("b.mp4", "b.json exists"),
        ("c.gif", "is a folder"),
        ("a.webm/d.mp4", "is a file"),
        ("e.avi", "must end in"),
        ("f", "has no ending"),
    ]:
        with pytest.raises(InputError, match=word):
            check_writable(tmp_path / name)
    check_writable(tmp_path / "a.webm", overwrite=True)
    check_writable(tmp_path / "b.mp4", overwrite=True)


def test_image(tmp_path):
    write_image(tmp_path / "a.png", colours()[0])
    written = torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(written, colours()[0], rtol=0, atol=0.5 / 127.5 + 1e-6)
    with pytest.raises(InputError, match=r"\.png"):
        write_image(tmp_path / "a.jpg", colours()[0])


def test_provenance_of_other_files(tmp_path):
    write_video(tmp_path / "a.mp4", colours(), 8)
    assert read_provenance(tmp_path / "a.mp4") is None
    with pytest.raises(InputError, match="does not exist"):
        read_provenance(tmp_path / "b.mp4")


def test_side_by_side():
    small, large = -torch.ones(2, 3, 64, 32), torch.zeros(2, 3, 128, 128)
    joined = side_by_side([small, large], gap=4)  # 64 reaches 192 by 3, 128 by 2; the tallest is 256
    assert joined.shape == (2, 3, 256, 128 + 4 + 256)
    assert (joined[..., :128] == -1).all()
    assert (joined[..., 128:132] == 1).all()
    assert (joined[..., 132:] == 0).all()
    assert torch.equal(side_by_side([large], min_height=1), large)

    checks = torch.rand(2, 3, 96, 96) * 2 - 1
    assert torch.equal(side_by_side([checks])[..., ::2, ::2], checks)  # whole factors repeat pixels

    labelled = side_by_side([small, large], labels=["reference", "a text that is far too long for its clip" * 3])
    strip = labelled.shape[-2] - 256
    assert torch.equal(labelled[..., strip:, :], joined)
    assert (labelled[..., :strip, :128] < 0).any()  # ink
    assert labelled.amax() <= 1
    assert labelled.amin() >= -1
    for clips, labels, word in [
        ([], None, "at least one"),
        ([small, large[:1]], None, "equally many"),
        ([small], ["a", "b"], "one label per clip"),
        ([small[0]], None, "shape"),
    ]:
        with pytest.raises(InputError, match=word):
            side_by_side(clips, labels=labels)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_the_same_clip_gives_the_same_bytes(tmp_path, suffix):
    frames = colours(8, 64, 96) + 0.1 * torch.rand(8, 3, 64, 96)
    for number in range(10):
        record = {"seed": 1, "seconds": number}  # what it took is no part of it
        write_video(tmp_path / f"{number}{suffix}", frames, 8, provenance=record)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    if suffix != ".gif":
        assert read_provenance(tmp_path / f"0{suffix}") == {"seed": 1}


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_a_full_disk_wherever_it_is_met(tmp_path, suffix):
    frames, path = colours(4), tmp_path / f"a{suffix}"
    write_video(path, frames, 8)
    size, whole = path.stat().st_size, path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in [*range(0, size, size // 12), size - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(InputError, match=rf"there is no room for {path}"):
                write_video(path, frames, 8, overwrite=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fps", [0, -1, 1e300, 1e9, 1001, 1e-9, 0.001, float("nan"), float("inf")])
def test_rates_that_no_player_keeps_are_refused(tmp_path, fps):
    for suffix in (".mp4", ".webm", ".gif"):
        with pytest.raises(InputError, match="fps"):
            check_video(tmp_path / f"a{suffix}", fps)


@pytest.mark.parametrize(
    ("suffix", "fps"), [(".mp4", 1 / 600), (".mp4", 1000), (".webm", 1 / 600), (".webm", 1000), (".gif", 1 / 600)]
)
def test_the_slowest_and_the_fastest_are_kept(tmp_path, suffix, fps):
    write_video(tmp_path / f"a{suffix}", colours(4), fps)
    assert read_clip(tmp_path / f"a{suffix}", 4, 32, 48).fps == pytest.approx(fps, rel=1e-3)


# A video and its record


def written(folder, level=0.0, **options):
    """The video `a.mp4` of one grey level, with its record and, if so wished, its comparison."""
    frames = torch.full((3, 3, 16, 16), level)
    record = {"level": level, "secret": "words"}
    write_run(folder / "a.mp4", frames, 8, record, public={"level": level}, **options)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_record_knows_its_video(tmp_path):
    comparison = torch.zeros(3, 3, 16, 40)
    assert set(written(tmp_path, comparison=comparison)) == {"a.mp4", "a.json", "a-compare.mp4"}
    record = read_record(tmp_path / "a.json")
    assert record["output"] == {
        "suffix": ".mp4",
        "sha256": sha256_of(tmp_path / "a.mp4"),
        "comparison": sha256_of(tmp_path / "a-compare.mp4"),
    }
    assert (record["level"], record["secret"]) == (0.0, "words")
    assert read_provenance(tmp_path / "a.mp4") == read_provenance(tmp_path / "a-compare.mp4") == {"level": 0.0}
    check_belongs(tmp_path / "a.mp4", record)
    check_belongs(tmp_path / "a.mp4", {"older": True})
    with pytest.raises(InputError, match="not the video that its record was written with"):
        check_belongs(tmp_path / "a-compare.mp4", record)
    # Without a new comparison the older one goes, as it shows another video.
    with pytest.raises(InputError, match=r"a\.mp4 exists"):
        written(tmp_path)
    assert set(written(tmp_path, 0.5, overwrite=True)) == {"a.mp4", "a.json"}


def test_what_is_not_known_to_be_ours_is_not_parted_or_removed(tmp_path):
    kept = written(tmp_path, comparison=torch.zeros(3, 3, 16, 40))
    for changed, sentence in (
        ({"a-compare.mp4": b"a film of mine"}, "a-compare.mp4 would stay beside a video that it does not show"),
        ({"a.json": b"{}"}, "a-compare.mp4 would stay"),
    ):
        for name, data in {**kept, **changed}.items():
            (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=sentence):
            check_outputs(tmp_path / "a.mp4", True, False)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {**kept, **changed}
    (tmp_path / "a-compare.mp4").unlink()
    (tmp_path / "a.json").write_bytes(kept["a.json"])
    with pytest.raises(InputError, match=r"a\.json is the record of .*a\.mp4"):
        check_outputs(tmp_path / "a.gif", True, False)
    check_outputs(tmp_path / "a.mp4", True, False)
    (tmp_path / "a-compare.mp4").touch()
    (tmp_path / "a-compare.json").touch()  # so it is a video by itself
    check_outputs(tmp_path / "a.mp4", True, False)
    with pytest.raises(InputError, match="a record of its own"):
        check_outputs(tmp_path / "a.mp4", True, True)


@pytest.mark.parametrize("limit", [300, 1500, 2500])
def test_a_disk_that_fills_up_leaves_the_older_pair(tmp_path, limit):
    kept = written(tmp_path)
    assert len(kept["a.mp4"]) < 2500  # the video alone would have room
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match="there is no room for"):
            write_run(
                tmp_path / "a.mp4",
                torch.zeros(3, 3, 16, 16),
                8,
                {"long": "x" * 3000},  # the record is larger than the video
                public={},
                overwrite=True,
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
