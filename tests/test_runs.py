"""Runs that are stopped, starved of room, repeated or handed on: nothing lost, nothing leaked, the same bytes again."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel, Field

from motionclone.cli import options
from motionclone.cli.outputs import named_after
from motionclone.files import claimed
from motionclone.media.records import output_of
from motionclone.motion import load_motion
from motionclone.settings import Settings

SIZE = ("--frames", "4", "--height", "64", "--width", "64", "--preset", "mini")
STEPS = ("--steps", "3", "--guided-steps", "2")
SMALL = (*SIZE, *STEPS)


@pytest.fixture
def alice(model, clip, tmp_path, monkeypatch):
    """Someone's home, with a clip, pictures, a model and a SparseCtrl in folders of their own."""
    home = tmp_path / "home" / "alice"
    for folder in ("clips", "pictures", "shared"):
        (home / folder).mkdir(parents=True)
    shutil.copy(clip, home / "clips" / "tiger.mp4")
    shutil.copytree(model, home / "models" / "own", ignore=shutil.ignore_patterns("sketch_control"))
    shutil.copytree(model / "sketch_control", home / "models" / "lines")
    photo = np.full((64, 64, 3), 255, np.uint8)
    photo[20:40, 20:40] = (0, 0, 200)
    Image.fromarray(photo).save(home / "pictures" / "photo.png")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))
    monkeypatch.chdir(home)
    return home


def cloned(run, *more, out="shared/out.mp4"):
    """A clone that follows a picture with a SparseCtrl."""
    words = ("--model", "models/own", "--control", "models/lines", "--sketch-from", "pictures/photo.png", *SMALL, *more)
    code, said = run("clone", "clips/tiger.mp4", "a red star", "-o", out, *words)
    assert code == 0, said


def test_nothing_that_is_shared_says_where_things_lie(run, alice):
    cloned(run, "--compare", "--negative-prompt", "zebra", "--extraction-prompt", "zebra", "--no-prompt-metadata")
    code, said = run("extract", "clips/tiger.mp4", "-o", "shared/m.safetensors", "--model", "models/own", *SIZE)
    assert code == 0, said
    code, said = run(
        "generate",
        "shared/m.safetensors",
        "a",
        "-o",
        "shared/made.webm",
        "--model",
        "~/models/own",
        "--preset",
        "mini",
        *STEPS,
    )
    assert code == 0, said
    files = sorted((alice / "shared").iterdir())
    assert [path.name for path in files] == [
        *("m.safetensors", "made.json", "made.webm", "out-compare.mp4", "out.json", "out.mp4")
    ]
    for path in files:
        data = path.read_bytes()
        for secret in (b"alice", str(alice.parent).encode(), b"clips/", b"pictures/", b"models/"):
            assert secret not in data, path
        assert (b"zebra" in data) == (path.name == "out.json"), path
    record = json.loads((alice / "shared/out.json").read_text())
    assert (record["model"], record["job"]["reference"], record["job"]["control"]) == ("own", "tiger.mp4", "lines")
    # What lies below the record may be named by the way there, as it is handed on with it.
    cloned(run, out="out.mp4")
    job = json.loads((alice / "out.json").read_text())["job"]
    assert (job["reference"], job["model_options"]["model"]) == ("clips/tiger.mp4", "models/own")
    assert job["pictures"][0]["path"] == "pictures/photo.png"


