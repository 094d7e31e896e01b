"""Count what guidance keeps in memory at a model's real size, on the meta device: nothing is loaded or computed.

Counted are the distinct storages that autograd saves during one guided call of one video, parameters excluded, with
attention that keeps what flash attention keeps (query, key, value, output and sums of rows; a mask, where there is
one), and the operations of matrix products, convolutions and attention.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from motionclone.backbones.backbone import Backbone, Call
from motionclone.backbones.budget import Cost, cheapest, peak
from motionclone.backbones.capture import graph_cut_behind, listening, stopping_at
from motionclone.backbones.costs import Flops, block_costs
from motionclone.backbones.families import backbone_of
from motionclone.models import HubModel, load_pipeline, named_models
from motionclone.motion import SparseMap
from motionclone.objectives import energy
from motionclone.settings import Settings


@dataclass(frozen=True)
class Counted:
    """Bytes and floating point operations (FLOPs) of one guided call of the denoiser with one video."""

    weights: int  # bytes of the denoiser, or of both experts
    kept: int  # bytes for the backward pass, at the least that can be
    cut: int  # bytes if everything is kept, with the graph cut behind the last guided attention
    naive: int  # bytes without the cut
    forward: int  # FLOPs of a plain forward pass
    extraction: int  # FLOPs of the part that reads a motion
    backward: int  # FLOPs of the backward pass, without what is computed again
    costs: tuple[Cost, ...]  # of every block
    rest: int  # bytes kept outside all blocks
    by_diffusers: tuple[int, int]  # a guided step's FLOPs, and bytes kept, with its enable_gradient_checkpointing()

    def guided_step(self, budget: float = math.inf, halves: int = 2) -> tuple[int, int]:
        """FLOPs of a guided step that may keep so many bytes, and the bytes it keeps.

        Args:
            budget: bytes.
            halves: forward passes of a plain step, 2 with classifier-free guidance and 1 without.
        """
        most = peak(self.costs, frozenset())
        choice = cheapest(self.costs, int(min(budget - self.rest, most)))
        return halves * self.forward + self.backward + choice.flops, choice.peak + self.rest


class _Attention(TorchFunctionMode):
    """Attention as a GPU computes it, which keeps query, key, value, output, the rows' sums and masks, as numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | (kwargs or {})
        query, key, value, mask = named["query"], named["key"], named["value"], named.get("attn_mask")
        if mask is None:
            return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        mask = mask.to(query).expand(*query.shape[:-1], key.shape[-2])
        efficient = torch.ops.aten._scaled_dot_product_efficient_attention
        return efficient(query, key, value, mask, torch.is_grad_enabled())[0]


def counted(name: str, settings: Settings) -> Counted:
    """What a model that has a name keeps at the size and blocks of the settings.

    Raises:
        InputError: if it has no such blocks or cannot take the size.
    """
    return count(_on_meta(name), settings)


def count(pipe: Any, settings: Settings) -> Counted:
    """What a pipeline on the meta device, words and all, keeps at the size and blocks of the settings.

    Raises:
        InputError: if it has no such blocks or cannot take the size.
    """
    backbone = backbone_of(pipe)
    sites = backbone.sites(settings.extraction.blocks)
    sampling = settings.sampling
    shape = backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)
    call = backbone.denoiser_call(torch.empty(shape, device="meta"), settings.extraction.t_alpha, "")
    in_a_run = call | _IN_A_RUN.get(type(pipe).__name__, {})

    def run(saving: AbstractContextManager[Any], *, cut: bool = True, backward: bool = False) -> None:
        latents = in_a_run[backbone.latents_name].clone().requires_grad_()
        with (
            _Attention(),
            listening(partial(backbone.tap, call), sites, _empty_energy) as energies,
            graph_cut_behind(energies) if cut else nullcontext(),
            saving,
        ):
            backbone.denoiser(**{**in_a_run, backbone.latents_name: latents})
        if backward:
            torch.autograd.grad(torch.stack(list(energies.values())).sum(), latents)

    def operations(work: Callable[[], object]) -> int:
        with Flops() as counting:
            work()
        total: int = counting.total
        return total

    with torch.no_grad(), _Attention():
        forward = operations(lambda: backbone.denoiser(**in_a_run))
        extraction = operations(lambda: _read(backbone, call, sites))
    costs, rest = block_costs(backbone.denoiser, backbone.heavy_blocks(), run)
    whole, outside = block_costs(backbone.denoiser, backbone.heavy_blocks(), partial(run, cut=False))
    backward = operations(lambda: run(nullcontext(), backward=True)) - forward
    theirs, outside_theirs = block_costs(backbone.denoiser, _checkpointed_by_diffusers(backbone.denoiser, run), run)
    again = frozenset(each.name for each in theirs)
    experts = [part for part in (backbone.denoiser, getattr(pipe, "transformer_2", None)) if part is not None]
    return Counted(
        weights=sum(weight.nbytes for part in experts for weight in (*part.parameters(), *part.buffers())),
        kept=cheapest(costs, 0).peak + rest,
        cut=peak(costs, frozenset()) + rest,
        naive=peak(whole, frozenset()) + outside,
        forward=forward,
        extraction=extraction,
        backward=backward,
        costs=costs,
        rest=rest,
        by_diffusers=(
            2 * forward + backward + sum(each.flops for each in theirs),
            peak(theirs, again) + outside_theirs,
        ),
    )


