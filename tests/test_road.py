"""The newcomer's road: what the bundled model knows, which models there are, and what a run will be, beforehand."""

import itertools
import os
import re
import subprocess
import sys

import pytest
import torch

from motionclone.cloning import clone
from motionclone.errors import GuidanceWarning
from motionclone.lab.memory import counted
from motionclone.lab.parts import parts_of
from motionclone.lab.world import BACKGROUNDS, COLOURS, SCENERY, SHAPES, TEXTURES, Scene, named_trajectory
from motionclone.models import HubModel, load_pipeline, named_models
from motionclone.models.facts import OWN, WAYS, fitting_models, known_facts, memory_of
from motionclone.models.mini_words import KNOWN, advice, unknown_words
from motionclone.settings import preset, preset_of


def test_the_bundled_model_knows_every_word_of_the_worlds_captions_and_no_other():
    still = named_trajectory("circle", 2)
    looks = itertools.product((None, *SHAPES), COLOURS, (*TEXTURES, SCENERY), BACKGROUNDS)
    captions = {Scene(shape, colour, texture, ground, still).caption for shape, colour, texture, ground in looks}
    assert {word for caption in captions for word in caption.split()} == KNOWN
    assert unknown_words(captions) == ()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a pig walks in the forest", ("pig", "walks", "in", "the", "forest")),
        ("A Red STAR, on blue-waves!", ()),
        ("two red stars and two more", ("two", "stars", "and", "more")),
        ("红色的星", ("红色的星",)),
        ("a red star 🐷", ("🐷",)),
    ],
)
def test_words_outside_the_world_are_told_whatever_the_tokenizer_makes_of_them(text, unknown):
    assert unknown_words([text]) == unknown
    sentence = advice("mini", [text])
    if not unknown:
        assert sentence is None
        return
    small = {"in", "the", "and"}
    for word in (*(set(unknown) - small), "purple", "triangle", "rocks", "model='animatediff'"):
        assert word in sentence
    assert not any(repr(word) in sentence for word in small)


def test_a_prompt_that_the_bundled_model_cannot_follow_is_told_in_python():
    pipe, settings = load_pipeline("mini", device="cpu"), preset("mini")
    few = settings.sampling.model_copy(update={"steps": 2, "guided_steps": 2, "negative_prompt": "blurry"})
    settings = settings.model_copy(update={"sampling": few})
    frames = torch.zeros(16, 3, 64, 64)
    with pytest.warns(GuidanceWarning, match="mini has never seen 'pig', 'blurry' and shows something"):
        clone(pipe, frames, "a red pig", settings)


NO_HEAVY = """
import sys
from motionclone.cli import main
sys.argv[1:] = {words!r}
try: main()
except SystemExit as end: assert not end.code, end.code
print(sorted({{"torch", "diffusers", "transformers"}} & set(sys.modules)))
"""


@pytest.mark.parametrize("words", [["models"], ["models", "wan2.1-1.3b"], ["models", "Lightricks/LTX-Video@main"]])
def test_models_answers_without_torch_and_whole_at_80_columns(words):
    env = {**os.environ, "COLUMNS": "80"}
    code = NO_HEAVY.format(words=words)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    lines = said.splitlines()
    assert lines.pop() == "[]"
    assert max(map(len, lines)) <= 80
    assert "…" not in said
    if words == ["models"]:
        listed = lines[: next(number for number, line in enumerate(lines) if "presets" in line)]
        rows = {line.split()[0]: line.split() for line in listed if line.split()}
        for name, model in named_models().items():
            facts = known_facts()[name]
            assert rows[name][1] == (f"{facts.download:.1f}" if facts.download else "bundled")
            assert rows[name][-2:] == ["yes" if facts.run else "no", facts.settings]
            assert facts.settings == "guess" or not isinstance(model, HubModel)


def test_every_named_model_has_facts_for_the_size_of_its_preset():
    assert known_facts().keys() == named_models().keys()
    for name, facts in known_facts().items():
        size = preset(preset_of(name)).sampling
        assert facts.counted_at == (size.num_frames, size.height, size.width), name


@pytest.mark.parametrize("name", ["animatediff", "ltx-video"])
def test_facts_are_what_is_counted(name):
    settings, facts = preset(preset_of(name)), known_facts()[name]
    parts, guided = parts_of(name, settings.sampling), counted(name, settings)
    found = {
        "denoiser": parts.denoiser,
        "text_encoders": parts.text_encoders,
        "vae": parts.vae,
        "coding": max(parts.encode, parts.decode),
        "tiled": parts.tiled,
        "kept": guided.kept,
        "cut": guided.cut,
    }
    for field, size in found.items():
        assert getattr(facts, field) == pytest.approx(size / 1e9, abs=0.006), field