def test_a_record_is_made_again_where_its_things_are_known(run, alice, tmp_path):
    cloned(run)
    first = (alice / "shared/out.mp4").read_bytes()
    code, said = run("rerun", "shared/out.json", "-o", "shared/again.mp4")
    assert code == 0, said
    assert (alice / "shared/again.mp4").read_bytes() == first
    # On another machine, or once the cache is empty, it has to be told.
    shutil.rmtree(alice / ".cache")
    given: list[str] = []
    for thing, place in {
        "model": "models/own",
        "picture": "pictures/photo.png",
        "control": "models/lines",
        "reference": "clips/tiger.mp4",
    }.items():
        code, said = run("rerun", "shared/out.json", "-o", "shared/more.mp4", *given)
        assert code == 2
        assert f"give it with --{thing}" in said
        moved = f"{thing}-moved{Path(place).suffix}"
        Path(place).rename(moved)
        given += [f"--{thing}", moved]
    code, said = run("rerun", "shared/out.json", "-o", "shared/more.mp4", *given)
    assert code == 0, said
    assert (alice / "shared/more.mp4").read_bytes() == first
    run("extract", "reference-moved.mp4", "-o", "m.safetensors", "--model", "model-moved", *SIZE)
    for words, sentence in (
        (("--reference", "picture-moved.png"), "single picture"),
        (("--model", "control-moved"), "is not what the record was made with"),
        (("--model", "mini"), "is not what the record was made with"),
        (("--picture", "reference-moved.mp4"), "is none of the pictures"),
        (("--motion", "m.safetensors"), "names no motion"),
    ):
        code, said = run("rerun", "shared/out.json", "-o", "shared/other.mp4", *words)
        assert code == 2, words
        assert sentence in said, said


def test_an_older_record_asks_before_it_reads_elsewhere(run, alice, tmp_path):
    cloned(run)
    record = json.loads((alice / "shared/out.json").read_text())
    first = (alice / "shared/out.mp4").read_bytes()
    shutil.rmtree(alice / ".cache")
    del record["output"]
    job = record["job"]
    job["reference"], job["model_options"]["model"] = str(alice / "clips/tiger.mp4"), str(alice / "models/own")
    job["control"], job["pictures"][0]["path"] = str(alice / "models/lines"), str(alice / "pictures/photo.png")
    for name in ("model_sha256", "control_sha256"):
        del job[name]
    (alice / "shared/old.json").write_text(json.dumps(record))
    code, said = run("rerun", "shared/old.json", "-o", "shared/again.mp4")
    assert code == 2
    assert "give it with --model" in said
    given = ("--model", "models/own", "--control", "models/lines", "--reference", "clips/tiger.mp4")
    code, said = run("rerun", "shared/old.json", "-o", "shared/again.mp4", *given, "--picture", "pictures/photo.png")
    assert code == 0, said
    assert (alice / "shared/again.mp4").read_bytes() == first
    assert b"alice" not in (alice / "shared/again.json").read_bytes()
    (alice / "old.json").write_text(json.dumps(record))  # from here all of it lies below
    shutil.rmtree(alice / ".cache")
    code, said = run("rerun", "old.json", "-o", "again.mp4")
    assert code == 0, said


def test_a_stranger_s_record_makes_nobody_read_anything(run, clip, model, tmp_path, monkeypatch):
    folder, secret = tmp_path / "unpacked", tmp_path / "secret.mp4"
    folder.mkdir()
    shutil.copy(clip, secret)
    (folder / "link.mp4").symlink_to(secret)
    code, said = run("clone", clip, "a", "-o", tmp_path / "o.mp4", "--model", model, *SMALL)
    assert code == 0, said
    record = json.loads((tmp_path / "o.json").read_text())
    touched = []
    sys.addaudithook(lambda event, words: event == "open" and touched.append(str(words[0])))
    places = (
        str(secret),
        "../secret.mp4",
        "link.mp4",
        "//host/share/a.mp4",
        "/etc/passwd",
        "a\0b",
        "x" * 5000,
        "",
        ".",
        "..",
    )
    for place in places:
        for name in ("reference", "model"):
            changed = json.loads(json.dumps(record))
            changed["job"]["sha256"] = None if name == "reference" else changed["job"]["sha256"]
            if name == "reference":
                changed["job"]["reference"] = place
            else:
                changed["job"]["model_options"]["model"], changed["job"]["model_sha256"] = place, None
            (folder / "r.json").write_text(json.dumps(changed))
            touched.clear()
            code, said = run("rerun", folder / "r.json", "-o", folder / "again.mp4")
            assert code == 2, (place, said)
            assert f"give it with --{name}" in said, said
            assert not [path for path in touched if "secret" in path or "passwd" in path or "host" in path]
    for name, odd in (("sha256", "../../secret"), ("model_sha256", "/etc/passwd"), ("model_sha256", "0" * 64)):
        changed = json.loads(json.dumps(record))
        changed["job"][name] = odd
        changed["job"]["reference"] = changed["job"]["model_options"]["model"] = "nothing"
        (folder / "r.json").write_text(json.dumps(changed))
        assert run("rerun", folder / "r.json", "-o", folder / "again.mp4")[0] == 2
    changed = json.loads(json.dumps(record))
    changed["job"]["model_options"]["model"], changed["job"]["model_sha256"] = "stranger/model", None
    (folder / "r.json").write_text(json.dumps(changed))
    code, said = run("rerun", folder / "r.json", "-o", folder / "again.mp4")
    assert code == 2
    assert "--model stranger/model" in said
    assert not (folder / "again.mp4").exists()


