"""The metrics say what is known: of fields and tracks made by hand, and of clips whose motion is exactly true."""

import math
from dataclasses import replace

import pytest
import torch

from motionclone.errors import InputError
from motionclone.lab.metrics import (
    Interval,
    Tracks,
    appearance_similarity,
    bootstrap,
    camera_flow,
    camera_parameters,
    dense_flow,
    diversity,
    flow_cosine,
    flow_tracks,
    line_agreement,
    lucas_kanade_tracks,
    motion_fidelity,
    motion_fidelity_dmt,
    paired_difference,
    path_correlation,
    path_roughness,
    picture_correlation,
    seen_fraction,
    temporal_consistency,
    text_alignment,
)
from motionclone.lab.world import Scene, named_trajectory

STILL = 0.006


def clip(motion, shape="star", colour="red", texture="rocks", background="blue"):
    return Scene(shape, colour, texture, background, named_trajectory(motion, 16), radius=0.36)


# The camera


def similarity_field(size, pan, zoom, turn):
    """Flow (1, 2, size, size) of a picture that is magnified and turned clockwise about its centre, then moved."""
    y, x = torch.meshgrid(*(2 * [torch.arange(size) - (size - 1) / 2]), indexing="ij")
    cos, sin = zoom * math.cos(turn), zoom * math.sin(turn)
    return torch.stack([cos * x - sin * y - x + pan[0], sin * x + cos * y - y + pan[1]])[None]


@pytest.mark.parametrize("size", [48, 200])
def test_the_cameras_parameters_are_exact_though_an_object_moves_otherwise(size):
    truth = similarity_field(size, (1.5, -0.5), 1.04, 0.03)
    flow, side = truth.clone(), int(size * math.sqrt(0.2))
    flow[..., :side, -side:] = torch.tensor([-4.0, 6.0]).view(2, 1, 1)
    wanted = torch.tensor([[1.5, -0.5, math.log(1.04), 0.03]])
    torch.testing.assert_close(camera_parameters(flow), wanted, rtol=0, atol=1e-3)
    torch.testing.assert_close(camera_flow(flow), truth, rtol=0, atol=0.02)


@pytest.mark.parametrize("motion", ["pan-left", "zoom-in", "roll"])
def test_the_cameras_flow_is_measured_beside_a_moving_object(motion):
    camera = named_trajectory(motion, 16)
    circling = replace(named_trajectory("circle", 16), pan=camera.pan, zoom=camera.zoom, roll=camera.roll)
    scene = Scene("star", "red", "rocks", "blue", circling)
    truth = replace(scene, shape=None, colour=None).truth(64).flow
    flow = dense_flow(scene.render(64))
    assert flow_cosine(camera_flow(flow), truth) > 0.99 > flow_cosine(flow, truth) + 0.05


# Tracks


@pytest.mark.parametrize(("track", "drift"), [(lucas_kanade_tracks, 0.5), (flow_tracks, 0.8)])
def test_tracks_follow_a_pan_in_units_of_half_a_frame(track, drift):
    time = torch.linspace(-0.5, 0.5, 16)
    pan = replace(named_trajectory("pan-left", 16), pan=torch.stack([-0.6 * time, 0.3 * time], -1))
    frames = Scene(None, None, "rocks", "blue", pan).render(64)[:, :, 4:52]  # 48 rows of 64 pixels
    tracks = track(frames, spacing=0.25)
    assert tracks.positions.shape == (16, 64, 2)
    grid = torch.tensor([[-0.875, -0.875], [-0.625, -0.875], [-0.875, -0.625]])
    torch.testing.assert_close(tracks.positions[0, [0, 1, 8]], grid)
    true = tracks.positions[:1] + (time + 0.5)[:, None, None] * torch.tensor([0.6, -0.3 * 64 / 48])
    pixels_off = ((tracks.positions - true) * torch.tensor([32.0, 24.0])).norm(dim=-1)
    assert pixels_off[tracks.visible].quantile(0.95) < drift
    assert tracks.visible[:, (true[-1].abs() < 0.9).all(-1)].float().mean() > 0.9
    assert not tracks.visible[(true.abs() > 1.03).any(-1)].any()


def test_points_are_lost_at_a_cut_and_stay_lost():
    frames = torch.cat([clip("zoom-in").render(64)[:2], clip("zoom-in", texture="clouds").render(64)[9:12]])
    for track in (lucas_kanade_tracks, flow_tracks):
        visible = track(frames).visible
        assert visible[1].float().mean() > 0.8
        assert visible[2:].float().mean() < 0.2
        assert not (visible[1:] & ~visible[:-1]).any()


def test_without_texture_only_dense_flow_sees_points():
    frames = torch.zeros(3, 3, 64, 64)
    assert not lucas_kanade_tracks(frames).visible[1:].any()
    tracks = flow_tracks(frames)
    assert tracks.visible.all()
    torch.testing.assert_close(tracks.positions[2], tracks.positions[0])


