"""One sheet, strength by seed: each of its videos is the one that `clone` makes, and the printed command makes it."""

import json
import shlex

import pytest
import torch

from motionclone.cloning import Generated, clone
from motionclone.lab.metrics import load_embedder
from motionclone.lab.sweep import TALLEST, Tried, _scorer, sheet, sweep
from motionclone.media.reading import read_clip
from motionclone.media.writing import read_provenance
from motionclone.models import load_pipeline
from motionclone.settings import preset

SMALL = ("--frames", "4", "--height", "64", "--width", "64", "--steps", "3", "--guided-steps", "2", "--preset", "mini")


def test_every_video_is_the_one_that_clone_makes(model):
    pipe = load_pipeline(str(model), device="cpu")
    pipe.set_progress_bar_config(disable=True)
    settings = preset("mini").in_steps(3)
    size = {"num_frames": 4, "guided_steps": 2}
    settings = settings.model_copy(update={"sampling": settings.sampling.model_copy(update=size)})
    frames, steps = torch.rand(4, 3, 64, 64) * 2 - 1, []
    tried = sweep(pipe, frames, "a", settings, [0.0, 0.5], [0, 7], on_step=lambda *told: steps.append(told[:2]))
    assert [(each.strength, each.seed) for each in tried] == [(0.0, 0), (0.5, 0), (0.0, 7), (0.5, 7)]
    assert steps == [pair for each in tried for pair in [(each.strength, each.seed)] * 3]
    for each in tried:
        guidance = settings.guidance.model_copy(update={"strength": each.strength})
        alone = clone(pipe, frames, "a", settings.model_copy(update={"guidance": guidance, "seed": each.seed}))
        assert torch.equal(each.generated.frames, alone.frames)
        assert each.generated.record["settings"] == alone.record["settings"]


def test_a_sheet_has_a_row_for_every_seed_and_the_reference_before_it():
    shades = {
        (strength, seed): torch.full((2, 3, 64, 64), strength - seed / 2) for strength in (0, 1) for seed in (0, 1)
    }
    tried = [Tried(strength, seed, Generated(frames, (), {})) for (strength, seed), frames in shades.items()]
    reference = torch.full((2, 3, 64, 64), -1.0)
    found = sheet(reference, tried)
    assert found.shape == (2, 3, 2 * (24 + 192) + 4, 3 * 192 + 2 * 4)
    for row in (0, 1):
        for column, wanted in enumerate((-1.0, 0 - row / 2, 1 - row / 2)):
            place = found[1, :, row * 220 + 24 : row * 220 + 216, column * 196 : column * 196 + 192]
            assert torch.equal(place, torch.full_like(place, wanted))
    large = [Tried(1, 0, Generated(torch.zeros(2, 3, 720, 1280), (), {}))]
    assert sheet(torch.zeros(2, 3, 720, 1280), large).shape[2] == 24 + TALLEST


def test_scores_on_request_are_those_of_score_for_every_video(run, model, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ("--strengths", "0,1", "--seeds", "3", "--model", str(model), *SMALL, "--scores")
    code, said = run("sweep", clip, "a red star", *more, "-o", "sheet.mp4")
    assert code == 0, said
    first, second = (each["scores"] for each in read_provenance(tmp_path / "sheet.mp4")["sheet"])
    assert {"flow_explained", "camera_gain", "text", "leakage"} <= first.keys() == second.keys()
    assert first != second
    assert all(f"{each[name]:.3f}" in said for each in (first, second) for name in ("text", "leakage"))


def test_scores_are_held_against_the_reference():
    rows = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1
    smooth = torch.nn.functional.avg_pool2d(rows, 5, 1, 2) * 3
    moving = torch.stack([smooth[..., 2 * i : 2 * i + 64] for i in range(6)]).clamp(-1, 1)
    scores = _scorer(moving, "a red star", load_embedder("mini"))
    itself, still = scores(moving), scores(moving[:1].repeat(6, 1, 1, 1))
    assert itself["flow_explained"] == pytest.approx(1)
    assert still["flow_explained"] == pytest.approx(0, abs=0.05)
    assert still["consistency"] == pytest.approx(1, abs=1e-3)


def test_the_command_writes_a_sheet_and_prints_what_makes_the_picked_one(run, model, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ("--strengths", "0,1", "--seeds", "3", "--model", str(model), "--negative-prompt", "dull grey", *SMALL)
    part = ("--crop", "0.25", "0", "1", "1", "--flip")
    code, said = run("sweep", clip, "a red star", *more, *part, "--no-per-frame-norm")
    assert code == 0, said
    (made,) = tmp_path.iterdir()
    assert made.name == "square-a-red-star-sweep.mp4"
    kept = read_provenance(made)
    assert kept["ai_generated"] is True
    assert [(each["strength"], len(each["energies"])) for each in kept["sheet"]] == [(0, 0), (1, 2)]
    assert str(tmp_path) not in json.dumps(kept)
    assert len(read_clip(made, 4, 216, 584).frames) == 4
    (line,) = (line for line in said.splitlines() if line.startswith("motionclone clone"))
    words = shlex.split(line)
    assert words[-4:] == ["--strength", "0", "--seed", "3"]
    code, said = run(*words[1:-3], "1", "--seed", "3", "-o", "picked.mp4")
    assert code == 0, said
    record = json.loads((tmp_path / "picked.json").read_text())
    assert record["energies"] == kept["sheet"][1]["energies"]
    assert record["settings"]["sampling"]["negative_prompt"] == "dull grey"
    assert (record["motion"]["source"]["crop"], record["motion"]["source"]["flip"]) == ([0.25, 0, 1, 1], True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--strengths", "1,much"), "--strengths are numbers of 0 or more with commas between, such as 0.5,1,2, not"),
        (("--strengths", "-1"), "--strengths are numbers of 0 or more"),
        (("--seeds", "0.5"), "--seeds are numbers of 0 or more with commas between, such as 0,1, not '0.5'"),
        (("--seeds", ",".join(map(str, range(20)))), "80 videos; a sheet has 64 at most"),
        (("--strength", "1"), "give --strengths in place of --strength"),
        (("--seed", "1"), "give --seeds in place of --seed"),
        (("--judge", "mini"), "--judge does not act without --scores"),
        (("--weight", "3"), "--weight does not act: --strength is 2"),
        (("-o", "sheet.json"), "must end in .mp4, .webm or .gif"),
        (("-o", "there.mp4"), "pass --overwrite"),
    ],
)
def test_what_is_no_sheet_is_refused_in_a_sentence(run, model, clip, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.mp4").write_bytes(b"kept")
    code, said = run("sweep", clip, "a red star", "--model", str(model), *SMALL, *words)
    assert code == 2
    assert told in said.splitlines()[-1]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"kept"]


def test_a_dry_run_writes_nothing(run, model, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = run("sweep", clip, "a red star", "--model", str(model), *SMALL, "--dry-run")
    assert code == 0, said
    assert "square-a-red-star-sweep.mp4" in said
    assert not list(tmp_path.iterdir())
