"""What is Wan's own: separate calls, two experts, a multistep sampler, a first frame."""

from contextlib import nullcontext

import pytest
import torch
from tiny_wan import (
    BOUNDARY,
    CHANNELS,
    euler,
    image_to_video,
    image_to_video_of_5b,
    image_to_video_of_two_experts,
    two_experts,
    wan,
    without_ftfy,
)

from motionclone.backbones.families import backbone_of
from motionclone.cloning import clone, generate
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.guidance import ramp
from motionclone.media.conditions import Condition
from motionclone.sampling import energy_and_gradient, motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings

# What settings of so few steps leave undone is told, which is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning")

READING = Extraction(t_alpha=900, blocks=("blocks.1",))
GUIDANCE = Guidance(weight=100.0, guided_fraction=0.6, warm_up=1, cool_down=1)
SCALE = 4.0
PICTURE_MODELS = {
    "2.1": (image_to_video, 32, 48),
    "2.2": (image_to_video_of_two_experts, 32, 48),
    "2.2-5b": (image_to_video_of_5b, 64, 96),
}


@pytest.fixture(autouse=True)
def _clean_prompts(monkeypatch):
    without_ftfy(monkeypatch)


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def heard(pipe):
    """The arguments of every call of the denoiser from now on, with the hook that notes them."""
    calls = []

    def note(_module, _args, kwargs):
        calls.append({name: x.clone() if torch.is_tensor(x) else x for name, x in kwargs.items()})

    return calls, pipe.transformer.register_forward_pre_hook(note, with_kwargs=True)


def run(pipe, motion=None, settings=GUIDANCE, steps=8, guidance_scale=SCALE, on_step=lambda *_: {}):
    """Latents after every step, and the guided steps."""
    found = []

    def note(pipe, index, timestep, state):
        changed = on_step(pipe, index) or {}
        found.append(changed.get("latents", state["latents"]))
        return changed

    backbone = backbone_of(pipe)
    noise = torch.randn(backbone.latents_shape(13, 32, 48), generator=torch.Generator().manual_seed(5))
    with motion_guidance(pipe, motion, settings) if motion else nullcontext() as trace:
        pipe(
            prompt="a cat",
            num_frames=13,
            height=32,
            width=48,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            latents=backbone.initial_latents(noise),
            output_type="latent",
            callback_on_step_end=note,
        )
    return found, trace.steps if trace else []


def plain_outputs(pipe, calls):
    with torch.no_grad():
        return [pipe.transformer(**call)[0] for call in calls]


