"""Families times what people do to their pipelines: the same motion, gradient and inversion, or a sentence.

Columns that keep weights elsewhere or in another way are compared with a twin that has the same weights as they are.
"""

from functools import cached_property

import pytest
import torch
from accelerate import cpu_offload
from diffusers import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig
from diffusers.hooks import HookRegistry, apply_layerwise_casting, apply_pyramid_attention_broadcast, group_offloading
from peft import LoraConfig
from tiny import sparse_pipe, tiny_pipe
from tiny_parts import Tiny
from tiny_transformers import FAMILIES
from tiny_wan import without_ftfy
from torch import nn
from torch.nn import functional

from motionclone.backbones.families import backbone_of
from motionclone.errors import InputError
from motionclone.extraction import extract_motion
from motionclone.inversion import invert
from motionclone.media.conditions import Condition
from motionclone.sampling import check_fits, energy_and_gradient, motion_guidance
from motionclone.settings import Extraction, Guidance, Sampling

ROWS = (
    "animatediff",
    "cogvideox-2b",
    "cogvideox-1.5-i2v",
    "wan-2.1",
    "wan-2.2-i2v",
    "wan-2.2-5b",
    "ltx",
    "ltx-i2v",
    "ltx-2",
    "hunyuan-single",
    "hunyuan-i2v",
    "hunyuan-1.5",
)
SHORT = torch.float8_e4m3fn


class Cell:
    """A family's tiny pipeline after `change`, and what is read of one clip with it."""

    def __init__(self, name, folder, change=None):
        # In float64: random UNets with their group norms make much of rounding.
        unet = Tiny(lambda: tiny_pipe(folder).to(torch.float64), "up_blocks.1", 3, height=64, width=64)
        self.name, self.tiny = name, unet if name == "animatediff" else FAMILIES[name]
        self.pipe = self.tiny.make()
        self.network = self.pipe.unet if name == "animatediff" else self.pipe.transformer
        if change is not None:
            change(self.pipe, self.network)
        self.backbone = backbone_of(self.pipe)
        self.size = (self.tiny.num_frames, self.tiny.height, self.tiny.width)
        self.reading = Extraction(t_alpha=900, blocks=(self.tiny.block,))
        self.noise = torch.randn(self.backbone.latents_shape(*self.size), generator=torch.Generator().manual_seed(5))
        frames, height, width = self.size
        self.clip = torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1
        self.picture = Condition(-self.clip[:1]) if self.backbone.shown_frames else None

    @cached_property
    def motion(self):
        return extract_motion(self.pipe, self.clip, self.reading)

    @cached_property
    def gradients(self):
        """Towards another clip's motion; everything kept, every other block computed again, and all of them, nested."""
        with torch.no_grad():
            call = self.backbone.denoiser_call(self.noise, 950, "a cat")
            if self.picture is not None:
                call = self.backbone.conditioned(call, self.picture, self.noise, 1.0)
        call["return_dict"] = False
        forward = self.network.forward
        blocks = self.backbone.heavy_blocks()
        return [
            energy_and_gradient(self.backbone, forward, call, self.motion, recompute=again)[2]
            for again in ((), blocks[::2], blocks)
        ]

    @cached_property
    def inverted(self):
        return invert(self.pipe, self.noise, [100, 900, 950], frames=self.clip)[950]

    @cached_property
    def steps(self):
        """Energy and gradient norm of two guided steps of the pipeline."""
        frames, height, width = self.size
        sampling = Sampling(num_frames=frames, height=height, width=width, guidance_scale=3.0)
        shown = {} if self.picture is None else self.backbone.pipeline_condition(self.picture, 1.0)
        guidance = Guidance(weight=1e-6, guided_fraction=1.0, warm_up=0, cool_down=0)
        with self.backbone.prepared(sampling), motion_guidance(self.pipe, self.motion, guidance) as trace:
            torch.manual_seed(0)
            self.pipe(
                **self.backbone.pipeline_arguments(sampling) | self.tiny.arguments | shown,
                prompt="a cat",
                num_inference_steps=2,
                latents=self.backbone.initial_latents(self.noise, self.picture),
                generator=torch.Generator().manual_seed(0),
                output_type="latent",
            )
        return torch.tensor([[step.energy, step.gradient_norm] for step in trace.steps])


