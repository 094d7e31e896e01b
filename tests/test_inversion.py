"""DDIM inversion leads back to where it came from, and its motions guide as others do."""

import pytest
import torch
from test_sampling import HALF, clip, extract, generate, guide, normal
from tiny import tiny_pipe

from motionclone.backbones.families import backbone_of
from motionclone.errors import InputError
from motionclone.guidance import NoiseLevel, clean_and_noise
from motionclone.inversion import invert, inverted_motion, inverted_motions
from motionclone.settings import Extraction
from motionclone.steps import noise_level, prediction_of


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