def test_verify_run(run, alice):
    cloned(run)
    video, record = alice / "shared/out.mp4", alice / "shared/out.json"
    code, said = run("verify-run", record)
    assert (code, "byte for byte" in said) == (0, True), said
    kept, data = json.loads(record.read_text()), video.read_bytes()
    # Something else than the frames.
    at = data.index(b'"motionclone"')
    video.write_bytes(data[:at] + b'"motionclomp"' + data[at + 13 :])
    code, said = run("verify-run", record)
    assert code == 1
    assert "all frames are equal" in said
    assert "has been changed since" in said
    # A run that gives something else now.
    video.write_bytes(data)
    kept["settings"]["guidance"]["strength"] -= 0.5
    record.write_text(json.dumps(kept))
    code, said = run("verify-run", record)
    assert code == 1
    assert "frames differ by up to" in said
    assert "changed since" not in said
    video.rename(alice / "elsewhere.mp4")
    code, said = run("verify-run", record)
    assert (code, "--video" in said) == (1, True)
    assert run("verify-run", record, "--video", alice / "elsewhere.mp4")[0] == 1
    (alice / "clips/tiger.mp4").unlink()
    code, said = run("verify-run", record)
    assert (code, "--reference" in said) == (2, True)
    assert sorted(path.name for path in (alice / "shared").iterdir()) == ["out.json"]


def test_a_record_beside_another_video_says_so(run, alice):
    cloned(run)
    cloned(run, "--seed", "5", out="shared/other.mp4")
    shutil.copy("shared/other.mp4", "shared/out.mp4")
    code, said = run("rerun", "shared/out.json", "-o", "shared/again.mp4")
    assert code == 0
    assert "note: shared/out.mp4 is not the video that its record was written with" in said


def test_overwriting_keeps_what_belongs_together_together(run, alice):
    cloned(run, "--compare")
    cloned(run, "--overwrite", "--seed", "1")
    assert sorted(path.name for path in (alice / "shared").iterdir()) == ["out.json", "out.mp4"]
    code, said = run("rerun", "shared/out.json", "-o", "shared/out.mp4")
    assert (code, "--overwrite" in said) == (2, True)
    before = (alice / "shared/out.mp4").read_bytes()
    code, said = run("rerun", "shared/out.json", "-o", "shared/out.mp4", "--overwrite")  # its own pair, made again
    assert code == 0, said
    assert (alice / "shared/out.mp4").read_bytes() == before
    code, said = run("rerun", "shared/out.json", "-o", "shared/out.gif", "--overwrite")
    assert (code, "is the record of" in said) == (2, True)
    with claimed(Path("shared/out.mp4")):
        code, said = run("rerun", "shared/out.json", "-o", "shared/out.mp4", "--overwrite")
    assert (code, "another run of motionclone" in said) == (2, True)


