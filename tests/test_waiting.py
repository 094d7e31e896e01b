"""A guided step never waits for the device: what is read of it is read a step later, or when somebody looks."""

from contextlib import contextmanager

import pytest
import torch
from diffusers import DDIMScheduler
from tiny import tiny_pipe
from tiny_parts import Tiny
from tiny_transformers import FAMILIES
from tiny_wan import without_ftfy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import layered
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.sampling import motion_guidance
from motionclone.schedule import UnevenDDIMScheduler, value_of
from motionclone.settings import Extraction, Guidance, Sampling

ALWAYS = Guidance(weight=1.0, guided_fraction=1.0, warm_up=0, cool_down=0)
OPERATIONS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select"}
METHODS = {torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.numpy}


class Operations(TorchDispatchMode):
    """Notes what looks at values, which on a GPU would wait for it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        indices = args[1] if name == "index" else ()
        if name in OPERATIONS or any(each is not None and each.dtype == torch.bool for each in indices):
            self.seen.append(name if args[0].is_floating_point() else f"{name} of {args[0].dtype}")
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """The same of what is no operation where a tensor is on the CPU already."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in METHODS:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@contextmanager
def looked_at():
    with Operations() as operations, Methods(operations.seen):
        yield operations.seen


@pytest.mark.parametrize("look", [torch.Tensor.tolist, torch.Tensor.item, bool, torch.Tensor.cpu, torch.Tensor.nonzero])
def test_looking_is_seen(look):
    with looked_at() as seen:
        look(torch.ones(1) + 1)
    assert len(seen) == 1


@pytest.fixture
def tiny(request, tmp_path, monkeypatch):
    without_ftfy(monkeypatch)
    if request.param == "animatediff":
        return Tiny(lambda: tiny_pipe(tmp_path), "up_blocks.1", 3, height=64, width=64)
    return FAMILIES[request.param]


@pytest.mark.parametrize("tiny", ["animatediff", "cogvideox-2b", "wan-2.1", "ltx"], indirect=True)
def test_a_guided_step_after_the_first_looks_at_nothing_of_its_own(tiny):
    pipe = tiny.make()
    clip = torch.rand(tiny.num_frames, 3, tiny.height, tiny.width) * 2 - 1
    motion = extract_motion(pipe, clip, Extraction(t_alpha=900, blocks=(tiny.block,)))
    size = Sampling(num_frames=tiny.num_frames, height=tiny.height, width=tiny.width, guidance_scale=3.0)
    seen = []

    def watched(plain, *args, **kwargs):
        with looked_at() as looks:
            result = plain(*args, **kwargs)
        seen.append(list(looks))
        return result

    with (
        motion_guidance(pipe, motion, ALWAYS) as trace,
        layered(backbone_of(pipe).denoiser, "forward", watched),
    ):
        arguments = backbone_of(pipe).pipeline_arguments(size) | tiny.arguments
        pipe(**arguments, prompt="a cat", num_inference_steps=3, output_type="latent")
    assert len(trace.steps) == 3
    calls = len(seen) // 3  # two where the prompts are not stacked, of which the first is guided
    assert seen[0]  # the run is planned
    assert seen[1:] == [[]] * (calls - 1) + ([["tolist"]] + [[]] * (calls - 1)) * 2  # that of the step before


def uneven():
    scheduler = UnevenDDIMScheduler.uneven(DDIMScheduler(clip_sample=False), 2, 0.3)
    scheduler.set_timesteps(4)
    return scheduler


def test_a_step_on_the_uneven_schedule_looks_at_nothing_on_the_device():
    """There are the latents, on meta with nothing to look at, and the timesteps; the alphas are on the CPU."""
    scheduler = uneven()
    latents = torch.zeros(1, 4, 2, 2, 2, device="meta")
    with looked_at() as seen:
        for timestep in scheduler.timesteps:
            scheduler.step(latents, timestep, latents, return_dict=False)
    assert set(seen) == {"tolist", "_local_scalar_dense"}
    assert seen.count("tolist") == 1


def test_timesteps_of_a_loop_are_known_by_their_place():
    scheduler = uneven()
    assert value_of(scheduler.timesteps[0], scheduler) == 999
    wanted = scheduler.timesteps.tolist()
    with looked_at() as seen:
        for part in (scheduler.timesteps, scheduler.timesteps[1:]):
            assert [value_of(t, scheduler) for t in part] == wanted[-len(part) :]
        assert value_of(scheduler.timesteps[2].expand(3), scheduler) == wanted[2]
    assert not seen
    assert value_of(scheduler.timesteps[1].clone(), scheduler) == wanted[1]
    assert value_of(scheduler.timesteps[1:3], scheduler) == wanted[1]  # several: the largest
    assert value_of(7, scheduler) == 7


def test_a_step_that_is_not_finite_is_refused_in_the_next_or_at_the_end(tmp_path):
    pipe = tiny_pipe(tmp_path)
    motion = extract_motion(pipe, torch.zeros(3, 3, 64, 64), Extraction(t_alpha=900))
    steps = []

    def run(count, latents):
        size = {"num_frames": 3, "height": 64, "width": 64}
        pipe(
            "a cat",
            **size,
            latents=latents,
            num_inference_steps=count,
            output_type="latent",
            callback_on_step_end=lambda _pipe, step, *_: (steps.append(step), {})[1],
        )

    for count, before in ((3, [0]), (1, [0])):
        steps.clear()
        sentence = (
            r"guided step 1 \(t = \d+\) is not finite before any weight: energy nan, gradient not finite, in float32, "
            r"which ends at 3\.4e\+38; compute in"
        )
        with pytest.raises(InputError, match=sentence), motion_guidance(pipe, motion, ALWAYS):
            run(count, torch.full((1, 4, 3, 8, 8), torch.nan))
        assert steps == before