def assert_same(cell, twin):
    for site, wanted in twin.motion.maps.items():
        assert torch.equal(cell.motion.maps[site].indices, wanted.indices)
        torch.testing.assert_close(cell.motion.maps[site].values, wanted.values, rtol=1e-4, atol=1e-5)
    check_fits(cell.backbone, twin.motion)
    for found, wanted in zip(cell.gradients, twin.gradients, strict=True):
        assert (found - wanted).norm() <= 1e-3 * wanted.norm()
        assert wanted.norm() > 0
    torch.testing.assert_close(cell.inverted, twin.inverted, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tokenizer")


@pytest.fixture(scope="module", params=ROWS)
def plain(request, folder):
    return Cell(request.param, folder)


@pytest.fixture(scope="module", autouse=True)
def _clean_prompts():
    with pytest.MonkeyPatch.context() as patch:
        without_ftfy(patch)
        yield


@pytest.fixture(autouse=True)
def _away_is_away(monkeypatch):
    """What diffusers keeps on disk between uses is not a number until it is back."""
    take_away = group_offloading.ModuleGroup._offload_to_disk

    def thoroughly(self):
        take_away(self)
        for tensor in self.tensor_to_key:
            if tensor.is_floating_point():
                tensor.data.fill_(torch.nan)

    monkeypatch.setattr(group_offloading.ModuleGroup, "_offload_to_disk", thoroughly)


def sequential(pipe, _network, _folder):
    """As `enable_sequential_cpu_offload` does, to a device that is here: weights are on "meta" between uses."""
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)


def model(pipe, _network, _folder):
    pipe.enable_model_cpu_offload(device="cpu")


def group_by_leaf(_pipe, network, folder):
    network.enable_group_offload(torch.device("cpu"), offload_type="leaf_level", offload_to_disk_path=str(folder))


def group_by_block(_pipe, network, folder):
    """Blocks in twos: of each group one block brings the weights, and another takes them away."""
    network.enable_group_offload(
        torch.device("cpu"), offload_type="block_level", num_blocks_per_group=2, offload_to_disk_path=str(folder)
    )


@pytest.mark.parametrize("offload", [sequential, model, group_by_leaf, group_by_block])
def test_offload(plain, folder, tmp_path, offload):
    cell = Cell(plain.name, folder, lambda pipe, network: offload(pipe, network, tmp_path))

    def kept():
        return str([(weight.device, weight.isnan().any()) for weight in cell.network.parameters()])

    before = kept()
    fingerprints = cell.motion.record.fingerprints
    assert kept() == before  # away again
    assert any(fingerprints.values())
    assert fingerprints == plain.motion.record.fingerprints
    assert_same(cell, plain)
    torch.testing.assert_close(cell.steps, plain.steps, rtol=1e-2, atol=1e-9)


def rounded(cell, network):
    """The weights of `cell` as those of `network` are when they come back from float8."""
    for name, part in network.named_modules():
        if getattr(getattr(part, "_diffusers_hook", None), "hooks", {}).get("layerwise_casting"):
            own = cell.network.get_submodule(name)
            dtype = next(own.parameters()).dtype if list(own.parameters()) else None
            own.to(SHORT).to(dtype)


@pytest.mark.parametrize("whole", [False, True], ids=["layers", "whole"])
def test_layerwise_casting(plain, folder, whole):
    def cast(_pipe, network):
        dtype = network.dtype
        if whole:
            apply_layerwise_casting(network, SHORT, dtype, skip_modules_pattern=None, skip_modules_classes=None)
        else:
            network.enable_layerwise_casting(SHORT, dtype)

    cell, twin = Cell(plain.name, folder, cast), Cell(plain.name, folder)
    rounded(twin, cell.network)
    assert_same(cell, twin)