def test_both_calls_of_a_step_get_the_same_increment():
    pipe = wan()
    motion = extract_motion(pipe, random(13, 3, 32, 48), READING)
    calls, hook = heard(pipe)
    outputs = []
    other = pipe.transformer.register_forward_hook(lambda _module, _args, output: outputs.append(output[0]))
    _, steps = run(pipe, motion)
    hook.remove()
    other.remove()
    assert len(calls) == 2 * 8
    plain = plain_outputs(pipe, calls)
    increments = [output - own for output, own in zip(outputs, plain, strict=True)]
    for conditional, unconditional in zip(calls[::2], calls[1::2], strict=True):
        assert not torch.equal(conditional["encoder_hidden_states"], unconditional["encoder_hidden_states"])
    guided = []
    for first, second in zip(increments[::2], increments[1::2], strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
        guided.append(bool(first.abs().max() > 1e-3))
    assert sum(guided) == len(steps) > 0


def test_videos_from_the_same_latents_are_no_stacked_call():
    """Without classifier-free guidance two prompts may well start alike."""
    pipe = wan()
    run(pipe, guidance_scale=1.0, steps=1)
    backbone = backbone_of(pipe)
    with torch.no_grad():
        call = backbone.denoiser_call(torch.zeros(1, CHANNELS, 4, 4, 6), 900, "a cat")
    pair = {name: torch.cat([value, value]) for name, value in call.items()}
    assert backbone.split(pair) == (None, pair)


def test_only_the_expert_for_high_noise_is_guided():
    pipe = two_experts(euler())
    motion = extract_motion(pipe, random(13, 3, 32, 48), READING)
    guided, steps = run(pipe, motion, GUIDANCE.model_copy(update={"cool_down": 3}))
    timesteps = pipe.scheduler.timesteps.tolist()
    assert [step.timestep for step in steps] == [t for t in timesteps if t >= BOUNDARY * 1000]
    assert [step.weight for step in steps] == [100 * ramp(i, len(steps), 1, 3) for i in range(len(steps))]
    last = steps[-1].index
    assert 0 < last < len(timesteps) - 2

    def swap(_pipe, index):
        return {"latents": guided[index]} if index == last else {}

    plain, _ = run(pipe, on_step=swap)
    assert not torch.equal(plain[last - 1], guided[last - 1])
    assert all(torch.equal(a, b) for a, b in zip(plain[last:], guided[last:], strict=True))


def test_a_motion_is_read_where_the_expert_works():
    with pytest.raises(InputError, match="t_alpha is 610 and the network that is read works from 875 on"):
        extract_motion(two_experts(), random(13, 3, 32, 48), READING.model_copy(update={"t_alpha": 610}))


def test_latents_are_decoded_as_the_pipeline_does():
    pipe = wan()
    wanted = {"prompt": "a cat", "num_frames": 5, "height": 32, "width": 48, "num_inference_steps": 2}
    wanted["latents"] = torch.randn(1, CHANNELS, 2, 4, 6)
    with torch.no_grad():
        frames = backbone_of(pipe).decode_video(pipe(**wanted, output_type="latent").frames)
    torch.testing.assert_close((frames + 1) / 2, pipe(**wanted, output_type="pt").frames[0], rtol=0, atol=1e-5)


def test_a_half_precision_model_is_called_in_its_own_type():
    """Loaded models keep some parameters, the very first among them, in float32."""
    pipe = wan()
    pipe.transformer.to(torch.bfloat16)
    pipe.transformer.scale_shift_table.data = pipe.transformer.scale_shift_table.data.float()
    with torch.no_grad():
        call = backbone_of(pipe).denoiser_call(torch.zeros(1, CHANNELS, 4, 4, 6), 900, "a cat")
    assert call["hidden_states"].dtype == call["encoder_hidden_states"].dtype == torch.bfloat16


class PictureModel:
    """A tiny image-to-video pipeline, with clip and picture."""

    def __init__(self, make, height, width):
        self.pipe = make()
        self.backbone = backbone_of(self.pipe)
        self.clip = random(13, 3, height, width, seed=3)
        self.condition = Condition(random(1, 3, height, width, seed=4))
        self.settings = Settings(
            extraction=READING,
            guidance=GUIDANCE,
            sampling=Sampling(steps=6, guided_steps=2, guidance_scale=SCALE, num_frames=13, height=height, width=width),
        )

    @property
    def in_place(self):
        return self.pipe.config.expand_timesteps

    def unguided(self):
        return self.settings.model_copy(update={"guidance": GUIDANCE.model_copy(update={"weight": 0.0})})


@pytest.fixture(scope="module", params=PICTURE_MODELS)
def picture_model(request):
    return PictureModel(*PICTURE_MODELS[request.param])


def test_a_motion_is_cloned_into_a_video_that_follows_a_picture(picture_model):
    model = picture_model
    made = clone(model.pipe, model.clip, "a cat", model.settings, condition=model.condition)
    motion = extract_motion(model.pipe, model.clip, READING)
    twin = generate(model.pipe, motion, "a cat", model.unguided(), condition=model.condition)
    assert motion.record.shown_frames == (0,)
    assert len(made.steps) >= 2
    assert all(step.gradient_norm > 0 for step in made.steps)
    assert made.frames.shape == model.clip.shape
    assert not torch.equal(made.frames, twin.frames)
    other = generate(model.pipe, motion, "a cat", model.unguided(), condition=Condition(model.clip[:1]))
    assert not torch.equal(other.frames, twin.frames)


def test_extraction_shows_the_first_frame_as_the_pipeline_would(picture_model):
    model = picture_model
    motion = extract_motion(model.pipe, model.clip, READING)
    calls, hook = heard(model.pipe)
    extract_motion(model.pipe, model.clip, READING)
    generate(model.pipe, motion, "", model.unguided(), condition=Condition(model.clip[:1]))
    hook.remove()
    reading, making = calls[:2]
    assert torch.equal(reading["encoder_hidden_states"], making["encoder_hidden_states"])
    if model.in_place:
        assert torch.equal(reading["hidden_states"][:, :, 0], making["hidden_states"][:, :, 0])
        assert torch.equal(reading["timestep"] == 0, making["timestep"] == 0)
        assert reading["timestep"].unique().tolist() == [0, READING.t_alpha]
        with torch.no_grad():
            first = model.backbone.encode_video(model.clip, torch.Generator())[:, :, 0]
        torch.testing.assert_close(reading["hidden_states"][:, :, 0], first, rtol=0, atol=2e-2)  # 8 bit pictures
    else:
        assert reading["hidden_states"].shape[1] == 2 * CHANNELS + 4
        assert torch.equal(reading["hidden_states"][:, CHANNELS:], making["hidden_states"][:, CHANNELS:])
        assert reading["timestep"].tolist() == [READING.t_alpha]
    seen = [call.get("encoder_hidden_states_image") for call in (reading, making)]
    if model.pipe.transformer.config.image_dim is None:
        assert seen == [None, None]
    else:
        assert torch.equal(*seen)


def test_gradients_are_those_of_the_latents(picture_model):
    """As a finite difference; the picture's own channels or frame have no part in them."""
    model = picture_model
    motion = extract_motion(model.pipe, model.clip, READING)
    noise = torch.randn(model.backbone.latents_shape(*model.clip[:, 0].shape))

    def evaluate(latents):
        with torch.no_grad():
            call = model.backbone.denoiser_call(latents, 950, "a cat")
            call = model.backbone.conditioned(call, model.condition, latents, 1.0)
        _, energies, gradient = energy_and_gradient(model.backbone, model.pipe.transformer, call, motion)
        return sum(energies.values()), gradient

    _, gradient = evaluate(noise)
    assert gradient.shape == noise.shape
    assert bool((gradient[:, :, 0] == 0).all()) == model.in_place
    along = gradient / gradient.norm()
    ends = [evaluate(noise + step * along)[0] for step in (-0.05, 0.05)]
    assert (ends[1] - ends[0]) / 0.1 == pytest.approx(float(gradient.norm()), rel=0.05)


def test_clip_sees_the_picture_as_it_is():
    """Its processor takes tensors to run to 255."""
    model = PictureModel(*PICTURE_MODELS["2.1"])
    picture = model.backbone.pipeline_condition(model.condition, 1.0)["image"]
    processor = model.pipe.image_processor
    seen = processor(images=picture, return_tensors="pt").pixel_values[0]
    mean, deviation = (torch.tensor(x)[:, None, None] for x in (processor.image_mean, processor.image_std))
    middle = (model.condition.pictures[0, :, :, 8:40] + 1) / 2
    torch.testing.assert_close(seen * deviation + mean, middle, rtol=0, atol=1 / 255)


def test_pictures_that_are_missing_or_not_wanted_are_refused_in_a_sentence(picture_model):
    model = picture_model
    with pytest.raises(InputError, match="there is no picture"):
        clone(model.pipe, model.clip, "a cat", model.settings)
    late = Condition(model.condition.pictures, frames=(3,))
    with pytest.raises(InputError, match=r"frame 0, not for frames \[3\]"):
        clone(model.pipe, model.clip, "a cat", model.settings, condition=late)
    with pytest.raises(InputError, match="cannot be shown pictures"):
        backbone_of(wan()).check_condition(model.condition)


def test_a_missing_package_is_named_before_anything_slow(monkeypatch):
    monkeypatch.setattr("motionclone.backbones.wan.is_ftfy_available", lambda: False)
    model = PictureModel(*PICTURE_MODELS["2.1"])
    with pytest.raises(InputError, match="pip install ftfy"):
        extract_motion(model.pipe, model.clip, READING)