def test_inputs_are_never_overwritten(run, alice):
    cloned(run, out="out.mp4")
    assert run("extract", "clips/tiger.mp4", "-o", "m.safetensors", "--model", "models/own", *SIZE)[0] == 0
    Path("hard.mp4").hardlink_to("clips/tiger.mp4")
    description = 'base = "models/own/base"\nmotion_adapter = "models/own/motion_adapter"\n'
    Path("own.toml").write_text(description)
    Path("unet_config.mp4").touch()
    weights = next(Path("models/own/motion_adapter").glob("*.safetensors"))
    kept = {path: path.read_bytes() for path in alice.rglob("*") if path.is_file() and ".cache" not in path.parts}
    extract = ("extract", "clips/tiger.mp4", "--overwrite", *SIZE)
    for words in (
        ("inspect", "m.safetensors", "--heatmap", "clips/../hard.mp4", "--reference", "clips/tiger.mp4", "--overwrite"),
        ("inspect", "m.safetensors", "--heatmap", "hard.mp4", "--overwrite"),
        ("clone", "clips/tiger.mp4", "a", "-o", "hard.mp4", "--overwrite", *SMALL),
        # The record's place is a part of the model.
        (
            "clone",
            "clips/tiger.mp4",
            "a",
            "-o",
            "models/own/base/model_index.mp4",
            "--overwrite",
            "--model",
            "models/own",
            *SMALL,
        ),
        (*extract, "-o", weights, "--model", "models/own"),
        (*extract, "-o", weights, "--model", "own.toml"),
        (
            "generate",
            "m.safetensors",
            "a",
            "-o",
            "models/own/base/model_index.gif",
            "--model",
            "own.toml",
            "--overwrite",
        ),
        ("rerun", "out.json", "-o", "hard.mp4", "--overwrite"),
    ):
        code, said = run(*words)
        assert code == 2, (words, said)
        assert "made from" in said, said
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_full_disk_ends_every_command_in_one_sentence(run, alice):
    limit = 400  # bytes; what is said must fit in, as pytest keeps it in a file
    assert run("extract", "clips/tiger.mp4", "-o", "m.safetensors", "--model", "models/own", *SIZE)[0] == 0
    cloned(run)
    kept = {path: path.read_bytes() for path in alice.rglob("*") if path.is_file() and ".cache" not in path.parts}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for words in (
        ("extract", "clips/tiger.mp4", "-o", "new/n.safetensors", "--model", "models/own", *SIZE),
        ("generate", "m.safetensors", "a", "-o", "new/g.gif", "--model", "models/own", "--preset", "mini", *STEPS),
        ("inspect", "m.safetensors", "--heatmap", "new/h.png"),
        ("inspect", "m.safetensors", "--heatmap", "new/h.mp4"),
        (
            "clone",
            "clips/tiger.mp4",
            "a",
            "-o",
            "shared/out.mp4",
            "--overwrite",
            "--model",
            "models/own",
            "--compare",
            *SMALL,
        ),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            code, said = run(*words)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert code == 2, (words, said)
        assert "there is no room for" in said
        assert "Traceback" not in said
        found = {path: path.read_bytes() for path in alice.rglob("*") if path.is_file() and ".cache" not in path.parts}
        assert found == kept, words
        assert not (alice / "new").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_being_stopped_leaves_nothing_and_says_so(run, model, clip, tmp_path, monkeypatch, sent, code):
    def stop(*_, **__):
        os.kill(os.getpid(), sent)

    monkeypatch.setattr("motionclone.media.records.encode_video", stop)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    got, said = run("clone", clip, "p", "-o", tmp_path / "new/o.mp4", "--model", model, *SMALL)
    assert (got, "stopped" in said) == (code, True)
    assert not list(tmp_path.iterdir())
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == handlers


def test_a_stop_of_which_a_library_makes_an_error_is_still_one(run, model, clip, tmp_path, monkeypatch):
    def read(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            raise OSError("the file is damaged") from None

    monkeypatch.setattr("motionclone.cli.running.load_model", read)
    code, said = run("clone", clip, "p", "-o", tmp_path / "o.mp4", "--model", model, *SMALL)
    assert (code, "stopped" in said, "damaged" in said) == (130, True, False)


PROGRAM = f"{sys.executable} -c 'from motionclone.cli import main; main()'"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("models > /dev/full", 2),
        ("--help 2> /dev/full > /dev/null", 0),
        ("--help 2>&- > /dev/null", 0),
        ("--help >&-", 0),
        ("--help | true; exit ${PIPESTATUS[0]}", 141),
        ("--version > /dev/full", 2),
        ("inspect nothing 2> /dev/full", 2),
        ("inspect nothing 2>&1 | true; exit ${PIPESTATUS[0]}", 2),
    ],
)
def test_standard_streams_that_are_full_closed_or_unheard(line, code):
    ran = subprocess.run(["bash", "-c", f"{PROGRAM} {line}"], capture_output=True, text=True)
    assert ran.returncode == code, ran
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) <= 1
    assert ("standard output cannot be written to" in ran.stderr) == (
        "> /dev/full" in line and code == 2 and "2>" not in line
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--frames", "1000000000"), "--frames must be 10000 or less"),
        (("--height", "1000000000"), "--height must be 8"),
        (("--height", "-8"), "--height must be 8"),
        (("--height", str(2**70)), "--height must be 8"),
        (("--frames", "1000", "--height", "1024", "--width", "1024"), "pixels"),
        (("--k", "17"), "more than the 16 frames"),
        (("--t-alpha", str(10**30)), "--t-alpha must be 999 or less"),
        (("--seed", "-1"), "seed"),
        (("--seed", str(2**70)), "seed"),
        (("--weight", "nan"), "--weight must be a finite number"),
        (("--weight", "inf"), "--weight must be a finite number"),
        (("--weight", "1e400"), "--weight must be a finite number"),
        (("--guidance-scale", "1e400"), "--guidance-scale must be a finite number"),
        (("--steps", "1000000000000"), "motionclone: --steps must be 10000 or less, got 1000000000000."),
        (("--frames", "1e9"), "--frames"),
        (("--fps", "1e300"), "fps"),
        (("--fps", "1e9"), "fps"),
        (("--fps", "0"), "fps"),
        (("--fps", "nan"), "fps"),
        (("--fps", "1e-300"), "fps"),
        (("--negative-prompt", "x" * 1_000_000), "1,000,000 characters"),
        (("--blocks", "x" * 1_000_000), "1,000,000 characters"),
        (("--model", "~nosuchuser/model"), "~nosuchuser"),
        (("--model", "x" * 5000), "cannot be a path"),
        (("--negative-prompt", os.fsdecode(b"caf\xe9")), "no UTF-8"),
        (("--model", "a\0b"), "NUL"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_numbers_and_texts_that_cannot_be_meant(run, clip, tmp_path, monkeypatch, words, sentence):
    monkeypatch.setattr("motionclone.models.load_pipeline", lambda *_, **__: pytest.fail("nothing may be loaded"))
    code, said = run("clone", clip, "p", "-o", tmp_path / "o.mp4", "--preset", "mini", *words)
    assert code == 2, said
    assert sentence in " ".join(said.replace("│", " ").split())
    assert len(said) < 2000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [("x" * 1_000_000, "1,000,000 characters"), (os.fsdecode(b"caf\xe9"), "no UTF-8"), ("a\0b", "NUL")],
    ids=("long", "bytes", "nul"),
)
def test_prompts_that_are_none(run, clip, tmp_path, prompt, sentence):
    code, said = run("clone", clip, prompt, "-o", tmp_path / "o.mp4", "--preset", "mini")
    assert (code, sentence in said) == (2, True), said[:300]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "[" * 100_000,
        lambda text: text[:-10],
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace('"a red star"', '"\\ud800"'),
        lambda text: text.replace('"seed": 0', f'"seed": {"9" * 5000}'),
        lambda text: text.replace('"seed": 0', f'"seed": {2**70}'),
        lambda text: text.replace('"start": 0.0', '"start": 1e400'),
        lambda text: text.replace('"start": 0.0', '"start": null'),
        lambda text: text.replace('"strength": 1.0', '"strength": NaN'),
        lambda text: text.replace('"height": 64', '"height": 1000000000'),
        lambda text: text.replace('"height": 64', '"height": [64]'),
        lambda text: text.replace('"job"', '"jobs"'),
        lambda text: text.replace('"a red star"', "7"),
        lambda text: text.replace('"a red star"', json.dumps("x" * 1_000_000)),
        lambda text: text.replace('"reference": "tiger.mp4"', '"reference": "\\u001b[2J"').replace('"sha256"', '"sha"'),
    ],
)
def test_odd_records_end_in_one_sentence(run, alice, change):
    record = alice / "shared/out.json"
    if not record.exists():
        cloned(run)
    text = record.read_text()
    assert change(text) != text
    record.write_text(change(text))
    code, said = run("rerun", record, "-o", "again.mp4")
    assert code == 2, said
    assert len(said.splitlines()) == 1
    assert len(said) < 1000
    assert "\x1b" not in said


