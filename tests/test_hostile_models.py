"""What strangers hand over as a model loads or is refused in a sentence; more of it: benchmarks/hostile_models.py."""

import inspect
import json
import random
import resource
import struct
from collections.abc import Sequence
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLWan, CogVideoXTransformer3DModel, SparseControlNetModel
from diffusers.configuration_utils import ConfigMixin
from hostile_models import (
    Case,
    changed_weights,
    configurations,
    descriptions,
    places,
    safetensors_files,
    weight_files,
)
from tiny_transformers import FAMILIES

from motionclone.errors import InputError
from motionclone.models import HubModel, load_pipeline, named_models
from motionclone.models.checkpoints import load_motion_module
from motionclone.models.configs import read_config
from motionclone.models.networks import load_part


def sample(cases: Sequence[Case], count: int) -> list[Case]:
    return random.Random(0).sample(cases, count)


CASES = {
    "descriptions": list(descriptions()),
    "places": list(places()),
    "weights": [case for case in weight_files() if case.name.endswith("as motion_adapter")],
    "changed weights": sample(list(changed_weights()), 10),
    "configurations": sample(list(configurations()), 16),
    "safetensors": sample(list(safetensors_files()), 8),
}


@pytest.mark.parametrize("kind", CASES)
def test_every_model_loads_or_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, case in enumerate(CASES[kind]):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        model = case.make(folder)
        files = sorted(folder.rglob("*"))
        try:
            load_pipeline(model, device="cpu", **case.arguments)
        except InputError as error:
            refused += 1
            sentence = str(error)
            assert sentence.isprintable(), case.name
            assert sentence.endswith((".", "?")), case.name
            assert len(sentence) < 1000, case.name
        assert sorted(folder.rglob("*")) == files, case.name  # nor has a trap sprung
    assert refused > 0.6 * len(CASES[kind])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 * 2**20  # kB


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_layers": 10**6}, "1000000 as num_layers, which no model has"),
        ({"num_layers": 900}, "describes a far larger CogVideoXTransformer3DModel than its weights are"),
        ({"num_attention_heads": 999}, "describes a far larger CogVideoXTransformer3DModel than its weights are"),
        ({"sample_width": 10**5, "sample_height": 10**5}, "describes a far larger CogVideoXTransformer3DModel"),
        ({"num_layers": 1}, "without [0-9]+ of its weights"),
        ({"num_layers": 0}, "without [0-9]+ of its weights"),
        ({"num_attention_heads": 0}, "cannot be read"),
        ({"num_attention_heads": -1}, "-1 as num_attention_heads, which no model has"),
        ({"attention_head_dim": None}, "None as attention_head_dim, which is of another kind"),
        ({"_class_name": "UNet2DConditionModel"}, "is a UNet2DConditionModel, not a CogVideoXTransformer3DModel"),
    ],
)
def test_a_configuration_is_held_against_its_weights(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    """Before anything of its size is made: tables of 10^10 positions are not among CogVideoX's weights either."""
    FAMILIES["cogvideox-2b"].make().transformer.save_pretrained(tmp_path)
    load_part(CogVideoXTransformer3DModel, tmp_path, "", torch.float32)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=sentence):
        load_part(CogVideoXTransformer3DModel, tmp_path, "", torch.float32)


def test_what_a_broken_download_leaves_is_not_read(tmp_path: Path) -> None:
    """64 GB by its name and header, of which the disk has a page."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**34], "data_offsets": [0, 2**36]}}).encode()
    path = tmp_path / "mm.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 2**36)
    with pytest.raises(InputError, match="is mostly holes, as downloads that broke off leave behind"):
        load_motion_module(path, torch.float32)


SDXL = {  # as in stabilityai/stable-diffusion-xl-base-1.0
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "upcast_attention": None,
    "num_attention_heads": None,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "projection_class_embeddings_input_dim": 2816,
}


def test_configurations_of_published_models_pass(tmp_path: Path) -> None:
    """Of all classes that can be in a pipeline: their defaults, and where named models differ from these."""
    hub = [model for model in named_models().values() if isinstance(model, HubModel)]
    networks = [(model.network, model.transformer) for model in hub] + [(model.autoencoder, model.vae) for model in hub]
    networks += [(name, {}) for name in ("AutoencoderKL", "MotionAdapter", "SparseControlNetModel", "UNetMotionModel")]
    schedulers = [(name, {}) for name in dir(diffusers) if name.endswith("Scheduler")]
    for name, changes in [*networks, ("UNet2DConditionModel", SDXL), *schedulers]:
        kind = getattr(diffusers, name)
        if not issubclass(kind, ConfigMixin):
            continue
        arguments = inspect.signature(kind.__init__).parameters.values()
        defaults = {each.name: each.default for each in arguments if each.default is not inspect.Parameter.empty}
        config = json.loads(json.dumps({"_class_name": name, **defaults, **changes}, default=str))
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_config(kind, tmp_path) == config, name


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (AutoencoderKL, {"scaling_factor": 0}),
        (AutoencoderKL, {"scaling_factor": -0.18}),
        (AutoencoderKLWan, {"latents_std": [1.0, 0.0]}),
        (SparseControlNetModel, {"controlnet_conditioning_channel_order": None}),
        (SparseControlNetModel, {"controlnet_conditioning_channel_order": "x"}),
        (SparseControlNetModel, {"global_pool_conditions": True}),
    ],
)
def test_what_would_fail_only_in_a_run_is_refused_in_the_configuration(tmp_path, kind, values):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": kind.__name__, **values}))
    with pytest.raises(InputError, match=f"as {next(iter(values))}, (not|which)"):
        read_config(kind, tmp_path)
