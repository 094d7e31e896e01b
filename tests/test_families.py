"""A family is its file, one line in the list and a preset: here a toy of its own, from clip to guided video."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import FrozenDict
from torch import nn
from torch.nn import functional

from motionclone.backbones import families
from motionclone.backbones.transformer import Transformer
from motionclone.cloning import clone
from motionclone.errors import InputError
from motionclone.inversion import inverted_motion
from motionclone.settings import Settings, preset

# What somebody else made: a network of two blocks and a pipeline around it.


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn1 = Attention()

    def forward(self, tokens):
        return tokens + self.attn1(tokens)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_qkv = nn.Linear(4, 12)

    def forward(self, tokens):
        query, key, value = self.to_qkv(tokens)[:, None].chunk(3, dim=-1)
        return functional.scaled_dot_product_attention(3 * query, 3 * key, value)[:, 0]


class Network(nn.Module):
    config = FrozenDict(in_channels=4, out_channels=4, patch_size=1)
    dtype = torch.float32

    def __init__(self):
        super().__init__()
        self.blocks, self.norm_out = nn.ModuleList([Block(), Block()]), nn.LayerNorm(4)

    def forward(self, hidden_states, timestep, return_dict=True):
        tokens = hidden_states.flatten(2).transpose(1, 2) + timestep / 1000
        for block in self.blocks:
            tokens = block(tokens)
        return (self.norm_out(tokens).transpose(1, 2).reshape(hidden_states.shape),)


class Pipeline:
    name_or_path = "toy"
    guidance_scale = 1.0
    _execution_device = torch.device("cpu")

    def __init__(self):
        torch.manual_seed(0)
        self.transformer = Network().requires_grad_(False)
        self.scheduler = FlowMatchEulerDiscreteScheduler()

    def maybe_free_model_hooks(self):
        pass

    def __call__(self, prompt, num_frames, height, width, num_inference_steps, latents, generator, output_type):
        self.scheduler.set_timesteps(num_inference_steps)
        for t in self.scheduler.timesteps:
            (output,) = self.transformer(latents, t, return_dict=False)
            latents = self.scheduler.step(output, t, latents).prev_sample
        return SimpleNamespace(frames=[latents[0, :3].movedim(0, 1).sigmoid()])


# The family's file.


@dataclass(frozen=True)
class Toy(Transformer):
    """Latents are frames at half their size, with one channel more."""

    stacks = ("blocks",)
    compression = (1, 2)

    @staticmethod
    def fits(pipe):
        return isinstance(pipe, Pipeline)

    def token_grid(self, call):
        return tuple(call["hidden_states"].shape[2:])

    def check_prompt(self, prompt):
        pass

    def encode_video(self, frames, generator):
        small = functional.avg_pool2d(frames, 2).movedim(0, 1)[None]
        return torch.cat([small, small[:, :1]], dim=1)

    def decode_video(self, latents):
        return functional.interpolate(latents[0, :3].movedim(0, 1), scale_factor=2)

    def denoiser_call(self, latents, timestep, prompt):
        return {"hidden_states": latents, "timestep": torch.tensor(float(timestep))}

    def conditioned(self, call, condition, latents, scale):
        raise AssertionError("it is shown no pictures")

    def pipeline_arguments(self, sampling):
        return {"num_frames": sampling.num_frames, "height": sampling.height, "width": sampling.width}


# Its preset.

PRESET = """
[extraction]
t_alpha = 500
blocks = ["blocks.0"]
[guidance]
weight = 60.0
guided_fraction = 0.5
warm_up = 0
cool_down = 0
[sampling]
steps = 8
guided_steps = 4
num_frames = 5
height = 8
width = 16
"""


@pytest.fixture
def settings(monkeypatch, tmp_path):
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, Toy))  # the one line in the list
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "toy.toml").write_text(PRESET)
    monkeypatch.setattr("motionclone.settings.resources.files", lambda _: tmp_path)
    return preset("toy")


def clip():
    return torch.rand(5, 3, 8, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_family_of_somebody_else_reads_guides_and_inverts(settings):
    pipe = Pipeline()
    guided = clone(pipe, clip(), "a cat", settings)
    off = settings.guidance.model_copy(update={"weight": 1e-9})
    plain = clone(pipe, clip(), "a cat", Settings(**{**dict(settings), "guidance": off}))
    assert len(guided.steps) == len(plain.steps) > 2
    assert guided.steps[0].energy == pytest.approx(plain.steps[0].energy)
    assert guided.steps[-1].energy < 0.9 * plain.steps[-1].energy
    latents = families.backbone_of(pipe).encode_video(clip(), torch.Generator())
    motion = inverted_motion(pipe, latents, settings.extraction)
    assert motion.grid == {"blocks.0.attn1": (5, 4, 8)}
    assert (motion.record.num_frames, motion.record.size) == (5, (8, 16))


def test_what_is_not_in_the_list_is_refused():
    with pytest.raises(InputError, match="Pipeline is not supported"):
        families.backbone_of(Pipeline())
