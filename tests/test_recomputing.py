"""What guided steps compute again: the cheapest that fits, the same numbers whatever it is, and never a dead end."""

import itertools
import random

import pytest
import torch
from tiny import tiny_pipe
from torch.autograd.graph import saved_tensors_hooks

from motionclone import gradient, sampling
from motionclone.backbones import recomputing
from motionclone.backbones.budget import Cost, cheapest, peak
from motionclone.backbones.costs import Flops
from motionclone.backbones.families import backbone_of
from motionclone.cloning import generate
from motionclone.errors import GuidanceWarning, InputError
from motionclone.extraction import extract_motion
from motionclone.gradient import energy_and_gradient, guided_costs
from motionclone.sampling import motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling, Settings

PARTS = (Cost("a.0", 10, 50, 4), Cost("a.1", 30, 20, 4))
SETTINGS = Guidance(weight=30, guided_fraction=1.0, warm_up=0, cool_down=0)
BLOCKS = (Cost("a", 42, 80, 5, PARTS), Cost("b", 7, 40, 6))


@pytest.mark.parametrize(
    ("recomputed", "most"),
    [
        ((), 80 + 40),
        (("b",), 80 + 6 + 40),  # while b is computed again: no gain
        (("a",), 5 + 80),  # by when b's are gone
        (("a.0",), 10 + 4 + 20 + 40),
        (("a", "a.0"), 5 + 10 + 4 + 50),
    ],
)
def test_the_peak_is_that_of_the_forward_pass_or_of_a_block_computed_again(recomputed, most):
    assert peak(BLOCKS, frozenset(recomputed)) == most


def some_blocks(seed):
    """Up to three blocks with up to three in each."""
    chance = random.Random(seed)
    blocks = []
    for i in range(chance.randint(1, 3)):
        inner = tuple(
            Cost(f"{i}.{j}", chance.randint(1, 100), chance.randint(5, 100), chance.randint(1, 10))
            for j in range(chance.randint(0, 3))
        )
        flops = sum(each.flops for each in inner) + chance.randint(1, 20)
        inside = sum(each.inside for each in inner) + chance.randint(0, 30)
        blocks.append(Cost(str(i), flops, inside, chance.randint(1, 10), inner))
    return blocks


