"""From a gradient to an increment of the model's output, against real scheduler steps (Eq. 2)."""

from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from motionclone.guidance import (
    DISPLACEMENT,
    NoiseLevel,
    matching_weight,
    motion_direction,
    on_sphere,
    output_increment,
    ramp,
    strength_weights,
)

PREDICTIONS = ["epsilon", "v_prediction", "flow_prediction"]


def normal(seed):
    return torch.randn(2, 4, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LATENTS, OUTPUT, GRADIENT = normal(0), normal(1), normal(2)


def sampler(prediction, **config):
    if prediction == "flow_prediction":
        made = FlowMatchEulerDiscreteScheduler(shift=3.0)
    else:
        made = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="linear",
            clip_sample=False,
            prediction_type=prediction,
            **config,
        )
    made.set_timesteps(10)
    return made


def levels(scheduler, index):
    """Noise levels before and after a step, written down independently of the backbones."""
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return tuple(NoiseLevel(1 - float(s), float(s)) for s in scheduler.sigmas[index : index + 2])
    timesteps = [int(t) for t in scheduler.timesteps]
    last = index + 1 == len(timesteps)
    bars = [scheduler.alphas_cumprod[timesteps[index]]]
    bars.append(scheduler.final_alpha_cumprod if last else scheduler.alphas_cumprod[timesteps[index + 1]])
    return tuple(NoiseLevel.of_diffusion(float(bar)) for bar in bars)


def step(prediction, index, output, **config):
    """A step of a fresh scheduler; flow schedulers count their steps, so they are brought to the index first."""
    scheduler = sampler(prediction, **config)
    if prediction == "flow_prediction":
        scheduler.set_begin_index(index)
    return scheduler.step(output, scheduler.timesteps[index], LATENTS)


def clean(prediction, now, output):
    """x0 that a model's output means, by definition."""
    if prediction == "epsilon":
        return (LATENTS - now.sigma * output) / now.alpha
    if prediction == "v_prediction":
        return now.alpha * LATENTS - now.sigma * output
    return LATENTS - now.sigma * output


def test_ramp_of_the_authors():
    found = [ramp(i, 50) for i in range(50)]
    assert found[:11] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
    assert found[10:41] == [1.0] * 31
    assert found[40:] == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_ramp_is_as_long_in_a_long_run():
    found = [ramp(i, 180) for i in range(180)]
    assert found[8:10] == [0.9, 1.0]
    assert found[170:172] == [1.0, 0.9]
    assert sum(w < 1 for w in found) == 18


def test_ramps_multiply_where_they_overlap():
    assert [ramp(i, 4, 2, 2) for i in range(4)] == [0.5, 1.0, 1.0, 0.5]
    assert [ramp(i, 3, 4, 4) for i in range(3)] == pytest.approx([0.25 * 0.75, 0.5 * 0.5, 0.75 * 0.25])


def test_no_ramp():
    assert [ramp(i, 3, 0, 0) for i in range(3)] == [1.0] * 3


def test_diffusion_levels():
    level = NoiseLevel.of_diffusion(0.36)
    assert (level.alpha, level.sigma) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_noise_update_is_equation_2(prediction):
    """The noise estimate moves by sigma G, so x0 moves by -(sigma / alpha) sigma G."""
    now, after = levels(sampler(prediction), 3)
    increment = output_increment(GRADIENT, now, after, prediction, "noise")
    shift = clean(prediction, now, OUTPUT + increment) - clean(prediction, now, OUTPUT)
    torch.testing.assert_close(shift, -(now.sigma**2) / now.alpha * GRADIENT, rtol=0, atol=1e-6)
    if prediction != "flow_prediction":
        by_scheduler = [step(prediction, 3, m).pred_original_sample for m in (OUTPUT + increment, OUTPUT)]
        torch.testing.assert_close(by_scheduler[0] - by_scheduler[1], shift, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("index", [0, 3, 8, 9])
def test_direction_update_moves_the_latents_and_not_x0(prediction, index):
    """z_after -= sigma_after sigma G, through the output of a real step; nothing at the last one."""
    now, after = levels(sampler(prediction), index)
    increment = output_increment(GRADIENT, now, after, prediction, "direction")
    found = step(prediction, index, OUTPUT + increment).prev_sample
    wanted = step(prediction, index, OUTPUT).prev_sample - after.sigma * now.sigma * GRADIENT
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_matching_weight_makes_the_updates_equal(prediction):
    now, after = levels(sampler(prediction), 3)
    noise = output_increment(GRADIENT * matching_weight(now, after), now, after, prediction, "noise")
    torch.testing.assert_close(noise, output_increment(GRADIENT, now, after, prediction, "direction"))


def test_zero_terminal_snr_has_a_finite_direction():
    config = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    now, after = levels(sampler("v_prediction", **config), 0)
    assert now.alpha == 0
    increment = output_increment(GRADIENT, now, after, "v_prediction", "direction")
    found = step("v_prediction", 0, OUTPUT + increment, **config).prev_sample
    wanted = step("v_prediction", 0, OUTPUT, **config).prev_sample - after.sigma * GRADIENT
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("prediction", ["v_prediction", "flow_prediction"])
def test_zero_terminal_snr_has_no_noise_update(prediction):
    with pytest.raises(ValueError, match="direction"):
        output_increment(GRADIENT, NoiseLevel(0, 1), NoiseLevel(0.1, 0.9), prediction, "noise")


@pytest.mark.parametrize("update", ["direction", "noise"])
def test_increment_keeps_shape_and_precision(update):
    half = GRADIENT.half()
    found = output_increment(half, NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6), "epsilon", update)
    assert found.shape == half.shape
    assert found.dtype == half.dtype


