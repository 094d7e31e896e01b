"""What is LTX-2's own: three calls a step, sound beside the video, and a reference without sound."""

from functools import partial

import pytest
import torch
from diffusers import LTX2ImageToVideoPipeline
from tiny_ltx2 import STG, ltx2

from motionclone.backbones.backbone import named_arguments
from motionclone.backbones.capture import listening
from motionclone.backbones.families import backbone_of
from motionclone.cloning import clone
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.sampling import motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings

FRAMES, HEIGHT, WIDTH = 17, 64, 96
SITE = "transformer_blocks.1.attn1"
READING = Extraction(t_alpha=500, blocks=("transformer_blocks.1",))
GUIDANCE = Guidance(weight=1000.0, guided_fraction=0.5, warm_up=0, cool_down=0)
NO_TEXT_GUIDANCE = {"guidance_scale": 1.0, "audio_guidance_scale": 1.0}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def clip():
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=seeded(3)) * 2 - 1


def noise(backbone):
    return torch.randn(backbone.latents_shape(FRAMES, HEIGHT, WIDTH), generator=seeded(5))


def run(pipe, steps=4, prompt="a cat", **changes):
    """The calls of the denoiser, their outputs (video, sound), and what was made."""
    calls, outputs = [], []

    def note(module, args, kwargs, output):
        calls.append(named_arguments(module, args, kwargs))
        outputs.append(output)

    hook = pipe.transformer.register_forward_hook(note, with_kwargs=True)
    arguments = {"guidance_scale": 3.0, "generator": seeded(0), "output_type": "latent"} | STG | changes
    backbone = backbone_of(pipe)
    try:
        made = pipe(
            prompt=prompt,
            num_frames=FRAMES,
            height=HEIGHT,
            width=WIDTH,
            num_inference_steps=steps,
            latents=backbone.initial_latents(noise(backbone)),
            **arguments,
        )
    finally:
        hook.remove()
    return calls, outputs, made


def assert_same_call(found, wanted, ignored=()):
    """Positions left out are those that the denoiser works out from frames and sizes."""
    names = {name for call in (found, wanted) for name, value in call.items() if value is not None}
    for name in names - {"video_coords", "audio_coords", "use_cross_timestep", "return_dict", *ignored}:
        torch.testing.assert_close(found.get(name, False), wanted[name], rtol=0, atol=0)


@pytest.fixture(scope="module")
def pipe():
    return ltx2()


@pytest.fixture(scope="module")
def motion(pipe):
    return extract_motion(pipe, clip(), READING)


@pytest.mark.parametrize(("text", "batch"), [({}, 2), (NO_TEXT_GUIDANCE, 1)], ids=["with text guidance", "without"])
def test_all_calls_of_a_step_get_the_same_increment_on_the_video_and_none_on_the_sound(pipe, motion, text, batch):
    with motion_guidance(pipe, motion, GUIDANCE) as trace:
        calls, outputs, _ = run(pipe, **text)
    assert [len(call["hidden_states"]) for call in calls] == [batch, 1, 1] * 4
    assert 1 < len(trace.steps) < 4
    with torch.no_grad():
        plain = [pipe.transformer(**call) for call in calls]
    increments = [found[0] - own[0] for found, own in zip(outputs, plain, strict=True)]
    for step in range(len(trace.steps)):
        first, *others = increments[3 * step : 3 * step + 3]
        assert first.abs().max() > 1e-2
        for other in others:
            torch.testing.assert_close(other.expand_as(first), first, rtol=0, atol=1e-5)
    assert all((rest == 0).all() for rest in increments[3 * len(trace.steps) :])
    for found, own in zip(outputs, plain, strict=True):
        torch.testing.assert_close(found[1], own[1], rtol=0, atol=1e-5)


