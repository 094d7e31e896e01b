"""Pictures from anywhere: upright however they were stored, of known formats alone, and large ones in little memory."""

import hashlib
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from motionclone.errors import InputError
from motionclone.media.pictures import MIDDLE_TONES_OF_A_PHOTO, read_picture, read_sketch, sketch_from


def marked():
    """No two of the eight ways to lay it look alike."""
    picture = np.full((40, 40, 3), 90, np.uint8)
    picture[4:12, 4:16] = (220, 30, 30)
    picture[24:36, 4:12] = (30, 30, 220)
    return picture


@pytest.mark.parametrize(
    ("said", "turned"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: p.transpose(1, 0, 2)[::-1, ::-1]),
        (8, lambda p: np.rot90(p)),
        (99, lambda p: p),
    ],
)
def test_all_eight_orientations(tmp_path, said, turned):
    exif = Image.Exif()
    exif[0x0112] = said
    for name in ("a.png", "a.webp"):
        Image.fromarray(marked()).save(tmp_path / name, exif=exif, lossless=True)
        seen = (read_picture(tmp_path / name, 40, 40).pixels.permute(1, 2, 0) + 1) * 127.5
        np.testing.assert_allclose(seen.numpy(), turned(marked()), atol=1e-3)


def test_formats_that_are_more_than_pictures_are_not_opened(tmp_path):
    Image.fromarray(marked()).save(tmp_path / "a.eps")  # Pillow would start Ghostscript
    Image.fromarray(marked()).save(tmp_path / "a.pdf")
    for name in ("a.eps", "a.pdf"):
        with pytest.raises(InputError, match="cannot be read as a picture"):
            read_picture(tmp_path / name, 16, 16)


def test_the_hash_is_that_of_the_file(tmp_path):
    bright = marked()
    bright[4:12, 4:16] = 255
    Image.fromarray(bright).save(tmp_path / "a.png")
    expected = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    for read in (read_picture, read_sketch, sketch_from):
        assert read(str(tmp_path / "a.png"), 40, 40).sha256 == expected


def test_a_sketch_is_judged_by_all_of_its_pixels(tmp_path):
    """By the share of its middle tones, and by its median."""
    draw = np.random.default_rng(0)
    for share, light in ((0.05, False), (0.05, True), (0.25, True), (0.35, False)):
        brightness = np.where(draw.random((64, 64)) < 0.8, 1.0 if light else 0.0, 0.0 if light else 1.0)
        brightness[draw.random((64, 64)) < share] = 0.5
        levels = (brightness * 200 + 20).astype(np.uint8)
        Image.fromarray(levels).save(tmp_path / "a.png")
        notices = read_sketch(tmp_path / "a.png", 64, 64).notices
        scaled = (levels / 255 - levels.min() / 255) / ((int(levels.max()) - int(levels.min())) / 255)
        photo = ((scaled > 0.1) & (scaled < 0.9)).mean() > MIDDLE_TONES_OF_A_PHOTO
        inverted = not photo and np.median(scaled) > 0.5
        assert photo == any("looks like a photograph" in notice for notice in notices)
        assert inverted == any("was inverted" in notice for notice in notices)


def test_a_large_sketch_takes_little_more_memory_than_its_pixels(tmp_path):
    drawn = np.zeros((2000, 3000), np.uint8)
    drawn[900:1000] = 255
    Image.fromarray(drawn).save(tmp_path / "a.png")
    tracemalloc.start()  # knows NumPy's memory, not Pillow's
    read_sketch(tmp_path / "a.png", 64, 64)
    assert tracemalloc.get_traced_memory()[1] < 12 * drawn.size
    tracemalloc.stop()


def test_transparent_parts_are_white_in_proportion(tmp_path):
    Image.new("LA", (8, 8), (0, 51)).save(tmp_path / "a.png")
    assert torch.allclose(read_picture(tmp_path / "a.png", 8, 8).pixels, torch.tensor(0.6), atol=0.01)
