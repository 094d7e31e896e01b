"""The lab: cases that share only motion, methods that change one thing, runs that resume, scores that tell."""

import hashlib
import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from motionclone.cli import main
from motionclone.errors import InputError
from motionclone.lab.bench import Setup
from motionclone.lab.cases import clip_cases, clips_in, world_cases
from motionclone.lab.facts import ModelFacts
from motionclone.lab.measures import measure_motion
from motionclone.lab.metric import Goal, Video
from motionclone.lab.metric_list import heat_correlation
from motionclone.lab.metrics import load_embedder, recognised
from motionclone.lab.running import run_suite
from motionclone.lab.scoring import score
from motionclone.lab.suites import suite_for
from motionclone.lab.world import (
    MOTIONS,
    TEST_MOTIONS,
    VALIDATION_MOTIONS,
    held_out_pairs,
    held_out_scenes,
    named_trajectory,
)
from motionclone.media.reading import read_clip
from motionclone.media.writing import read_provenance, write_video
from motionclone.models import load_pipeline
from motionclone.motion import Motion, SparseMap
from motionclone.settings import preset

BASE = preset("mini-paper")
BLOCKS = ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1")
FACTS = ModelFacts(BLOCKS, attention_frames=16, own_steps=False, device="cpu", dtype="float32")
QUICK = BASE.model_copy(update={"sampling": BASE.sampling.model_copy(update={"steps": 2, "guided_steps": 1})})


@pytest.fixture(scope="module")
def embedder():
    return load_embedder()


def test_a_pair_shares_nothing_but_motion():
    pairs = held_out_pairs("test", 40)
    for pair in pairs:
        a, b = pair.reference, pair.target
        assert not {a.shape, a.colour, a.texture, a.background} & {b.shape, b.colour, b.texture, b.background}
        assert pair.kind == "object" or "plain" not in (a.texture, b.texture)
        torch.testing.assert_close(a.truth().path, b.truth().path)
    assert held_out_pairs("test", 40)[-1].target.caption == pairs[-1].target.caption
    looks = {pair.target.seed for pair in pairs}
    assert not looks & {pair.target.seed for pair in held_out_pairs("validation", 40)}


def test_choices_are_made_on_other_motions_than_what_is_reported():
    assert len(TEST_MOTIONS) >= 32
    assert not TEST_MOTIONS.keys() & VALIDATION_MOTIONS.keys()
    paths = {name: named_trajectory(name, 16) for name in (*TEST_MOTIONS, *VALIDATION_MOTIONS)}
    courses = {
        name: torch.cat([t.position, t.pan, t.zoom.log()[:, None], t.roll[:, None]], 1) for name, t in paths.items()
    }
    for name in TEST_MOTIONS:
        for other in courses.keys() - {name}:  # not the same under another name, either
            assert (courses[name] - courses[other]).abs().max() > 0.1, (name, other)


@pytest.mark.parametrize(
    ("split", "frozen"),
    [
        ("validation", "c6fb8ecfe32843debdb357edb51117c16dfb64ddd3782b12e1a2074e2c48fb09"),
        ("test", "c66053bc2a075d9d26e29785bb738413654d3d0d7c48b799058cbdfe1895f8e6"),
    ],
)
def test_the_splits_are_frozen(split, frozen):
    """Whoever changes a split starts new results: give it another name, and say so."""

    def described(scene):
        course = torch.cat([part.flatten() for part in vars(scene.trajectory).values()]).tolist()
        # In tenths; the bounds lie where no number is near, so that processors that round otherwise agree.
        numbers = [math.floor(10 * x + 0.38553) for x in (scene.radius, scene.wavelength, scene.angle, *course)]
        return f"{scene.caption} {scene.seed} {numbers}"

    lines = [described(scene) for scene in held_out_scenes(split, 100)]
    for pair in held_out_pairs(split, 4 * len(MOTIONS[split])):
        lines.append(f"{pair.name} {pair.noise} {pair.motion} {pair.kind}")
        lines += [described(pair.reference), described(pair.target)]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == frozen


