"""The benchmark for a GPU: all of it runs, on tiny models and a CPU, and refuses in a sentence what it cannot do."""

import json
import sys
from pathlib import Path

import pytest
import torch

from motionclone.models import load_pipeline

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import gpu
import gpu_measures
import gpu_models


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["gpu.py", *map(str, words)])
    return gpu.main()


def test_all_of_it_runs(monkeypatch, tmp_path):
    """The whole of it; of the other models `make gpu-tiny` runs it."""
    assert run(monkeypatch, "--tiny", "--device", "cpu", "--out-dir", tmp_path, "ltx-video") == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    of = found["models"]["ltx-video"]
    assert not found["notes"]
    assert [case["within"] for case in found["parity"]] == [True]
    assert of["finite"] == {"bfloat16": True, "float16": True}
    assert of["offloads"] == {mode: {"indices": 0, "gradient": 0} for mode in ("model", "sequential", "group")}
    assert {"plain", "everything kept, float16", "auto", "least", "diffusers' checkpoints"} < of["steps"].keys()
    assert of["preset measured"]
    blocks = [of["steps"][policy]["blocks"] for policy in ("everything kept, bfloat16", "least")]
    assert blocks[0] == 0 < blocks[1]
    assert len(of["curves"]["least"]) > len(of["curves"]["none"]) > 1000
    peaks = {policy: max(curve) for policy, curve in of["curves"].items()}
    assert peaks["none"] - peaks["least"] > 0.5 * (
        of["steps"]["everything kept, bfloat16"]["counted kept"] - of["steps"]["least"]["counted kept"]
    )
    report = (tmp_path / "gpu.md").read_text()
    assert "| least |" in report
    elsewhere = {label for label, kinds in of["variants"].items() if isinstance(kinds["guided"], str)}
    assert elsewhere == {"cudnn attention", "efficient attention"}  # which a CPU has not
    assert "| efficient attention | failed, RuntimeError: No " in report
    assert "![memory over a guided step](memory.png)" in report
    assert (tmp_path / "memory.png").stat().st_size > 10_000


def test_what_does_not_fit_the_time_is_a_line(monkeypatch, tmp_path):
    assert run(monkeypatch, "--tiny", "--device", "cpu", "--out-dir", tmp_path, "--minutes", "0", "ltx-video") == 0
    assert "- ltx-video: left out, 0 seconds were left." in (tmp_path / "gpu.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_cannot_be_done_is_refused_in_a_sentence(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "--out-dir", tmp_path) == 2
    assert capsys.readouterr().err == "device cuda is not available here; use cpu, or leave the device out.\n"
    assert run(monkeypatch, "--device", "cpu", "--out-dir", tmp_path, "animatedif") == 2
    assert capsys.readouterr().err == "there is no model 'animatedif' to measure; did you mean animatediff?\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", gpu_models.NAMES)
def test_models_are_made_at_their_real_shapes(name):
    """On the meta device, where that costs nothing."""
    model = gpu_models.made(name, torch.device("meta"), gpu_models.trained_in(name), tiny=False)
    empty = load_pipeline(name, device="cpu", weights=False)
    shapes = [
        {name: weight.shape for name, weight in pipe.components[part].state_dict().items()}
        for pipe in (model.pipe, empty)
        for part in ("vae", "unet" if name == "animatediff" else "transformer")
    ]
    assert shapes[:2] == shapes[2:]
    assert {weight.dtype for weight in model.backbone.denoiser.parameters()} == {gpu_models.trained_in(name)}
    words = model.pipe.encode_prompt("")
    assert (
        model.backbone.pipeline_arguments(model.settings.sampling)["num_frames"] == model.settings.sampling.num_frames
    )
    assert {each.dtype for each in words} == {gpu_models.trained_in(name)}


def test_offloading_that_changes_a_number_is_seen():
    model = gpu_models.made("ltx-video", torch.device("cpu"), torch.float32, tiny=True)
    wanted = gpu_measures.read_and_differentiated(model)
    with torch.no_grad():
        model.backbone.denoiser.get_submodule("transformer_blocks.0.attn1.to_v").weight.mul_(2)
    off = gpu_measures.different(wanted, gpu_measures.read_and_differentiated(model))
    assert off["indices"] > 0.01
    assert off["gradient"] > 0.1