# Motion fidelity


def straight(starts, velocities, num_frames=5):
    """Tracks that go straight on, all visible."""
    start, velocity = torch.tensor(starts), torch.tensor(velocities)
    positions = start + torch.arange(num_frames)[:, None, None] * velocity
    return Tracks(positions.double(), torch.ones(positions.shape[:2], dtype=torch.bool))


def test_similarity_of_one_point_on_paper():
    def fidelity(one, other):
        return motion_fidelity(straight([[0.0, 0.0]], [one]), straight([[0.1, 0.0]], [other]))

    v, e = 0.05**2, STILL**2
    assert fidelity([0.05, 0.0], [0.05, 0.0]) == pytest.approx(1)
    assert fidelity([0.0, 0.0], [0.0, 0.0]) == 1
    assert fidelity([0.05, 0.0], [0.0, 0.0]) == pytest.approx(e / (v + e), rel=1e-4)
    assert fidelity([0.05, 0.0], [0.0, 0.05]) == pytest.approx(e / (2 * v + e), rel=1e-4)
    assert fidelity([0.05, 0.0], [0.2, 0.0]) == pytest.approx((8 * v + e) / (17 * v + e), rel=1e-4)
    assert fidelity([0.05, 0.0], [-0.05, 0.0]) == pytest.approx((e - 2 * v) / (2 * v + e), rel=1e-4)


def test_only_tracks_that_start_near_are_matched():
    right, far = straight([[0.0, 0.0]], [[0.05, 0.0]]), straight([[0.0, 0.31], [0.0, 0.1]], [[0.05, 0.0], [0.0, 0.0]])
    assert motion_fidelity(right, far, radius=0.3) < 0.05
    # Found from the single track; of the other two, the still one weighs next to nothing.
    assert motion_fidelity(right, far, radius=0.4) == pytest.approx(1, abs=0.02)
    assert motion_fidelity(right, straight([[0.9, 0.0]], [[0.05, 0.0]])) == 0


def test_a_small_object_is_not_outvoted_by_a_still_ground():
    starts = [[x / 10, y / 10] for x in range(-5, 5) for y in range(-5, 5)]
    right, down = (
        straight(starts, [v if i < 4 else [0.0, 0.0] for i in range(100)]) for v in ([0.08, 0.0], [0.0, 0.08])
    )
    assert motion_fidelity(right, down) < 0.2
    assert motion_fidelity(right, right) == 1


def test_missing_and_added_motion_cost_the_same():
    more = straight([[0.0, 0.0], [0.5, 0.5]], [[0.05, 0.0], [0.0, 0.05]])
    less = straight([[0.0, 0.0], [0.5, 0.5]], [[0.05, 0.0], [0.0, 0.0]])
    assert motion_fidelity(more, less) == motion_fidelity(less, more) == pytest.approx(0.75, abs=0.02)


def test_only_what_is_seen_counts():
    reference = straight([[0.0, 0.0]], [[0.05, 0.0]])
    lost = Tracks(reference.positions.clone(), torch.tensor([True, True, True, False, False])[:, None])
    lost.positions[3:] += 7
    assert motion_fidelity(lost, reference) == 1
    lost.visible[2] = False  # one of four steps is too little for the reference's track, and enough for its own
    assert motion_fidelity(lost, reference) == 0.5
    lost.visible[1] = False
    assert math.isnan(motion_fidelity(lost, reference))