def test_every_setting_is_an_option(run):
    code, said = run("clone", "--help")
    assert code == 0
    other = {"num_frames": "frames", "prompt": "extraction-prompt"} | {
        "scale": "condition-scale",
        "at_extraction": "condition-extraction",
    }
    names = [name for name in Settings.model_fields if name == "seed"]
    for section in ("extraction", "guidance", "sampling", "conditioning"):
        names += Settings.model_fields[section].annotation.model_fields
    for name in names:
        assert f"--{other.get(name, name).replace('_', '-')} " in said, name


def test_a_new_setting_needs_no_other_line(capsys):
    from cyclopts import App, Parameter

    class Toy(BaseModel):
        swing: float = Field(default=1.0, ge=0, le=3, description="How it swings.")
        wild: bool = False
        names: tuple[str, ...] = ()

    made = options.options("ToyOptions", "Toys.", toy=Toy)
    seen = []

    def play(*, toy: made = made()):  # noqa: B008
        seen.append(toy)

    app = App(default_parameter=Parameter(negative_iterable=()))
    app.command(play)
    app = partial(app, result_action="return_value")
    app(["play", "--swing", "2.5", "--no-wild", "--names", "a", "--names", "b"])
    assert (seen[0].swing, seen[0].wild, seen[0].names) == (2.5, False, ("a", "b"))
    app(["play"])
    assert (seen[1].swing, seen[1].wild, seen[1].names) == (None, None, None)
    app(["play", "--help"])
    assert "How it swings (0 to 3)." in capsys.readouterr().out


