"""What HunyuanVideo and HunyuanVideo-1.5 have to themselves; the rest is in test_transformers.py."""

import pytest
import torch
from diffusers import AdaptiveProjectedGuidance, HunyuanSkyreelsImageToVideoPipeline, UniPCMultistepScheduler
from tiny_hunyuan import (
    hunyuan,
    hunyuan15,
    hunyuan15_from_a_picture,
    hunyuan_from_a_picture,
    hunyuan_with_a_picture_in_channels,
)

from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import steps_heard
from motionclone.cloning import clone, generate
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.media.conditions import Condition
from motionclone.models.loading import load_pipeline
from motionclone.sampling import energy_and_gradient, motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings
from motionclone.steps import coming_step, step_index

# What settings of so few steps leave undone is told, which is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning")

SIZE = {"num_frames": 5, "height": 32, "width": 48}
SETTINGS = Settings(
    extraction=Extraction(t_alpha=500, blocks=("transformer_blocks.1",)),
    guidance=Guidance(weight=100.0, guided_fraction=0.2, warm_up=1, cool_down=1),
    sampling=Sampling(steps=4, guided_steps=1, guidance_scale=6.0, **SIZE),
)
UNGUIDED = SETTINGS.model_copy(update={"guidance": SETTINGS.guidance.model_copy(update={"weight": 0.0})})
# The shift of 7 puts the steps at t = 1000, 955, 875 and 700, of which three are guided.


@pytest.fixture(scope="module", params=[hunyuan, hunyuan15])
def pipe(request):
    return request.param()


@pytest.fixture(
    scope="module",
    params=[hunyuan_from_a_picture, hunyuan_with_a_picture_in_channels, hunyuan15_from_a_picture],
    ids=["in place", "in channels", "1.5"],
)
def picture_pipe(request):
    return request.param()


def clip(seed=0):
    shape = (SIZE["num_frames"], 3, SIZE["height"], SIZE["width"])
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def picture(seed=5):
    return Condition(clip(seed)[:1])


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
        seen = []
        guided = generate(pipe, motion, "a cat", faint, on_step=seen.append)
        plain = generate(pipe, motion, "a cat", UNGUIDED)
    finally:
        pipe.scheduler = before
    assert [step.index for step in seen] == [1, 2, 3, 4]
    assert guided.steps
    torch.testing.assert_close(guided.frames, plain.frames, rtol=0, atol=1e-4)


def test_a_step_that_is_not_finite_is_told(pipe):
    motion = extract_motion(pipe, clip(), SETTINGS.extraction)
    hook = pipe.transformer.register_forward_hook(lambda _module, _args, output: (output[0] * float("nan"),))
    with hook, pytest.raises(InputError, match="step 1 of 4"):
        generate(pipe, motion, "a cat", UNGUIDED)


def test_other_pipelines_of_the_family_are_refused_in_a_sentence():
    pipe = HunyuanSkyreelsImageToVideoPipeline(**hunyuan().components)
    with pytest.raises(InputError, match="HunyuanSkyreelsImageToVideoPipeline is not supported"):
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


def run_with_a_picture(pipe, followed, **changes):
    """Arguments of every call of the denoiser, latents after every step, and what the run ends with."""
    calls, latents = [], []
    backbone = backbone_of(pipe)
    hook = pipe.transformer.register_forward_pre_hook(lambda _m, _a, call: calls.append(call), with_kwargs=True)
    arguments = backbone.pipeline_condition(followed, 1.0) | backbone.pipeline_arguments(SETTINGS.sampling)
    arguments |= {"prompt": "a cat", "num_inference_steps": 4, "latents": noise(pipe), "output_type": "pt"}
    with hook, steps_heard(pipe.scheduler, lambda _, after: latents.append(after)):
        frames = pipe(**arguments | changes).frames
    return calls, latents, frames


def call_with_a_picture(pipe, timestep, shown, prompt="a cat", latents=None):
    backbone, latents = backbone_of(pipe), noise(pipe) if latents is None else latents
    with torch.no_grad():
        return backbone.conditioned(backbone.denoiser_call(latents, timestep, prompt), shown, latents, 1.0)


def in_place(pipe):
    return pipe.transformer.config.get("image_condition_type") == "token_replace"


