"""The command line: real files in, real files out, on a tiny model; and every bad input refused with one sentence."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from motionclone.media.reading import read_clip
from motionclone.media.writing import read_provenance

SMALL = ("--frames", "4", "--height", "64", "--width", "64", "--steps", "3", "--guided-steps", "2", "--preset", "mini")


def test_clone_writes_video_record_and_comparison_that_can_be_run_again(run, model, clip, tmp_path):
    out = tmp_path / "out.mp4"
    part = ("--crop", 0.25, 0, 1, 1, "--flip")
    code, said = run("clone", clip, "a red star", "-o", out, "--model", model, "--seed", 3, *SMALL, *part, "--compare")
    assert code == 0, said
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.json", "out-compare.mp4"}
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["prompt"] == "a red star"
    assert record["settings"]["seed"] == 3
    assert record["ai_generated"] is True
    source = record["motion"]["source"]
    assert (source["name"], source["crop"], source["flip"]) == ("square.mp4", [0.25, 0, 1, 1], True)
    assert len(record["energies"]) == 2
    for path in (out, tmp_path / "out-compare.mp4"):
        kept = read_provenance(path)
        assert kept["prompt"] == "a red star"
        assert kept["settings"] == record["settings"]
        assert str(clip) not in json.dumps(kept)

    code, said = run("rerun", tmp_path / "out.json", "-o", tmp_path / "again.mp4")
    assert code == 0, said
    assert json.loads((tmp_path / "again.json").read_text())["energies"] == record["energies"]
    torch.testing.assert_close(read_clip(tmp_path / "again.mp4", 4, 64, 64).frames, read_clip(out, 4, 64, 64).frames)


def test_pictures_are_followed_and_kept_in_the_record(run, model, clip, tmp_path, monkeypatch):
    Image.new("RGB", (96, 64), "red").save(tmp_path / "first.png")
    photo = np.full((64, 64, 3), 255, np.uint8)
    photo[20:40, 20:40] = (0, 0, 200)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    start = ("clone", clip, "a red star", "--model", model, *SMALL)
    code, said = run(*start, "-o", tmp_path / "image.mp4", "--image", tmp_path / "first.png")
    assert code == 0, said
    assert "note: first.png: centre-cropped 96x64 to 1:1" in said
    pictures = ("--sketch-from", f"{tmp_path / 'photo.png'}@0", "--sketch-from", f"{tmp_path / 'photo.png'}@3")
    code, said = run(*start, "-o", tmp_path / "sketch.mp4", *pictures, "--condition-scale", "0.5")
    assert code == 0, said
    image, sketch = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("image", "sketch"))
    assert image["condition"]["frames"] == [0]
    assert sketch["condition"]["frames"] == [0, 3]
    assert sketch["settings"]["conditioning"]["scale"] == 0.5
    assert image["motion"]["shown_frames"] == [0]
    assert image["energies"] != sketch["energies"]
    monkeypatch.chdir(model)
    code, said = run(*start, "-o", tmp_path / "other.mp4", *pictures, "--control", "sketch_control")
    assert code == 0, said
    monkeypatch.chdir(tmp_path)  # from elsewhere, too
    for record, again in (("sketch", "again"), ("other", "other-again")):
        code, said = run("rerun", tmp_path / f"{record}.json", "-o", tmp_path / f"{again}.mp4")
        assert code == 0, said
    torch.testing.assert_close(*(read_clip(tmp_path / f"{n}.mp4", 4, 64, 64).frames for n in ("again", "sketch")))
    Image.fromarray(photo[::-1]).save(tmp_path / "photo.png")
    code, said = run("rerun", tmp_path / "sketch.json", "-o", tmp_path / "more.mp4")
    assert code == 2
    assert "has changed since the record was written" in " ".join(said.split())


def test_the_suite_of_pictures_measures_first_frames(run, model, tmp_path):
    out = tmp_path / "out"
    words = ("evaluate", "pictures", "--model", model, "--cases", "1", "--workers", "1", "--out-dir", out, *SMALL)
    code, said = run(*words)
    assert code == 0, said
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    scores = {line["method"]: line["scores"] for line in lines}
    assert scores["drawn"]["lines"] > scores["unguided"]["lines"]
    assert "picture" not in scores["ceiling"]
    assert scores["image-cloned"]["picture"] != scores["cloned"]["picture"]
    assert scores["sketch-cloned"]["picture"] != scores["image-cloned"]["picture"]
    assert scores["image-cloned"]["flow"] != scores["image-read-without"]["flow"]
    assert "The picture to follow" in (out / "report.md").read_text()


def test_extract_then_generate_is_clone(run, model, clip, tmp_path, monkeypatch):
    size, steps = SMALL[:6], SMALL[6:]
    generation = ("--model", model, *steps)
    assert run("clone", clip, "a red star", "-o", tmp_path / "cloned.mp4", *generation, *size)[0] == 0
    code, said = run("extract", clip, "-o", tmp_path / "m.safetensors", "--model", model, "--preset", "mini", *size)
    assert code == 0, said
    assert run("generate", tmp_path / "m.safetensors", "a red star", *generation, "-o", tmp_path / "made.gif")[0] == 0
    made, cloned = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("made", "cloned"))
    assert made["settings"] == cloned["settings"]
    # The motion file keeps fp16 values.
    assert made["energies"] == pytest.approx(cloned["energies"], rel=0.02)

    assert run("rerun", tmp_path / "made.json", "-o", tmp_path / "again.gif")[0] == 0
    assert (tmp_path / "again.gif").read_bytes() == (tmp_path / "made.gif").read_bytes()
    # Without -o the video is named after the motion.
    monkeypatch.chdir(tmp_path)
    assert run("generate", tmp_path / "m.safetensors", "a red star", *generation, "--seed", "7")[0] == 0
    other = json.loads((tmp_path / "m-a-red-star.json").read_text())
    assert other["settings"]["sampling"]["shared_noise"] is False
    assert other["energies"] != made["energies"]

    code, said = run("inspect", tmp_path / "m.safetensors", "--heatmap", tmp_path / "heat.png")
    assert code == 0, said
    assert "square.mp4" in said
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_no_prompt_metadata(run, model, clip, tmp_path):
    out = tmp_path / "out.mp4"
    secret = "zebra"
    code, said = run(
        "clone", clip, secret, "-o", out, "--model", model, *SMALL, "--no-prompt-metadata", "--negative-prompt", secret
    )
    assert code == 0, said
    assert secret not in json.dumps(read_provenance(out))
    assert secret in (tmp_path / "out.json").read_text()


def test_models_tells_what_a_model_takes(run):
    code, said = run("models", "ltx-video")
    assert code == 0
    assert "Lightricks/LTX-Video" in said
    flat = " ".join(said.replace("│", " ").split())
    assert re.search(r"keeps 1\.18 GB for the backward pass at the least, 9\.18 GB if that", flat)


def test_models_lists_names_and_presets(run):
    code, said = run("models")
    assert code == 0
    for word in ("mini", "animatediff", "camera", "object", "300"):
        assert word in said


CLONE = ("clone", "{clip}", "p", "-o", "{here}/o.mp4", *SMALL)


def bad_files(folder):
    (folder / "text.mp4").write_text("no video at all")
    (folder / "empty.mp4").write_bytes(b"")
    torch.save({"a": 1}, folder / "pickle.safetensors")
    (folder / "short.safetensors").write_bytes(b"\x08\x00\x00")
    (folder / "there.mp4").write_bytes(b"precious")
    (folder / "text.png").write_text("no picture at all")
    for name, colour in (("red", "red"), ("white", "white")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{name}.png")
    Image.new("RGB", (64, 64), "red").save(folder / "still.gif")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("clone", "{here}/none.mp4", "p", "-o", "{here}/o.mp4"), "does not exist"),
        (("clone", "{here}/text.mp4", "p", "-o", "{here}/o.mp4"), "cannot be read as a video"),
        (("clone", "{here}/empty.mp4", "p", "-o", "{here}/o.mp4"), "is empty"),
        (("clone", "{clip}", "p", "-o", "{here}/o.mp4", "--frames", "64"), "64 frames are needed"),
        (("clone", "{clip}", "p", "-o", "{here}/o.avi"), "must end in .mp4"),
        (("clone", "{clip}", "p", "-o", "{here}/there.mp4"), "--overwrite"),
        (("clone", "{clip}", "p", "-o", "/proc/nowhere/o.mp4"), "/proc"),
        (("clone", "{clip}", "{long}", "-o", "{here}/o.mp4", *SMALL), "tokens long"),
        (("clone", "{clip}", "p", "-o", "{here}/o.mp4", "--preset", "fast"), "no preset 'fast'"),
        (("clone", "{clip}", "p", "-o", "{here}/o.mp4", "--wieght", "3"), "--wieght"),
        (("clone", "{clip}", "p", "-o", "{here}/o.mp4", "--weight", "-3"), "--weight must be 0 or more, got -3"),
        (
            ("clone", "{clip}", "p", "-o", "{here}/o.mp4", "--steps", "3", "--guided-steps", "5"),
            "--guided-steps (5) must not exceed --steps (3)",
        ),
        (("clone", "{clip}", "p", "-o", "{here}/o.mp4", *SMALL, "--blocks", "up_blocks.9"), "up_blocks.3"),
        (
            ("clone", "{clip}", "p", "-o", "{here}/o.mp4", "--preset", "mini", "--height", "0"),
            "--height must be 8 or more",
        ),
        (("clone", "{clip}", "p", "-o", "{here}/o.mp4", *SMALL, "--weight", "1e45"), "not finite"),
        (("clone", "{clip}", "p", "-o", "{here}/o.mp4", "--model", "maxi", *SMALL), "there is no model 'maxi'"),
        (("extract", "{clip}", "-o", "{here}/m.pt"), "must end in .safetensors"),
        (("extract", "{clip}", "-o", "{here}/m.safetensors", "--steps", "3"), "--steps"),
        (("clone", "{clip}", "p", "-o", "{here}/" + "a" * 300 + ".mp4"), "cannot be made"),
        (("clone", "{clip}", "p", "-o", "{here}/o.gif", "--fps", "120", *SMALL[:6]), "120"),
        (("clone", "{clip}", "p", "-o", "{clip}", "--overwrite"), "is what the video is made from"),
        ((*CLONE, "--image", "{here}/none.png"), "there is no picture"),
        ((*CLONE, "--image", "{here}/text.png"), "cannot be read as a picture"),
        ((*CLONE, "--image", "{here}/red.png@4"), "for frame 4 and the video's frames are 0 to 3"),
        ((*CLONE, "--image", "{here}/red.png@x"), "a frame number was expected"),
        ((*CLONE, "--image", "{here}/red.png", "--image", "{here}/white.png"), "say which frame each is for"),
        ((*CLONE, "--image", "{here}/red.png@1", "--image", "{here}/white.png@1"), "two pictures are for frame 1"),
        ((*CLONE, "--image", "{here}/red.png", "--sketch", "{here}/red.png"), "give one of them"),
        ((*CLONE, "--sketch", "{here}/white.png"), "has no lines"),
        ((*CLONE, "--sketch-from", "{here}/white.png"), "no outline was found"),
        ((*CLONE, "--image", "{here}/" + "a" * 300), "is no path of a picture"),
        ((*CLONE, "--image", "{here}/red.png@" + "9" * 100), "a frame number was expected"),
        (
            ("clone", "{clip}", "p", "-o", "{here}/still.gif", "--overwrite", "--image", "{here}/../{name}/still.gif"),
            "is what the video is made from",
        ),
        ((*CLONE, "--image", "{here}/red.png", "--control", "sketch"), "is for another kind of picture"),
        ((*CLONE, "--control", "nowhere"), "are about pictures to follow"),
        ((*CLONE, "--condition-scale", "0.5"), "are about pictures to follow"),
        ((*CLONE, "--image", "{here}/red.png", "--control", "nowhere"), "there is no SparseCtrl nowhere"),
        (("demo", "--out-dir", "{here}", "--colour", "pink"), "no colour 'pink'"),
        (("demo", "--out-dir", "{here}", "--seed", "-1"), "seed"),
        (("models", "sora"), "no model is named 'sora'"),
        (("demo", "--out-dir", "{here}", "--image", "--sketch"), "choose --image or --sketch"),
        (("generate", "{here}/pickle.safetensors", "p", "-o", "{here}/o.mp4"), "not a readable safetensors"),
        (("generate", "{here}/short.safetensors", "p", "-o", "{here}/o.mp4"), "not a readable safetensors"),
        (("generate", "{here}/none.safetensors", "p", "-o", "{here}/o.mp4"), "there is no motion file"),
        (("rerun", "{here}/text.mp4", "-o", "{here}/o.mp4"), "is not a record"),
        (("inspect", "{here}/none.safetensors"), "there is no motion file"),
    ],
)
def test_bad_input_is_refused_with_one_sentence(run, model, clip, tmp_path, words, sentence):
    bad_files(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    filled = [str(word).format(here=tmp_path, name=tmp_path.name, clip=clip, long="word " * 80) for word in words]
    if words[0] in ("clone", "extract", "generate") and "--model" not in words:
        filled += ["--model", str(model)]
    code, said = run(*filled)
    assert code == 2, said
    assert sentence in " ".join(said.replace("│", " ").split())
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_motion_of_another_model_is_refused(run, model, clip, tmp_path):
    here = ("--model", model, "--preset", "mini", *SMALL[:6])
    assert run("extract", clip, "-o", tmp_path / "m.safetensors", *here)[0] == 0
    code, said = run(
        "generate",
        tmp_path / "m.safetensors",
        "p",
        "-o",
        tmp_path / "o.mp4",
        "--model",
        model,
        "--no-per-frame-norm",
        "--preset",
        "mini",
    )
    assert code == 2
    assert "per_frame_norm" in said
    other = ("--model", model, "--preset", "mini", "--frames", "8")
    code, said = run("generate", tmp_path / "m.safetensors", "p", "-o", tmp_path / "o.mp4", *other)
    assert code == 2
    assert "4 frames" in said
    assert not (tmp_path / "o.mp4").exists()


def test_a_motion_file_with_an_odd_record_is_refused(run, model, clip, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "m.safetensors"
    assert run("extract", clip, "-o", path, "--model", model, "--preset", "mini", *SMALL[:6])[0] == 0
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    record, tensors = json.loads(header["record"]), load_file(path)
    for odd in (
        {"seed": "x"},
        {"size": 5},
        {"size": [64]},
        {"size": [2**70, 8]},
        {"source": []},
        {"source": {"fps": 0}},
        {"fingerprints": {"a": None}},
        {"num_frames": 1e9},
        {"unheard_of": 1},
    ):
        save_file(tensors, path, {**header, "record": json.dumps({**record, **odd})})
        code, said = run("generate", path, "p", "-o", tmp_path / "o.mp4", "--model", model)
        assert code == 2, (odd, said)
        assert "damaged motion file" in said
    assert not (tmp_path / "o.mp4").exists()


def test_ctrl_c_leaves_nothing_and_says_so(run, model, clip, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("motionclone.cloning.extract_motion", stop)
    code, said = run("clone", clip, "p", "-o", tmp_path / "o.mp4", "--model", model, *SMALL)
    assert code == 130
    assert "stopped" in said
    assert not list(tmp_path.iterdir())
