"""The bundled model: its files, and that motion transfers on it."""

import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import motionclone
from motionclone import cli, extract_motion, generate, load_pipeline, preset
from motionclone.backbones.per_frame_norm import has_per_frame_norm
from motionclone.errors import InputError
from motionclone.lab.demo import Words, run_demo
from motionclone.lab.metrics import find_object, path_correlation
from motionclone.lab.score_list import listed_videos
from motionclone.lab.world import BACKGROUNDS, COLOURS, Scene, named_trajectory
from motionclone.settings import parse_settings

FOLDER = Path(motionclone.__file__).parent / "mini"


@pytest.fixture(scope="module")
def mini():
    pipe = load_pipeline("mini", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_files_are_small_and_hold_no_code():
    most = {"base": 14e6, "motion_adapter": 5e6, "clip": 2e6, "image_control": 7e6, "sketch_control": 7e6, "dit": 15e6}
    assert {path.name for path in FOLDER.iterdir()} == most.keys()
    for part, bytes_at_most in most.items():
        files = [path for path in (FOLDER / part).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < bytes_at_most
        assert {path.suffix for path in files} <= {".json", ".safetensors", ".txt"}


def test_it_is_ready_to_guide(mini):
    assert has_per_frame_norm(mini.unet)
    assert not mini.unet.training
    assert not any(weight.requires_grad for weight in mini.unet.parameters())
    assert mini.scheduler.config.prediction_type == "v_prediction"


def quick_demo(pipe, **options):
    """On few steps, so that the test is quick; the demo itself takes three times as many."""
    settings = preset("mini")
    sampling = settings.sampling.model_copy(update={"steps": 8, "guided_steps": 4})
    words = Words("circle", "red", "star", "blue", "waves")
    with torch.random.fork_rng():
        return run_demo(pipe, words, settings.model_copy(update={"sampling": sampling}), **options)


@pytest.mark.long
@pytest.mark.parametrize("given", ["image", "sketch"])
def test_the_demo_starts_from_what_is_given_and_moves_like_the_reference(given):
    pipe = load_pipeline("mini", device="cpu", control=given)
    pipe.set_progress_bar_config(disable=True)
    made = quick_demo(pipe, given=given)
    assert made.similarity["cloned"].first > made.similarity["reference"].first + 0.2
    assert made.similarity["cloned"].path > made.similarity["unguided"].path + 0.3


def test_the_demos_motion_is_cloned(mini):
    steps = []
    made = quick_demo(mini, on_step=lambda name, step: steps.append((name, step.index)))
    assert steps == [(name, i + 1) for name in ("cloned", "unguided") for i in range(8)]
    assert made.similarity["reference"].path > 0.99
    assert made.similarity["reference"].flow > 0.6
    assert made.similarity["cloned"].path > made.similarity["unguided"].path + 0.3
    assert not made.unguided.steps
    assert len(made.cloned.steps) == 4


def test_the_motion_is_cloned_on_the_transformer():
    pipe, settings = load_pipeline("mini-dit", device="cpu"), preset("mini-dit")
    pipe.set_progress_bar_config(disable=True)
    trajectory = named_trajectory("diagonal", 16)
    seen = Scene("circle", "orange", "rocks", "purple", trajectory)
    quick = settings.model_copy(
        update={"sampling": settings.sampling.model_copy(update={"steps": 12, "guided_steps": 8})}
    )
    motion = extract_motion(pipe, seen.render(64), quick.extraction)
    similarity = []
    for strength in (0.0, quick.guidance.strength):
        guidance = quick.guidance.model_copy(update={"strength": strength})
        made = generate(pipe, motion, "a red star on blue waves", quick.model_copy(update={"guidance": guidance}))
        path = find_object(made.frames, COLOURS["red"], BACKGROUNDS["blue"])
        similarity.append(path_correlation(path, seen.truth(64).path))
    assert similarity[1] > max(0.6, similarity[0] + 0.3)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (("sideways", "red", "star", "blue", "waves"), "figure-eight"),
        (("circle", "pink", "star", "blue", "waves"), "purple"),
        (("circle", "red", "sock", "blue", "waves"), "triangle"),
        (("circle", "red", "star", "pink", "waves"), "gray"),
        (("circle", "red", "star", "blue", "wool"), "rocks"),
        (("circle", "red", "star", "red", "waves"), "two colours"),
    ],
)
def test_words_that_the_world_does_not_have_are_refused(words, known):
    with pytest.raises(InputError, match=known):
        Words(*words)


@pytest.mark.parametrize("options", [(), ("--sketch",)])
def test_the_demo_command_writes_its_videos(tmp_path, monkeypatch, capfd, options):
    quick = preset("mini").model_dump()
    quick["sampling"].update(steps=4, guided_steps=2)
    monkeypatch.setattr("motionclone.settings.preset", lambda _: parse_settings(quick, "quick"))
    monkeypatch.setattr(sys, "argv", ["motionclone", "demo", "zoom-in", "--out-dir", str(tmp_path / "demo"), *options])
    with suppress(SystemExit):
        cli.main()
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    videos = {f"{name}.mp4" for name in ("reference", "cloned", "unguided", "side-by-side")}
    assert names == videos | {"cloned.json", "unguided.json"} | ({"given.png"} if options else set())
    assert re.search(r"cloned .*[+-]\d\.\d\d", capfd.readouterr().out)
    scorable = listed_videos(tmp_path / "demo")
    assert [(each.name, each.reference.name) for each in scorable] == [
        ("cloned.mp4", "reference.mp4"),
        ("unguided.mp4", "reference.mp4"),
    ]