@pytest.mark.parametrize("seed", range(40))
def test_nothing_fits_that_is_not_found_and_little_is_cheaper(seed):
    """Against every set of blocks there is."""
    costs = some_blocks(seed)
    blocks = [block for outer in costs for block in (outer, *outer.inner)]
    sets = [
        (sum(each.flops for each in chosen), peak(costs, frozenset(each.name for each in chosen)))
        for count in range(len(blocks) + 1)
        for chosen in itertools.combinations(blocks, count)
    ]
    for share in (1.0, 0.8, 0.6, 0.4, 0.25):
        budget = int(share * peak(costs, frozenset()))
        fitting = [flops for flops, most in sets if most <= budget]
        found = cheapest(costs, budget)
        assert (found.peak, found.flops) in [(most, flops) for flops, most in sets]
        assert (found.excess == 0) == bool(fitting)
        if fitting:
            assert found.flops <= 2.5 * min(fitting)
        else:
            assert found.excess == min(most for _, most in sets) - budget


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return tiny_pipe(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def clip():
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def motion(pipe, clip):
    return extract_motion(pipe, clip, Extraction(blocks=("up_blocks.1",)))


@torch.no_grad()
def call_of(backbone):
    noise = torch.randn(backbone.latents_shape(4, 64, 64), generator=torch.Generator().manual_seed(2))
    return backbone.denoiser_call(noise, 900, "a cat") | {"return_dict": False}


def test_what_is_measured_is_what_autograd_keeps(pipe, motion, monkeypatch):
    backbone = backbone_of(pipe)
    network = backbone.denoiser
    costs, rest = guided_costs(backbone, network.forward, call_of(backbone), motion, backbone.heavy_blocks())
    weights = {weight.untyped_storage()._cdata for weight in network.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    monkeypatch.setattr(gradient, "weights_as_computed", lambda: saved_tensors_hooks(keep, lambda tensor: tensor))
    energy_and_gradient(backbone, network.forward, call_of(backbone), motion)
    assert peak(costs, frozenset()) + rest == sum(kept[key].nbytes() for key in kept.keys() - weights)
    names = [each.name for each in costs]
    assert (names[0], names[-1]) == ("down_blocks.0", "up_blocks.1")  # nothing behind the cut
    *_, other, last = (each for each in costs[-1].inner if "motion_modules" in each.name)
    assert [each.name for each in other.inner]  # its feed-forward; the last lies behind the last attention
    assert not last.inner
    assert all(each.flops > 0 and each.inputs > 0 for each in costs)


def test_what_is_computed_again_costs_what_was_measured(pipe, motion):
    """Computed again, a block stops at the last tensor that it keeps: a residual block before its second half."""
    backbone = backbone_of(pipe)
    network, blocks = backbone.denoiser, backbone.heavy_blocks()
    call = (backbone, network.forward, call_of(backbone), motion)
    names = {module: name for name, module in network.named_modules()}
    costs, _ = guided_costs(*call, blocks)

    def counted(again):
        with Flops() as flops:
            energy_and_gradient(*call, recompute=again)
        return flops.total

    kept = counted([])
    measured = {cost.name: cost.flops for outer in costs for cost in (outer, *outer.inner)}
    on_the_way = [block for block in blocks if names[block] in measured and not names[block].endswith("ff")]
    for block in (on_the_way[0], *on_the_way[-8:]):
        assert counted([block]) - kept == measured[names[block]]
    least = cheapest(costs, 0)
    again = counted([block for block in blocks if names[block] in least.recomputed]) - kept
    assert least.flops / 1.05 <= again <= least.flops


def guided(pipe, motion, free, monkeypatch, *, fails=0):
    """Latents of one guided run with so much memory free, of which the first steps `fail` for want of it."""
    monkeypatch.setattr(recomputing, "free_bytes", lambda device: free)
    compute, left = energy_and_gradient, [fails]

    def step(*args, recompute, **kwargs):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(*args, recompute=recompute, **kwargs)

    monkeypatch.setattr(sampling, "energy_and_gradient", step)
    with motion_guidance(pipe, motion, SETTINGS) as trace:
        latents = pipe(
            "a cat",
            num_frames=4,
            height=64,
            width=64,
            num_inference_steps=2,
            output_type="latent",
            generator=torch.Generator().manual_seed(0),
        ).frames
    return latents, trace.recomputed


def test_with_less_memory_less_is_kept_and_the_video_is_the_same(pipe, motion, monkeypatch):
    latents, everything = guided(pipe, motion, 2**40, monkeypatch)
    assert everything.blocks == ()
    before = everything.kept_bytes
    for share in (0.8, 0.4, 0.1):
        again, chosen = guided(pipe, motion, int(share * everything.kept_bytes / recomputing.SHARE), monkeypatch)
        assert chosen.kept_bytes <= share * everything.kept_bytes or share == 0.1
        assert chosen.blocks
        assert chosen.kept_bytes < before
        before = chosen.kept_bytes
        torch.testing.assert_close(again, latents, rtol=1e-3, atol=1e-4)


def test_a_step_that_runs_out_of_memory_keeps_less_and_says_so_or_is_refused_with_figures(pipe, motion, monkeypatch):
    latents, _ = guided(pipe, motion, 2**40, monkeypatch)
    with pytest.warns(GuidanceWarning, match=r"memory ran out in a guided step \(1099\.5 GB are free on cpu\)"):
        again, chosen = guided(pipe, motion, 2**40, monkeypatch, fails=1)
    assert chosen.ran_out
    assert chosen.blocks
    torch.testing.assert_close(again, latents, rtol=1e-3, atol=1e-4)
    with (
        pytest.warns(GuidanceWarning),
        pytest.raises(InputError, match=r"keeps the least it can, .* generate fewer or smaller frames"),
    ):
        guided(pipe, motion, 2**40, monkeypatch, fails=2)
    assert not pipe.unet._forward_hooks
    assert "forward" not in vars(pipe.unet)


def no_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


FREE = r"does not fit the memory \(1\.5 GB are free on cpu\); "


def test_too_little_memory_for_one_pass_is_refused_with_figures(pipe, clip, motion, monkeypatch):
    """Reading, guided or not: before it is measured what a guided step could keep, too."""
    monkeypatch.setattr(recomputing, "free_bytes", lambda device: 1_500_000_000)
    monkeypatch.setattr(pipe.unet, "forward", no_memory)
    sentence = f"a forward pass of the denoiser {FREE}generate fewer or smaller frames, or use offload='model'"
    with pytest.raises(InputError, match=sentence):
        extract_motion(pipe, clip)
    for settings, scale in ((SETTINGS, 7.5), (SETTINGS, 1.0), (Guidance(weight=0), 7.5)):
        with pytest.raises(InputError, match=sentence), motion_guidance(pipe, motion, settings):
            pipe("a cat", num_frames=4, height=64, width=64, num_inference_steps=2, guidance_scale=scale)


def test_too_little_memory_for_the_vae_is_refused_with_figures(pipe, clip, motion, monkeypatch):
    monkeypatch.setattr(recomputing, "free_bytes", lambda device: 1_500_000_000)
    for part in ("encode", "decode"):
        monkeypatch.setattr(pipe.vae, part, no_memory)
    with pytest.raises(InputError, match=f"the clip in the VAE {FREE}use vae_tiling=True, or fewer"):
        extract_motion(pipe, clip)
    sampling = Sampling(steps=2, guided_steps=2, num_frames=4, height=64, width=64)
    with pytest.raises(InputError, match=f"{FREE}use vae_tiling=True or offload='model', or fewer"):
        generate(pipe, motion, "a cat", Settings(sampling=sampling, guidance=SETTINGS))


def test_other_errors_are_not_taken_for_a_want_of_memory(pipe, motion, monkeypatch):
    monkeypatch.setattr(sampling, "energy_and_gradient", lambda *_, **__: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"), motion_guidance(pipe, motion, SETTINGS):
        pipe("a cat", num_frames=4, height=64, width=64, num_inference_steps=2)