def test_a_run_that_begins_like_the_last_is_guided_anew(pipe, motion):
    with motion_guidance(pipe, motion, GUIDANCE) as trace:
        for prompt in ("a cat", "a dog"):
            run(pipe, steps=2, prompt=prompt, **NO_TEXT_GUIDANCE)
    assert [step.index for step in trace.steps] == [0, 0]
    assert trace.steps[0].energy != trace.steps[1].energy


def test_guidance_off_is_the_plain_pipeline_in_picture_and_sound(pipe, motion):
    *_, plain = run(pipe)
    with motion_guidance(pipe, motion, GUIDANCE.model_copy(update={"weight": 0.0})):
        *_, off = run(pipe)
    assert torch.equal(plain.frames, off.frames)
    assert torch.equal(plain.audio, off.audio)


def test_a_clip_is_read_as_the_pipeline_calls_for_the_streams_apart(pipe):
    backbone = backbone_of(pipe)
    (*_, apart), (*_, output), _ = run(pipe, steps=2)
    latents = pipe._unpack_latents(apart["hidden_states"], *backbone.token_grid(apart))
    with torch.no_grad():
        found = backbone.denoiser_call(latents, float(apart["timestep"]), "a cat")
        assert_same_call(found, apart, {"audio_hidden_states"})
        assert found["audio_hidden_states"].shape == apart["audio_hidden_states"].shape
        assert torch.equal(pipe.transformer(**found).sample, output[0])


@pytest.mark.parametrize("apart", [True, False])
def test_the_motion_hangs_on_the_sound_only_where_the_streams_meet(pipe, apart):
    backbone = backbone_of(pipe)
    with torch.no_grad():
        call = backbone.denoiser_call(noise(backbone), 500, "a cat")
        assert call["isolate_modalities"]
        call["isolate_modalities"] = apart
        heard = []
        for sound in (call["audio_hidden_states"], torch.randn(call["audio_hidden_states"].shape)):
            with listening(partial(backbone.tap, call), [SITE]) as found:
                pipe.transformer(**call | {"audio_hidden_states": sound})
            heard.append(found[SITE])
    assert all(torch.equal(a, b) == apart for a, b in zip(*heard, strict=True))


def test_all_that_is_stacked_is_split(pipe):
    (alone, *_), *_ = run(pipe, **NO_TEXT_GUIDANCE)
    (stacked, *_), *_ = run(pipe)
    unconditional, conditional = backbone_of(pipe).split(stacked)
    assert_same_call(conditional, alone)
    assert all(len(value) == 1 for value in unconditional.values() if torch.is_tensor(value))
    assert not torch.equal(unconditional["encoder_hidden_states"], conditional["encoder_hidden_states"])


def test_latents_are_decoded_as_the_pipeline_decodes_them(pipe):
    backbone = backbone_of(pipe)
    *_, latents = run(pipe)
    *_, video = run(pipe, output_type="pt")
    vae = pipe.vae
    scaled = pipe._normalize_latents(latents.frames, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
    with torch.no_grad():
        found = backbone.decode_video(scaled)
    torch.testing.assert_close(found.clamp(-1, 1), video.frames[0] * 2 - 1, rtol=0, atol=1e-5)


def test_a_motion_is_cloned(pipe):
    sampling = Sampling(steps=4, guided_steps=2, guidance_scale=3.0, num_frames=FRAMES, height=HEIGHT, width=WIDTH)
    settings = Settings(extraction=READING, guidance=GUIDANCE, sampling=sampling)
    unguided = settings.model_copy(update={"guidance": GUIDANCE.model_copy(update={"weight": 0.0})})
    reported = []
    guided = clone(pipe, clip(), "a dog", settings, on_step=reported.append)
    assert guided.frames.shape == clip().shape
    assert [step.index for step in reported] == [1, 2, 3, 4]
    assert not torch.equal(guided.frames, clone(pipe, clip(), "a dog", unguided).frames)


def test_other_pipelines_of_the_model_are_refused(pipe):
    with pytest.raises(InputError, match="LTX2ImageToVideoPipeline is not supported"):
        backbone_of(LTX2ImageToVideoPipeline(**pipe.components))
