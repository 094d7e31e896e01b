"""What HunyuanVideo and HunyuanVideo-1.5 have to themselves; the rest is in test_transformers.py."""

import pytest
import torch
from diffusers import (
    AdaptiveProjectedGuidance,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideoImageToVideoPipeline,
    UniPCMultistepScheduler,
)
from tiny_hunyuan import hunyuan, hunyuan15

from motionclone.backbones.backbone import backbone_of
from motionclone.cloning import clone, generate
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.sampling import motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings

SIZE = {"num_frames": 5, "height": 32, "width": 48}
SETTINGS = Settings(
    extraction=Extraction(t_alpha=500, blocks=("transformer_blocks.1",)),
    guidance=Guidance(weight=100.0, guided_fraction=0.2, warm_up=1, cool_down=1),
    sampling=Sampling(steps=4, guided_steps=1, **SIZE),
)
# The shift of 7 puts the steps at t = 1000, 955, 875 and 700, of which three are guided.


@pytest.fixture(scope="module", params=[hunyuan, hunyuan15])
def pipe(request):
    return request.param()


def clip():
    shape = (SIZE["num_frames"], 3, SIZE["height"], SIZE["width"])
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def noise(pipe):
    shape = backbone_of(pipe).latents_shape(*SIZE.values())
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def guided_by_text(pipe):
    """Arguments that make the pipeline call for a negative prompt, too; in 1.5 the guider does."""
    return {"negative_prompt": "a dog"} | ({} if hasattr(pipe, "guider") else {"true_cfg_scale": 4.0})


def calls_of(pipe, **changes):
    """Arguments and output of every call of the denoiser in a run of the pipeline, and what the run ends with."""
    calls = []
    hook = pipe.transformer.register_forward_hook(
        lambda _module, _args, given, output: calls.append((given, output[0])), with_kwargs=True
    )
    call = {"num_inference_steps": 4, "latents": noise(pipe), "output_type": "latent", **SIZE, **changes}
    with hook:
        frames = pipe("a cat", **call).frames
    return calls, frames


def test_the_denoiser_is_called_as_the_pipeline_calls_it(pipe):
    calls, _ = calls_of(pipe)
    given, output = calls[0]
    with torch.no_grad():
        call = backbone_of(pipe).denoiser_call(noise(pipe), 1000, "a cat")
        assert torch.equal(pipe.transformer(**call)[0], output)
    for name, value in call.items():
        torch.testing.assert_close(given[name], value, rtol=0, atol=0)


def test_words_are_heard_and_not_only_the_template(pipe):
    backbone = backbone_of(pipe)
    with torch.no_grad():
        cat, dog = (pipe.transformer(**backbone.denoiser_call(noise(pipe), 900, it))[0] for it in ("a cat", "a dog"))
    assert (cat - dog).abs().max() > 1e-4


def test_prompt_and_negative_prompt_get_the_same_increment(pipe):
    motion = extract_motion(pipe, clip(), SETTINGS.extraction)
    with motion_guidance(pipe, motion, SETTINGS.guidance) as trace:
        calls, _ = calls_of(pipe, **guided_by_text(pipe))
    assert len(calls) == 8
    assert [step.timestep for step in trace.steps] == pytest.approx([1000, 954.5, 875], abs=0.1)
    for step in range(4):
        added = []
        for given, output in calls[2 * step : 2 * step + 2]:
            with torch.no_grad():
                added.append(output - pipe.transformer(**given)[0])
        torch.testing.assert_close(*added, rtol=1e-3, atol=1e-6)
        assert (added[0].abs().max() > 1e-4) == (step < 3)
    prompt, negative = (given["encoder_hidden_states"] for given, _ in calls[:2])
    with torch.no_grad():
        call = backbone_of(pipe).denoiser_call(noise(pipe), 1000, "a cat")
    assert torch.equal(prompt, call["encoder_hidden_states"])
    assert not torch.equal(negative, prompt)


