"""DDIM inversion leads back to where it came from, on every family, and its motions guide as others do."""

import pytest
import torch
from test_sampling import HALF, clip, extract, generate, guide, normal
from test_transformers import Model
from tiny import tiny_pipe
from tiny_transformers import FAMILIES
from tiny_wan import BOUNDARY, without_ftfy

from motionclone import cloning
from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import steps_heard
from motionclone.errors import InputError
from motionclone.guidance import NoiseLevel, clean_and_noise
from motionclone.inversion import invert, inverted_motion, inverted_motions
from motionclone.sampling import motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings
from motionclone.steps import noise_level, prediction_of

# What settings of so few steps leave undone is told, which is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::motionclone.errors.GuidanceWarning")


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def pipe(request, tmp_path_factory):
    return tiny_pipe(tmp_path_factory.mktemp("tokenizer"), prediction_type=request.param)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow_prediction"])
def test_a_perfect_output_gives_what_the_latents_are_made_of(prediction):
    clean, noise = normal(2, 4, 3, 5, 5, seed=7).double(), normal(2, 4, 3, 5, 5, seed=8).double()
    level = NoiseLevel(0.3, 0.7) if prediction == "flow_prediction" else NoiseLevel(0.6, 0.8)
    latents = level.alpha * clean + level.sigma * noise
    output = {
        "epsilon": noise,
        "v_prediction": level.alpha * noise - level.sigma * clean,
        "flow_prediction": noise - clean,
    }[prediction]
    for found, wanted in zip(clean_and_noise(output, latents, level, prediction), (clean, noise), strict=True):
        torch.testing.assert_close(found, wanted)


@torch.no_grad()
def sample_back(pipe, z, timesteps):
    """Plain DDIM, as written in the paper, from the last timestep to the first."""
    backbone = backbone_of(pipe)
    for now, after in zip(timesteps[::-1][:-1], timesteps[::-1][1:], strict=True):
        output = pipe.unet(**backbone.denoiser_call(z, now, ""))[0]
        clean, noise = clean_and_noise(output, z, noise_level(pipe.scheduler, now), prediction_of(pipe.scheduler))
        level = noise_level(pipe.scheduler, after)
        z = level.alpha * clean + level.sigma * noise
    return z


@pytest.mark.long
def test_sampling_undoes_inversion_the_better_the_finer(pipe):
    errors = []
    for steps in (5, 40):
        timesteps = [round(200 * i / steps) for i in range(steps + 1)]
        inverted = invert(pipe, clip(), timesteps)
        assert list(inverted) == timesteps
        errors.append(float((sample_back(pipe, inverted[200], timesteps) - clip()).norm() / clip().norm()))
    assert errors[1] < 0.35 * errors[0]
    assert errors[1] < 0.05


def test_the_same_motion_at_every_step_is_that_motion(pipe):
    motion = extract(pipe)
    once, steps = guide(pipe, motion)
    every, _ = guide(pipe, {int(step.timestep): motion for step in steps})
    torch.testing.assert_close(every, once, rtol=0, atol=0)


def test_inverted_motions_guide(pipe):
    pipe.scheduler.set_timesteps(4)
    timesteps = pipe.scheduler.timesteps.tolist()
    motions = inverted_motions(pipe, clip(), Extraction(), timesteps, 500)
    assert sorted(motions) == [501, 751]
    latents, steps = guide(pipe, motions)
    assert [step.timestep for step in steps] == [751, 501]
    assert not torch.equal(latents, generate(pipe))
    fixed = inverted_motion(pipe, clip(), Extraction(t_alpha=400), steps=4)
    assert fixed.record.t_alpha == 400
    assert not torch.equal(guide(pipe, fixed)[0], latents)


def test_what_cannot_be_is_said(pipe):
    with pytest.raises(InputError, match=r"no motion for t = 501, but for 751"):
        guide(pipe, {751: extract(pipe)}, HALF)
    with pytest.raises(InputError, match="ascending"):
        invert(pipe, clip(), [0, 200, 100])


class Inverted(Model):
    """A family's tiny pipeline, with the latents of its clip."""

    def __init__(self, name):
        super().__init__(name)
        with torch.no_grad():
            self.latents = self.backbone.encode_video(self.clip(), torch.Generator().manual_seed(0)).float()

    def own(self, video):
        """(b, c, f, h, w) as this family's denoiser has it."""
        if self.name.startswith("cogvideox"):
            return video.permute(0, 2, 1, 3, 4)
        return video.permute(0, 2, 3, 4, 1).flatten(1, 3) if self.name.startswith("ltx") else video

    def level(self, timestep):
        scheduler = self.pipe.scheduler
        if hasattr(scheduler, "alphas_cumprod") and scheduler.config.prediction_type == "v_prediction":
            return scheduler.alphas_cumprod[timestep].sqrt(), (1 - scheduler.alphas_cumprod[timestep]).sqrt()
        return 1 - timestep / 1000, timestep / 1000


@pytest.fixture(scope="module", autouse=True)
def _clean_prompts():
    with pytest.MonkeyPatch.context() as patch:
        without_ftfy(patch)
        yield


IN_PLACE = {"ltx-i2v", "wan-2.2-5b-i2v", "hunyuan-i2v"}  # the picture is the first latent frame


