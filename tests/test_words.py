"""What is said to somebody who typed or passed something else than is wanted: one sentence that helps."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_transformers import FAMILIES
from tiny_wan import without_ftfy

import motionclone
from motionclone import cli
from motionclone.backbones.families import backbone_of
from motionclone.cli.examples import EXAMPLES
from motionclone.cli.options import GenerationOptions, SettingsOptions, settings_from
from motionclone.cli.outputs import named_after
from motionclone.errors import InputError, choice, named, naming
from motionclone.extraction import extract_motion
from motionclone.files import check_kind, kind_of
from motionclone.media.reading import read_clip
from motionclone.media.writing import write_video
from motionclone.models import load_pipeline, read_model_description
from motionclone.models.presets import preset_for
from motionclone.models.sizes import sizes_of
from motionclone.motion import load_motion
from motionclone.settings import Sampling, parse_settings, preset

SOURCE = Path(motionclone.__file__).parent


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with one file of every kind."""
    folder = tmp_path_factory.mktemp("here")
    frames = torch.rand(6, 3, 64, 64) * 2 - 1
    for name in ("tiger.mp4", "fox.webm", "walk.gif", "-lead.mp4"):
        write_video(folder / name, frames, 8)
    pipe = load_pipeline("mini", device="cpu")
    extract_motion(pipe, frames, preset("mini").extraction).save(folder / "tiger.safetensors")
    save_file({"a": torch.zeros(1)}, folder / "weights.safetensors")
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    (folder / "pig.json").write_text('{"motionclone": "0", "motion": {}, "settings": {}}')
    (folder / "clips").mkdir()
    return folder