def test_memory_at_another_size_is_in_proportion_as_counting_says():
    settings, facts = preset("ltx-video"), known_facts()["ltx-video"]
    half = settings.sampling.model_copy(update={"num_frames": 81, "width": 352})
    smaller = settings.model_copy(update={"sampling": half})
    guided, parts = counted("ltx-video", smaller), parts_of("ltx-video", half)
    memory = memory_of(facts, smaller)
    assert memory.guidance == pytest.approx(guided.kept / 1e9, rel=0.1)
    assert memory.coding == pytest.approx(max(parts.encode, parts.decode) / 1e9, rel=0.1)


def test_memory_is_that_of_the_busiest_moment():
    facts = known_facts()["ltx-video"].model_copy(
        update={
            "text_encoders": 10.0,
            "denoiser": 4.0,
            "vae": 1.0,
            "kept": 3.0,
            "coding": 6.0,
            "tiled": 2.0,
        }
    )
    settings = preset("ltx-video")
    most = {words: memory_of(facts, settings, **ways).most for words, ways in WAYS}
    assert most == {"": 21, " --vae-tiling": 18, " --offload model": 10, " --offload model --vae-tiling": 10}
    small_text = facts.model_copy(update={"text_encoders": 1.0, "experts": 2})
    assert memory_of(small_text, settings).most == 1 + 2 * 4 + 1 + 6
    assert memory_of(small_text, settings, offload="model").most == 7
    assert memory_of(small_text, settings, offload="sequential", tiling=True).most == 3
    assert memory_of(small_text, settings, exact=True).most == 32
    off = settings.model_copy(update={"guidance": settings.guidance.model_copy(update={"weight": 0})})
    assert memory_of(facts, off).guidance == 0
    whole = settings.model_copy(update={"guidance": settings.guidance.model_copy(update={"checkpointing": "none"})})
    assert memory_of(facts, whole).guidance == facts.cut


def test_models_that_fit_are_those_whose_memory_is_there():
    for free in (4, 8, 24, 80):
        for name, options in fitting_models(free).items():
            ways = dict(WAYS)
            settings, facts = preset(preset_of(name)), known_facts()[name]
            assert memory_of(facts, settings, **ways[options]).most <= free - OWN
            faster = list(ways)[: list(ways).index(options)]
            assert all(memory_of(facts, settings, **ways[each]).most > free - OWN for each in faster)
    assert not fitting_models(4)
    assert "animatediff" in fitting_models(12)
    assert {"animatediff", "wan2.1-1.3b", "cogvideox-2b"} <= fitting_models(24).keys()