class Packed(nn.Linear):
    """Weights as GGUF or bitsandbytes keep them: bytes of another shape, made to numbers again in every pass."""

    def __init__(self, linear):
        super().__init__(1, 1, device="meta")
        weight = linear.weight.data
        self.scale = weight.abs().amax() / 127
        self.shape = weight.shape
        packed = (weight / self.scale).round().to(torch.int8).view(torch.uint8).flatten()
        self.weight, self.bias = nn.Parameter(packed, requires_grad=False), linear.bias

    def numbers(self):
        return self.weight.view(torch.int8).reshape(self.shape) * self.scale

    def forward(self, input):
        return functional.linear(input, self.numbers(), self.bias)


def test_packed_weights(plain, folder):
    def pack(_pipe, network):
        for name, part in list(network.named_modules()):
            if type(part) is nn.Linear and not any(word in name for word in ("time", "guidance")):
                parent, _, own = name.rpartition(".")
                setattr(network.get_submodule(parent), own, Packed(part))

    cell, twin = Cell(plain.name, folder, pack), Cell(plain.name, folder)
    for name, part in cell.network.named_modules():
        if isinstance(part, Packed):
            twin.network.get_submodule(name).weight.data = part.numbers()
    assert_same(cell, twin)


def test_fused_lora(plain, folder):
    def adapt(_pipe, network):
        torch.manual_seed(7)
        network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False))

    def fuse(pipe, network):
        adapt(pipe, network)
        network.fuse_lora()

    cell, twin = Cell(plain.name, folder, fuse), Cell(plain.name, folder, adapt)
    assert_same(cell, twin)
    check_fits(cell.backbone, plain.motion)


@pytest.fixture
def network(plain):
    """Of the plain pipeline, with its compiled calls and hooks removed in the end."""
    yield plain.network
    for part in plain.network.modules():
        part._compiled_call_impl = None
        for name in list(getattr(getattr(part, "_diffusers_hook", None), "hooks", {})):
            HookRegistry.check_if_exists_or_initialize(part).remove_hook(name, recurse=False)


def test_compiled_in_whichever_way_is_refused(plain, network, monkeypatch):
    name = "unet" if plain.name == "animatediff" else "transformer"
    refused = pytest.raises(InputError, match=r"compiled and cannot be listened to; guide the one from before torch\.")
    with monkeypatch.context() as patch, refused:
        patch.setitem(vars(plain.pipe), name, torch.compile(network, backend="eager"))
        backbone_of(plain.pipe)
    if network._repeated_blocks:
        network.compile_repeated_blocks(backend="eager")
        with refused:
            backbone_of(plain.pipe)
        for part in network.modules():
            part._compiled_call_impl = None
    backbone_of(plain.pipe)
    network.compile(backend="eager")
    with refused:
        backbone_of(plain.pipe)


def test_a_cache_put_on_in_whichever_way_is_refused(plain, network):
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        current_timestep_callback=lambda: 500,
        spatial_attention_block_identifiers=("blocks",),
    )
    apply_pyramid_attention_broadcast(network, config)
    with pytest.raises(InputError, match="pyramid_attention_broadcast keeps what the denoiser computed"):
        backbone_of(plain.pipe)
    HookRegistry.check_if_exists_or_initialize(network).remove_hook("pyramid_attention_broadcast", recurse=True)
    backbone_of(plain.pipe)
    if plain.name not in {"animatediff", "ltx-2", "hunyuan-1.5"}:  # which diffusers has none for
        network.enable_cache(FirstBlockCacheConfig())
        with pytest.raises(InputError, match=r"disable_cache\(\)"):
            backbone_of(plain.pipe)
        network.disable_cache()
        backbone_of(plain.pipe)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_the_strength_of_pictures_at_a_reading(plain, folder, scale):
    """SparseCtrl's fades to none; models from a first frame know no strength."""
    if plain.name == "animatediff":
        pipe = sparse_pipe(folder).to(torch.float64)
        found = extract_motion(pipe, plain.clip, plain.reading, shown_frames=(0,), condition_scale=scale)
    else:
        found = extract_motion(plain.pipe, plain.clip, plain.reading, condition_scale=scale)
    same = [torch.equal(found.maps[site].values, kept.values) for site, kept in plain.motion.maps.items()]
    assert all(same) == (plain.name != "animatediff" or scale == 0)