def test_four_rounds_have_two_prompts_and_two_noises_each_with_each():
    size = len(TEST_MOTIONS)
    pairs = held_out_pairs("test", 4 * size)
    assert len({pair.name for pair in pairs}) == 4 * size
    assert len({pair.noise for pair in pairs}) == 2 * size
    for motion in TEST_MOTIONS:
        own = [pair for pair in pairs if pair.motion == motion]
        combinations = [(pair.target.caption, pair.noise) for pair in own]
        assert len(set(combinations)) == 4
        assert {pair.noise for pair in own[:2]} == {pair.noise for pair in own}
        assert {pair.target.caption for pair in own[:2]} == {pair.target.caption for pair in own}
        assert len({pair.target.caption for pair in own}) == 2


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 15, 32, 35, 64])
def test_so_many_cases_of_every_kind_and_each_the_same_whatever_the_count(count):
    cases = world_cases("test", count, BASE.sampling)
    assert len(cases) == count
    assert len({case.kind for case in cases}) == min(count, 3)
    pairs = {pair.name: pair for pair in held_out_pairs("test", 64)}
    for case in cases:
        assert (case.prompt, case.number) == (pairs[case.name].target.caption, pairs[case.name].noise)
    assert {case.kind for case in cases[:2]} >= ({"object", "camera"} if 1 < count < 32 else {"object"})
    if count % 32 == 0:  # what is reported of these belongs to them
        assert [case.name for case in cases] == list(pairs)[:count]


def test_every_method_changes_one_thing():
    plain = BASE.model_dump()
    methods = suite_for("paper", BASE, FACTS).methods
    assert len({m.name for m in methods}) == len(methods) >= 30
    two = {"noise-matched", "schedule-camera", "schedule-object", "independent-unguided"}
    for method in methods:
        data = method.settings(BASE, BASE.seed).model_dump()
        sections = ("extraction", "guidance", "sampling")
        changed = [key for part in sections for key in data[part] if data[part][key] != plain[part][key]]
        same = (
            method.name == "cloned" or method.kind != "clone" or method.prompt != "null" or method.inversion != "none"
        )
        assert len(changed) <= (2 if method.name in two else 1), method.name
        assert changed or same, method.name
    for name in ("tune", "pictures", "blocks", "strength"):
        methods = suite_for(name, BASE, FACTS).methods
        assert len({m.name for m in methods}) == len(methods) >= 9
        given = {m.settings(BASE, BASE.seed).model_dump_json() + m.condition + m.kind for m in methods}
        assert len(given) == len(methods)  # no two are the same
    with pytest.raises(InputError, match="did you mean paper"):
        suite_for("papers", BASE, FACTS)


def test_what_would_be_the_same_on_a_model_is_left_out_and_told():
    facts = replace(FACTS, attention_frames=8, own_steps=True)
    suite = suite_for("paper", BASE, facts)
    names = {method.name: method for method in suite.methods}
    assert names["plain"].changes == {"extraction": {"k": 8}}
    assert {"k-2", "k-4"} <= names.keys()
    assert not {"k-8", "guided-3", "guided-6", "guided-18"} & names.keys()
    left_out = {left.label: left.reason for left in suite.left_out}
    assert left_out.keys() == {*(f"{n} of 24 steps guided" for n in (3, 6, 18)), "object: fraction 0.4"}  # the preset's
    assert set(left_out.values()) == {"the same as cloned on this model."}
    by_strength = suite_for("paper", preset("mini"), FACTS)
    assert {left.label for left in by_strength.left_out} == {"Eq. 2 as printed", "Eq. 2, weights matched"}
    assert {"strength-0.25", "strength-4"} <= {method.name for method in by_strength.methods}
    unguided = BASE.model_copy(update={"guidance": BASE.guidance.model_copy(update={"weight": 0.0})})
    left_out = suite_for("quick", unguided, FACTS, drawn=False).left_out
    assert [left.label for left in left_out] == ["perfect clone, drawn", "unguided"]


