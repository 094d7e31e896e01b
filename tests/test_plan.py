"""Which steps of a run are guided and how strongly, and what is said if that is less than was asked for."""

import warnings
from pathlib import Path

import pytest
import torch
from diffusers import (
    AnimateDiffVideoToVideoPipeline,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    KDPM2DiscreteScheduler,
)
from PIL import Image
from tiny import animatediff_scheduler, tiny_pipe

from motionclone.errors import GuidanceWarning
from motionclone.extraction import extract_motion
from motionclone.guidance import DISPLACEMENT, matching_weight, ramp
from motionclone.plan import plan_run
from motionclone.sampling import motion_guidance
from motionclone.settings import Guidance

pytestmark = pytest.mark.filterwarnings("ignore:__array")  # of diffusers' schedulers with numpy 2

CALL = {"prompt": "ab", "num_frames": 4, "height": 64, "width": 64, "num_inference_steps": 4, "output_type": "latent"}


def ddim(steps):
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(steps)
    return scheduler


def flow(steps, **config):
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    scheduler.set_timesteps(steps)
    return scheduler


def planned(scheduler, begin=0, guided_from=0.0, **settings):
    return plan_run(scheduler, float(scheduler.timesteps[begin]), Guidance(**settings), guided_from)


def test_the_noisiest_steps_are_guided_along_the_ramps():
    plan = planned(ddim(50), guided_fraction=0.5, warm_up=4, cool_down=3, weight=10.0)
    assert list(plan.steps) == list(range(25))
    assert [step.index for step in plan.steps.values()] == list(range(25))
    assert [step.weight for step in plan.steps.values()] == [10 * ramp(i, 25, 4, 3) for i in range(25)]
    assert plan.shortfall is None


def test_a_run_that_begins_late_has_all_of_its_ramps():
    """As video to video does."""
    plan = planned(ddim(50), begin=10, guided_fraction=0.5, warm_up=4, cool_down=3, weight=10.0)
    assert list(plan.steps) == list(range(10, 25))
    assert [step.weight for step in plan.steps.values()] == [10 * ramp(i, 15, 4, 3) for i in range(15)]


def test_steps_of_another_denoiser_are_not_guided():
    assert list(planned(flow(10, shift=3.0), guided_from=875, guided_fraction=0.9, warm_up=0).steps) == [0, 1, 2]


def test_noise_matches_direction_by_its_weight_and_leaves_pure_noise_alone():
    plan = planned(flow(10), update="noise", match_direction=True, guided_fraction=0.5, warm_up=0, cool_down=0)
    assert list(plan.steps) == [1, 2, 3, 4]
    for step in plan.steps.values():
        assert step.weight == 2000 * matching_weight(step.now, step.after)


@pytest.mark.parametrize("scheduler", [ddim(50), ddim(8), flow(10, shift=3.0)])
@pytest.mark.parametrize("ramps", [0, 10])
def test_a_strength_is_the_same_in_any_number_of_steps(scheduler, ramps):
    """Whatever weight, rule and ramps say."""
    others = {"weight": 7.0, "update": "noise", "match_direction": True, "warm_up": ramps, "cool_down": ramps}
    plan = planned(scheduler, strength=0.5, guided_fraction=0.5, **others)
    assert sum(step.move for step in plan.steps.values()) == pytest.approx(0.5 * DISPLACEMENT)
    assert plan.shortfall is None


def test_strength_0_plans_nothing():
    assert not planned(ddim(20), strength=0.0).steps


def test_calls_whose_outputs_do_not_last_are_left_to_the_next():
    """The first of KDPM2's two calls only finds the midpoint: the second moves the latents for both."""
    scheduler = KDPM2DiscreteScheduler()
    scheduler.set_timesteps(20)
    plan = planned(scheduler, guided_fraction=0.5, warm_up=0, cool_down=0)
    assert all(index % 2 == 1 for index in plan.steps)
    assert plan.shortfall is None
    moved = sum(step.move for step in planned(scheduler, strength=1.0, guided_fraction=0.5).steps.values())
    assert DISPLACEMENT <= moved < 1.1 * DISPLACEMENT  # what the first moved would have grown as the noise fell