LINES = {
    # Quotes, prompts, outputs and options that were forgotten
    "clone tiger.mp4 a red star -o x.mp4": 'motionclone clone tiger.mp4 "a red star" -o x.mp4',
    "clone tiger.mp4 a red star x.mp4 --steps 4": 'motionclone clone tiger.mp4 "a red star" --steps 4 -o x.mp4',
    "generate tiger.safetensors a green ring": 'motionclone generate tiger.safetensors "a green ring"',
    'clone tiger.mp4 "\'a" red "star\'"': 'motionclone clone tiger.mp4 "a red star"',
    "clone tiger.mp4": 'the prompt is missing, the words for the new video: motionclone clone tiger.mp4 "',
    "generate tiger.safetensors": "the prompt is missing",
    "sweep tiger.mp4": 'the prompt is missing, the words for the new video: motionclone sweep tiger.mp4 "',
    "sweep tiger.mp4 a red star": 'motionclone sweep tiger.mp4 "a red star"',
    "grid tiger.mp4 p": "did you mean sweep?",
    "clone tiger.mp4 out.mp4": "out.mp4 stands where the prompt goes",
    "generate tiger.safetensors out.gif": "-o out.gif",
    "clone 'a red star' tiger.mp4": 'the words come last: motionclone clone tiger.mp4 "a red star"',
    "clone 'a red star'": "the clip is missing",
    "clone": "needs a reference, such as: motionclone clone tiger.mp4",
    "evaluate": "needs a suite",
    "extract tiger.mp4 tiger2.safetensors": "an option goes before tiger2.safetensors: -o tiger2.safetensors",
    "rerun pig.json again.mp4": "-o again.mp4",
    "inspect tiger.safetensors heat.png": "--heatmap heat.png",
    "evaluate quick clips": "--references clips",
    "clone tiger.mp4 p -o": "-o has no value",
    "clone tiger.mp4 p --crop 0.1 0.1 0.5": "--crop takes 4 values with blanks between",
    "extract tiger.mp4 --crop=0,0,1,1": "--crop takes 4 values with blanks between",
    "batch jobs.yaml --shard -1/3": "-1/3 behind --shard begins with a dash",
    "batch jobs.yaml --shard --dry-run": "--shard has no value",
    "demo figure eight": "figure-eight",
    # Commands
    "tiger.mp4": "a command comes first: motionclone clone tiger.mp4",
    "https://example.com/tiger.mp4": "a command comes first",
    "tiger.safetensors": "motionclone generate tiger.safetensors",
    "pig.json": "motionclone rerun pig.json",
    "clon tiger.mp4 p": "did you mean clone?",
    "list": "did you mean models?",
    "--steps 4 clone tiger.mp4 p": "a command comes before options",
    # Names
    "clone tiger.mp4 p --wieght 3": "has no option --wieght; did you mean --weight",
    "clone tiger.mp4 --promt p": "did you mean --prompt?",
    "clone tiger.mp4 p --num-inference-steps 4": "did you mean --steps?",
    "clone tiger.mp4 p --guided_step 4": "did you mean --guided-steps?",
    "clone tiger.mp4 p -frames 4": "did you mean --frames?",
    "clone tiger.mp4 p \u2013frames 4": "\u2013frames begins with a long dash; type --frames",
    "extract tiger.mp4 --steps 4": "has no option --steps, which is one of clone, sweep, generate or evaluate",
    "clone tiger.mp4 p --preset obejct": "did you mean object?",
    "clone tiger.mp4 p --preset WAN": "wan2.1-1.3b, wan2.1-14b, wan2.1-lightx2v, wan2.2-5b or wan2.2-a14b?",
    "clone tiger.mp4 p --model wan2.1": "did you mean wan2.1-1.3b, wan2.1-14b or wan2.1-lightx2v?",
    "clone tiger.mp4 p --model sd15": "did you mean animatediff, which is Stable Diffusion 1.5",
    "clone tiger.mp4 p --model https://huggingface.co/Wan-AI/Wan2.1-T2V/tree/main": "its id, Wan-AI/Wan2.1-T2V?",
    "clone tiger.mp4 p --model tiger.mp4": "tiger.mp4 is a video, and a model was expected",
    "clone tiger.mp4 p --model pig.json": "pig.json is a record, and a model was expected",
    "models hunyuan": "did you mean hunyuanvideo or hunyuanvideo-1.5?",
    "evaluate quik": "did you mean quick?",
    "demo circel": "did you mean circle?",
    "clone tiger.mp4 p --update directon": "--update is direction or noise, not 'directon'; did you mean direction?",
    # Values, by the option that was typed
    "clone tiger.mp4 p --t-alpha 2000": "--t-alpha must be 999 or less, got 2000",
    "clone tiger.mp4 p --seed -1": "--seed must be 0 or more, got -1",
    "clone tiger.mp4 p --frames 1": "--frames must be 2 or more, got 1",
    "clone tiger.mp4 p --guided-fraction 1.5": "--guided-fraction must be 1 or less",
    "clone tiger.mp4 p --frames many": "--frames must be a whole number, got 'many'",
    "clone tiger.mp4 p --k 20": "--k is 20",
    "clone tiger.mp4 p -o out": "out has no ending, and must end in .mp4, .webm or .gif; did you mean out.mp4?",
    "clone tiger.mp4 p -o out.avi": "did you mean out.mp4?",
    "clone tiger.mp4 p --weight 0 --k 2": "--k does not act: --weight is 0",
    "clone tiger.mp4 p --strength 0 --k 2": "--k does not act: --strength is 0",
    "clone tiger.mp4 p --strength 2 --weight 3": "--weight does not act: --strength is 2; leave one of them out",
    "clone tiger.mp4 p --strength 2 --update noise": "--update does not act: --strength is 2",
    "clone tiger.mp4 p --motion-scale 3": "has no option --motion-scale; did you mean --strength?",
    "clone tiger.mp4 p --lambda 3": "has no option --lambda; did you mean --weight?",
    # Files in the place of others
    "rerun missing.json": "no such file: missing.json",
    "rerun tiger.mp4": "tiger.mp4 is a video, and a record was expected",
    "rerun tiger.safetensors": "motionclone inspect tiger.safetensors",
    "rerun clips": "clips is a folder",
    "rerun pig.json": "such as by `motionclone demo`",
    "verify-run fox.webm": "fox.webm is a video, and a record was expected",
    "generate tiger.mp4 p": "`motionclone extract tiger.mp4`",
    "generate pig.json p": "`motionclone rerun pig.json`",
    "generate weights.safetensors p": "not a motion",
    "inspect walk.gif": "walk.gif is a GIF, and a motion file was expected",
    "inspect red.png": "red.png is a picture, and a motion file was expected",
    "clone tiger.safetensors p": "`motionclone generate tiger.safetensors PROMPT`",
    "clone pig.json p": "`motionclone rerun pig.json`",
    "clone tiger.mp4 p --image fox.webm": "save the frame that is meant as a picture",
    "clone https://example.com/tiger.mp4 p": "https://example.com/tiger.mp4 is an address",
    "rerun https://example.com/pig.json": "is an address",
    "clone tiger.mp4 p -o s3://videos/out.mp4": "s3://videos/out.mp4 is an address",
    "clone tiger.mp4 p --image https://example.com/red.png": "is an address",
    "clone tiger.mp4 p --model mini-dit --image red.png": "mini, animatediff, wan2.2-5b or ltx-video can",
    "score clips --judge /nothere": "there is no CLIP model /nothere",
    "clone tiger.mp4 p --frames 4.5": "--frames must be a whole number, got '4.5'",
    "evaluate quick --cases 1e3": "--cases must be a whole number, got '1e3'",
    "clone tiger.mp4 p --steps 4 --steps 5": "--steps is given twice; give it once",
    "clone tiger.mp4 p --dry-run --dry-run": "--dry-run is given twice",
    "push tiger.safetensors": "needs a repository, such as: motionclone push tiger.safetensors USER/tiger",
    "clone tiger.mp4 p --start -1": "--start must be 0 or more seconds",
    "clone tiger.mp4 p --start 5 --end 2": "--end must come after --start",
    "clone tiger.mp4 p --fps 0": "--fps must be a positive number",
    "clone tiger.mp4 p --condition-scale 2": "are about pictures to follow; give one with --image, --sketch or",
    "clone tiger.mp4 p --model fox.webm": "fox.webm is a video, and a model was expected; `motionclone models`",
    "clone -lead.mp4 p": "a name that begins with a dash is written with its folder: ./-lead.mp4",
    "clone tiger.mp4 p -o -new.mp4": "written with its folder: -o ./-new.mp4",
    "clone -- tiger.mp4 p --dry-run": "behind -- all words are names; --dry-run goes before it",
    "generate tiger.safetensors p --t-alpha 300": "that was decided when the motion was read; extract it again with",
    # Nothing where something belongs
    "score ''": "there is an empty word after `motionclone score`; give a name or a value there",
    "clone '' p": "there is an empty word after `motionclone clone`",
    "clone tiger.mp4 p -o ''": "there is an empty word after -o",
    "clone tiger.mp4 p --model=": "there is an empty word after --model",
    "clone tiger.mp4 ''": "the prompt is empty",
    "clone tiger.mp4 -o new.mp4": 'motionclone clone tiger.mp4 "what the new video shows" -o new.mp4',
    "clone tiger.mp4 p --steps 4 --frames 1": "--frames must be 2 or more, got 1",
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_none_is_answered_with_one_sentence_that_helps(run, here, monkeypatch, line):
    monkeypatch.chdir(here)
    before = set(here.iterdir())
    code, said = run(*shlex.split(line))
    last = said.strip().splitlines()[-1]
    assert (code, last[:13]) == (2, "motionclone: ")
    assert LINES[line] in last
    assert not re.search(r"sampling\.|guidance\.|extraction\.|\[Errno|Error\(", last)
    assert set(here.iterdir()) == before


@pytest.mark.parametrize("command", [name for name in cli.app if not name.startswith("-")])
@pytest.mark.parametrize("words", ["x.y x y z", "--nothing", "'' ''", "--seed", "--steps 1 --steps 2", "x --frames x"])
def test_every_command_answers_what_is_no_call_of_it(run, here, monkeypatch, command, words):
    monkeypatch.chdir(here)
    code, said = run(command, *shlex.split(words))
    last = said.strip().splitlines()[-1]
    assert (code, last[:13]) == (2, "motionclone: ")
    assert "Parameter" not in last


def test_a_judge_that_is_nowhere_is_refused_by_name():
    from motionclone.lab.metrics import load_embedder

    with pytest.raises(InputError, match="there is no CLIP model /nothere; give a path"):
        load_embedder("/nothere")


def test_every_command_has_examples_and_they_are_command_lines():
    assert set(EXAMPLES) == {name for name in cli.app if not name.startswith("-")}
    for command, lines in EXAMPLES.items():
        for line in lines.strip().splitlines():
            program, first, *_ = words = shlex.split(line)
            assert (program, first) == ("motionclone", command)
            cli.app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_outside_the_command_line_nothing_speaks_of_its_options():
    found = []
    for path in SOURCE.rglob("*.py"):
        if path.parent.name == "cli" or path.name in ("plots.py", "facts.py"):  # which serve it alone
            continue
        tree = ast.parse(path.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        words = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, documented) and ast.get_docstring(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
                found += [(path.name, node.value)] * bool(re.search(r"(?<![\w(-])--[a-z]", node.value))
    assert not found


def test_arguments_are_named_as_they_are_given(tmp_path):
    video = tmp_path / "a.mp4"
    write_video(video, torch.zeros(4, 3, 16, 16), 8)
    with pytest.raises(InputError, match=r"pass overwrite=True$"):
        write_video(video, torch.zeros(4, 3, 16, 16), 8)
    with pytest.raises(InputError, match=r"use num_frames=4"):
        read_clip(video, 8, 16, 16)
    with naming(cli.as_option):
        assert named("overwrite", True) == "--overwrite"
        assert named("sampling.num_frames", 4) == "--frames 4"
        assert named("end", None) == "no --end"
    assert named("sampling.num_frames") == "sampling.num_frames"


def test_a_file_keeps_its_own_names_at_the_command_line_too():
    with naming(cli.as_option), pytest.raises(InputError, match=r"a.json is not valid: guided_steps \(5\) must not"):
        parse_settings({"sampling": {"steps": 3, "guided_steps": 5}}, "a.json")
    with pytest.raises(InputError, match=r"sampling\.setps is unknown; did you mean steps\?"):
        parse_settings({"sampling": {"setps": 3}}, "a.json")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("cd", "did you mean bcd?"),
        ("B-C.D", "did you mean bcd?"),
        ("xyz", "there are abc, bcd"),
        ("", "there are abc, bcd"),
    ],
)
def test_choice(word, said):
    assert choice(word, ["abc", "bcd"]) == said


