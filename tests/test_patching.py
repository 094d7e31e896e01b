"""Whose calls a layer sees, that layers come off in any order, and that nothing of them stays."""

import copy
import threading
from contextlib import contextmanager
from itertools import permutations

import pytest
import torch
from diffusers import AnimateDiffPipeline, DDIMScheduler
from tiny import state, tiny_pipe

from motionclone.backbones.patching import layered, steps_heard
from motionclone.errors import GuidanceWarning, InputError
from motionclone.extraction import extract_motion, motion_of_latents
from motionclone.sampling import motion_guidance
from motionclone.settings import Extraction, Guidance

GUIDANCE = Guidance(weight=20, guided_fraction=0.5, warm_up=0, cool_down=0)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(pipe, **changes):
    call = {"prompt": "a b", "num_frames": 3, "height": 128, "width": 128, "num_inference_steps": 4}
    call |= {"guidance_scale": 2.0, "output_type": "latent", "latents": normal(1, 4, 3, 16, 16)}
    return pipe(**call | changes).frames


def guided(pipe, motion):
    with motion_guidance(pipe, motion, GUIDANCE) as trace:
        return run(pipe), trace.steps


def twin_of(pipe):
    """Another pipeline of the same networks, with a scheduler of its own."""
    parts = {**pipe.components, "scheduler": DDIMScheduler.from_config(pipe.scheduler.config)}
    twin = AnimateDiffPipeline(**parts)
    twin.set_progress_bar_config(disable=True)
    return twin


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return tiny_pipe(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def motions(pipe):
    clips = (normal(1, 4, 3, 16, 16, seed=seed) for seed in (1, 2))
    return [motion_of_latents(pipe, clip, normal(1, 4, 3, 16, 16), Extraction()) for clip in clips]


@pytest.fixture(autouse=True)
def _as_found(pipe):
    before, scheduler = state(pipe.unet), vars(pipe.scheduler).keys()
    yield
    assert state(pipe.unet) == before
    assert vars(pipe.scheduler).keys() == scheduler


def test_pipelines_that_share_a_network_are_guided_each_by_its_own_motion(pipe, motions):
    twin = twin_of(pipe)
    alone = [guided(pipe, motions[0]), guided(twin, motions[1])]
    with motion_guidance(pipe, motions[0], GUIDANCE) as first, motion_guidance(twin, motions[1], GUIDANCE) as second:
        together = [run(pipe), run(twin)]
    assert torch.equal(together[0], alone[0][0])
    assert torch.equal(together[1], alone[1][0])
    assert [first.steps, second.steps] == [alone[0][1], alone[1][1]]
    assert first.steps[0].energy != second.steps[0].energy


def test_calls_of_a_pipeline_that_was_not_given_are_left_alone(pipe, motions):
    twin = twin_of(pipe)
    plain = run(twin)
    with (
        pytest.warns(GuidanceWarning, match="another pipeline called the network"),
        motion_guidance(pipe, motions[0], GUIDANCE) as trace,
    ):
        assert torch.equal(run(twin), plain)
    assert not trace.steps


def test_a_sampling_loop_of_ones_own_is_guided(pipe, motions):
    with motion_guidance(pipe, motions[0], GUIDANCE) as trace, torch.no_grad():
        pipe.scheduler.set_timesteps(4)
        pipe._guidance_scale = 1.0
        pipe.unet(normal(1, 4, 3, 16, 16), pipe.scheduler.timesteps[0], encoder_hidden_states=normal(3, 5, 32))
    assert len(trace.steps) == 1


def test_a_second_guidance_of_one_pipeline_is_refused_and_the_first_goes_on(pipe, motions):
    wanted = guided(pipe, motions[0])
    with motion_guidance(pipe, motions[0], GUIDANCE) as trace:
        with pytest.raises(InputError, match="already; leave that"), motion_guidance(pipe, motions[1], GUIDANCE):
            pytest.fail("guided twice")
        latents = run(pipe)
    assert torch.equal(latents, wanted[0])
    assert trace.steps == wanted[1]


def test_a_motion_can_be_read_while_its_pipeline_is_guided(pipe, motions):
    clip = torch.zeros(3, 3, 64, 64)
    wanted = extract_motion(pipe, clip)
    with motion_guidance(pipe, motions[0], GUIDANCE) as trace:
        found = extract_motion(pipe, clip)
    assert not trace.steps
    for site, sparse in wanted.maps.items():
        assert torch.equal(found.maps[site].values, sparse.values)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_guidances_may_end_in_any_order(pipe, motions, order):
    pipes = [pipe, twin_of(pipe), twin_of(pipe)]
    withs = [motion_guidance(each, motions[0], GUIDANCE) for each in pipes]
    traces = [each.__enter__() for each in withs]
    for number in order:
        run(pipes[number])
        withs[number].__exit__(None, None, None)
        run(pipes[number])
    assert [len(trace.steps) for trace in traces] == [2, 2, 2]


def test_threads_that_share_a_network_do_not_hear_each_other(pipe, motions):
    """One is guided, with checkpoints, one reads a motion, one runs plainly."""
    twin, plain_twin = twin_of(pipe), twin_of(pipe)
    clip = torch.zeros(3, 3, 64, 64)
    work = {
        "guided": lambda: guided(pipe, motions[0])[0],
        "read": lambda: next(iter(extract_motion(twin, clip).maps.values())).values,
        "plain": lambda: run(plain_twin),
    }
    wanted = {name: job() for name, job in work.items()}
    found = {name: [] for name in work}

    def often(name):
        for _ in range(3):
            found[name].append(work[name]())

    threads = [threading.Thread(target=often, args=(name,)) for name in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, results in found.items():
        assert len(results) == 3, name
        assert all(torch.equal(result, wanted[name]) for result in results), name


class Doubling:
    """Something with a method."""

    def step(self, x):
        return 2 * x


@contextmanager
def adding(holder, number, owner=None):
    with layered(holder, "step", lambda plain, x: plain(x) + number, owner=owner):
        yield


@pytest.mark.parametrize("first_out", [0, 1])
def test_layers_run_the_latest_outermost_and_come_off_in_any_order(first_out):
    holder = Doubling()
    layers = [adding(holder, 1), layered(holder, "step", lambda plain, x: plain(10 * x))]
    for layer in layers:
        layer.__enter__()
    assert holder.step(1) == 21
    layers.pop(first_out).__exit__(None, None, None)
    assert holder.step(1) == (20 if first_out == 0 else 3)
    layers.pop().__exit__(None, None, None)
    assert "step" not in vars(holder)
    assert holder.step(1) == 2


def test_a_copy_has_the_plain_method():
    holder = Doubling()
    with adding(holder, 1):
        twin = copy.deepcopy(holder)
        assert (holder.step(1), twin.step(1)) == (3, 2)
    assert twin.step.__self__ is twin


def test_a_layer_under_one_that_a_stranger_put_on_top_does_nothing_once_it_is_off():
    holder = Doubling()
    with adding(holder, 1):
        ours = holder.step
        holder.step = lambda x: ours(x) * 100
        assert holder.step(1) == 300
    assert holder.step(1) == 200


def test_two_generations_hear_the_steps_of_their_own_on_a_shared_scheduler(pipe):
    twin = AnimateDiffPipeline(**pipe.components)
    twin.set_progress_bar_config(disable=True)
    heard = {"pipe": [], "twin": []}
    with (
        steps_heard(pipe.scheduler, lambda timestep, _: heard["pipe"].append(timestep), pipe),
        steps_heard(twin.scheduler, lambda timestep, _: heard["twin"].append(timestep), twin),
    ):
        run(pipe, num_inference_steps=2)
        run(twin, num_inference_steps=4)
    assert [len(heard["pipe"]), len(heard["twin"])] == [2, 4]


def test_a_block_that_writes_into_its_inputs_is_computed_again_from_copies(tmp_path, motions):
    """FreeU does."""
    pipe = tiny_pipe(tmp_path)
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6)
    found = []
    for checkpointing in ("none", "auto", "least"):
        settings = GUIDANCE.model_copy(update={"checkpointing": checkpointing})
        with motion_guidance(pipe, motions[0], settings) as trace:
            found.append((run(pipe), trace.steps))
    (latents, steps), *others = found
    for again, steps_again in others:
        assert [s.energy for s in steps_again] == pytest.approx([s.energy for s in steps], rel=1e-4)
        assert (again - latents).norm() <= 1e-3 * latents.norm()