def test_a_motion_knows_its_clip_without_its_place(run, alice):
    assert run("extract", "clips/tiger.mp4", "-o", "shared/m.safetensors", "--model", "models/own", *SIZE)[0] == 0
    assert load_motion("shared/m.safetensors").record.source.path == "tiger.mp4"
    code, said = run("inspect", "shared/m.safetensors", "--heatmap", "a.png")
    assert code == 0, said
    shutil.rmtree(alice / ".cache")
    code, said = run("inspect", "shared/m.safetensors", "--heatmap", "b.png")
    assert (code, "--reference" in said) == (2, True)
    assert run("inspect", "shared/m.safetensors", "--heatmap", "b.png", "--reference", "clips/tiger.mp4")[0] == 0
    assert output_of({"output": []}) == {}


def test_a_clip_is_never_replaced_by_the_video_of_its_motion(run, model, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ref.mp4").write_bytes(clip.read_bytes())
    code, said = run("extract", "ref.mp4", *SIZE, "--model", model)
    assert code == 0, said
    before = (tmp_path / "ref.mp4").read_bytes()
    for words in (("-o", "ref.mp4", "--overwrite"), ("-o", "ref.mp4", "--overwrite", "--dry-run")):
        code, said = run("generate", "ref.safetensors", "a star", *SMALL, "--model", model, *words)
        assert (code, "is the clip that the motion was read from" in said) == (2, True), said
    assert (tmp_path / "ref.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("source", "words", "name"),
    [
        ("ref.mp4", ("...",), "ref-video.mp4"),
        (".", ("a star",), "{here}-a-star.mp4"),
        ("x/ref.safetensors", ("A  Red/Star!",), "ref-a-red-star.mp4"),
    ],
)
def test_outputs_that_nobody_named_lie_here_and_are_never_called_as_their_source(
    tmp_path, monkeypatch, source, words, name
):
    monkeypatch.chdir(tmp_path)
    assert named_after(Path(source), *words, suffix=".mp4") == Path(name.format(here=tmp_path.name))