def test_kinds_of_files_go_by_their_bytes(here, tmp_path):
    found = {path.name: kind_of(path) for path in here.iterdir()}
    assert found == {
        "tiger.mp4": "video",
        "-lead.mp4": "video",
        "fox.webm": "video",
        "walk.gif": "GIF",
        "tiger.safetensors": "motion file",
        "weights.safetensors": "file of weights",
        "red.png": "picture",
        "pig.json": "record",
        "clips": "folder",
    }
    (tmp_path / "lies.safetensors").write_bytes((here / "tiger.mp4").read_bytes())
    with pytest.raises(InputError, match="is a video, and a motion file was expected"):
        load_motion(tmp_path / "lies.safetensors")
    for odd in (b"", b"\x00" * 16, b"\xff" * 8 + b"{", b"\x09" + b"\x00" * 7 + b"{" * 9):
        (tmp_path / "odd").write_bytes(odd)
        check_kind(tmp_path / "odd", "record")  # for its reader to tell
    with pytest.raises(InputError, match="give the path behind it"):
        read_clip("file:///home/me/tiger.mp4", 4, 16, 16)


def test_outputs_that_nobody_named():
    assert named_after(Path("clips/tiger.mp4"), "A red star, on blue!", suffix=".mp4") == Path(
        "tiger-a-red-star-on-blue.mp4"
    )
    assert named_after(Path("tiger.mp4"), suffix=".safetensors") == Path("tiger.safetensors")
    assert named_after(Path(), "../..", suffix=".mp4").parent == Path()
    assert len(str(named_after(Path("x"), "豹" * 300, suffix=".mp4")).encode()) < 200