@pytest.mark.parametrize("name", FAMILIES)
def test_a_denoiser_that_knows_the_noise_is_inverted_exactly(name, monkeypatch):
    """Whatever its layout; by the network that works at the timestep, unguided, and with the picture kept."""
    model = Inverted(name)
    clean, noise = model.latents, model.noise()
    kept = int(name in IN_PLACE)
    called = []

    def mixed(timestep):
        alpha, sigma = model.level(timestep)
        return alpha * clean + sigma * noise

    def knowing(expert):
        def forward(hidden_states, timestep, **_):
            alpha, sigma = model.level(t := int(timestep.max()))
            called.append((expert, t))
            flows = (alpha + sigma) == 1
            wanted = model.own(mixed(t))
            if kept:
                hidden_states, wanted = (model.as_stepped(each) for each in (hidden_states, wanted))
            given = hidden_states[tuple(map(slice, wanted.shape))]  # other channels are the picture's
            torch.testing.assert_close(given[:, :, kept:], wanted[:, :, kept:], rtol=1e-4, atol=1e-4)
            return (model.own(noise - clean if flows else alpha * noise - sigma * clean),)

        return forward

    networks = [name for name in ("transformer", "transformer_2") if getattr(model.pipe, name, None) is not None]
    for each in networks:
        monkeypatch.setattr(getattr(model.pipe, each), "forward", knowing(each))
    timesteps = [0, 100, 500, 880, 990]
    start = mixed(0)
    with motion_guidance(model.pipe, model.motion, Guidance(guided_fraction=1.0)) as trace:
        found = invert(model.pipe, start, timesteps, frames=model.clip())
    assert not trace.steps
    assert [timestep for _, timestep in called] == timesteps[:-1]
    if len(networks) == 2:
        assert [expert == "transformer" for expert, _ in called] == [t >= 1000 * BOUNDARY for t in timesteps[:-1]]
    for timestep, latents in found.items():
        torch.testing.assert_close(latents[:, :, kept:], mixed(timestep)[:, :, kept:], rtol=1e-4, atol=1e-4)
        assert torch.equal(latents[:, :, :kept], start[:, :, :kept])


@pytest.mark.parametrize("name", ["cogvideox-2b", "ltx", "wan-2.1-euler", "wan-2.2", "hunyuan"])
def test_the_pipeline_samples_the_clip_from_its_inverted_latents_the_better_the_finer(name):
    """With its own deterministic scheduler, as the networks' random weights let it."""
    model = Inverted(name)
    frames, height, width = model.size
    sampling = Sampling(guidance_scale=6.0 if name == "hunyuan" else 1.0, num_frames=frames, height=height, width=width)
    call = {**model.backbone.pipeline_arguments(sampling), "prompt": "a cat", "output_type": "latent"}
    wanted, errors = model.own(model.latents), []
    for steps in (8, 32):
        latents = []

        def sample(start, steps=steps, latents=latents):
            with steps_heard(model.pipe.scheduler, lambda _t, now: latents.append(now)):
                model.pipe(**call, num_inference_steps=steps, latents=model.backbone.initial_latents(start))

        sample(model.noise())  # makes the schedule
        timesteps = sorted([0.0, *model.pipe.scheduler.timesteps.tolist()])
        sample(invert(model.pipe, model.latents, timesteps, "a cat")[timesteps[-1]])
        errors.append(float((latents[-1] - wanted).norm() / wanted.norm()))
    assert errors[1] < 0.45 * errors[0]
    assert errors[1] < 0.2


@pytest.mark.filterwarnings("ignore:sampling.guided_steps is 1")  # of schedulers that keep their own steps
@pytest.mark.parametrize("name", ["cogvideox-1.5", "ltx-i2v", "wan-2.2-i2v", "hunyuan-i2v-33ch", "hunyuan-1.5"])
def test_inverted_motions_guide_a_video_of_the_clip_s_frames_and_size(name):
    model = Inverted(name)
    frames, height, width = model.size
    settings = Settings(
        extraction=model.reading,
        guidance=Guidance(weight=model.tiny.weight, guided_fraction=0.2, warm_up=1, cool_down=1),
        sampling=Sampling(steps=4, guided_steps=1, num_frames=frames, height=height, width=width),
    )
    once = inverted_motion(model.pipe, model.latents, model.reading, steps=2)
    shown = inverted_motion(model.pipe, model.latents, model.reading, steps=2, frames=model.clip())
    assert (once.record.num_frames, once.record.size) == (frames, (height, width))
    assert once.record.shown_frames == model.backbone.shown_frames
    assert once.grid == shown.grid
    made = cloning.generate(model.pipe, once, "a cat", settings, condition=model.picture)
    timesteps = model.pipe.scheduler.timesteps.tolist()
    every = inverted_motions(model.pipe, model.latents, model.reading, timesteps, 800, frames=model.clip())
    assert sorted(every) == [t for t in sorted(timesteps) if t >= max(800, model.backbone.guided_from)]
    again = cloning.generate(model.pipe, every, "a cat", settings, condition=model.picture)
    assert len(made.steps) == len(again.steps) > 0
    assert made.steps[0].energy != again.steps[0].energy


def test_what_does_not_fit_the_clip_is_said():
    model = Inverted("wan-2.2-i2v")
    with pytest.raises(InputError, match=r"latents of 9 frames of 48x32 are \(1, 4, 3, 4, 6\), not"):
        invert(model.pipe, model.latents, [0, 500], frames=model.clip()[:9])
    with pytest.raises(InputError, match="the network that is read works from 875 on"):
        inverted_motion(model.pipe, model.latents, model.reading.model_copy(update={"t_alpha": 600}))