# For what is about files: nothing can be seen in so small a video.
SMALL = QUICK.model_copy(
    update={"sampling": QUICK.sampling.model_copy(update={"num_frames": 4, "height": 16, "width": 16})}
)


def setup(base=QUICK, seed=0, **changes):
    base = base.model_copy(update={"seed": seed})
    cases = tuple(
        case for case in world_cases("validation", 16, base.sampling) if case.motion in ("diagonal", "circle")
    )
    load = partial(load_pipeline, "mini", device="cpu")
    made = Setup(suite_for("quick", base, FACTS), cases, base, "mini", load, {"offload": "none"}, FACTS, "mini")
    return replace(made, **changes)


def lines_of(folder):
    """The results as they stand in the file."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


class Pulled(Exception):  # noqa: N818 - no error
    """The plug."""


def test_an_interrupted_run_goes_on_and_counts_nothing_twice(tmp_path):
    def pull(done, _total):
        if done == 4:
            raise Pulled

    with pytest.raises(Pulled):
        run_suite(setup(), tmp_path, on_done=pull)
    first = lines_of(tmp_path)
    assert len(first) == 4
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"method": "cloned", "ca')  # killed while writing
    counts = []
    outcome = run_suite(setup(), tmp_path, on_done=lambda done, total: counts.append((done, total)))
    assert (outcome.made, outcome.refused, outcome.failed) == (8, 0, 0)
    assert counts == [(4, 8), (5, 8), (6, 8), (7, 8), (8, 8)]
    lines = lines_of(tmp_path)
    assert lines[:4] == first
    assert sorted((line["method"], line["case"]) for line in lines) == [
        (method, case) for method in ("ceiling", "cloned", "drawn", "unguided") for case in ("circle-0", "diagonal-0")
    ]
    by_name = {(line["method"], line["case"]): line for line in lines}
    for method in ("ceiling", "drawn"):
        assert by_name[method, "circle-0"]["scores"]["path"] > 0.98
    assert by_name["drawn", "circle-0"]["scores"]["leakage"] < by_name["ceiling", "circle-0"]["scores"]["leakage"] - 0.2
    for line in lines:
        path = tmp_path / line["video"]
        assert read_clip(path, 16, 64, 64).frames.shape == (16, 3, 64, 64)
        assert read_provenance(path)["ai_generated"]
        assert b"/work" not in path.read_bytes()
    with pytest.raises(InputError, match="another seed"):
        run_suite(setup(seed=1), tmp_path)
    assert lines_of(tmp_path) == lines
    assert not list(tmp_path.glob(".*"))


def test_the_judge_knows_the_world(embedder):
    scenes = [scene for scene in held_out_scenes("test", 30) if scene.shape is not None]
    hits = [recognised(embedder, embedder.images(scene.render()[::4]), scene) for scene in scenes]
    for attribute, least in {"colour": 0.95, "texture": 0.95, "background": 0.95, "shape": 0.75}.items():
        known = [hit[attribute] for hit in hits if attribute in hit]  # scenery has no texture and no colour
        assert sum(known) / len(known) >= least, attribute
    wrong = replace(scenes[0], colour="white" if scenes[0].colour != "white" else "red")
    assert not recognised(embedder, embedder.images(scenes[0].render()), wrong)["colour"]


def goal(pair, embedder, kind, prompt):
    frames, truth = pair.reference.render(), pair.reference.truth()
    words = embedder.texts([prompt])[0]
    return Goal(measure_motion(frames, truth=truth), kind, embedder.images(frames), prompt, words)


def test_scores_tell_the_right_motion_and_words_from_others(embedder):
    pairs = held_out_pairs("validation", 14)
    circle, zoom = pairs[3], pairs[7]
    made = Video(circle.target.render(), embedder, circle.target)  # a perfect clone
    right = goal(circle, embedder, "object", circle.target.caption)
    wrong = goal(pairs[5], embedder, "object", zoom.target.caption)
    good, bad = score(made, right), score(made, wrong)
    assert good["path"] > 0.98
    for name in ("path", "flow", "motion_fidelity", "text"):
        assert good[name] > bad[name] + 0.15, name
    assert good["camera"] is None
    assert (good["colour"], good["seen"]) == (1, 1)
    assert good["leakage"] < float((right.look @ right.look.T).mean()) - 0.2
    panned = score(Video(zoom.target.render(), embedder), goal(zoom, embedder, "camera", zoom.target.caption))
    assert panned["camera"] > 0.9
    assert "colour" not in panned  # nobody said what it should show


def test_a_heat_map_of_the_true_speed_scores_one():
    flow = torch.zeros(15, 2, 64, 64)
    flow[:, 0, :, 32:] = torch.linspace(1, 5, 32)
    speed = torch.nn.functional.adaptive_avg_pool2d(flow[0, :1], (8, 8)).flatten() / 10
    values = speed.view(64, 1, 1, 1).expand(64, 1, 16, 1)
    motion = Motion({"s": SparseMap(values, torch.zeros_like(values).byte())}, {"s": (16, 8, 8)}, {})
    assert heat_correlation(motion, flow) > 0.7  # half of the ranks are ties
    assert heat_correlation(motion, torch.ones(15, 2, 64, 64)) is None


def test_real_clips_are_cases(tmp_path):
    for name in ("turn-back-0", "turn-back-0-ref", "zoom-in-0", "zoom-in-0-ref"):
        write_video(tmp_path / f"{name}.mp4", held_out_pairs("test", 1)[0].reference.render()[:8], 8.0)
    clips = clips_in(tmp_path)
    cases = clip_cases(clips, "test", 6, BASE.sampling)
    assert len(cases) == 6
    assert [c.name for c in cases[:5]] == [
        "turn-back-0-ref-0", "turn-back-0-0", "zoom-in-0-ref-0", "zoom-in-0-0", "turn-back-0-ref-1",
    ]  # fmt: skip
    frames, truth = cases[0].reference(BASE.sampling.model_copy(update={"num_frames": 8}))
    assert truth is None
    assert frames.shape == (8, 3, 64, 64)
    assert [case.name for case in clip_cases(clips, "test", 1, BASE.sampling)] == ["turn-back-0-ref-0"]
    with pytest.raises(InputError, match="no clips"):
        clips_in(tmp_path / "videos")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "quik"], "there is no suite 'quik'"),
        (["evaluate", "quick", "--clip", "no/where/at/all"], "no CLIP model"),
        (["evaluate", "quick", "--references", "nowhere"], "there are no clips"),
        (["evaluate", "quick", "--cases", "0"], "cases must be 1 to 512, got 0"),
        (["evaluate", "quick", "--cases", "1000000000"], "cases must be 1 to 512"),
        (["evaluate", "quick", "--k", "17"], "k is 17, more than the 16 frames"),
        (["evaluate", "quick", "--height", "64", "--width", "128"], "scenes are square and 128x64"),
        (["evaluate", "quick", "--height", "8", "--width", "8"], "16x16 pixels or more, not 8x8"),
        (["evaluate", "quick", "--frames", "1000000"], "--frames must be 10000 or less"),
        (["evaluate", "quick", "--offload", "model", "--device", "cpu"], "needs a GPU"),
        (["evaluate", "quick", "--references", "evaluation-quick/videos"], "where results are written"),
    ],
)
def test_bad_requests_end_with_a_sentence_and_code_2(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["motionclone", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("evaluation-*/*.html"))