@pytest.mark.parametrize("motion", ["circle", "zoom-in"])
def test_motion_fidelity_of_clips(motion):
    def tracks(scene, order=slice(None)):
        return lucas_kanade_tracks(scene.render(64)[order])

    reference = tracks(clip(motion))
    assert motion_fidelity(reference, reference) == 1
    same = motion_fidelity(tracks(clip(motion, "square", "yellow", "clouds", "purple")), reference)
    assert same > 0.6
    assert motion_fidelity(tracks(clip(motion), range(15, -1, -1)), reference) < same - 0.4
    assert motion_fidelity(tracks(clip("pan-down")), reference) < same - 0.4
    slow = [i // 4 for i in range(16)]  # every frame four times
    assert motion_fidelity(tracks(clip(motion), slow), reference) < same - 0.3


def test_the_released_form_has_its_known_defects():
    right_and_down = straight([[0.0, 0.0], [0.5, 0.5]], [[0.05, 0.0], [0.0, 0.05]])
    assert motion_fidelity_dmt(right_and_down, right_and_down) == pytest.approx(0)  # S is the identity
    right = straight([[0.0, 0.0], [0.9, 0.9]], [[0.05, 0.0], [0.05, 0.0]])
    fast = straight([[0.0, 0.0], [0.9, 0.9]], [[0.2, 0.0], [0.2, 0.0]])
    assert motion_fidelity_dmt(right, fast) == pytest.approx(1)
    more = straight([[0.0, 0.0], [0.9, 0.9], [0.5, 0.5]], [[0.05, 0.0], [0.05, 0.0], [0.0, 0.05]])
    assert motion_fidelity_dmt(right, more) == pytest.approx(1)
    assert motion_fidelity_dmt(more, right) < 0.7
    assert math.isnan(motion_fidelity_dmt(right, straight([[0.0, 0.0], [0.9, 0.9]], [[0.05, 0.0], [0.0, 0.0]])))


def test_videos_of_different_length_are_refused():
    long, short = (straight([[0.0, 0.0]], [[0.05, 0.0]], frames) for frames in (5, 2))
    for metric in (motion_fidelity, motion_fidelity_dmt):
        with pytest.raises(InputError, match="2 and 5 frames"):
            metric(short, long)
    with pytest.raises(InputError, match="2 frames of 8 x 6 and 5 frames of 8 x 6 pixels"):
        flow_cosine(torch.ones(1, 2, 6, 8), torch.ones(4, 2, 6, 8))


# Appearance


def test_appearance_on_paper_whatever_the_embeddings_scale():
    right, up, slant = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 5.0]), torch.tensor([3.0, 3.0])
    half = math.sqrt(0.5)
    assert text_alignment(torch.stack([right, up, slant]), 7 * right) == pytest.approx((1 + 0 + half) / 3)
    assert temporal_consistency(torch.stack([right, slant, up, -up])) == pytest.approx((half + half - 1) / 3)
    assert math.isnan(temporal_consistency(right[None]))
    assert appearance_similarity(torch.stack([right, up]), torch.stack([up, slant, up])) == pytest.approx(
        (2 * half + 2) / 6
    )
    assert diversity(torch.stack([right, 9 * right, up])) == pytest.approx(2 / 3)
    assert math.isnan(diversity(right[None]))


# Paths


def test_roughness_and_seen_fraction_on_paper():
    time = torch.arange(6.0)
    assert path_roughness(torch.stack([3 * time, -time], -1)) == 0
    path = torch.stack([1.5 * time.square(), 2 * time.square()], -1)
    assert path_roughness(path) == pytest.approx(5)  # second differences are (3, 4)
    path[0] = torch.nan
    assert path_roughness(path) == pytest.approx(5)
    assert seen_fraction(path) == pytest.approx(5 / 6)
    assert math.isnan(path_roughness(path[::5]))
    assert path_correlation(path, path) == pytest.approx(1)


# Statistics


def test_bootstrap_of_two_values_on_paper():
    # Means of two draws from 0 and 1 are 0, 1/2 and 1, with probabilities 1/4, 1/2 and 1/4.
    assert bootstrap([0.0, math.nan, 1.0]) == Interval(0.5, 0, 1, 2)
    assert bootstrap([0.0, 1.0], level=0.4) == Interval(0.5, 0.5, 0.5, 2)
    assert bootstrap([0.0, 1.0, 2.0, 9.0], "median").value == 1.5
    assert bootstrap([0.0] * 8 + [9.0], "median") == Interval(0, 0, 0, 9)


def test_bootstrap_of_few_values():
    none, one = bootstrap([math.nan]), bootstrap([3.0, math.nan])
    assert none.n == 0
    assert math.isnan(none.value)
    assert (one.value, one.n) == (3, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)


def test_bootstrap_is_seeded_and_as_wide_as_theory_says():
    values = torch.randn(400, generator=torch.Generator().manual_seed(1)).tolist()
    interval = bootstrap(values)
    assert interval == bootstrap(values)
    assert interval != bootstrap(values, seed=1)
    wanted = 2 * 1.96 * torch.tensor(values).std().item() / 20
    assert interval.high - interval.low == pytest.approx(wanted, rel=0.08)


def test_paired_difference_leaves_out_pairs_that_are_not_finite():
    assert paired_difference([1.0, 7.0, math.nan, 4.0], [0.0, 6.0, 5.0, math.inf]) == Interval(1, 1, 1, 2)
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 2.0], [1.0])


# Pictures to follow


def test_a_picture_is_like_itself_whatever_its_contrast():
    picture = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert picture_correlation(0.5 * picture + 0.1, picture) == pytest.approx(1)
    assert picture_correlation(-picture, picture) == pytest.approx(-1)
    other = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert abs(picture_correlation(other, picture)) < 0.1
    assert math.isnan(picture_correlation(torch.zeros(3, 32, 32), picture))


def test_lines_agree_within_their_reach_and_both_ways():
    lines = torch.zeros(32, 32)
    lines[10] = 1
    for rows, expected in ((2, 1), (3, 0)):
        assert line_agreement(lines.roll(rows, 0), lines) == expected
    half = lines.clone()
    half[:, 16:] = 0  # 18 of 32 columns have a line within two pixels
    assert line_agreement(half, lines) == pytest.approx(2 * (18 / 32) / (1 + 18 / 32))
    assert line_agreement(lines, half) == pytest.approx(line_agreement(half, lines))
    assert line_agreement(torch.zeros(32, 32), lines) == 0
