"""What schedulers' steps do: noise levels and responses, against the steps themselves."""

import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from motionclone.errors import InputError
from motionclone.guidance import first_order_response
from motionclone.steps import (
    has_first_order_steps,
    noise_level,
    noise_levels,
    prediction_of,
    probed_response,
    step_index,
)

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
FIRST_ORDER = {
    "DDIM": lambda: DDIMScheduler(**BETAS, clip_sample=False),
    "DDIM v zero SNR": lambda: DDIMScheduler(**BETAS, **ZERO_SNR, clip_sample=False),
    "CogVideoX DDIM": lambda: CogVideoXDDIMScheduler(**BETAS, **ZERO_SNR, clip_sample=False, snr_shift_scale=3.0),
    "flow Euler": lambda: FlowMatchEulerDiscreteScheduler(shift=7.0),
}
OTHERS = {
    "UniPC flow": lambda: UniPCMultistepScheduler(**FLOW),
    "DPM++ flow": lambda: DPMSolverMultistepScheduler(**FLOW),
    "DPM++": lambda: DPMSolverMultistepScheduler(**BETAS),
    "Euler": lambda: EulerDiscreteScheduler(**BETAS),
}
LATENTS = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers' Euler and DPM++ with numpy 2


def steps(scheduler, count=8):
    """Brings a scheduler to every step in turn, on outputs that are noise."""
    scheduler.set_timesteps(count)
    latents = LATENTS * float(getattr(scheduler, "init_noise_sigma", 1.0))
    for number, timestep in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else None
        yield float(timestep), latents
        output = torch.randn(LATENTS.shape, generator=torch.Generator().manual_seed(number))
        latents = scheduler.step(output, timestep, latents)[0]


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_the_probed_response_is_the_known_one(name):
    scheduler = FIRST_ORDER[name]()
    assert has_first_order_steps(scheduler)
    for timestep, latents in steps(scheduler):
        now, after = noise_levels(scheduler, timestep)
        if now.alpha == 0 and prediction_of(scheduler) == "epsilon":
            continue
        known = first_order_response(now, after, prediction_of(scheduler))
        assert probed_response(scheduler, timestep, after, latents) == pytest.approx(known, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_a_change_of_the_output_moves_the_latents_by_the_probed_response(name):
    """In the scale of z = alpha x0 + sigma eps, in every step but the last, which ends without noise."""
    scheduler = OTHERS[name]()
    assert not has_first_order_steps(scheduler)
    state = torch.get_rng_state()
    for timestep, latents in steps(scheduler):
        _, after = noise_levels(scheduler, timestep)
        response = probed_response(scheduler, timestep, after, latents)
        moved = []
        for shift in (0.0, 0.5):
            twin = type(scheduler).from_config(scheduler.config)
            for earlier, at in zip(steps(twin), range(8), strict=False):
                if at == step_index(scheduler, timestep):
                    output = torch.full(LATENTS.shape, shift)
                    end = twin.step(output, twin.timesteps[at], earlier[1])[0]
                    moved.append(end * (after.alpha if name == "Euler" else 1))
                    break
        assert float((moved[1] - moved[0]).mean()) == pytest.approx(0.5 * response, rel=1e-3, abs=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


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
