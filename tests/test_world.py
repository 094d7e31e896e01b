"""The world's truth is true, its captions say nothing of motion, and the metrics find what is known."""

import math

import pytest
import torch
from torch.nn import functional

from motionclone.lab.metrics import dense_flow, find_object, flow_cosine, path_correlation
from motionclone.lab.world import (
    BACKGROUNDS,
    COLOURS,
    NAMED_MOTIONS,
    SCENERY,
    SHAPES,
    TEXTURES,
    Scene,
    named_trajectory,
    random_scene,
)


def scene(motion, texture="rocks"):
    return Scene("star", "red", texture, "blue", named_trajectory(motion, 16))


@pytest.mark.parametrize("motion", ["circle", "zoom-in", "roll", "pan-left"])
def test_flow_takes_each_frame_to_the_next(motion):
    clip = scene(motion)
    frames, flow, mask = clip.render(64), clip.truth(64).flow, clip.truth(64).mask
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    there = torch.stack([x + flow[:, 0], y + flow[:, 1]], -1) + 0.5
    warped = functional.grid_sample(frames[1:], there / 32 - 1, align_corners=False)
    inside = ((there > 1) & (there < 63)).all(-1)
    if motion == "circle":  # the ground it uncovers comes from nowhere
        inside &= mask[:-1] > 0.95
    inside = inside[:, None].expand_as(warped)
    moved = (frames[1:] - frames[:-1])[inside].abs().mean()
    assert (warped - frames[:-1])[inside].abs().mean() < 0.4 * moved


def test_named_motions_are_what_they_say():
    x, y = named_trajectory("circle", 17).position.unbind(-1)
    torch.testing.assert_close(torch.hypot(x, y), torch.full((17,), 0.5))
    assert named_trajectory("zoom-in", 16).zoom[-1] / named_trajectory("zoom-in", 16).zoom[0] == pytest.approx(2)
    flow = scene("pan-left").truth(64).flow
    assert flow[:, 0].mean() == pytest.approx(1.0 / 15 * 32, rel=0.01)  # camera to the left, picture to the right
    assert flow[:, 1].abs().max() < 1e-4
    with pytest.raises(KeyError, match="figure-eight"):
        named_trajectory("sideways", 16)


def test_random_scenes_are_seeded_varied_and_silent_on_motion():
    scenes = [random_scene(4, torch.Generator().manual_seed(seed)) for seed in (1, 1, *range(2, 40))]
    torch.testing.assert_close(scenes[0].render(16), scenes[1].render(16), rtol=0, atol=0)
    words = {word for each in scenes for word in each.caption.split()}
    assert words <= {
        "a",
        "on",
        "plain",
        *COLOURS,
        *BACKGROUNDS,
        *SHAPES,
        *TEXTURES,
        SCENERY,
    }
    assert len({each.caption for each in scenes}) > 30
    frames = scenes[0].render(16)
    assert frames.shape == (4, 3, 16, 16)
    assert frames.min() >= -1
    assert frames.max() <= 1


@pytest.mark.parametrize("motion", sorted(NAMED_MOTIONS))
def test_the_object_finder_finds_the_object(motion):
    clip = scene(motion)
    found = find_object(clip.render(64), COLOURS["red"], BACKGROUNDS["blue"])
    inside = (clip.trajectory.position.abs() < 0.75).all(-1)
    assert (found - clip.trajectory.position)[inside].abs().max() < 0.06


def test_dense_flow_finds_the_cameras_motion():
    clip = scene("pan-left")
    assert flow_cosine(dense_flow(clip.render(64)), clip.truth(64).flow) > 0.9
    assert flow_cosine(dense_flow(scene("pan-right").render(64)), clip.truth(64).flow) < -0.9


def test_similarities_on_paper():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    assert path_correlation(path, 3 * path + 5) == pytest.approx(1)
    assert path_correlation(path, -path) == pytest.approx(-1)
    gap = torch.cat([path, torch.full((1, 2), torch.nan)])
    assert path_correlation(gap, torch.cat([path, torch.zeros(1, 2)])) == pytest.approx(1)
    assert math.isnan(path_correlation(torch.zeros(3, 2), path))
    flow = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    turned = torch.tensor([1.0, 1.0]).view(1, 2, 1, 1)
    assert flow_cosine(flow, turned) == pytest.approx(math.sqrt(0.5))