def saved(name, folder):
    pipe = FAMILIES[name].make()
    pipe.save_pretrained(folder)
    return pipe


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_are_known_before_a_model_is_loaded_and_its_family_has_a_preset(name, tmp_path):
    backbone = backbone_of(saved(name, tmp_path))
    sizes = sizes_of(tmp_path)
    for frames in range(2, 40):
        assert sizes.nearest(frames, 70, 130) == backbone.nearest_size(frames, 70, 130)
    most = [sizes.most(frames) for frames in range(2, 40)]
    assert all(count == 0 or backbone.nearest_size(count, 70, 130)[0] == count <= n for n, count in enumerate(most, 2))
    preset_name, settings = preset_for(str(tmp_path))
    assert preset_name.startswith(name[:3])
    assert backbone.sites(settings.extraction.blocks)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("wan-2.2", "wan2.2-a14b"), ("wan-2.2-5b", "wan2.2-5b"), ("hunyuan-1.5", "hunyuanvideo-1.5"), ("ltx-2", "ltx-2")],
)
def test_of_a_family_the_nearest_preset_is_taken(name, wanted, tmp_path):
    saved(name, tmp_path)
    assert preset_for(str(tmp_path))[0] == wanted


def test_a_short_clip_is_taken_as_far_as_it_goes_and_a_folder_takes_its_familys_preset(
    run, clip, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    without_ftfy(monkeypatch)
    saved("wan-2.1", tmp_path / "wan")
    small = ("--model", "wan", "--height", "32", "--width", "48", "--steps", "4")
    code, said = run("clone", clip, "a cat", *small)
    assert code == 0, said
    assert "note: wan takes the preset wan2.1" in said
    assert "note: 9 frames of 48x32 are what so short a clip has room for, not 81 frames of 48x32" in said
    assert len(read_clip(tmp_path / "square-a-cat.mp4", 9, 32, 48).frames) == 9
    assert said.index("9 frames of") < said.index("cloning")
    for typed, code, sentence in (("10", 0, "9 frames of 48x32"), ("41", 2, "use --frames 9"), ("9", 0, "wrote")):
        assert (said := run("extract", clip, *small[:6], "--frames", typed, "--overwrite"))[0] == code, said
        assert sentence in said[1]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers' DPM++ with numpy 2
@pytest.mark.parametrize("name", FAMILIES)
def test_a_preview_in_four_steps_is_guided_and_says_nothing(name, monkeypatch):
    """Warnings are errors here."""
    from motionclone.cloning import generate
    from motionclone.media.conditions import Condition

    without_ftfy(monkeypatch)
    tiny = FAMILIES[name]
    pipe = tiny.make()
    backbone = backbone_of(pipe)
    kin = {"cog": "cogvideox-5b", "ltx": "ltx-video", "wan": "wan2.1-1.3b", "hun": "hunyuanvideo-1.5"}
    family = "wan2.2-a14b" if name in ("wan-2.2", "wan-2.2-i2v") else kin[name[:3]]
    settings = preset(family).in_steps(4)
    size = {"num_frames": tiny.num_frames, "height": tiny.height, "width": tiny.width}
    settings = settings.model_copy(update={"sampling": settings.sampling.model_copy(update=size)})
    frames = torch.rand(tiny.num_frames, 3, tiny.height, tiny.width) * 2 - 1
    motion = extract_motion(pipe, frames, settings.extraction.model_copy(update={"blocks": (tiny.block,)}))
    condition = Condition(frames[:1]) if backbone.shown_frames else None
    settings = settings.model_copy(
        update={"extraction": settings.extraction.model_copy(update={"blocks": (tiny.block,)})}
    )
    made = generate(pipe, motion, "a cat", settings, condition=condition)
    assert 1 <= len(made.steps) < 4


def test_previews_of_the_bundled_models_in_four_steps(run, here, monkeypatch, tmp_path):
    monkeypatch.chdir(here)
    ways = {"plain": (), "image": ("--image", "red.png"), "dit": ("--model", "mini-dit")}
    for name, more in ways.items():
        out = tmp_path / f"{name}.mp4"
        code, said = run("clone", "tiger.mp4", "a red star", "-o", out, "--steps", "4", *more)
        assert code == 0, said
        assert "note: 6 frames of 64x64 are what so short a clip has room for" in said
        assert "distance from the reference's motion" in said
        assert ("--guidance-scale-factor 1.33" in said) == (name != "dit")
        assert "--inner-steps 3" in said
        assert "guidance" not in said.replace("--guidance-scale-factor", "")


def test_in_steps_keeps_the_shares_in_python_as_at_the_command_line():
    found = preset("object").in_steps(50)
    counts = found.sampling.steps, found.sampling.guided_steps, found.guidance.warm_up, found.guidance.cool_down
    assert counts == (50, 30, 2, 2)
    assert not found.sampling.model_fields_set
    assert preset("mini").in_steps(8).guidance.guidance_scale_factor == 1.67  # words count 3 times in 24 steps
    assert preset("mini").in_steps(50).guidance.guidance_scale_factor == 3
    inner = {steps: preset("mini").in_steps(steps).guidance.inner_steps for steps in (2, 8, 12, 13, 50)}
    assert inner == {2: 3, 8: 3, 12: 2, 13: 1, 50: 1}
    assert preset("mini").changed({"sampling.steps": 8, "guidance.inner_steps": 1}).guidance.inner_steps == 1
    by_weight = preset("mini").changed({"sampling.steps": 8, "guidance.weight": 500.0}), preset("camera").in_steps(8)
    assert [each.guidance.inner_steps for each in by_weight] == [1, 1]
    given = preset("mini").changed({"sampling.steps": 8, "guidance.guidance_scale_factor": 2})
    assert given.guidance.guidance_scale_factor == 2
    assert Sampling(steps=4).guided_steps == 2
    with pytest.raises(InputError, match=r"sampling\.steps must be 1 or more, got 0"):
        preset("object").in_steps(0)


def test_a_name_in_a_description_that_is_none_is_told_with_the_one_that_is_meant(tmp_path):
    (tmp_path / "model.toml").write_text('base = "a/b"\nmotion_adaptor = "c/d"')
    with pytest.raises(InputError, match=r"motion_adaptor: .*did you mean motion_adapter\?"):
        read_model_description(tmp_path / "model.toml")


@pytest.mark.parametrize(("part", "value"), [("transformer", {"num_layers": "many"}), ("vae", {"dim_mult": None})])
def test_a_strangers_configuration_is_told_before_the_model_is_loaded(tmp_path, part, value):
    saved("wan-2.1", tmp_path)
    config = tmp_path / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | value))
    ask = preset_for if part == "transformer" else sizes_of
    with pytest.raises(InputError, match=r"which is of another kind|cannot be read"):
        ask(str(tmp_path))


def test_a_weight_that_is_typed_takes_the_place_of_a_presets_strength():
    usual = settings_from("mini", SettingsOptions())
    weighed = settings_from("mini", SettingsOptions(), GenerationOptions(weight=3.0))
    assert (usual.guidance.strength, weighed.guidance.strength, weighed.guidance.weight) == (1.0, None, 3.0)
    assert settings_from("mini", SettingsOptions(), GenerationOptions(strength=0.5)).guidance.strength == 0.5
