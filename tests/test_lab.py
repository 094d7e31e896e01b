"""The lab: cases that share only motion, methods that change one thing, runs that resume, scores that tell."""

import json
from dataclasses import replace

import pytest
import torch

from motionclone.cli import main
from motionclone.errors import InputError
from motionclone.lab.bench import Setup
from motionclone.lab.cases import clip_cases, world_cases
from motionclone.lab.folder import pairs_of, score_pairs
from motionclone.lab.measured import Measured
from motionclone.lab.metrics import load_embedder, recognised
from motionclone.lab.running import run_suite, whole_lines
from motionclone.lab.scoring import appearance_scores, heat_score, motion_scores
from motionclone.lab.suites import suite_named
from motionclone.lab.world import TEST_MOTIONS, held_out_cases, held_out_scenes
from motionclone.media.reading import read_clip
from motionclone.media.writing import write_video
from motionclone.motion import Motion, SparseMap
from motionclone.settings import preset

BASE = preset("mini")
BLOCKS = ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1")
QUICK = BASE.model_copy(update={"sampling": BASE.sampling.model_copy(update={"steps": 2, "guided_steps": 1})})


@pytest.fixture(scope="module")
def embedder():
    return load_embedder()


def test_a_case_shares_nothing_but_motion():
    cases = held_out_cases("test", 40)
    assert [c.motion for c in cases[: len(TEST_MOTIONS)]] == list(TEST_MOTIONS)
    for case in cases:
        a, b = case.reference, case.wanted
        assert not {a.shape, a.colour, a.texture, a.background} & {b.shape, b.colour, b.texture, b.background}
        assert case.kind == "object" or "plain" not in (a.texture, b.texture)
        torch.testing.assert_close(a.truth().path, b.truth().path)
    assert held_out_cases("test", 40)[-1].wanted.caption == cases[-1].wanted.caption
    looks = {c.wanted.seed for c in cases}
    assert not looks & {c.wanted.seed for c in held_out_cases("validation", 40)}


def test_every_method_changes_one_thing():
    plain = BASE.model_dump()
    methods = suite_named("paper", BASE, lambda: BLOCKS).methods
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
    for suite in ("tune", "pictures", "blocks"):
        methods = suite_named(suite, BASE, lambda: BLOCKS).methods
        assert len({m.name for m in methods}) == len(methods) >= 9
        given = {m.settings(BASE, BASE.seed).model_dump_json() + m.follows + m.kind for m in methods}
        assert len(given) == len(methods)  # no two are the same
    with pytest.raises(InputError, match="quick, paper, pictures, tune and blocks"):
        suite_named("papers", BASE, lambda: BLOCKS)


def setup(cases=2, seed=0):
    suite = replace(suite_named("quick", QUICK, lambda: BLOCKS), cases=cases)
    found = world_cases("test", 4, QUICK.sampling)[2:]  # diagonal and circle
    return Setup(suite, tuple(found[:cases]), QUICK, "mini", None, "cpu", "mini", seed)


class Pulled(Exception):  # noqa: N818 - no error
    """The plug."""


def test_an_interrupted_run_goes_on_and_counts_nothing_twice(tmp_path):
    def pull(done, _total):
        if done == 4:
            raise Pulled

    with pytest.raises(Pulled):
        run_suite(setup(), tmp_path, on_done=pull)
    results = tmp_path / "results.jsonl"
    first = whole_lines(results)
    assert len(first) == 4
    with results.open("a") as file:
        file.write('{"method": "cloned", "ca')  # killed while writing
    counts = []
    run_suite(setup(), tmp_path, on_done=lambda done, total: counts.append((done, total)))
    assert counts == [(4, 8), (5, 8), (6, 8), (7, 8), (8, 8)]
    lines = whole_lines(results)
    assert lines[:4] == first
    assert sorted((line["method"], line["case"]) for line in lines) == [
        (method, case) for method in ("ceiling", "cloned", "drawn", "unguided") for case in ("circle-0", "diagonal-0")
    ]
    by_name = {(line["method"], line["case"]): line for line in lines}
    for method in ("ceiling", "drawn"):
        assert by_name[method, "circle-0"]["scores"]["path"] > 0.98
    assert by_name["drawn", "circle-0"]["scores"]["leakage"] < by_name["ceiling", "circle-0"]["scores"]["leakage"] - 0.2
    for line in lines:
        assert read_clip(tmp_path / line["video"], 16, 64, 64).frames.shape == (16, 3, 64, 64)
    with pytest.raises(InputError, match="another seed"):
        run_suite(setup(seed=1), tmp_path)
    assert whole_lines(results) == lines


def test_the_judge_knows_the_world(embedder):
    scenes = [scene for scene in held_out_scenes("test", 30) if scene.shape is not None]
    hits = [recognised(embedder, embedder.images(scene.render()[::4]), scene) for scene in scenes]
    for attribute, least in {"colour": 0.95, "texture": 0.95, "background": 0.95, "shape": 0.75}.items():
        known = [hit[attribute] for hit in hits if attribute in hit]  # scenery has no texture and no colour
        assert sum(known) / len(known) >= least, attribute
    wrong = replace(scenes[0], colour="white" if scenes[0].colour != "white" else "red")
    assert not recognised(embedder, embedder.images(scenes[0].render()), wrong)["colour"]