def test_latents_are_decoded_as_the_pipeline_decodes_them(pipe):
    _, latents = calls_of(pipe)
    _, frames = calls_of(pipe, output_type="pt")
    with torch.no_grad():
        decoded = backbone_of(pipe).decode_video(latents)
    torch.testing.assert_close((decoded / 2 + 0.5).clamp(0, 1), frames[0])


@pytest.mark.parametrize("weight", [0.0, 100.0])
def test_a_motion_is_cloned(pipe, weight):
    """From clip to frames, though the pipeline of 1.5 knows no callback."""
    seen = []
    settings = SETTINGS.model_copy(update={"guidance": SETTINGS.guidance.model_copy(update={"weight": weight})})
    made = clone(pipe, clip(), "a cat", settings, on_step=seen.append)
    assert made.frames.shape == clip().shape
    assert [(step.index, step.timestep) for step in seen] == [(1, 1000), (2, 954), (3, 875), (4, 700)]
    assert [step.guided is not None for step in seen] == [bool(weight)] * 3 + [False]
    assert len(made.steps) == (3 if weight else 0)


def test_another_scheduler_is_probed_while_its_steps_are_heard(pipe):
    """UniPC keeps a past, which a probe that reached the pipeline's own would spoil."""
    before = pipe.scheduler
    pipe.scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=7.0)
    try:
        motion = extract_motion(pipe, clip(), SETTINGS.extraction)
        faint = SETTINGS.model_copy(update={"guidance": SETTINGS.guidance.model_copy(update={"weight": 1e-12})})
        off = SETTINGS.model_copy(update={"guidance": SETTINGS.guidance.model_copy(update={"weight": 0.0})})
        seen = []
        guided = generate(pipe, motion, "a cat", faint, on_step=seen.append)
        plain = generate(pipe, motion, "a cat", off)
    finally:
        pipe.scheduler = before
    assert [step.index for step in seen] == [1, 2, 3, 4]
    assert guided.steps
    torch.testing.assert_close(guided.frames, plain.frames, rtol=0, atol=1e-4)


def test_a_step_that_is_not_finite_is_told(pipe):
    motion = extract_motion(pipe, clip(), SETTINGS.extraction)
    off = SETTINGS.model_copy(update={"guidance": SETTINGS.guidance.model_copy(update={"weight": 0.0})})
    hook = pipe.transformer.register_forward_hook(lambda _module, _args, output: (output[0] * float("nan"),))
    with hook, pytest.raises(InputError, match="step 1 of 4"):
        generate(pipe, motion, "a cat", off)


def test_image_to_video_is_refused_in_a_sentence():
    first, second = hunyuan(), hunyuan15()
    shown = (
        HunyuanVideoImageToVideoPipeline(**first.components, image_processor=None),
        HunyuanVideo15ImageToVideoPipeline(**second.components, image_encoder=None, feature_extractor=None),
    )
    for pipe in shown:
        with pytest.raises(InputError, match=f"{type(pipe).__name__} is not supported.*text to video"):
            backbone_of(pipe)


def test_other_guiders_are_refused_in_a_sentence():
    pipe = hunyuan15()
    pipe.guider = AdaptiveProjectedGuidance()
    with pytest.raises(InputError, match="ClassifierFreeGuidance"):
        backbone_of(pipe)


def test_letters_to_be_seen_may_be_fewer_than_words():
    backbone = backbone_of(hunyuan15())
    backbone.check_prompt("x" * 40)
    with pytest.raises(InputError, match="shorten"):
        backbone.check_prompt(f'"{"x" * 40}"')


def test_the_gradient_of_1_5_is_that_of_the_latents():
    backbone = backbone_of(hunyuan15())
    gradient = torch.randn(1, 9, 2, 2, 3)
    assert torch.equal(backbone.denoised(gradient), gradient[:, :4])
