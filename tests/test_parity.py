"""Parity with the authors' code: golden/README.md says where the numbers come from and what tolerances hold.

Cases are the files of tests/golden and, where it lies beside the project, of shared/golden: one that is put there is
replayed, whether it is text to video, a picture or a sketch.
"""

import json
from pathlib import Path

import pytest
import torch
from replay import replay
from safetensors.torch import load_file
from tiny import guided_run, sparse_pipe, tiny_pipe

from motionclone.backbones.families import backbone_of
from motionclone.extraction import motion_of_latents
from motionclone.media.conditions import Condition
from motionclone.motion import Motion, SparseMap
from motionclone.sampling import energy_and_gradient
from motionclone.settings import Extraction, Guidance

OWN = Path(__file__).parent / "golden"
CASES = {path.stem: path for folder in (OWN.parents[2] / "shared" / "golden", OWN) for path in folder.glob("*.json")}
RGB = "i2v_rgb_f8_128x192"


class Case:
    """The numbers of a golden run, and the pipeline that made them."""

    def __init__(self, path, folder):
        self.facts, self.numbers = json.loads(path.read_text()), load_file(path.with_suffix(".safetensors"))
        self.config = self.facts["config"]
        self.sites = [name.removesuffix(".values")[4:] for name in self.numbers if name.endswith(".values")]
        self.steps = [step for step in self.facts["steps"] if step["guided"]]
        size = {"channels": (32, 32, 32, 32), "layers": 1}
        if len(self.sites) == 6:
            size = {"channels": (32, 64, 64, 64), "layers": 2}
        control = self.facts["controlnet_config"]
        if control is None:
            self.pipe, self.shown, self.condition, self.scale = tiny_pipe(folder, **size), None, None, 1.0
            return
        frames, self.scale = tuple(self.config["image_index"]), self.config["controlnet_scale"]
        # Where SparseCtrl takes latents, the golden ones stand in for these pixels.
        self.picture_latents = torch.zeros_like(self.numbers["video_latents"])
        pictures = seen = torch.zeros(len(frames), 3, self.config["height"], self.config["width"])
        if control["controlnet_additional_kwargs"]["use_simplified_condition_embedding"]:
            self.pipe = sparse_pipe(folder, "image", **size)
            self.pipe.prepare_image = lambda *_: self.numbers["controlnet_images"]
            self.picture_latents[:, :, list(frames)] = self.numbers["controlnet_images"]
        else:
            self.pipe = sparse_pipe(folder, "sketch", **size)
            pictures = self.numbers["controlnet_images"][0].movedim(0, 1) * 2 - 1
            seen = self.numbers["video_data"][list(frames)]
        self.shown, self.condition = Condition(seen, frames), Condition(pictures, frames)

    def guidance(self):
        return Guidance(
            guided_fraction=self.config["guidance_scale"],
            warm_up=self.config["warm_up_steps"],
            cool_down=self.config["cool_up_steps"],
        )

    def read(self):
        """The motion, as this project reads it."""
        return motion_of_latents(
            self.pipe,
            self.numbers["video_latents"],
            self.numbers["motion_noise"],
            Extraction(),
            shown=self.shown,
            condition_scale=self.scale,
        )

    def run(self, motion):
        """Latents after every step, and the guided steps, as this project makes them."""
        shown = {} if self.condition is None else backbone_of(self.pipe).pipeline_condition(self.condition, self.scale)
        return guided_run(self.pipe, motion, self.numbers, self.guidance(), **self.counts(), **shown)

    def counts(self):
        return {"steps": self.config["inference_steps"], "guided_steps": self.config["guidance_steps"]}


@pytest.fixture(params=CASES)
def golden(request, tmp_path):
    return Case(CASES[request.param], tmp_path)