def test_a_direction_is_motion_and_has_unit_size():
    """Of each video for itself; whatever the gradient's scale, what it says of all frames or of all pixels is gone."""
    looks = normal(3).mean(2, keepdim=True) + normal(4).mean((3, 4), keepdim=True)
    gradient = GRADIENT * torch.tensor([1.0, 1e3]).view(2, 1, 1, 1, 1)
    found = motion_direction(gradient)
    assert found.mean(2).abs().max() < 1e-12
    assert found.mean((3, 4)).abs().max() < 1e-12
    torch.testing.assert_close(found.square().mean((1, 2, 3, 4)), torch.ones(2, dtype=torch.float64))
    pure = gradient - gradient.mean(2, keepdim=True)
    pure = pure - pure.mean((3, 4), keepdim=True)
    cosine = torch.nn.functional.cosine_similarity(found.flatten(1), pure.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(2, dtype=torch.float64))
    for same in (gradient * 1000, gradient * 1e-30, gradient + looks):
        torch.testing.assert_close(motion_direction(same), found)
    single = (gradient * 1e-30).float()  # whose squares are too small for its numbers
    torch.testing.assert_close(motion_direction(single), found.float(), rtol=1e-3, atol=1e-4)


def test_frames_of_a_picture_stay_and_one_frame_that_moves_may():
    kept = motion_direction(GRADIENT, kept_frames=1)
    assert not kept[:, :, 0].any()
    torch.testing.assert_close(kept[:, :, 1:], motion_direction(GRADIENT[:, :, 1:]))
    alone = motion_direction(GRADIENT, kept_frames=2)
    assert float(alone[:, :, 2].square().mean()) == pytest.approx(1)
    assert not motion_direction(torch.zeros_like(GRADIENT)).any()


@pytest.mark.parametrize("length", [1e-9, 0.05, 0.25])
def test_a_step_on_the_sphere_leaves_the_latents_as_large_as_they_are(length):
    step = length * motion_direction(GRADIENT)
    turned = on_sphere(step, LATENTS)

    def moving(latents):
        latents = latents - latents.mean(2, keepdim=True)
        return latents - latents.mean((3, 4), keepdim=True)

    def growth(taken):
        before, after = moving(LATENTS), moving(LATENTS - taken)
        return (after.square().mean((1, 2, 3, 4)) / before.square().mean((1, 2, 3, 4)) - 1).abs().max()

    assert growth(turned) < 0.1 * growth(step)
    sizes = [each.square().mean((1, 2, 3, 4)).sqrt() for each in (turned, step)]
    torch.testing.assert_close(*sizes)
    assert turned.mean(2).abs().max() < 1e-12
    assert turned.mean((3, 4)).abs().max() < 1e-12
    assert (turned - step).square().mean().sqrt() < length  # of whose direction a part is along the latents


def test_a_step_across_the_latents_is_turned_by_what_it_would_add():
    """Two frames of two pixels: the latents in one channel, the step in the other, so the triangle is a right one."""
    one = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).view(1, 1, 2, 1, 2)
    latents = torch.cat([one, 0 * one], 1)
    step = 0.75 * latents.flip(1)  # |latents| = 1, |step| = 3/4, so |latents - step| = 5/4
    turned = on_sphere(step, latents)
    torch.testing.assert_close(turned[:, :1] / turned[:, 1:], 0.2 * latents[:, :1] / (0.8 * step[:, 1:]))
    assert float(turned.square().mean()) == pytest.approx(float(step.square().mean()))


def test_what_is_kept_or_still_is_not_turned():
    step = motion_direction(GRADIENT, kept_frames=1)
    turned = on_sphere(step, LATENTS, kept_frames=1)
    assert not turned[:, :, 0].any()
    torch.testing.assert_close(turned[:, :, 1:], on_sphere(step[:, :, 1:], LATENTS[:, :, 1:]))
    assert not on_sphere(0 * step, LATENTS).any()
    assert on_sphere(step, 0 * LATENTS).isfinite().all()


def moves(strength, ramps, levels):
    """How far the latents are moved in every step."""
    weights = strength_weights(strength, ramps, levels)
    return [weight * now.sigma * after.sigma for weight, (now, after) in zip(weights, levels, strict=True)]


def falling(count, last):
    """Levels of a flow model's steps from pure noise."""
    sigmas = torch.linspace(1, last, count + 1).tolist()
    return [(NoiseLevel(1 - a, a), NoiseLevel(1 - b, b)) for a, b in pairwise(sigmas)]


@pytest.mark.parametrize("count", [3, 12, 180])
@pytest.mark.parametrize("ramped", [False, True])
def test_all_steps_together_have_the_strength(count, ramped):
    ramps = [ramp(i, count) if ramped else 1.0 for i in range(count)]
    levels = falling(count, 0.4)
    found = moves(0.5, ramps, levels)
    assert sum(found) == pytest.approx(0.5 * DISPLACEMENT)
    per_noise = [move / (share * after.sigma) for move, share, (_, after) in zip(found, ramps, levels, strict=True)]
    assert per_noise == pytest.approx([per_noise[0]] * count)


def test_no_step_moves_more_than_the_noise_it_leaves():
    assert moves(10.0, [1.0, 1.0], falling(2, 0.4)) == pytest.approx([0.7, 0.4])
    assert moves(1.0, [1.0], falling(1, 0.0)) == [0.0]  # nothing is left of it
