"""What schedulers' steps do: noise levels, and what is left of an increment when the run is over."""

import copy
import inspect
from itertools import pairwise

import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LTXEulerAncestralRFScheduler,
    PNDMScheduler,
    SASolverScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from motionclone.errors import InputError
from motionclone.guidance import DISPLACEMENT, first_order_response, output_increment
from motionclone.plan import plan_run
from motionclone.schedule import UnevenDDIMScheduler
from motionclone.settings import Guidance
from motionclone.steps import (
    coming_step,
    has_first_order_steps,
    noise_level,
    noise_levels,
    prediction_of,
    solver_responses,
    step_index,
)

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
V = {**BETAS, "prediction_type": "v_prediction"}
ZERO_SNR = {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
LATENTS = {"clip_sample": False}
FIRST_ORDER = {
    "DDIM": lambda: DDIMScheduler(**BETAS, **LATENTS),
    "DDIM v": lambda: DDIMScheduler(**V, **LATENTS),
    "DDIM v zero SNR": lambda: DDIMScheduler(**ZERO_SNR, **LATENTS),
    "uneven DDIM": lambda: UnevenDDIMScheduler.uneven(DDIMScheduler(**BETAS, **LATENTS), 8, 0.3),
    "CogVideoX DDIM": lambda: CogVideoXDDIMScheduler(**ZERO_SNR, **LATENTS, snr_shift_scale=3.0),
    "flow Euler": lambda: FlowMatchEulerDiscreteScheduler(shift=7.0),
}
OTHERS = {
    "Euler": lambda: EulerDiscreteScheduler(**BETAS),
    "Euler v Karras": lambda: EulerDiscreteScheduler(**V, use_karras_sigmas=True),
    "Euler exponential": lambda: EulerDiscreteScheduler(**BETAS, use_exponential_sigmas=True),
    "Euler ancestral": lambda: EulerAncestralDiscreteScheduler(**BETAS),
    "Heun": lambda: HeunDiscreteScheduler(**BETAS),
    "Heun v": lambda: HeunDiscreteScheduler(**V),
    "KDPM2": lambda: KDPM2DiscreteScheduler(**BETAS),
    "KDPM2 v": lambda: KDPM2DiscreteScheduler(**V),
    "KDPM2 ancestral": lambda: KDPM2AncestralDiscreteScheduler(**BETAS),
    "PNDM": lambda: PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1),
    "PNDM v": lambda: PNDMScheduler(**V, skip_prk_steps=True, steps_offset=1),
    "PNDM with Runge-Kutta": lambda: PNDMScheduler(**BETAS),
    "DDPM": lambda: DDPMScheduler(**BETAS, **LATENTS),
    "LCM": lambda: LCMScheduler(**BETAS),
    "TCD": lambda: TCDScheduler(**BETAS),
    "DPM++ 2M": lambda: DPMSolverMultistepScheduler(**BETAS),
    "DPM++ 2M v": lambda: DPMSolverMultistepScheduler(**V),
    "DPM++ 2M Karras": lambda: DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True),
    "DPM++ 2M Lu": lambda: DPMSolverMultistepScheduler(**V, use_lu_lambdas=True),
    "DPM++ 3M": lambda: DPMSolverMultistepScheduler(**BETAS, solver_order=3),
    "DPM++ 2M heun": lambda: DPMSolverMultistepScheduler(**BETAS, solver_type="heun"),
    "DPM 2M": lambda: DPMSolverMultistepScheduler(**BETAS, algorithm_type="dpmsolver", final_sigmas_type="sigma_min"),
    "DPM++ 2M SDE": lambda: DPMSolverMultistepScheduler(**BETAS, algorithm_type="sde-dpmsolver++"),
    "DPM++ 2M flow": lambda: DPMSolverMultistepScheduler(**FLOW),
    "DPM++ 2M SDE flow": lambda: DPMSolverMultistepScheduler(**FLOW, algorithm_type="sde-dpmsolver++"),
    "DPM++ 2S": lambda: DPMSolverSinglestepScheduler(**BETAS, lower_order_final=True),
    "DPM++ 2S flow": lambda: DPMSolverSinglestepScheduler(**FLOW, lower_order_final=True),
    "DEIS": lambda: DEISMultistepScheduler(**BETAS),
    "DEIS v": lambda: DEISMultistepScheduler(**V),
    "SA": lambda: SASolverScheduler(**BETAS),
    "SA flow": lambda: SASolverScheduler(**FLOW),
    "UniPC": lambda: UniPCMultistepScheduler(**BETAS),
    "UniPC v zero SNR": lambda: UniPCMultistepScheduler(**ZERO_SNR),
    "UniPC 3": lambda: UniPCMultistepScheduler(**BETAS, solver_order=3),
    "UniPC corrected late": lambda: UniPCMultistepScheduler(**BETAS, disable_corrector=[0, 1, 2]),
    "UniPC flow": lambda: UniPCMultistepScheduler(**FLOW),
    "UniPC 3 flow": lambda: UniPCMultistepScheduler(**FLOW, solver_order=3),
    "UniPC bh1 flow": lambda: UniPCMultistepScheduler(**FLOW, solver_type="bh1", final_sigmas_type="sigma_min"),
    "CogVideoX DPM": lambda: CogVideoXDPMScheduler(**V, snr_shift_scale=1.0),
    "flow Heun": lambda: FlowMatchHeunDiscreteScheduler(shift=3.0),
    "LTX Euler ancestral": lambda: LTXEulerAncestralRFScheduler(),
}
FORGETFUL = {  # of which every step draws all noise anew
    "flow LCM": lambda: FlowMatchLCMScheduler(shift=3.0),
    "flow Euler stochastic": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True),
}
SHAPE = (1, 4, 3, 4, 4)

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array"),  # of diffusers' schedulers with numpy 2
    pytest.mark.filterwarnings("ignore:.*algorithm_type dpmsolver is deprecated"),
]