def near(found, wanted):
    """Latents, to 1e-4 of their maximum."""
    return (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_null_text_is_that_of_the_authors(golden):
    found, _ = golden.pipe.encode_prompt("", "cpu", 1, False)
    torch.testing.assert_close(found, golden.numbers["null_text_embeds"], rtol=0, atol=1e-5)


def test_representation_is_that_of_the_authors(golden):
    motion = golden.read()
    assert motion.maps.keys() == set(golden.sites)
    for site, found in motion.maps.items():
        torch.testing.assert_close(found.indices, golden.numbers[f"rep.{site}.indices"], rtol=0, atol=0)
        atol = 1e-5 if golden.shown is None else 2e-5
        torch.testing.assert_close(found.values, golden.numbers[f"rep.{site}.values"], rtol=0, atol=atol)


def test_energies_and_latents_are_those_of_the_authors(golden):
    numbers = golden.numbers
    maps = {s: SparseMap(numbers[f"rep.{s}.values"], numbers[f"rep.{s}.indices"]) for s in golden.sites}
    latents, trace = golden.run(Motion(maps, golden.read().grid, {}))
    assert golden.pipe.scheduler.timesteps.tolist() == golden.facts["timesteps"]
    assert len(trace.steps) == len(golden.steps)
    for step, wanted in zip(trace.steps, golden.steps, strict=True):
        assert step.energy == pytest.approx(wanted["loss_raw"], abs=1e-5)
        assert step.energy_by_site == pytest.approx(wanted["loss_per_module"], abs=1e-5)
        assert step.weight == pytest.approx(2000 * wanted["ramp"])
    assert len(latents) == golden.config["inference_steps"]
    assert all(near(found, numbers[f"step{i}.latents_out"]) for i, found in enumerate(latents))


@pytest.mark.parametrize("checkpointing", [True, False])
def test_gradients_are_those_of_the_authors(golden, checkpointing):
    numbers, motion, backbone = golden.numbers, golden.read(), backbone_of(golden.pipe)
    starts = [numbers["motion_noise"], *(numbers[f"step{i}.latents_out"] for i in range(len(golden.steps) - 1))]
    for i, (latents, step) in enumerate(zip(starts, golden.steps, strict=True)):
        call = {
            "sample": latents,
            "timestep": torch.tensor(golden.facts["timesteps"][i]),
            "encoder_hidden_states": numbers["cond_embeds"].repeat_interleave(latents.shape[2], 0),
        }
        if golden.condition is not None:
            call = backbone.conditioned(call, golden.condition, golden.picture_latents, golden.scale)
        _, _, gradient = energy_and_gradient(
            backbone, golden.pipe.unet.forward, call, motion, checkpointing=checkpointing
        )
        wanted = numbers[f"step{i}.gradient"]
        assert (2000 * step["ramp"] * gradient - wanted).norm() <= 5e-4 * wanted.norm()


def replayed(golden, frames, at_extraction, at_generation):
    ramps = [step["ramp"] for step in golden.steps]
    return replay(
        golden.pipe,
        golden.sites,
        golden.numbers,
        golden.facts["timesteps"],
        ramps,
        frames,
        at_extraction,
        at_generation,
    )


def test_the_transcription_of_the_authors_run_is_theirs(tmp_path):
    golden = Case(CASES[RGB], tmp_path)
    numbers = golden.numbers
    seen = numbers["video_latents"][:, :, [0]]
    representation, energies, latents = replayed(golden, [0], seen, numbers["controlnet_images"])
    for site, (_, indices) in representation.items():
        assert torch.equal(indices, numbers[f"rep.{site}.indices"].long())
    assert energies == pytest.approx([step["loss_raw"] for step in golden.steps], abs=1e-5)
    assert all(near(found, numbers[f"step{i}.latents_out"]) for i, found in enumerate(latents))


@pytest.mark.filterwarnings("ignore:Passing `image` as a list of 4d")
@pytest.mark.parametrize("frames", [(0,), (0, 5)])
def test_sketches_are_followed_as_in_the_transcription(tmp_path, frames):
    """Scribbles, which SparseCtrl takes as pixels; of the reference it is shown photographs."""
    golden = Case(CASES[RGB], tmp_path)
    golden.pipe = sparse_pipe(tmp_path, "sketch", channels=(32, 64, 64, 64), layers=2)
    generator = torch.Generator().manual_seed(1)
    seen, drawn = (torch.rand(len(frames), 3, 128, 192, generator=generator) for _ in range(2))
    golden.shown, golden.condition = Condition(seen * 2 - 1, frames), Condition(drawn * 2 - 1, frames)
    representation, energies, wanted = replayed(golden, frames, seen.movedim(0, 1)[None], drawn.movedim(0, 1)[None])
    motion = golden.read()
    for site, (values, indices) in representation.items():
        assert torch.equal(motion.maps[site].indices.long(), indices)
        torch.testing.assert_close(motion.maps[site].values, values, rtol=0, atol=2e-5)
    latents, trace = golden.run(motion)
    assert [step.energy for step in trace.steps] == pytest.approx(energies, abs=1e-5)
    assert all(map(near, latents, wanted))
