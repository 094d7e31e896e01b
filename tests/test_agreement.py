"""Gain and explained motion are what they say for motions that are known: the same, none, half of it, the opposite."""

import json
import math
from dataclasses import replace

import pytest
import torch
from test_report import result, write_run

from motionclone.errors import InputError
from motionclone.lab.measures import measure_motion
from motionclone.lab.metric import Goal, Video
from motionclone.lab.metrics import camera_agreement, flow_agreement, load_embedder, path_agreement
from motionclone.lab.report import write_report
from motionclone.lab.scoring import floor, score
from motionclone.lab.world import Scene, named_trajectory

KNOWN = [(1.0, 1, 1), (0.0, 0, 0), (0.5, 0.5, 0.75), (-1.0, -1, -3), (2.0, 2, 0)]


@pytest.mark.parametrize(("speed", "gain", "explained"), KNOWN)
def test_known_motions(speed, gain, explained):
    generator = torch.Generator().manual_seed(0)
    path = torch.randn(16, 2, generator=generator)
    pan = torch.cat([torch.randn(15, 2, generator=generator), torch.zeros(15, 2)], 1)
    flow = torch.randn(15, 2, 8, 8, generator=generator)
    for found in (
        path_agreement(speed * path + 0.3, path),  # where the path lies does not count
        camera_agreement(speed * pan, pan, 8, 8),
        flow_agreement(speed * flow, flow),
    ):
        assert found.gain == pytest.approx(gain, abs=1e-6)
        assert found.explained == pytest.approx(explained, abs=1e-6)


def test_what_is_not_of_the_reference_is_held_against_a_motion():
    right, down = torch.zeros(3, 2, 4, 4), torch.zeros(3, 2, 4, 4)
    right[:, 0], down[:, 1] = 1, 1
    assert flow_agreement(right + down, right) == (1, 0)
    assert flow_agreement(down, right) == (0, -1)
    zoom, turn = torch.zeros(3, 4), torch.zeros(3, 4)
    zoom[:, 2], turn[:, 3] = 0.01, 0.01
    assert camera_agreement(turn, zoom, 32, 32).gain == pytest.approx(0, abs=0.01)


def test_where_nothing_can_be_said():
    path = torch.arange(8.0).view(4, 2)
    assert all(math.isnan(x) for x in path_agreement(path, torch.zeros(4, 2)))
    gap = path.clone()
    gap[0] = torch.nan
    assert path_agreement(gap, path) == (1, 1)
    gap[1] = torch.nan
    assert all(math.isnan(x) for x in path_agreement(gap, path))
    with pytest.raises(InputError, match="3 frames of 4 x 4 and 4 frames of 4 x 4"):
        flow_agreement(torch.zeros(2, 2, 4, 4), torch.zeros(3, 2, 4, 4))


def slowed(motion, speed):
    """A video of a named motion at so much of its speed."""
    whole = named_trajectory(motion, 16)
    slow = replace(whole, position=speed * whole.position, pan=speed * whole.pan, zoom=whole.zoom**speed)
    return Scene("square", "red", "rocks", "white", slow, radius=0.36, seed=3)


@pytest.mark.parametrize(("motion", "kind", "leading"), [("right", "object", "path"), ("pan-left", "camera", "camera")])
def test_videos_of_the_world_are_scored_by_their_speed(motion, kind, leading):
    judge = load_embedder()

    def goal(motion, kind):
        scene = slowed(motion, 1)
        return Goal(measure_motion(scene.render(), truth=scene.truth()), kind, torch.ones(1, 64), None, None)

    gains = []
    for speed, least in ((1, 0.9), (0.5, 0.65), (0, -0.05)):
        scene = slowed(motion, speed)
        video = Video(scene.render(), judge, scene)
        scores = score(video, goal(motion, kind))
        gains.append(scores[f"{leading}_gain"])
        assert scores[f"{leading}_explained"] > least
    assert gains == pytest.approx([1, 0.5, 0], abs=0.1)
    unrelated = floor(Video(slowed(motion, 1).render(), judge, slowed(motion, 1)), None, [goal("turn-back", kind)] * 2)
    assert unrelated["flow_explained"] < 0.2


def test_explained_motion_leads_the_report_and_old_results_are_read(tmp_path):
    folder = write_run(tmp_path)
    old = write_report(folder)[1].read_text()
    assert "explained" not in old.split("## What the columns mean")[0]
    lines = [result(method, i) for method in ("unguided", "cloned") for i in range(8)]
    for line in lines:
        line["scores"] |= {"flow_explained": 0.375, "flow_gain": 0.875}
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    new = write_report(folder)[1].read_text()
    headline = new.split("## Headline")[1].split("## What")[0]
    assert headline.index("explained flow") < headline.index("flow gain") < headline.index("dense flow")
    assert "0.38" in headline
    assert "0.88" in headline


def test_a_camera_that_stands_still_but_for_measuring_has_no_speed_to_compare():
    still, pan = torch.zeros(3, 4), torch.zeros(3, 4)
    still[:, 0], pan[:, 0] = 0.02, 0.5
    assert all(math.isnan(each) for each in camera_agreement(pan, still, 16, 16))
    assert camera_agreement(pan, pan, 16, 16) == (1, 1)