def test_a_first_frame_is_shown_as_the_pipeline_shows_it(picture_pipe):
    """To the bit, but for noise, into which the pipeline of HunyuanVideo mixes a thousandth of the picture."""
    given = run_with_a_picture(picture_pipe, picture())[0][0]
    found = call_with_a_picture(picture_pipe, float(given["timestep"]), picture())
    assert {name for name, value in found.items() if value is not None} == {
        name for name, value in given.items() if torch.is_tensor(value)
    }
    for name in found.keys() - {"hidden_states"}:
        torch.testing.assert_close(found[name], given[name], rtol=0, atol=0)
    latents, wanted = found["hidden_states"], given["hidden_states"]
    assert torch.equal(latents[:, 4:], wanted[:, 4:])
    assert torch.equal(latents[:, :, 0], wanted[:, :, 0]) or not in_place(picture_pipe)
    torch.testing.assert_close(latents, wanted, rtol=0, atol=1e-2)


def test_picture_and_words_are_both_seen(picture_pipe):
    def output(shown, prompt):
        with torch.no_grad():
            return picture_pipe.transformer(**call_with_a_picture(picture_pipe, 900, shown, prompt))[0]

    cat = output(picture(), "a cat")
    assert (cat - output(picture(), "a dog")).abs().max() > 1e-4
    assert (cat - output(picture(6), "a cat")).abs().max() > 1e-4


def test_a_motion_is_cloned_into_a_video_that_follows_a_picture(picture_pipe):
    made = clone(picture_pipe, clip(), "a cat", SETTINGS, condition=picture())
    motion = extract_motion(picture_pipe, clip(), SETTINGS.extraction)
    plain, other = (generate(picture_pipe, motion, "a cat", UNGUIDED, condition=picture(seed)) for seed in (5, 6))
    assert motion.record.shown_frames == (0,)
    assert made.frames.shape == plain.frames.shape == clip().shape
    assert len(made.steps) == 3
    assert not torch.equal(made.frames, plain.frames)
    assert not torch.equal(other.frames, plain.frames)


def test_a_gradient_is_that_of_the_latents(picture_pipe):
    """As a finite difference; the picture's own channels or frame have no part in it."""
    backbone = backbone_of(picture_pipe)
    motion = extract_motion(picture_pipe, clip(), SETTINGS.extraction)

    def evaluate(latents):
        call = call_with_a_picture(picture_pipe, 900, picture(), latents=latents)
        _, energies, gradient = energy_and_gradient(backbone, picture_pipe.transformer.forward, call, motion)
        return sum(energies.values()), gradient

    start = noise(picture_pipe)
    _, gradient = evaluate(start)
    assert gradient.shape == start.shape
    assert bool((gradient[:, :, 0] == 0).all()) == in_place(picture_pipe)
    along = gradient / gradient.norm()
    ends = [evaluate(start + step * along)[0] for step in (-0.05, 0.05)]
    assert (ends[1] - ends[0]) / 0.1 == pytest.approx(float(gradient.norm()), rel=0.05)


def test_an_increment_leaves_a_picture_in_place_alone():
    """The pipeline takes the first frame from the picture at every call, and steps the others alone."""
    pipe = hunyuan_from_a_picture()
    motion = extract_motion(pipe, clip(), SETTINGS.extraction)
    plain, stepped, _ = run_with_a_picture(pipe, picture())
    with motion_guidance(pipe, motion, SETTINGS.guidance):
        guided, _, _ = run_with_a_picture(pipe, picture())
    for call in guided:
        assert torch.equal(call["hidden_states"][:, :, 0], plain[0]["hidden_states"][:, :, 0])
    assert not torch.equal(guided[-1]["hidden_states"][:, :, 1:], plain[-1]["hidden_states"][:, :, 1:])
    assert stepped[0].shape[2] == noise(pipe).shape[2] - 1


def test_frames_before_the_video_are_made_and_cut_away():
    """One latent more than the video has; of the reference, its first frame standing still."""
    pipe = hunyuan_with_a_picture_in_channels()
    backbone = backbone_of(pipe)
    assert backbone.latents_shape(*SIZE.values()) == (1, 4, 3, 4, 6)
    still = torch.cat([clip()[:1].expand(4, -1, -1, -1), clip()])
    with torch.no_grad():
        found = backbone.encode_video(clip(), torch.Generator().manual_seed(0))
        wanted = backbone_of(hunyuan(vae=pipe.vae)).encode_video(still, torch.Generator().manual_seed(0))
        torch.testing.assert_close(found, wanted)
        _, latents, frames = run_with_a_picture(pipe, picture())
        decoded = backbone.decode_video(latents[-1])
    assert decoded.shape == clip().shape
    torch.testing.assert_close((decoded / 2 + 0.5).clamp(0, 1), frames[0])


