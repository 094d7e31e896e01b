"""Frames given as values: every form that is taken, and what is said of others."""

import numpy as np
import pytest
import torch
from diffusers.video_processor import VideoProcessor
from PIL import Image

from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.media.frames import as_frames

LEVELS = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)  # f h w c
FRAMES = torch.from_numpy(LEVELS).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize(
    "given",
    [
        FRAMES,
        FRAMES.double(),
        torch.from_numpy(LEVELS).permute(0, 3, 1, 2),
        LEVELS,
        LEVELS.astype(np.float32) / 255,
        LEVELS.astype(np.float64) / 255,
        (LEVELS.astype(np.float32) / 255).astype(">f4"),
        LEVELS[::-1][::-1],
        list(LEVELS),
        tuple(LEVELS / 255),
        list(FRAMES),
        list(torch.from_numpy(LEVELS).permute(0, 3, 1, 2)),
        [Image.fromarray(frame) for frame in LEVELS],
        [Image.fromarray(frame).convert("RGBA") for frame in LEVELS],
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_form_gives_the_same_frames(given):
    found = as_frames(given)
    assert found.dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(found.float(), FRAMES, rtol=0, atol=1e-6)


def test_pictures_and_arrays_are_taken_as_diffusers_takes_them():
    processor = VideoProcessor(vae_scale_factor=2)
    for given in ([Image.fromarray(frame) for frame in LEVELS], LEVELS / np.float32(255)):
        theirs = processor.preprocess_video(given)[0].transpose(0, 1)
        torch.testing.assert_close(as_frames(given), theirs, rtol=0, atol=1e-6)
    grey = [Image.fromarray(frame).convert("L") for frame in LEVELS]
    assert torch.equal(as_frames(grey), as_frames([picture.convert("RGB") for picture in grey]))


def test_a_tensor_is_handed_on_and_keeps_its_gradient():
    assert as_frames(FRAMES) is FRAMES
    wanting = FRAMES.clone().requires_grad_()
    as_frames(wanting).sum().backward()
    assert wanting.grad is not None


def test_what_rounding_carries_over_the_edge_is_clipped():
    assert as_frames(FRAMES * 1.0005).abs().max() == 1
    assert as_frames((FRAMES * 1.005).bfloat16()).dtype == torch.float32
    with pytest.raises(InputError, match="clamp"):
        as_frames(FRAMES * 1.005)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FRAMES * 1.2, (r"\[-1, 1\]", "from -1.2 to 1.2", "clamp")),
        ((FRAMES + 1) * 127.5, ("to 255", "divide them by 127.5", "uint8")),
        (FRAMES * 1000, ("-1000", "scale")),
        (FRAMES * float("nan"), ("NaN",)),
        (FRAMES / 0, ("infinity",)),
        (FRAMES.to(torch.complex64), ("complex64", "uint8")),
        (FRAMES > 0, ("bool", "uint8")),
        (FRAMES.int(), ("int32", "uint8")),
        (FRAMES[:0], (r"\(0, 3, 6, 8\)", "one or more")),
        (FRAMES[0], (r"\(3, 6, 8\)", r"frames\[None\]")),
        (FRAMES[None], (r"\(1, 4, 3, 6, 8\)", r"frames\[0\]")),
        (FRAMES.permute(0, 2, 3, 1), (r"\(4, 6, 8, 3\)", r"permute\(0, 3, 1, 2\)")),
        (FRAMES.transpose(0, 1), (r"\(3, 4, 6, 8\)", r"transpose\(0, 1\)")),
        (FRAMES[:, :1], ("expand",)),
        (torch.cat([FRAMES, FRAMES[:, :1]], 1), (r"frames\[:, :3\]",)),
        (FRAMES.to("meta"), ("meta",)),
        (FRAMES.to_sparse(), ("dense",)),
        (FRAMES.numpy(), (r"\(4, 3, 6, 8\)", r"transpose\(0, 2, 3, 1\)")),
        (FRAMES.permute(0, 2, 3, 1).numpy(), (r"\[0, 1\], as in diffusers", "from -1 ", "add 1 and divide by 2")),
        (LEVELS.astype(np.float32), ("to 255", "divide them by 255")),
        (LEVELS.astype(np.int64), ("int64", "uint8")),
        (LEVELS.astype(object), ("object",)),
        (LEVELS[..., :1], (r"\(4, 6, 8, 1\)",)),
        (LEVELS[None] / 255, (r"frames\[0\]",)),
        (np.full_like(LEVELS, np.nan, dtype=np.float32), ("NaN",)),
        ([], ("empty list",)),
        ([LEVELS[0], LEVELS[1, :4]], (r"\(6, 8, 3\) and \(4, 8, 3\)", "resize")),
        ([Image.new("RGB", size) for size in ((8, 6), (6, 8))], ("one size", "resize")),
        ([LEVELS[0], Image.new("RGB", (8, 6))], ("Image and ndarray",)),
        ([LEVELS[0], LEVELS[1] / 255], ("one type", "float64 and uint8")),
        ([[Image.new("RGB", (8, 6))]], ("list", "one clip")),
        ([Image.new("I;16", (8, 6))], ("8 bits a channel", "I;16")),
        ([Image.new("F", (8, 6))], ("mode F",)),
        (Image.new("RGB", (8, 6)), ("list of pictures",)),
        ("clip.mp4", ("str", "read_clip")),
        (None, ("NoneType",)),
        ((frame for frame in LEVELS), ("generator",)),
        (type("Clip", (), {"frames": FRAMES})(), (r"\.frames",)),
    ],
)
def test_other_values_are_refused_with_what_to_do(given, words):
    for word in words:
        with pytest.raises(InputError, match=word) as caught:
            as_frames(given)
        assert "\n" not in str(caught.value)


def test_a_condition_takes_pictures_in_every_form():
    condition = Condition([Image.fromarray(frame) for frame in LEVELS[:2]], (0, 3))
    torch.testing.assert_close(condition.pictures, FRAMES[:2], rtol=0, atol=1e-6)
    for pictures, word in ((FRAMES[0], r"pictures\[None\]"), ((FRAMES[:1] + 1) * 127.5, "divide them by 127.5")):
        with pytest.raises(InputError, match=word):
            Condition(pictures)
    for frames in ((0.5,), (True,), ("0",)):
        with pytest.raises(InputError, match="whole numbers"):
            Condition(FRAMES[:1], frames)
