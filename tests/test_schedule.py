"""The uneven schedule (Sec. 4.1) and its DDIM step, against diffusers' on a uniform schedule."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AnimateDiffPipeline, DDIMScheduler, EulerDiscreteScheduler
from tiny import leaving_by, tiny_pipe

from motionclone.errors import InputError
from motionclone.schedule import (
    UnevenDDIMScheduler,
    check_schedule,
    first_guided_timestep,
    uneven_schedule,
    uneven_timesteps,
)


def ddim(prediction="epsilon", **config):
    return DDIMScheduler(
        **{
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "linear",
            "clip_sample": False,
            "steps_offset": 1,
            "prediction_type": prediction,
            **config,
        }
    )


def run(scheduler, eta):
    """Latents after every step of a sampling loop whose model is a fixed function of latents and time."""
    generator = torch.Generator().manual_seed(7)
    latents, seen = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0)), []
    for t in scheduler.timesteps:
        output = torch.sin(3 * latents + t / 1000)
        latents = scheduler.step(output, t, latents, eta=eta, generator=generator).prev_sample
        seen.append(latents)
    return torch.stack(seen)


@pytest.mark.parametrize(
    ("steps", "guided", "fraction", "boundary"),
    [(100, 50, 0.3, 700), (300, 180, 0.4, 600), (100, 40, 0.3, 700), (200, 120, 0.4, 600)],
    ids=["camera", "object", "image", "sketch"],
)
def test_schedules_of_the_authors(steps, guided, fraction, boundary):
    found = uneven_timesteps(steps, guided, fraction)
    assert len(found) == steps
    assert (found[0], found[guided - 1], found[guided], found[-1]) == (999, boundary, boundary - 1, 0)
    assert found == sorted(set(found), reverse=True)
    assert sum(t >= boundary for t in found) == guided


@pytest.mark.parametrize("train_timesteps", [20, 1000, 4000])
@pytest.mark.parametrize("decimals", [1, 2, 3, 6])
def test_fractions_are_meant_as_they_are_written(decimals, train_timesteps):
    """.8 of 1000 begins at 200: as in the arithmetic of whole numbers, not in that of floats."""
    whole = 10**decimals
    for part in range(1, whole, max(1, whole // 1000)):
        exact = (whole - part) * train_timesteps // whole
        assert first_guided_timestep(part / whole, train_timesteps) == exact
        assert first_guided_timestep(1 - (whole - part) / whole, train_timesteps) == exact


@pytest.mark.parametrize(("fraction", "first"), [(0.3, 700), (0.4, 600), (0.8, 200), (0.26, 740), (0.16, 840), (1, 0)])
def test_first_guided_timesteps(fraction, first):
    assert first_guided_timestep(fraction) == first


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.4, 0.9, 1.0])
def test_every_accepted_schedule_descends_within_the_model_s_timesteps(fraction):
    """A repeated or negative timestep would be stepped to silently."""
    for steps in (1, 2, 5, 50, 400, 1000):
        for guided in {0, 1, 2, steps // 2, steps - 1, steps}:
            try:
                found = uneven_timesteps(steps, guided, fraction)
            except ValueError:
                continue
            case = (steps, guided, fraction)
            assert len(found) == steps, case
            assert found == sorted(set(found), reverse=True), case
            assert 0 <= found[-1] <= found[0] <= 999, case


@pytest.mark.parametrize("guided", [0, 1, 2, 10])
def test_sampling_starts_from_pure_noise(guided):
    """The initial latents are noise, whatever the counts: a schedule that begins lower denoises what is not there."""
    try:
        found = uneven_timesteps(10, guided, 0.3)
    except ValueError:
        assert guided == 0  # may be refused: a weight of 0 says it better
    else:
        assert found[0] == 999


@pytest.mark.parametrize(("steps", "guided"), [(10, 11), (10, -1), (0, 0)])
def test_counts_that_do_not_fit(steps, guided):
    with pytest.raises(ValueError, match="guided_steps"):
        uneven_timesteps(steps, guided, 0.3)


def test_scheduler_refuses_fewer_steps_than_guided_ones():
    with pytest.raises(ValueError, match="guided_steps"):
        UnevenDDIMScheduler.uneven(ddim(), 10, 0.3).set_timesteps(5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_equals_diffusers_on_its_own_timesteps(prediction, eta):
    theirs = ddim(prediction)
    theirs.set_timesteps(10)
    ours = UnevenDDIMScheduler.uneven(theirs, 5, 0.3)
    ours.set_timesteps(10)
    ours.timesteps = theirs.timesteps
    torch.testing.assert_close(run(ours, eta), run(theirs, eta), rtol=0, atol=1e-6)


@pytest.mark.parametrize("set_alpha_to_one", [True, False])
def test_equals_diffusers_where_both_take_every_timestep(set_alpha_to_one):
    """With as many steps as training timesteps the uneven schedule is the uniform one."""
    theirs = ddim(num_train_timesteps=20, beta_end=0.2, steps_offset=0, set_alpha_to_one=set_alpha_to_one)
    theirs.set_timesteps(20)
    ours = UnevenDDIMScheduler.uneven(theirs, 6, 0.3)
    ours.set_timesteps(20)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    torch.testing.assert_close(run(ours, 1.0), run(theirs, 1.0), rtol=0, atol=1e-6)


def test_step_goes_to_the_next_timestep_of_the_schedule():
    """With the true noise as the model's output every DDIM step lands on the same x0 and noise, at the next level."""
    scheduler = UnevenDDIMScheduler.uneven(ddim(), 4, 0.3)
    scheduler.set_timesteps(6)
    clean, noise = (torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    bars = [*(scheduler.alphas_cumprod[t] for t in scheduler.timesteps), scheduler.final_alpha_cumprod]
    for t, now, after in zip(scheduler.timesteps, bars, bars[1:], strict=False):
        latents = now**0.5 * clean + (1 - now) ** 0.5 * noise
        found = scheduler.step(noise, t, latents)
        torch.testing.assert_close(
            found.prev_sample, after**0.5 * clean + (1 - after) ** 0.5 * noise, rtol=0, atol=1e-5
        )
        torch.testing.assert_close(found.pred_original_sample, clean, rtol=0, atol=1e-4)
    assert scheduler.alpha_bar_after(0) == 1


def test_step_as_a_tuple():
    scheduler = UnevenDDIMScheduler.uneven(ddim(), 2, 0.3)
    scheduler.set_timesteps(4)
    latents, output = torch.ones(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1)
    found = scheduler.step(output, scheduler.timesteps[0], latents)
    earlier, clean = scheduler.step(output, scheduler.timesteps[0], latents, return_dict=False)
    assert torch.equal(earlier, found.prev_sample)
    assert torch.equal(clean, found.pred_original_sample)


def test_half_precision_stays_half():
    scheduler = UnevenDDIMScheduler.uneven(ddim(), 2, 0.3)
    scheduler.set_timesteps(4)
    latents = torch.ones(1, 1, 1, 1, 1, dtype=torch.float16)
    for eta in (0.0, 1.0):
        assert scheduler.step(latents, scheduler.timesteps[1], latents, eta=eta).prev_sample.dtype == torch.float16


def test_keeps_the_scheduler_s_betas_and_meaning():
    theirs = ddim("v_prediction", beta_schedule="scaled_linear")
    ours = UnevenDDIMScheduler.uneven(theirs, 2, 0.3)
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    assert ours.config.prediction_type == "v_prediction"


def test_counts_are_part_of_the_config(tmp_path):
    """A scheduler that is made again from its config, or loaded, steps where the first did."""
    first = UnevenDDIMScheduler.uneven(ddim(), 4, 0.25)
    assert (first.config.guided_steps, first.config.guided_fraction) == (4, 0.25)
    first.save_pretrained(tmp_path)
    again = UnevenDDIMScheduler.uneven(first, 5, 0.5)
    for scheduler, counts in (
        (UnevenDDIMScheduler.from_config(first.config), (4, 0.25)),
        (UnevenDDIMScheduler.from_pretrained(tmp_path), (4, 0.25)),
        (UnevenDDIMScheduler.from_config(first.config, guided_steps=3), (3, 0.25)),
        (UnevenDDIMScheduler.from_config(ddim().config), (50, 0.3)),
        (again, (5, 0.5)),
    ):
        assert (scheduler.config.guided_steps, scheduler.config.guided_fraction) == counts
        scheduler.set_timesteps(60)
        assert scheduler.timesteps.tolist() == uneven_timesteps(60, *counts)
    assert type(DDIMScheduler.from_config(first.config)) is DDIMScheduler


def test_a_pipeline_is_saved_and_loaded_with_the_schedule(tmp_path):
    pipe = tiny_pipe(tmp_path)
    pipe.scheduler = UnevenDDIMScheduler.uneven(pipe.scheduler, 4, 0.25)
    pipe.save_pretrained(tmp_path / "saved")
    loaded = AnimateDiffPipeline.from_pretrained(tmp_path / "saved")
    for scheduler in (loaded.scheduler, pipe.scheduler):
        scheduler.set_timesteps(20)
    assert torch.equal(loaded.scheduler.timesteps, pipe.scheduler.timesteps)


@pytest.mark.parametrize(("train_timesteps", "steps"), [(20, 10), (4000, 2000)])
def test_models_of_other_numbers_of_timesteps(train_timesteps, steps):
    scheduler = UnevenDDIMScheduler.uneven(ddim(num_train_timesteps=train_timesteps), steps // 2, 0.5)
    scheduler.set_timesteps(steps)
    assert (int(scheduler.timesteps[0]), int(scheduler.timesteps[-1])) == (train_timesteps - 1, 0)
    check_schedule(scheduler, steps, steps // 2, 0.5)
    with pytest.raises(InputError, match="do not fit"):
        check_schedule(scheduler, train_timesteps, 1, 0.5)


@pytest.mark.parametrize("pixels", ["clip_sample", "thresholding"])
def test_refuses_what_is_for_pixels(pixels):
    with pytest.raises(ValueError, match=pixels):
        UnevenDDIMScheduler.uneven(ddim(**{pixels: True}), 2, 0.3)


def test_refuses_a_prediction_it_does_not_know():
    scheduler = UnevenDDIMScheduler.uneven(ddim("sample"), 2, 0.3)
    scheduler.set_timesteps(4)
    with pytest.raises(ValueError, match="sample"):
        scheduler.step(torch.zeros(1), scheduler.timesteps[0], torch.zeros(1))


@pytest.mark.parametrize("end", [None, KeyboardInterrupt])
def test_pipeline_gets_its_scheduler_back(end):
    theirs = ddim()
    pipe = SimpleNamespace(scheduler=theirs)

    def run():
        with uneven_schedule(pipe, 4, 0.3):
            pipe.scheduler.set_timesteps(6)
            assert pipe.scheduler.timesteps.tolist() == uneven_timesteps(6, 4, 0.3)
            if end is not None:
                raise end

    with leaving_by(end):
        run()
    assert pipe.scheduler is theirs


def test_other_schedulers_are_kept():
    theirs = EulerDiscreteScheduler()
    pipe = SimpleNamespace(scheduler=theirs)
    with uneven_schedule(pipe, 4, 0.3):
        assert pipe.scheduler is theirs
