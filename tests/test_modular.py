"""Modular pipelines of diffusers: guided as the classic pipeline of the same parts, or refused by name."""

from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import AdaptiveProjectedGuidance, ClassifierFreeGuidance
from diffusers.modular_pipelines.hunyuan_video1_5 import HunyuanVideo15AutoBlocks
from diffusers.modular_pipelines.ltx import LTXAutoBlocks
from diffusers.modular_pipelines.wan import WanBlocks, encoders
from tiny_transformers import FAMILIES

from motionclone.backbones import modular as modular_module
from motionclone.backbones.families import backbone_of
from motionclone.cloning import clone, generate
from motionclone.errors import InputError
from motionclone.extraction import extract_motion, shared_noise
from motionclone.sampling import motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings

BLOCKS = {
    "wan-2.1": WanBlocks,
    "ltx": lambda: LTXAutoBlocks().get_workflow("text2video"),
    "hunyuan-1.5": lambda: HunyuanVideo15AutoBlocks().get_workflow("text2video"),
}
SCALE = 3.0


def modular(pipe, blocks, guider=None):
    """A modular pipeline of a classic one's parts."""
    made = blocks.init_pipeline()
    components = {name: part for name, part in pipe.components.items() if part is not None}
    made.update_components(**components | {"guider": guider or ClassifierFreeGuidance(guidance_scale=SCALE)})
    made.set_progress_bar_config(disable=True)
    return made


def guidance(tiny):
    return Guidance(weight=tiny.weight, guided_fraction=0.9, warm_up=0, cool_down=0)


def clip(tiny):
    shape = (tiny.num_frames, 3, tiny.height, tiny.width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(autouse=True)
def _without_ftfy(monkeypatch):
    """Wan's blocks pass prompts through it, which the tests do without."""
    monkeypatch.setattr(encoders, "ftfy", SimpleNamespace(fix_text=str), raising=False)
    monkeypatch.setattr(modular_module, "is_ftfy_available", lambda: True)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_modular_pipeline_is_guided_as_the_classic_one(name):
    tiny = FAMILIES[name]
    pipe = tiny.make()
    size = {"num_frames": tiny.num_frames, "height": tiny.height, "width": tiny.width}
    call = backbone_of(pipe).pipeline_arguments(Sampling(guidance_scale=SCALE, steps=3, guided_steps=1, **size))
    call |= {"num_inference_steps": 3, "output_type": "pt", "negative_prompt": "bad"}
    reading = Extraction(t_alpha=500, blocks=(tiny.block,))
    motion = extract_motion(pipe, clip(tiny), reading)
    call["latents"] = shared_noise(pipe, motion)
    with (
        backbone_of(pipe).prepared(Sampling(guidance_scale=SCALE)),
        motion_guidance(pipe, motion, guidance(tiny)) as one,
    ):
        wanted = pipe("a cat", **call).frames
    blocks = modular(pipe, BLOCKS[name]())
    found = extract_motion(blocks, clip(tiny), reading)
    assert all(torch.equal(found.maps[site].values, kept.values) for site, kept in motion.maps.items())
    call.pop("guidance_scale", None)
    with motion_guidance(blocks, found, guidance(tiny)) as other:
        frames = blocks(prompt="a cat", **call, output="videos")
    assert len(one.steps) > 0
    assert [step.energy for step in other.steps] == pytest.approx([step.energy for step in one.steps], rel=1e-5)
    torch.testing.assert_close(torch.as_tensor(frames), wanted, rtol=0, atol=1e-5)
    assert not torch.equal(torch.as_tensor(blocks(prompt="a cat", **call, output="videos")), frames)


def test_calls_of_another_modular_pipeline_are_its_own():
    tiny = FAMILIES["wan-2.1"]
    pipe = tiny.make()
    one, other = modular(pipe, WanBlocks()), modular(pipe, WanBlocks())
    motion = extract_motion(one, clip(tiny), Extraction(t_alpha=500, blocks=(tiny.block,)))
    size = {"num_frames": tiny.num_frames, "height": tiny.height, "width": tiny.width}
    call = {"prompt": "a cat", "num_inference_steps": 2, "output_type": "pt", "output": "videos", **size}
    call["latents"] = shared_noise(one, motion)
    plain = torch.as_tensor(other(**call))
    with pytest.warns(UserWarning, match="another pipeline called the network"), motion_guidance(one, motion):
        assert torch.equal(torch.as_tensor(other(**call)), plain)


@pytest.fixture
def wan():
    return FAMILIES["wan-2.1"].make()


def test_what_modular_pipelines_cannot_is_refused_by_name(wan, monkeypatch):
    tiny, blocks = FAMILIES["wan-2.1"], modular(wan, WanBlocks())
    for verb in (clone, generate):
        with pytest.raises(
            InputError, match=r"WanModularPipeline says itself what it takes .*inside motion_guidance\."
        ):
            verb(blocks, clip(tiny), "a cat", Settings())
    with pytest.raises(InputError, match=r"is guided by AdaptiveProjectedGuidance, .*give it a ClassifierFreeGuidance"):
        backbone_of(modular(wan, WanBlocks(), AdaptiveProjectedGuidance()))
    with pytest.raises(InputError, match="without guidance_rescale"):
        backbone_of(modular(wan, WanBlocks(), ClassifierFreeGuidance(guidance_rescale=0.5)))
    with pytest.raises(InputError, match=r"this WanModularPipeline has no .*vae.*load_components"):
        backbone_of(WanBlocks().init_pipeline())
    with pytest.raises(
        InputError, match=r"this LTXModularPipeline takes pictures, too, .*get_workflow\(.text2video.\)"
    ):
        backbone_of(LTXAutoBlocks().init_pipeline())
    for name in ("WanImage2VideoModularPipeline", "FluxModularPipeline"):
        with pytest.raises(InputError, match=rf"{name} is not supported; of modular pipelines .*WanModularPipeline"):
            backbone_of(getattr(diffusers, name)())
    monkeypatch.setattr(modular_module, "is_ftfy_available", lambda: False)
    with pytest.raises(InputError, match="WanModularPipeline needs the package ftfy: pip install ftfy"):
        backbone_of(blocks)