def normal(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def sample(scheduler, latents, added=None, until=None):
    """The latents after a run whose denoiser's outputs are noise that does not hang on them, and more in some steps."""
    scheduler, added = copy.deepcopy(scheduler), added or {}
    takes, past, generator = inspect.signature(scheduler.step).parameters, None, torch.Generator().manual_seed(0)
    for index, timestep in enumerate(scheduler.timesteps[:until]):
        arguments = {"generator": generator} if "generator" in takes else {}
        if "timestep_back" in takes:
            before = scheduler.timesteps[index - 1] if index else None
            arguments |= {"old_pred_original_sample": past, "timestep_back": before}
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(latents, timestep)
        output = normal(index) + added.get(index, 0)
        latents, *others = scheduler.step(output, timestep=timestep, sample=latents, return_dict=False, **arguments)
        past = others[0] if others else None
    return latents


def increments(scheduler, gradient, fraction, **changes):
    """What guidance adds to the outputs if the energy's gradient is always the same, by step."""
    settings = Guidance(**{"weight": 1, **changes}, guided_fraction=fraction, warm_up=0, cool_down=0)
    plan = plan_run(scheduler, float(scheduler.timesteps[0]), settings)
    prediction = prediction_of(scheduler)
    return {
        index: output_increment(step.weight * gradient, step.now, step.after, prediction, settings.rule, step.response)
        for index, step in plan.steps.items()
    }


def scale(scheduler):
    """Of the initial noise."""
    return float(getattr(scheduler, "init_noise_sigma", 1.0))


def divided(scheduler):
    """Whether a sampler keeps z / alpha."""
    return scale(scheduler) > 1


@pytest.mark.parametrize("strength", [None, 1.0])
@pytest.mark.parametrize("count", [8, 30])
@pytest.mark.parametrize("name", [*FIRST_ORDER, *OTHERS])
def test_what_was_asked_for_is_left_when_the_run_is_over(name, count, strength):
    """z_after -= sigma_after sigma G in every guided step, carried to the end as a change of the initial latents is.

    By a strength each step moves them by its share of it, in proportion to the noise that it leaves.
    """
    scheduler = (FIRST_ORDER | OTHERS)[name]()
    scheduler.set_timesteps(count)
    start, gradient = normal(100) * scale(scheduler), normal(200)
    plain = sample(scheduler, start)
    got = sample(scheduler, start, increments(scheduler, gradient, 0.4, strength=strength)) - plain
    timesteps = scheduler.timesteps.tolist()
    asked, guided = 0.0, [i for i, t in enumerate(timesteps) if t >= 600]
    end = len(timesteps)
    carried = [
        float(sample(scheduler, start + 1, until=i).sub(sample(scheduler, start, until=i)).mean())
        for i in (*range(1, guided[-1] + 2), end)
    ]
    levels = {index: noise_levels(scheduler, timesteps[index], index) for index in guided}
    left = sum(after.sigma for _, after in levels.values())
    for index, (now, after) in levels.items():
        moved = -after.sigma * (now.sigma if strength is None else strength * DISPLACEMENT / left)
        moved /= after.alpha if divided(scheduler) else 1
        asked += moved * carried[-1] / carried[index]
    assert len(guided) >= 2
    torch.testing.assert_close(got, asked * gradient, rtol=0.02, atol=0.02 * abs(asked))


@pytest.mark.parametrize("name", FORGETFUL)
def test_what_the_next_step_forgets_is_asked_for_at_once(name):
    scheduler = FORGETFUL[name]()
    scheduler.set_timesteps(10)
    gradient = normal(200)
    added = increments(scheduler, gradient, 1.0)
    for index in (0, 4, 8):
        now, after = noise_levels(scheduler, float(scheduler.timesteps[index]), index)
        plain, moved = (sample(scheduler, normal(100), each, index + 1) for each in ({}, {index: added[index]}))
        torch.testing.assert_close(moved - plain, -after.sigma * now.sigma * gradient, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_steps_of_first_order_need_no_run_to_be_known(name):
    scheduler = FIRST_ORDER[name]()
    assert has_first_order_steps(scheduler)
    scheduler.set_timesteps(10)
    assert all(
        step.response is None for step in plan_run(scheduler, float(scheduler.timesteps[0]), Guidance()).steps.values()
    )
    for index, found in solver_responses(scheduler, 0).items():
        now, after = noise_levels(scheduler, float(scheduler.timesteps[index]), index)
        known = first_order_response(now, after, prediction_of(scheduler))
        assert found.moves == pytest.approx(known, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("name", "least", "most"), [("UniPC flow", 0.50, 0.59), ("DPM++ 2M flow", 0.66, 0.88)])
def test_share_that_lasts_of_what_an_output_does_at_once(name, least, most):
    """As measured in runs of 50 steps by other code."""
    scheduler = OTHERS[name]()
    scheduler.set_timesteps(50)
    start, shares = normal(0), []
    for index, found in list(solver_responses(scheduler, 0).items())[:20]:
        at_once = sample(scheduler, start, {index: 1.0}, index + 1) - sample(scheduler, start, until=index + 1)
        shares.append(found.moves / float(at_once.mean()))
    assert (min(shares), max(shares)) == (pytest.approx(least, abs=0.006), pytest.approx(most, abs=0.006))


def test_the_scheduler_and_the_random_numbers_are_left_alone():
    """In the middle of a run, too: it goes on as it would have."""
    scheduler = OTHERS["UniPC flow"]()
    scheduler.set_timesteps(12)
    latents, output = normal(0), normal(1)
    for timestep in scheduler.timesteps[:4]:
        latents = scheduler.step(output, timestep, latents).prev_sample
    twin, before = copy.deepcopy(scheduler), torch.get_rng_state()
    late = solver_responses(scheduler, 4)
    assert torch.equal(torch.get_rng_state(), before)
    for timestep in scheduler.timesteps[4:]:
        found, wanted = (each.step(output, timestep, latents).prev_sample for each in (scheduler, twin))
        assert torch.equal(found, wanted)
        latents = found
    scheduler.set_timesteps(12)
    for index, response in solver_responses(scheduler, 0).items():
        if index > 6 and response.moves is not None:
            assert late[index].moves == pytest.approx(response.moves, rel=0.02)


@pytest.mark.parametrize(
    "scheduler",
    [DDPMScheduler(**BETAS), DPMSolverMultistepScheduler(**BETAS, thresholding=True)],
    ids=["clip_sample", "thresholding"],
)
def test_schedulers_that_clip_are_refused(scheduler):
    scheduler.set_timesteps(10)
    with pytest.raises(InputError, match="clip_sample and thresholding"):
        solver_responses(scheduler, 0)


@pytest.mark.parametrize("name", ["PNDM", "PNDM with Runge-Kutta", "Heun", "KDPM2", "UniPC", "DDPM"])
def test_the_coming_step_is_known_where_a_timestep_comes_twice(name):
    scheduler = OTHERS[name]()
    scheduler.set_timesteps(8)
    latents = normal(0)
    for index, timestep in enumerate(scheduler.timesteps):
        assert coming_step(scheduler, float(timestep), 0) == index
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(normal(1), timestep, latents).prev_sample


def test_levels_are_those_of_the_sampler_s_own_sigmas():
    """Karras' timesteps are rounded, and the last step may end with some noise."""
    scheduler = DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True, final_sigmas_type="sigma_min")
    scheduler.set_timesteps(8)
    for index, timestep in enumerate(scheduler.timesteps.tolist()):
        for level, sigma in zip(noise_levels(scheduler, timestep, index), scheduler.sigmas[index:], strict=False):
            assert level.sigma / level.alpha == pytest.approx(float(sigma), rel=1e-5)


def test_levels_of_a_midpoint():
    scheduler = OTHERS["KDPM2"]()
    scheduler.set_timesteps(8)
    levels = [noise_levels(scheduler, t, index) for index, t in enumerate(scheduler.timesteps.tolist())]
    ratios = [now.sigma / now.alpha for now, _ in levels]
    assert ratios[1] ** 2 == pytest.approx(ratios[0] * ratios[2], rel=1e-3)
    assert all(after == now for (_, after), (now, _) in pairwise(levels))


def test_levels_of_flow_models():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(4)
    now, after = noise_levels(scheduler, float(scheduler.timesteps[0]))
    assert (now.alpha, now.sigma) == (0.0, 1.0)
    assert after.alpha + after.sigma == pytest.approx(1)
    assert noise_level(scheduler, 610).sigma == pytest.approx(0.61)
    half = torch.tensor(float(scheduler.timesteps[2])).to(torch.bfloat16)
    assert step_index(scheduler, float(half)) == 2


def test_what_cannot_be_guided_is_refused():
    with pytest.raises(InputError, match="'sample' cannot be guided"):
        prediction_of(DDIMScheduler(prediction_type="sample"))
    with pytest.raises(InputError, match="EDMEulerScheduler does not tell the noise"):
        prediction_of(EDMEulerScheduler())


@pytest.mark.parametrize(("make", "last"), [("DDIM", 19), ("flow Euler", 20)])
def test_noise_that_a_model_of_few_timesteps_does_not_know_is_refused(make, last):
    kind = type(FIRST_ORDER[make]())
    scheduler = kind(num_train_timesteps=20)
    noise_level(scheduler, last)
    with pytest.raises(InputError, match=f"from t = 0 to {last}, not at t = 400"):
        noise_level(scheduler, 400)