def test_scores_tell_the_right_motion_and_words_from_others(embedder):
    cases = held_out_cases("test", 14)
    circle, zoom = cases[3], cases[7]
    made = Measured(circle.wanted.render(), circle.wanted)  # a perfect clone
    right, wrong = (
        Measured(c.reference.render(), None, c.reference.truth().path, c.reference.truth().flow)
        for c in (circle, cases[5])
    )
    good, bad = motion_scores(made, right, "object"), motion_scores(made, wrong, "object")
    assert good["path"] > 0.98
    for name in ("path", "flow", "motion_fidelity"):
        assert good[name] > bad[name] + 0.15, name
    assert good["camera"] is None
    panned = Measured(zoom.wanted.render(), zoom.wanted)
    reference = Measured(zoom.reference.render(), known_flow=zoom.reference.truth().flow)
    assert motion_scores(panned, reference, "camera")["camera"] > 0.9
    look = embedder.images(circle.reference.render())
    images, words = embedder.images(made.frames), embedder.texts([circle.wanted.caption, zoom.wanted.caption])
    mine, others = (appearance_scores(images, text, look) for text in words)
    assert mine["text"] > others["text"] + 0.2
    assert mine["leakage"] < float((look @ look.T).mean()) - 0.2


def test_a_heat_map_of_the_true_speed_scores_one():
    flow = torch.zeros(15, 2, 64, 64)
    flow[:, 0, :, 32:] = torch.linspace(1, 5, 32)
    speed = torch.nn.functional.adaptive_avg_pool2d(flow[0, :1], (8, 8)).flatten() / 10
    values = speed.view(64, 1, 1, 1).expand(64, 1, 16, 1)
    motion = Motion({"s": SparseMap(values, torch.zeros_like(values).byte())}, {"s": (16, 8, 8)}, {})
    assert heat_score(motion, Measured(torch.zeros(16, 3, 64, 64), known_flow=flow)) > 0.7  # half of the ranks are ties
    assert heat_score(motion, Measured(torch.zeros(16, 3, 64, 64), known_flow=torch.ones(15, 2, 64, 64))) is None


def two_videos(folder, lengths=(8, 8)):
    cases = held_out_cases("test", 8)[6:]
    lines = []
    for case, length in zip(cases, lengths, strict=True):
        write_video(folder / f"{case.name}.mp4", case.wanted.render()[:length], 8.0)
        write_video(folder / f"{case.name}-ref.mp4", case.reference.render()[:length], 8.0)
        lines.append({"video": f"{case.name}.mp4", "reference": f"{case.name}-ref.mp4", "prompt": case.wanted.caption})
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "list.jsonl"


def test_a_folder_of_videos_is_scored(tmp_path, embedder):
    scored = score_pairs(pairs_of(two_videos(tmp_path)), embedder)
    assert len(scored) == 2
    for each in scored:
        assert each.ceiling["flow"] > each.scores["flow"] > each.floor["flow"] + 0.2
        assert each.scores["text"] > each.floor["text"] + 0.2


@pytest.mark.parametrize("problem", ["lengths", "missing", "words", "empty", "record"])
def test_folders_that_cannot_be_scored(tmp_path, embedder, problem):
    place = two_videos(tmp_path, (8, 9) if problem == "lengths" else (8, 8))
    said = {
        "lengths": "has 8 frames and .* has 9",
        "missing": "turn-back-0.mp4, which is not there",
        "words": "not a list of video, reference and prompt",
        "empty": "no videos with a record",
        "record": "not a record of a cloned video",
    }[problem]
    if problem == "missing":
        (tmp_path / "turn-back-0.mp4").unlink()
    if problem == "words":
        place.write_text('{"video": "a.mp4"}')
    if problem == "record":
        (tmp_path / "turn-back-0.json").write_text("{}")
    if problem in ("empty", "record"):
        place = tmp_path
    with pytest.raises(InputError, match=said):
        score_pairs(pairs_of(place), embedder)


def test_real_clips_are_cases(tmp_path):
    two_videos(tmp_path)
    cases = clip_cases(tmp_path, "test", 6, BASE.sampling)
    assert [c.name for c in cases[:5]] == [
        "turn-back-0-ref-0", "turn-back-0-0", "zoom-in-0-ref-0", "zoom-in-0-0", "turn-back-0-ref-1",
    ]  # fmt: skip
    reference = cases[0].reference(BASE.sampling.model_copy(update={"num_frames": 8}))
    assert reference.path is None
    assert reference.flow.shape == (7, 2, 64, 64)
    with pytest.raises(InputError, match="no clips"):
        clip_cases(tmp_path / "videos", "test", 6, BASE.sampling)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "quik"], "there is no suite 'quik'"),
        (["evaluate", "quick", "--clip", "no/where/at/all"], "no CLIP model"),
        (["evaluate", "quick", "--references", "nowhere"], "there are no clips"),
        (["evaluate", "quick", "--cases", "0"], "--cases must be 1 or more"),
        (["score", "nowhere", "--clip", "mini"], "there is no folder nowhere"),
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