def test_a_step_without_the_picture_is_probed():
    """UniPC keeps a past, of one frame less than the denoiser sees."""
    pipe = hunyuan_from_a_picture()
    pipe.scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=7.0)
    motion = extract_motion(pipe, clip(), SETTINGS.extraction)
    faint = SETTINGS.model_copy(update={"guidance": SETTINGS.guidance.model_copy(update={"weight": 1e-12})})
    guided = generate(pipe, motion, "a cat", faint, condition=picture())
    plain = generate(pipe, motion, "a cat", UNGUIDED, condition=picture())
    assert guided.steps
    torch.testing.assert_close(guided.frames, plain.frames, rtol=0, atol=1e-4)


def test_a_saved_pipeline_is_loaded_to_follow_pictures(picture_pipe, tmp_path):
    picture_pipe.save_pretrained(tmp_path)
    pipe = load_pipeline(tmp_path, device="cpu", control="image")
    assert type(pipe) is type(picture_pipe)
    found, wanted = (call_with_a_picture(each, 900, picture())["hidden_states"] for each in (pipe, picture_pipe))
    assert torch.equal(found, wanted)


def test_without_a_picture_it_says_so(picture_pipe):
    with pytest.raises(InputError, match="give it the first frame"):
        clone(picture_pipe, clip(), "a cat", SETTINGS)
    with pytest.raises(InputError, match="one picture, for frame 0"):
        clone(picture_pipe, clip(), "a cat", SETTINGS, condition=Condition(clip()[:1], (3,)))


@pytest.mark.parametrize("size", [(16, 48), (720, 1280), (33, 47)])
def test_a_picture_has_a_size_that_1_5_keeps(size):
    """The pipeline itself would make 32x48 of 16x48, one of its own sizes, for the third that it rounds."""
    pipe = hunyuan15_from_a_picture()
    backbone = backbone_of(pipe)
    with pytest.raises(InputError, match="ask for 5 of"):
        backbone.latents_shape(5, *size)
    frames, *kept = backbone.nearest_size(6, *size)
    assert frames == 5
    assert backbone.latents_shape(5, *kept)[3:] == tuple(side // 16 for side in kept)
    assert pipe.video_processor.calculate_default_height_width(*kept, pipe.target_size) == tuple(kept)


def test_the_guidance_scale_is_that_of_the_settings():
    """Of 1.5 the guider has it, and gets it back."""
    pipe = hunyuan15()
    motion = extract_motion(pipe, clip(), SETTINGS.extraction)
    weak, strong = (
        UNGUIDED.model_copy(update={"sampling": UNGUIDED.sampling.model_copy(update={"guidance_scale": scale})})
        for scale in (1.0, 9.0)
    )
    frames = [generate(pipe, motion, "a cat", settings).frames for settings in (weak, strong, strong)]
    assert pipe.guider.guidance_scale == 6.0
    assert not torch.equal(frames[0], frames[1])
    assert torch.equal(frames[1], frames[2])


def test_a_negative_prompt_that_would_be_ignored_is_refused():
    sampling = SETTINGS.sampling.model_copy(update={"negative_prompt": "ugly"})
    with pytest.raises(InputError, match="no negative prompt"):
        clone(hunyuan(), clip(), "a cat", SETTINGS.model_copy(update={"sampling": sampling}))


def test_the_coming_step_is_told_by_the_scheduler_where_half_precision_cannot():
    scheduler = hunyuan().scheduler
    scheduler.set_timesteps(50)
    heard = []
    for timestep in scheduler.timesteps:
        heard.append(coming_step(scheduler, float(timestep.bfloat16())))
        scheduler.step(torch.zeros(1), timestep, torch.zeros(1))
    assert heard == list(range(50))
    assert step_index(scheduler, float(scheduler.timesteps[2].bfloat16())) == 1
