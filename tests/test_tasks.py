"""Pipelines and networks of other tasks: adapters without pictures, stacked batches, video to video, ControlNet."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    AnimateDiffControlNetPipeline,
    AnimateDiffPAGPipeline,
    AnimateDiffVideoToVideoPipeline,
    CogVideoXVideoToVideoPipeline,
    ControlNetModel,
    HunyuanVideo15ImageToVideoPipeline,
    WanPipeline,
    WanVideoToVideoPipeline,
)
from diffusers.models import embeddings
from diffusers.pipelines.wan import pipeline_wan_video2video
from PIL import Image
from test_sampling import HALF, normal
from tiny import state, tiny_pipe, tiny_unet
from tiny_transformers import FAMILIES
from tiny_wan import CHANNELS, transformer, wan, without_ftfy

from motionclone.backbones.families import backbone_of
from motionclone.cloning import clone, generate
from motionclone.errors import GuidanceWarning, InputError
from motionclone.extraction import extract_motion
from motionclone.media.conditions import Condition
from motionclone.sampling import motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings

READING = Extraction()
SETTINGS = Settings(
    guidance=HALF, sampling=Sampling(steps=2, guided_steps=1, guidance_scale=3.0, num_frames=3, height=64, width=64)
)


def clip(frames=3, height=64, width=64):
    return torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_pipe(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def motion(plain):
    return extract_motion(plain, clip())


def of(kind, plain, **parts):
    pipe = kind(**plain.components, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe, motion, settings=HALF, **changes):
    call = {"prompt": "a cat", "num_frames": 3, "height": 64, "width": 64, "num_inference_steps": 4}
    call |= {"guidance_scale": 3.0, "output_type": "latent", "latents": normal(1, 4, 3, 8, 8)}
    with motion_guidance(pipe, motion, settings) as trace:
        return pipe(**call | changes).frames, trace.steps


def load_ip_adapters(unet, count):
    """As `load_ip_adapter` does, with random weights."""
    torch.manual_seed(5)
    loaded = []
    for _ in range(count):
        attention, number = {}, 1
        for name in unet.attn_processors:
            if "motion_modules" not in name and not name.endswith("attn1.processor"):
                wide = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
                for part in ("to_k_ip", "to_v_ip"):
                    attention[f"{number}.{part}.weight"] = torch.randn(wide, 32)
                number += 2
        image = {"proj.weight": torch.randn(4 * 32, 16), "proj.bias": torch.zeros(4 * 32)}
        image |= {"norm.weight": torch.ones(32), "norm.bias": torch.zeros(32)}
        loaded.append({"image_proj": image, "ip_adapter": attention})
    unet._load_ip_adapter_weights(loaded)


KINDS = {
    "plain": lambda: embeddings.ImageProjection(16, 32, 4),
    "full face": lambda: embeddings.IPAdapterFullImageProjection(16, 32),
    "plus": lambda: embeddings.IPAdapterPlusImageProjection(16, 32, 16, depth=1, dim_head=8, heads=2, num_queries=4),
    "face id": lambda: embeddings.IPAdapterFaceIDImageProjection(16, 32, num_tokens=4),
    "face id plus": lambda: embeddings.IPAdapterFaceIDPlusImageProjection(16, 32, 16, 16, depth=1, dim_head=8, heads=2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_motion_is_read_as_if_no_ip_adapter_were_loaded(tmp_path, motion, kind):
    pipe = tiny_pipe(tmp_path)
    load_ip_adapters(pipe.unet, 2)
    pipe.unet.encoder_hid_proj.image_projection_layers[0] = KINDS[kind]()
    pipe.set_ip_adapter_scale([0.7, [0.2, 0.9]])
    before = state(pipe.unet)
    found = extract_motion(pipe, clip())
    for site, wanted in motion.maps.items():
        assert torch.equal(found.maps[site].values, wanted.values)
        assert torch.equal(found.maps[site].indices, wanted.indices)
    assert state(pipe.unet) == before


def test_an_ip_adapter_acts_in_a_guided_call_that_brings_a_picture_and_in_no_clone(tmp_path, plain, motion):
    """Both halves of a batch have their own picture."""
    pipe = tiny_pipe(tmp_path)
    load_ip_adapters(pipe.unet, 1)
    seen = {"ip_adapter_image_embeds": [normal(2, 1, 16)]}
    followed, steps = run(pipe, motion, **seen)
    assert len(steps) == 2
    assert not torch.equal(followed, run(plain, motion)[0])
    off, _ = run(pipe, motion, HALF.model_copy(update={"weight": 0.0}), **seen)
    assert not torch.equal(followed, off)
    assert torch.equal(
        off,
        pipe(
            "a cat",
            num_frames=3,
            height=64,
            width=64,
            num_inference_steps=4,
            guidance_scale=3.0,
            output_type="latent",
            latents=normal(1, 4, 3, 8, 8),
            **seen,
        ).frames,
    )
    with pytest.warns(GuidanceWarning, match=r"IP-Adapter does not act: .*ip_adapter_image.* motion_guidance"):
        made = generate(pipe, motion, "a cat", SETTINGS)
    assert len(made.steps) == 1
    assert torch.equal(made.frames, generate(plain, motion, "a cat", SETTINGS).frames)
    assert torch.equal(followed, run(pipe, motion, **seen)[0])  # and acts again afterwards


def test_perturbed_attention_is_refused_by_name_and_works_when_it_is_off(plain, motion):
    pipe = of(AnimateDiffPAGPipeline, plain, pag_applied_layers="mid")
    refused = pytest.raises(InputError, match=r"AnimateDiffPAGPipeline stacks a part .* call it with pag_scale=0")
    for scale in (3.0, 1.0):
        with refused:
            run(pipe, motion, guidance_scale=scale)
    latents, steps = run(pipe, motion, pag_scale=0.0)
    wanted, own = run(plain, motion)
    assert torch.equal(latents, wanted)
    assert steps == own
    off = HALF.model_copy(update={"weight": 0.0})
    assert torch.equal(
        run(pipe, motion, off)[0],
        pipe(
            "a cat",
            num_frames=3,
            height=64,
            width=64,
            num_inference_steps=4,
            guidance_scale=3.0,
            output_type="latent",
            latents=normal(1, 4, 3, 8, 8),
        ).frames,
    )
    with pytest.raises(InputError, match="with pag_scale=0, inside motion_guidance"):
        clone(pipe, clip(), "a cat", SETTINGS)


def test_a_loop_of_somebodys_own_is_guided_stacked_or_not(tmp_path, motion):
    """No pipeline has run, so none says whether it stacks."""
    pipe = tiny_pipe(tmp_path)
    words, z = normal(6, 6, 32, seed=2), normal(1, 4, 3, 8, 8)
    pipe.scheduler.set_timesteps(4)
    t = pipe.scheduler.timesteps[0]
    with torch.no_grad(), motion_guidance(pipe, motion, HALF) as trace:
        both = pipe.unet(torch.cat([z, z]), t, encoder_hidden_states=words).sample
        pipe.scheduler.set_timesteps(4)
        conditional = pipe.unet(z, pipe.scheduler.timesteps[0], encoder_hidden_states=words[3:]).sample
    assert trace.steps[0].energy == pytest.approx(trace.steps[1].energy, rel=1e-5)
    torch.testing.assert_close(both[1:], conditional, rtol=0, atol=1e-4)


def test_other_stacks_than_for_the_two_prompts_are_refused(plain, motion):
    run(plain, motion)  # with text guidance
    backbone = backbone_of(plain)
    for rows in (3, 4):
        with pytest.raises(InputError, match=f"called with {rows} rows, which are not the same latents"):
            backbone.split({"sample": normal(rows, 4, 3, 8, 8)})


@pytest.mark.parametrize("name", ["cogvideox-2b", "ltx", "wan-2.1"])
def test_several_videos_of_a_prompt_are_each_guided_as_alone(name):
    tiny = FAMILIES[name]
    pipe = tiny.make()
    backbone = backbone_of(pipe)
    frames, size = tiny.num_frames, {"height": tiny.height, "width": tiny.width}
    motion = extract_motion(pipe, clip(frames, **size), Extraction(t_alpha=500, blocks=(tiny.block,)))
    shape = backbone.latents_shape(frames, **size)
    noise = torch.cat([normal(*shape, seed=seed) for seed in (1, 2)])
    settings = Guidance(weight=tiny.weight, guided_fraction=0.6, warm_up=0, cool_down=0)
    sampling = Sampling(num_frames=frames, guidance_scale=3.0, **size)

    def videos(count):
        if name == "cogvideox-2b":  # whose pipeline makes one of every prompt
            return {"prompt": ["a cat"] * count}
        return {"prompt": "a cat", "num_videos_per_prompt": count}

    def made(latents):
        with motion_guidance(pipe, motion, settings) as trace:
            found = pipe(
                **backbone.pipeline_arguments(sampling),
                **videos(len(latents)),
                num_inference_steps=4,
                latents=backbone.initial_latents(latents),
                output_type="latent",
            ).frames
        return found, trace.steps

    together, steps = made(noise)
    alone = [made(noise[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(together, torch.cat([latents for latents, _ in alone]), rtol=1e-2, atol=1e-3)
    assert steps[0].energy == pytest.approx(sum(one[0].energy for _, one in alone) / 2, rel=1e-4)


@pytest.fixture
def _clean_prompts(monkeypatch):
    without_ftfy(monkeypatch)
    monkeypatch.setattr(pipeline_wan_video2video, "ftfy", SimpleNamespace(fix_text=str), raising=False)


@pytest.mark.usefixtures("_clean_prompts")
@pytest.mark.parametrize("name", ["wan-2.1", "cogvideox-2b"])
def test_video_to_video_is_guided_but_not_called_from_here(name):
    tiny = FAMILIES[name]
    kind = WanVideoToVideoPipeline if name == "wan-2.1" else CogVideoXVideoToVideoPipeline
    pipe = kind(**{part: each for part, each in tiny.make().components.items() if part != "transformer_2"})
    pipe.set_progress_bar_config(disable=True)
    settings = Settings(
        extraction=Extraction(t_alpha=500, blocks=(tiny.block,)),
        guidance=Guidance(weight=tiny.weight, guided_fraction=0.6, warm_up=0, cool_down=0),
        sampling=Sampling(num_frames=tiny.num_frames, height=tiny.height, width=tiny.width),
    )
    frames = clip(tiny.num_frames, tiny.height, tiny.width)
    with pytest.raises(InputError, match=r"needs video and takes no num_frames.*call the pipeline yourself inside"):
        clone(pipe, frames, "a cat", settings)
    motion = extract_motion(pipe, frames, settings.extraction)
    call = {"prompt": "a cat", "height": tiny.height, "width": tiny.width, "num_inference_steps": 6, "strength": 0.9}
    call |= {"output_type": "latent", "video": [Image.new("RGB", (tiny.width, tiny.height))] * tiny.num_frames}
    call |= {"max_sequence_length": 16, "guidance_scale": 3.0}

    def made():
        return pipe(**call, generator=torch.Generator().manual_seed(0)).frames

    with motion_guidance(pipe, motion, settings.guidance) as trace:
        guided = made()
    assert trace.steps
    assert not torch.equal(guided, made())


def test_video_to_video_and_control_on_animatediff_say_how_they_are_guided(plain, motion, monkeypatch):
    changed = of(AnimateDiffVideoToVideoPipeline, plain)
    controlled = of(AnimateDiffControlNetPipeline, plain, controlnet=ControlNetModel.from_unet(tiny_unet()))
    monkeypatch.setattr(plain.vae, "encode", None)  # it is said before anything is encoded
    for pipe, said in ((changed, "needs video and takes no num_frames"), (controlled, "needs conditioning_frames")):
        for picture in (None, Condition(clip()[:1])):
            with pytest.raises(InputError, match=f"{type(pipe).__name__} {said}.*yourself inside motion_guidance"):
                clone(pipe, clip(), "a cat", SETTINGS, condition=picture)
        with pytest.raises(InputError, match=said):
            generate(pipe, motion, "a cat", SETTINGS)
    hints = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    assert len(run(controlled, motion, conditioning_frames=hints)[1]) == 2


def test_networks_that_want_more_than_is_brought_are_refused_by_name(tmp_path, monkeypatch):
    whole = wan()
    parts = {**whole.components, "transformer": transformer(in_channels=2 * CHANNELS + 4)}
    with pytest.raises(InputError, match="takes 12 channels and WanPipeline gives it 4"):
        backbone_of(WanPipeline(**parts))
    without_ftfy(monkeypatch)
    pictured = FAMILIES["wan-2.1-i2v"].make()
    pictured.transformer.register_to_config(pos_embed_seq_len=514)
    with pytest.raises(InputError, match="follows two pictures"):
        backbone_of(pictured)
    distilled = FAMILIES["hunyuan-1.5-i2v"].make()
    assert isinstance(distilled, HunyuanVideo15ImageToVideoPipeline)
    distilled.transformer.register_to_config(use_meanflow=True)
    with pytest.raises(InputError, match="use_meanflow"):
        backbone_of(distilled)
    told = SimpleNamespace(unet=tiny_pipe(tmp_path).unet, get_guidance_scale_embedding=None)
    told.unet.register_to_config(time_cond_proj_dim=8)
    with pytest.raises(InputError, match="time_cond_proj_dim"):
        backbone_of(told)


def test_a_pipeline_without_ftfy_that_needs_it_is_refused(monkeypatch):
    monkeypatch.setattr("motionclone.backbones.wan.is_ftfy_available", lambda: False)
    pipe = wan()
    parts = {name: part for name, part in pipe.components.items() if name != "transformer_2"}
    with pytest.raises(InputError, match="WanVideoToVideoPipeline needs the package ftfy"):
        backbone_of(WanVideoToVideoPipeline(**parts))
    assert backbone_of(pipe)