def test_a_gpu_that_waits_is_told_of_where_no_model_is_named(run, monkeypatch, tmp_path, clip):
    monkeypatch.setattr("motionclone.models.devices.memory_here", lambda device: (int(24e9), int(25e9)))
    monkeypatch.setattr("motionclone.models.devices.usable_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    dry = ("clone", clip, "a red star", "--dry-run", "-o", tmp_path / "o.mp4")
    said = run(*dry, "--frames", "4")[1]
    first, ways = next(iter(fitting_models(24).items()))
    assert f"24 GB free on this GPU hold --model {first}{ways}," in said
    assert "this GPU" not in run(*dry, "--frames", "4", "--device", "cpu")[1]
    assert "this GPU" not in run(*dry, "--model", "mini-dit")[1]
    code, said = run("doctor")
    assert code == 0
    assert "--model animatediff" in " ".join(said.replace("│", " ").split())


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_an_empty_prompt_is_refused(run, clip, tmp_path, prompt):
    code, said = run("clone", clip, prompt, "-o", tmp_path / "o.mp4")
    assert code == 2
    assert "the prompt is empty; say what the new video shows" in said
    code, said = run("generate", tmp_path / "none.safetensors", prompt)
    assert "the prompt is empty" in said


def test_an_empty_prompt_is_told_where_a_picture_speaks(run, clip, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "first.png")
    size = ("--frames", "4", "--preset", "mini")
    words = ("clone", clip, "", "-o", tmp_path / "o.mp4", "--image", tmp_path / "first.png", "--dry-run", *size)
    code, said = run(*words)
    assert code == 0, said
    assert "the prompt is empty; the picture alone says" in said


def test_a_dry_run_says_what_would_be_and_leaves_nothing(run, model, clip, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("weights were read")

    for reader in ("networks.load_part", "saved.load_part", "animatediff.load_part", "mini_dit.load_part"):
        monkeypatch.setattr(f"motionclone.models.{reader}", refuse)
    monkeypatch.setattr("motionclone.models.weights.load_file", refuse)
    out = tmp_path / "out" / "o.mp4"
    out.parent.mkdir()
    size = ("--frames", "4", "--height", "64", "--width", "64")
    for place, steps in ((model, "3"), ("mini", "6"), ("mini-dit", "6")):
        words = ("clone", clip, "a red star", "-o", out, "--model", place, "--preset", "mini", *size, "--steps", steps)
        code, said = run(*words, "--compare", "--dry-run")
        if place == "mini-dit":
            assert (code, "blocks" in said) == (2, True), said  # of another model's preset
            continue
        assert code == 0, said
        flat = " ".join(said.replace("│", " ").split())
        assert "frames 4 of 64x64 pixels" in flat
        assert f"steps {steps}, of which" in flat
        assert "o.mp4" in flat
        assert "o-compare.mp4" in flat
    assert "about 0." in flat or " GB on" in flat
    assert not list(out.parent.iterdir())


def test_a_dry_run_of_a_model_that_is_not_here_needs_no_network(run, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("motionclone.hub.fetch", lambda *_: pytest.fail("the hub was asked"))
    dry = ("clone", clip, "a pig", "-o", tmp_path / "o.mp4", "--dry-run", "--frames", "10")
    code, said = run(*dry, "--model", "wan2.1-1.3b")
    flat = " ".join(said.replace("│", " ").split())
    assert code == 0, said
    assert "9 frames of 832x480 are what this model makes, not 10" in flat
    assert "frames 9 of 832x480 pixels" in flat
    memory = memory_of(known_facts()["wan2.1-1.3b"], _with_frames("wan2.1-1.3b", 9), exact=True)
    assert f"about {memory.most:.1f} GB on cpu" in flat
    code, said = run(*dry, "--model", "wan2.1-1.3b", "--offload", "model", "--vae-tiling")
    planned = memory_of(known_facts()["wan2.1-1.3b"], _with_frames("wan2.1-1.3b", 9), offload="model", tiling=True)
    flat = " ".join(said.replace("│", " ").split())
    assert code == 0, said
    assert f"about {planned.most:.1f} GB on cuda" in flat
    assert "there is no GPU here, and without one --offload model would be refused" in flat
    for bad, sentence in (
        (("--blocks", "nowhere"), "nowhere"),
        (("--condition-scale", "2"), "are about pictures to follow"),
        (("--no-per-frame-norm",), "per-frame-norm is about AnimateDiff"),
        (("--k", "9"), "k = 9 is more than the 3 frames of the attention"),
    ):
        code, said = run(*dry, "--model", "wan2.1-1.3b", *bad)
        assert (code, sentence in said) == (2, True), said
    assert not list(tmp_path.iterdir())


def _with_frames(name, count):
    settings = preset(name)
    return settings.model_copy(update={"sampling": settings.sampling.model_copy(update={"num_frames": count})})


def test_a_dry_run_refuses_what_a_run_refuses(run, model, clip, tmp_path):
    size = ("--frames", "4", "--height", "64", "--width", "64", "--model", model, "--preset", "mini")
    motion, out = tmp_path / "m.safetensors", tmp_path / "o.mp4"
    code, said = run("extract", clip, "-o", motion, *size, "--dry-run")
    assert code == 0, said
    assert not motion.exists()
    assert run("extract", clip, "-o", motion, *size)[0] == 0
    code, said = run("extract", clip, "-o", motion, *size, "--dry-run")
    assert (code, "already" in said or "exists" in said) == (2, True), said
    again = ("generate", motion, "a red star", "-o", out, "--dry-run", "--preset", "mini", "--model")
    code, said = run(*again, model)
    assert code == 0, said
    for wrong, sentence in (
        ((model, "--frames", "8"), "the motion has 4 frames"),
        (("mini-dit",), "extract it again"),
        ((model, "--no-per-frame-norm"), "per_frame_norm"),
    ):
        code, said = run(*again, *wrong)
        assert (code, sentence in said) == (2, True), said
    long = "word " * 80
    code, said = run("clone", clip, long, "-o", out, *size, "--dry-run")
    assert (code, "tokens long" in said) == (2, True), said
    assert not out.exists()


def test_doctor_says_what_is_here(run):
    code, said = run("doctor")
    flat = " ".join(said.replace("│", " ").split())
    assert code == 0, said
    for word in (f"torch {torch.__version__.split('+')[0]}", "GB free of", "writes .mp4, .webm, .gif", "h264", "mini"):
        assert word in flat


OFFLINE = ("clone {clip} p -o o.mp4", "extract {clip} -o o.safetensors", "evaluate quick")


@pytest.mark.parametrize(
    "words", [*(f"{each} --model nobody/nothing" for each in OFFLINE), "score . --judge nobody/it"]
)
def test_a_hub_id_without_network_is_told_in_one_sentence_before_torch_is_imported(clip, tmp_path, words):
    """In a fresh home, where first imports would have most to say."""
    typed = [str(clip) if word == "{clip}" else word for word in words.split()]
    code = "import sys\nfrom motionclone.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    ran = subprocess.run([sys.executable, "-c", code, *typed], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == "False\n"
    (sentence,) = ran.stderr.splitlines()
    assert re.fullmatch(
        r"motionclone: nobody/\w+ is no folder here and could not be fetched .* give its folder\.", sentence
    )
    assert not list(tmp_path.glob("o.*"))