def _checkpointed_by_diffusers(network: Any, run: Callable[[AbstractContextManager[Any]], None]) -> list[nn.Module]:
    """Modules that a network's own gradient checkpointing computes again."""
    found: list[nn.Module] = []

    def note(module: nn.Module, *inputs: Any) -> Any:
        found.append(module)
        return module(*inputs)

    network.enable_gradient_checkpointing(note)
    run(nullcontext())
    network.disable_gradient_checkpointing()
    return found


def _read(backbone: Backbone, call: Call, sites: Sequence[str]) -> None:
    with listening(partial(backbone.tap, call), sites), stopping_at(backbone.after(sites)):
        backbone.denoiser(**call)


def _empty_energy(_site: str, query: Tensor, key: Tensor) -> Tensor:
    """The energy of a k = 1 reference on the meta device."""
    shape = (*query.shape[:3], 1)
    values, indices = (torch.empty(shape, dtype=kind, device="meta") for kind in (torch.float32, torch.int64))
    return energy(query, key, SparseMap(values, indices))


WORDS: dict[str, tuple[tuple[int, ...] | None, ...]] = {
    "AnimateDiffPipeline": ((1, 77, 768), None),
    "CogVideoXPipeline": ((1, 226, 4096), None),
    "WanPipeline": ((1, 512, 4096), None),
    "LTXPipeline": ((1, 128, 4096), (1, 128)),
    "HunyuanVideoPipeline": ((1, 256, 4096), (1, 768), (1, 256)),
    "HunyuanVideo15Pipeline": ((1, 1000, 3584), (1, 1000), (1, 256, 1472), (1, 256)),
    "LTX2Pipeline": ((1, 1024, 3840), (1, 1024)),
}
"""Of one prompt, as the pipelines' encode_prompt returns it: shapes of the embeddings, masks and summaries."""

_IN_A_RUN: dict[str, Call] = {"LTX2Pipeline": {"isolate_modalities": False}}
"""What a run tells the denoiser otherwise than a reading: LTX-2 reads clips that are silent, and makes sound."""


def _on_meta(name: str) -> Any:
    """The pipeline of a named model without weights; its text encoders are replaced by the shape of their output."""
    model = named_models()[name]
    if model == named_models()["mini"]:
        return load_pipeline(name, device="cpu").to("meta")
    pipe = load_pipeline(name, device="cpu", weights=False)
    dtype = getattr(torch, model.dtype) if isinstance(model, HubModel) else torch.float16
    kind = type(pipe).__name__
    looks_at_values = kind == "HunyuanVideo15Pipeline"

    def part(shape: tuple[int, ...] | None) -> Tensor | None:
        if looks_at_values and shape is not None and len(shape) == 2:  # a mask
            return torch.ones(shape)
        return None if shape is None else torch.empty(shape, dtype=dtype, device="meta")

    words = tuple(map(part, WORDS[kind]))
    pipe.encode_prompt = lambda *_, **__: words
    if looks_at_values:
        _give_values(pipe.transformer)
    if kind == "LTX2Pipeline":
        with torch.device("meta"):
            pipe.audio_vae = AutoencoderKLLTX2Audio()
        pipe.tokenizer = SimpleNamespace(padding_side="left")
        pipe.connectors = lambda words, mask, **_: (words, words, mask)
    return pipe


def _give_values(transformer: Any) -> None:
    """HunyuanVideo-1.5 sorts its words by masks and looks whether a picture is shown, for which shapes will not do.

    Masks and pictures have values, therefore, and only where the network computes with them do they become shapes.
    """

    def show_nothing(_network: nn.Module, args: Any, kwargs: Any) -> Any:
        return args, kwargs | {"image_embeds": torch.zeros_like(kwargs["image_embeds"], device="cpu")}

    def take_shapes(_part: nn.Module, args: Any) -> Any:
        return tree_map(lambda each: each.to("meta") if torch.is_tensor(each) else each, args)

    transformer.register_forward_pre_hook(show_nothing, with_kwargs=True)
    for part in (transformer.context_embedder, transformer.image_embedder, *transformer.transformer_blocks):
        part.register_forward_pre_hook(take_shapes)
