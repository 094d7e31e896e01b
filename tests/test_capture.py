"""Listening, stopping, cutting and checkpointing: what they deliver, and that they leave no trace."""

import copy
import inspect
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from accelerate import cpu_offload
from diffusers import MotionAdapter, UNetMotionModel, UniPCMultistepScheduler
from tiny import leaving_by, state, tiny_adapter, tiny_pipe, tiny_unet
from torch import nn
from torch.nn import functional

from motionclone.backbones.capture import graph_cut_behind, listening, stopping_at
from motionclone.backbones.checkpointing import checkpointed
from motionclone.backbones.families import backbone_of
from motionclone.backbones.patching import layered, steps_heard
from motionclone.errors import InputError
from motionclone.motion import SparseMap, represent
from motionclone.objectives import energy


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """One for the whole file: a test that leaves a trace breaks the next."""
    return backbone_of(tiny_pipe(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def sites(backbone):
    return backbone.sites(["up_blocks.1"])


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def call(latents=None, seed=0):
    latents = normal(1, 4, 3, 16, 8, seed=seed) if latents is None else latents
    return {"sample": latents, "timestep": torch.tensor(500), "encoder_hidden_states": normal(3, 5, 32)}


@torch.no_grad()
def test_listening_hears_what_attention_computes_and_changes_nothing(backbone, sites, monkeypatch):
    plain = backbone.denoiser(**call()).sample
    heard, running = {}, []
    sdpa = functional.scaled_dot_product_attention

    def spy(query, key, *args, **kwargs):
        if running:
            heard[running[-1]] = (query, key)
        return sdpa(query, key, *args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    hooks = []
    for site in sites:
        attention = backbone.denoiser.get_submodule(site)
        hooks.append(attention.register_forward_pre_hook(lambda _m, _i, site=site: running.append(site)))
        hooks.append(attention.register_forward_hook(lambda *_: running.clear()))
    with listening(partial(backbone.tap, {}), sites) as found:
        output = backbone.denoiser(**call()).sample
    for hook in hooks:
        hook.remove()
    assert torch.equal(output, plain)
    assert list(found) == list(sites)
    for site in sites:
        for mine, theirs in zip(found[site], heard[site], strict=True):
            assert mine.shape == (4 * 2, 8, 3, 4)  # positions of up_blocks.1 under 16 x 8 latents, heads, frames, d
            assert torch.equal(mine, theirs)


@torch.no_grad()
def test_positions_are_row_by_row(backbone, sites):
    """Shifting latents that are wide and low moves the change of the queries along p = y * w + x."""
    latents = normal(1, 4, 3, 8, 32)
    changed = latents.clone()
    changed[..., 24:] += 1
    heard = []
    for z in (latents, changed):
        with listening(partial(backbone.tap, {}), sites) as found, stopping_at(backbone.after(sites)):
            backbone.denoiser(**call(z))
        heard.append(found[sites[0]][0])
    grid = backbone.grid({"sample": latents}, found[sites[0]][0])
    assert grid == (3, 2, 8)
    change = (heard[0] - heard[1]).abs().sum((1, 2, 3)).reshape(grid[1:]).sum(0)
    assert change.argmax() >= 6


@torch.no_grad()
def test_stopping_early_hears_the_same_and_harms_nothing(backbone, sites):
    with listening(partial(backbone.tap, {}), sites) as whole:
        plain = backbone.denoiser(**call()).sample
    last, ran = backbone.after(sites), []
    hook = last.register_forward_hook(lambda *_: ran.append(True))
    with listening(partial(backbone.tap, {}), sites) as found, stopping_at(last):
        backbone.denoiser(**call())
    hook.remove()
    assert not ran
    for site in sites:
        assert torch.equal(found[site][0], whole[site][0])
        assert torch.equal(found[site][1], whole[site][1])
    assert torch.equal(backbone.denoiser(**call()).sample, plain)


@pytest.mark.parametrize("block", ["down_blocks.0", "up_blocks.0", "up_blocks.3"])
@torch.no_grad()
def test_every_block_can_be_heard_and_stopped_after(backbone, block):
    sites = backbone.sites([block])
    with listening(partial(backbone.tap, {}), sites) as found, stopping_at(backbone.after(sites)):
        backbone.denoiser(**call())
    assert len(found) == len(sites) > 0


def gradient(backbone, sites, *, cut=True, blocks=()):
    """Output, d energy / d latents and the bytes that autograd keeps, with the energy of another clip as reference."""
    with torch.no_grad(), listening(partial(backbone.tap, {}), sites) as heard:
        backbone.denoiser(**call(seed=1))
    reference = {s: SparseMap(m.values, m.indices.long()) for s, m in represent(heard).items()}
    latents, kept = call()["sample"].requires_grad_(), {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with checkpointed(backbone.denoiser, list(blocks)):
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            listening(partial(backbone.tap, {}), sites) as found,
            graph_cut_behind(found) if cut else nullcontext(),
        ):
            output = backbone.denoiser(**call(latents)).sample
        total = sum(energy(*found[site], reference[site]) for site in sites)
        return output, torch.autograd.grad(total, latents)[0], sum(kept.values())


def test_cut_and_checkpoints_leave_the_gradient_and_save_memory(backbone, sites):
    whole_output, whole, whole_bytes = gradient(backbone, sites, cut=False)
    cut_output, cut, cut_bytes = gradient(backbone, sites)
    _, slim, slim_bytes = gradient(backbone, sites, blocks=backbone.heavy_blocks())
    assert whole_output.requires_grad
    assert not cut_output.requires_grad
    assert torch.equal(cut_output, whole_output)
    assert whole.abs().max() > 0
    for found in (cut, slim):
        assert (found - whole).norm() <= 1e-6 * whole.norm()
    assert slim_bytes < cut_bytes / 2 < whole_bytes / 2


def test_checkpoints_do_nothing_without_a_graph(backbone):
    with torch.no_grad():
        plain = backbone.denoiser(**call()).sample
        with checkpointed(backbone.denoiser, backbone.heavy_blocks()):
            assert torch.equal(backbone.denoiser(**call()).sample, plain)


@pytest.mark.parametrize("end", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("inside", [True, False], ids=["inside-forward", "after-forward"])
def test_everything_is_left_as_found(backbone, sites, end, inside):
    unet, last = backbone.denoiser, backbone.after(sites)
    before = state(unet)

    def fail(*_):
        if end is not None:
            raise end

    def run():
        with (
            torch.enable_grad(),
            layered(unet, "forward", lambda plain, *args, **kwargs: plain(*args, **kwargs)),
            checkpointed(backbone.denoiser, backbone.heavy_blocks()),
            listening(partial(backbone.tap, {}), sites) as heard,
            graph_cut_behind(heard),
        ):
            hook = last.register_forward_hook(fail) if inside else None
            try:
                unet(**call())
            finally:
                if hook is not None:
                    hook.remove()
            fail()

    graph = torch.is_grad_enabled()
    with leaving_by(end):
        run()
    assert state(unet) == before
    assert torch.is_grad_enabled() == graph


@pytest.mark.parametrize("end", [None, RuntimeError, KeyboardInterrupt])
def test_cut_gives_the_grad_mode_back(backbone, sites, end):
    def run():
        with listening(partial(backbone.tap, {}), sites) as heard, graph_cut_behind(heard):
            backbone.denoiser(**call())
            assert not torch.is_grad_enabled()
            if end is not None:
                raise end

    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            with leaving_by(end):
                run()
            assert torch.is_grad_enabled() == enabled


def test_early_stop_leaves_everything_as_found(backbone, sites):
    before = state(backbone.denoiser)
    with torch.no_grad(), listening(partial(backbone.tap, {}), sites), stopping_at(backbone.after(sites)):
        backbone.denoiser(**call())
    assert state(backbone.denoiser) == before


def test_a_forward_that_was_replaced_before_is_given_back():
    module = torch.nn.Identity()
    own = module.forward = lambda x: x + 1
    with layered(module, "forward", lambda plain, x: 10 * plain(x)):
        assert module(1) == 20
    assert module.forward is own
    assert module(1) == 2


def test_stopping_does_not_swallow_errors():
    module = torch.nn.Identity()
    with pytest.raises(ZeroDivisionError), stopping_at(module):
        1 / 0  # noqa: B018


def test_fused_projections_are_refused(tmp_path):
    backbone = backbone_of(tiny_pipe(tmp_path))
    sites = backbone.sites(["up_blocks.1"])
    backbone.denoiser.fuse_qkv_projections()
    with pytest.raises(InputError, match="unfuse"), torch.no_grad(), listening(partial(backbone.tap, {}), sites):
        backbone.denoiser(**call())


@pytest.mark.parametrize("block", ["mid_block", "up_blocks.9", "up_blocks.1.motion_modules.7", ""])
def test_blocks_without_temporal_attention_are_refused(backbone, block):
    with pytest.raises(InputError, match=r"up_blocks\.1"):
        backbone.sites([block])


def test_motion_modules_in_the_mid_block(tmp_path):
    """AnimateDiff v2 has one there; it runs before the up blocks."""
    pipe = tiny_pipe(tmp_path)
    adapter = MotionAdapter.from_config(tiny_adapter().config, use_motion_mid_block=True)
    pipe.unet = UNetMotionModel.from_unet2d(tiny_unet(), adapter).eval()
    backbone = backbone_of(pipe)
    sites = backbone.sites(["up_blocks.0", "mid_block"])
    with torch.no_grad(), listening(partial(backbone.tap, {}), sites) as found, stopping_at(backbone.after(sites)):
        backbone.denoiser(**call())
    assert found.keys() == set(sites)
    assert backbone.after(backbone.sites(["mid_block"])) is backbone.denoiser.get_submodule("up_blocks.0")


@pytest.mark.parametrize("end", [None, RuntimeError])
def test_a_schedulers_steps_are_heard_and_those_of_its_copies_not(end):
    scheduler, twin = (UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True) for _ in "ab")
    for each in (scheduler, twin):
        each.set_timesteps(4)
    takes, sample, output, heard = inspect.signature(scheduler.step), normal(1, 2), normal(1, 2, seed=1), []
    with leaving_by(end), steps_heard(scheduler, lambda *step: heard.append(step)):
        assert inspect.signature(scheduler.step) == takes
        for timestep in scheduler.timesteps[:2]:
            copy.deepcopy(scheduler).step(output + 1, timestep, sample)
            wanted = twin.step(output, timestep, sample).prev_sample
            assert torch.equal(scheduler.step(output, timestep, sample=sample).prev_sample, wanted)
            assert heard[-1][0] == timestep
            assert torch.equal(heard[-1][1], wanted)
        assert len(heard) == 2
        if end:
            raise end
    assert vars(scheduler).keys() == vars(twin).keys()


class Writing(nn.Module):
    """Writes into tensors of its own, many of them after its parts' weights have come and gone."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, 4).requires_grad_(False) for _ in range(20))

    def forward(self, x):
        total = 0
        for part in self.parts:
            x = part(x)
            written = [torch.empty_like(x) for _ in range(10)]
            for own in written:
                own[...] = x
            total = total + sum(written)
        return total


def test_weights_that_are_gone_are_not_taken_for_tensors_made_since():
    """Offloading puts new weights in a part's place; the ids of the old ones are soon those of other tensors."""
    torch.manual_seed(0)
    network = Writing()
    x = torch.randn(2, 4, requires_grad=True)
    (wanted,) = torch.autograd.grad(network(x).square().sum(), x)
    cpu_offload(network, torch.device("cpu"))
    with checkpointed(network, [network]):
        (found,) = torch.autograd.grad(network(x).square().sum(), x)
    torch.testing.assert_close(found, wanted)
