"""Models distilled to few steps: their samplers, no classifier-free guidance, and a strength that holds there."""

import copy
import inspect
from contextlib import contextmanager

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    LCMScheduler,
    TCDScheduler,
)
from tiny import tiny_pipe
from tiny_transformers import FAMILIES
from tiny_wan import without_ftfy

from motionclone import sampling
from motionclone.backbones.backbone import named_arguments
from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import layered
from motionclone.calling import call_arguments
from motionclone.cloning import generate
from motionclone.extraction import extract_motion
from motionclone.guidance import DISPLACEMENT, motion_direction
from motionclone.media.conditions import Condition
from motionclone.models.animatediff import BETAS
from motionclone.sampling import motion_guidance
from motionclone.settings import parse_settings
from motionclone.steps import noise_levels

SAMPLERS = {
    "LCM": lambda **config: LCMScheduler(**BETAS, **config),
    "DDIM": lambda **config: DDIMScheduler(**BETAS, clip_sample=False, **config),
    "TCD": lambda **config: TCDScheduler(**BETAS, **config),
    "Euler": lambda **config: EulerDiscreteScheduler(**BETAS, timestep_spacing="trailing", **config),
    "flow Euler": lambda: FlowMatchEulerDiscreteScheduler(shift=5.0),
    "flow LCM": lambda: FlowMatchLCMScheduler(shift=5.0),
}
STRENGTH = 0.5

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # of diffusers' schedulers with numpy 2