@pytest.mark.parametrize(
    ("scheduler", "settings", "told"),
    [
        (
            ddim(4),
            {},
            "reached 20 of the weight 2000: the ramps (warm_up 10, cool_down 10) are too long for 1 guided step;",
        ),
        (
            ddim(8),
            {},
            "reached 40 of the weight 2000: the ramps (warm_up 10, cool_down 10) are too long for 2 guided steps;",
        ),
        (ddim(20), {"warm_up": 4, "cool_down": 4}, "set them to 3 or less, or guide more steps."),
        (ddim(4), {"guided_fraction": 0.2}, "covers t >= 800 and the run begins at t = 750; set it to 0.25 or more."),
        (
            ddim(4),
            {"strength": 3.0},
            "reached 1.6 of the strength 3 in 1 guided step: none moves the latents further than",
        ),
        (flow(1), {"update": "noise"}, "guided no step: guided_fraction 0.3 covers 1 and the update 'noise' can guide"),
    ],
)
def test_what_is_not_reached_is_said_with_the_remedy(scheduler, settings, told):
    assert told in planned(scheduler, **settings).shortfall


@pytest.mark.parametrize("settings", [{"weight": 0}, {"warm_up": 3, "cool_down": 4}, {"warm_up": 0, "cool_down": 6}])
def test_what_is_reached_is_not_spoken_of(settings):
    assert planned(ddim(20), **settings).shortfall is None


def test_the_remedies_are_some():
    assert planned(ddim(20), warm_up=3, cool_down=3).shortfall is None
    assert planned(ddim(4), guided_fraction=0.25, warm_up=1, cool_down=1).shortfall is None


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    made = tiny_pipe(tmp_path_factory.mktemp("tokenizer"))
    made.scheduler = EulerDiscreteScheduler.from_config(animatediff_scheduler().config, timestep_spacing="trailing")
    return made


@pytest.fixture(scope="module")
def motion(pipe):
    return extract_motion(pipe, torch.rand(4, 3, 64, 64) * 2 - 1)


def run(pipe, motion, settings, runs=(None,), **changes):
    """The trace, and what was told."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", GuidanceWarning)
        with motion_guidance(pipe, motion, settings) as trace:
            for other in runs:
                arguments = {name: value for name, value in {**CALL, **changes}.items() if value is not None}
                (other or pipe)(generator=torch.Generator().manual_seed(0), **arguments)
    told = [each for each in told if each.category is GuidanceWarning]
    assert all(Path(each.filename) == Path(__file__) for each in told)
    return trace, [str(each.message) for each in told]


def test_guidance_of_few_steps_says_what_it_reached(pipe, motion):
    trace, told = run(pipe, motion, Guidance(), runs=(None, None))
    assert [step.weight for step in trace.steps] == [pytest.approx(40)] * 4
    assert told == [trace.shortfall]
    assert told[0].startswith("guidance reached 40 of the weight 2000")
    trace, told = run(pipe, motion, Guidance(warm_up=1, cool_down=1))
    assert [step.weight for step in trace.steps] == [2000, 2000]
    assert told == []
    assert trace.shortfall is None


def test_guidance_that_is_off_has_nothing_to_say(pipe, motion):
    assert run(pipe, motion, Guidance(weight=0))[1] == []


def test_guidance_of_another_pipeline_s_run_says_so(pipe, motion):
    other = type(pipe)(**pipe.components)
    other.set_progress_bar_config(disable=True)
    trace, told = run(pipe, motion, Guidance(), runs=(other,))
    assert not trace.steps
    assert told == [trace.shortfall]
    assert "another pipeline called the network, and guidance was given AnimateDiffPipeline" in told[0]
    assert run(pipe, motion, Guidance(weight=0), runs=(other,))[1] == []


def test_video_to_video_of_little_noise_says_so(pipe, motion):
    other = AnimateDiffVideoToVideoPipeline(**pipe.components)
    other.set_progress_bar_config(disable=True)
    video = {"video": [Image.new("RGB", (64, 64))] * 4, "strength": 0.5, "num_frames": None}
    trace, told = run(other, motion, Guidance(warm_up=0, cool_down=0), **video)
    assert not trace.steps
    assert told == [trace.shortfall]
    assert told[0].endswith("or begin with more noise.")


def test_an_exception_is_not_talked_into(pipe, motion):
    def stop(*_):
        raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("error", GuidanceWarning)
        with pytest.raises(KeyboardInterrupt), motion_guidance(pipe, motion, on_guided_step=stop):
            pipe(**CALL)


def test_settings_that_contradict_themselves_are_told(pipe, motion):
    _, told = run(pipe, motion, Guidance(match_direction=True), runs=())
    assert [each[:30] for each in told] == ["match_direction does not act: "]
    _, told = run(pipe, motion, Guidance(strength=1, weight=5, update="noise"), runs=())
    why = "does not act: strength is 1; leave one of them out."
    assert told == [f"weight {why}", f"update {why}"]
    assert not run(pipe, motion, Guidance(strength=1), runs=())[1]
    assert not run(pipe, motion, Guidance(strength=1, weight=0), runs=())[1]
