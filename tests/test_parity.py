"""Parity with the authors' code: golden/README.md says where the numbers come from and what tolerances hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import guided_run

from motionclone.backbones.backbone import backbone_of
from motionclone.extraction import motion_of_latents
from motionclone.motion import Motion, SparseMap
from motionclone.sampling import energy_and_gradient
from motionclone.settings import Extraction, Guidance

GOLDEN = Path(__file__).parent / "golden" / "t2v_mini_f4_128x128"


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN.with_suffix(".safetensors")), json.loads(GOLDEN.with_suffix(".json").read_text())


@pytest.fixture
def replay(pipe, golden):
    """The motion of the golden reference, extracted by this project."""
    numbers, _ = golden
    return motion_of_latents(pipe, numbers["video_latents"], numbers["motion_noise"], Extraction())


def test_null_text_is_that_of_the_authors(pipe, golden):
    numbers, _ = golden
    found, _ = pipe.encode_prompt("", "cpu", 1, False)
    torch.testing.assert_close(found, numbers["null_text_embeds"], rtol=0, atol=1e-5)


def test_representation_is_that_of_the_authors(replay, golden):
    numbers, _ = golden
    assert len(replay.maps) == 4
    for site, found in replay.maps.items():
        torch.testing.assert_close(found.indices, numbers[f"rep.{site}.indices"], rtol=0, atol=0)
        torch.testing.assert_close(found.values, numbers[f"rep.{site}.values"], rtol=0, atol=1e-5)


def test_energies_and_latents_are_those_of_the_authors(pipe, replay, golden):
    numbers, facts = golden
    motion = Motion(
        {s: SparseMap(numbers[f"rep.{s}.values"], numbers[f"rep.{s}.indices"]) for s in replay.maps}, replay.grid, {}
    )
    latents, trace = guided_run(pipe, motion, numbers, Guidance(warm_up=2, cool_down=2), steps=6, guided_steps=4)
    assert pipe.scheduler.timesteps.tolist() == facts["timesteps"]
    assert len(trace.steps) == len(facts["guided"])
    for step, wanted in zip(trace.steps, facts["guided"], strict=True):
        assert step.energy == pytest.approx(wanted["energy"], abs=1e-5)
        assert step.energy_by_site == pytest.approx(wanted["energy_by_site"], abs=1e-5)
        assert step.weight == pytest.approx(2000 * wanted["ramp"])
    assert len(latents) == 6
    for i, found in enumerate(latents):
        wanted = numbers[f"step{i}.latents_out"]
        assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("checkpointing", [True, False])
def test_gradients_are_those_of_the_authors(pipe, replay, golden, checkpointing):
    numbers, facts = golden
    backbone = backbone_of(pipe)
    starts = [numbers["motion_noise"], *(numbers[f"step{i}.latents_out"] for i in range(3))]
    for i, latents in enumerate(starts):
        call = {
            "sample": latents,
            "timestep": torch.tensor(facts["timesteps"][i]),
            "encoder_hidden_states": numbers["cond_embeds"].repeat_interleave(4, 0),
        }
        _, _, gradient = energy_and_gradient(backbone, pipe.unet.forward, call, replay, checkpointing=checkpointing)
        wanted = numbers[f"step{i}.gradient"]
        difference = 2000 * facts["guided"][i]["ramp"] * gradient - wanted
        assert difference.norm() <= 5e-4 * wanted.norm()