@pytest.fixture(scope="module", autouse=True)
def _clean_prompts():
    with pytest.MonkeyPatch.context() as patch:
        without_ftfy(patch)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pipeline of a family, its block and size, and a motion; each once."""
    kept = {}

    def make(name):
        if name not in kept:
            if name == "animatediff":
                pipe, block, size = tiny_pipe(tmp_path_factory.mktemp("tokenizer")), "up_blocks.1", (4, 64, 64)
            else:
                tiny = FAMILIES[name]
                pipe, block, size = tiny.make(), tiny.block, (tiny.num_frames, tiny.height, tiny.width)
            frames, height, width = size
            clip = torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1
            settings = parse_settings(
                {
                    "extraction": {"blocks": [block], "t_alpha": 900},
                    "guidance": {"strength": STRENGTH, "guided_fraction": 0.4, "warm_up": 0, "cool_down": 0},
                    "sampling": {"guidance_scale": 1.0, "num_frames": frames, "height": height, "width": width},
                },
                None,
            )
            kept[name] = pipe, settings, extract_motion(pipe, clip, settings.extraction)
        return kept[name]

    return make


@contextmanager
def moves_of(pipe, monkeypatch):
    """How far each guided step moves the latents that the next call of the denoiser sees, in z = alpha x0 + sigma eps.

    Every step is taken twice, with what guidance added to the output and without, from the same noise.
    """
    added, found, scheduler = [], [], pipe.scheduler

    def noting(*args, **kwargs):
        added.append(plain_increment(*args, **kwargs))
        return added[-1]

    def twice(plain, *args, **kwargs):
        call = inspect.signature(plain).bind(*args, **kwargs)
        if not added:
            return plain(*args, **kwargs)
        increment, state = added.pop(), torch.get_rng_state()
        twin, again = copy.deepcopy(scheduler), call.arguments
        again = {**again, "model_output": again["model_output"] - increment, "sample": again["sample"].clone()}
        if again.get("generator") is not None:
            again["generator"] = again["generator"].clone_state()
        result = plain(*args, **kwargs)
        torch.set_rng_state(state)
        _, after = noise_levels(twin, float(call.arguments["timestep"]))
        moved = (result[0] - twin.step(**again)[0]).double().square().mean().sqrt()
        found.append(float(moved) * (after.alpha if isinstance(scheduler, EulerDiscreteScheduler) else 1))
        return result

    plain_increment = sampling.output_increment
    monkeypatch.setattr(sampling, "output_increment", noting)
    with layered(scheduler, "step", twice):
        yield found


V = {"prediction_type": "v_prediction"}


@pytest.mark.parametrize(
    ("family", "sampler", "config", "steps"),
    [
        ("animatediff", "LCM", {}, 4),
        ("animatediff", "TCD", {}, 4),
        ("animatediff", "Euler", {}, 4),
        ("animatediff", "DDIM", {}, 4),
        ("cogvideox-2b", "TCD", V, 8),
        ("wan-2.1", "flow Euler", {}, 4),
        ("wan-2.1", "flow LCM", {}, 8),
        ("wan-2.2", "flow LCM", {}, 4),
        ("ltx-2", "flow Euler", {}, 4),
        ("hunyuan-1.5", "flow LCM", {}, 4),
    ],
)
@pytest.mark.parametrize("inner", [1, 3])
def test_the_latents_are_moved_as_far_as_was_asked_for(made, family, sampler, config, steps, inner, monkeypatch):
    """Without classifier-free guidance, and past the noise that a sampler adds after the move."""
    pipe, settings, motion = made(family)
    monkeypatch.setattr(pipe, "scheduler", SAMPLERS[sampler](**config))
    sampled = settings.sampling.model_copy(update={"steps": steps, "guided_steps": 1})
    guidance = settings.guidance.model_copy(update={"inner_steps": inner})
    settings = settings.model_copy(update={"sampling": sampled, "guidance": guidance})
    backbone, rows = backbone_of(pipe), []

    def note(network, args, kwargs):
        rows.append(len(named_arguments(network, args, kwargs)[backbone.latents_name]))

    shape = backbone.latents_shape(sampled.num_frames, sampled.height, sampled.width)
    with (
        moves_of(pipe, monkeypatch) as moves,
        motion_guidance(pipe, motion, settings.guidance) as trace,
        backbone.prepared(sampled),
        backbone.denoiser.register_forward_pre_hook(note, with_kwargs=True),
    ):
        pipe(
            **call_arguments(backbone, "a cat", settings) | {"output_type": "latent"},
            **(FAMILIES[family].arguments if family in FAMILIES else {}),
            **({"eta": 1.0} if sampler == "DDIM" else {}),
            latents=backbone.initial_latents(torch.randn(shape, generator=torch.Generator().manual_seed(5))),
            generator=torch.Generator().manual_seed(0),
        )
    assert set(rows) == {1} or family == "ltx-2"  # the prompt's half alone; LTX-2's sound has a scale of its own
    assert len(trace.steps) == len(moves) >= 1
    assert min(moves) > 0
    assert trace.shortfall is None
    assert sum(moves) == pytest.approx(STRENGTH * DISPLACEMENT, rel=0.02)


@pytest.mark.parametrize("family", ["animatediff", *FAMILIES])
def test_each_gradient_of_a_guided_step_is_taken_where_those_before_it_lead(made, family, monkeypatch):
    """In all layouts of latents: packed, with a picture's channels, or its frame in the place of theirs."""
    pipe, settings, motion = made(family)
    backbone, settings = backbone_of(pipe), settings.in_steps(8)
    size = settings.sampling.height, settings.sampling.width
    condition = Condition(torch.zeros(1, 3, *size)) if backbone.shown_frames else None
    plain, calls = sampling.energy_and_gradient, []

    def noted(backbone, forward, call, *rest, **options):
        output, energies, gradient = plain(backbone, forward, call, *rest, **options)
        calls.append((call[backbone.latents_name].detach(), gradient, call))
        return output, energies, gradient

    def summed(backbone, gradient, call, move, *rest):
        sums.append((move, plain_direction(backbone, gradient, call, move, *rest)))
        return sums[-1][1]

    plain_direction, sums = sampling.inner_direction, []
    monkeypatch.setattr(sampling, "energy_and_gradient", noted)
    monkeypatch.setattr(sampling, "inner_direction", summed)
    made_by = {}
    for count in (1, 3):
        calls.clear()
        given = settings.changed({"guidance.inner_steps": count})
        made_by[count] = generate(pipe, motion, "a cat", given, condition=condition)
        assert len(calls) == count * len(made_by[count].steps)
    assert not torch.equal(made_by[1].frames, made_by[3].frames)
    assert made_by[1].steps[0].energy == made_by[3].steps[0].energy
    kept = backbone.kept_frames
    (start, _, call), (second, *_), (third, *_) = calls[:3]
    first, then, last = (motion_direction(backbone.unpacked(gradient, call), kept) for _, gradient, _ in calls[:3])
    moved = [backbone.unpacked(backbone.denoised(x - start), call) for x in (second, third)]
    move, together = sums[0]
    assert move > 0
    torch.testing.assert_close(moved[0], -move / 3 * first, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(moved[1], -move / 3 * (first + then), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(backbone.unpacked(together, call), first + then + last)
    changed = (second != start).sum()
    assert changed <= moved[0].count_nonzero()  # no channels of pictures, and no frames of theirs


def test_noise_that_a_scheduler_draws_without_being_told_from_where_is_that_of_the_seed(made, monkeypatch):
    """Wan's pipeline gives its scheduler no generator."""
    pipe, settings, motion = made("wan-2.1")
    monkeypatch.setattr(pipe, "scheduler", SAMPLERS["flow LCM"]())
    settings = settings.in_steps(4)
    before = torch.get_rng_state()
    first, second = (generate(pipe, motion, "a cat", settings).frames for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
