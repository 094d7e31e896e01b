"""Count what guidance keeps in memory at a model's real size, on the meta device: nothing is loaded or computed.

Counted are the distinct storages that autograd saves during one guided call of one video, parameters excluded, with
attention that keeps what flash attention keeps (query, key, value, output).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from motionclone.backbones.capture import graph_cut_at, listening, removing
from motionclone.backbones.checkpointing import checkpointed
from motionclone.backbones.families import backbone_of
from motionclone.errors import InputError
from motionclone.models import HubModel, load_pipeline, named_models
from motionclone.motion import SparseMap
from motionclone.objectives import energy
from motionclone.settings import Settings


@dataclass(frozen=True)
class Counted:
    """Bytes."""

    weights: int  # of the denoiser, or of both experts
    kept: int  # for the backward pass, as motion_guidance does it
    again: int  # more at the most, while a block is computed again in the backward pass; 0 without checkpoints
    cut: int  # with the graph cut after the guided blocks, but without checkpoints
    naive: int  # with neither


class _FlashAttention(torch.autograd.Function):
    """Stands in for flash attention: the same inputs, output and saved tensors, without computing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise NotImplementedError("nothing is computed here")


class _StandIn(TorchFunctionMode):
    """Puts it in the place of PyTorch's attention."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            out: Tensor = _FlashAttention.apply(named["query"], named["key"], named["value"])  # type: ignore[no-untyped-call]
            return out
        return func(*args, **(kwargs or {}))


class _Saved:
    """Bytes of every storage saved for the backward pass, parameters excluded; by the innermost block that ran."""

    def __init__(self, parameters: set[int]) -> None:
        self.parameters = parameters
        self.sizes: dict[int, int] = {}
        self.inside: dict[nn.Module | None, dict[int, int]] = {None: {}}
        self.within: dict[nn.Module, nn.Module | None] = {}  # a block: the one around it
        self._alive: list[Any] = []  # so that no address is used twice
        self._running: list[nn.Module | None] = [None]

    def _add(self, tensor: Tensor, *ledgers: dict[int, int]) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.parameters:
            self._alive.append(storage)
            for ledger in ledgers:
                ledger[storage._cdata] = storage.nbytes()

    def _enter(self, block: nn.Module, args: Any, kwargs: Any) -> None:
        around = self._running[-1]
        for leaf in tree_leaves((args, kwargs)):  # kept while the block around it is computed again
            if torch.is_tensor(leaf):
                self._add(leaf, self.inside[around])
        self.within[block], self.inside[block] = around, {}
        self._running.append(block)

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    @contextmanager
    def counting(self, blocks: Sequence[nn.Module]) -> Iterator[None]:
        """Count inside the `with`."""

        def pack(tensor: Tensor) -> Tensor:
            self._add(tensor, self.sizes, self.inside[self._running[-1]])
            return tensor

        handles = [block.register_forward_pre_hook(self._enter, with_kwargs=True) for block in blocks]
        handles += [block.register_forward_hook(self._leave) for block in blocks]
        with removing(handles), saved_tensors_hooks(pack, lambda tensor: tensor):
            yield

    def largest_block(self) -> int:
        """Of the insides of one block at a time, and of one inside it, if there are some."""
        outer = self.inside[None].keys()
        own = {block: sum(n for key, n in ledger.items() if key not in outer) for block, ledger in self.inside.items()}
        inner = [(around, own[block]) for block, around in self.within.items() if around is not None]
        tops = [block for block, around in self.within.items() if around is None]
        return max(own[top] + max((size for around, size in inner if around is top), default=0) for top in tops)


def counted(name: str, settings: Settings) -> Counted:
    """What a model that has a name keeps at the size and blocks of the settings.

    Raises:
        InputError: if it has no such blocks, cannot take the size or cannot be counted without computing.
    """
    pipe = _on_meta(name)
    backbone = backbone_of(pipe)
    sites = backbone.sites(settings.extraction.blocks)
    sampling = settings.sampling
    shape = backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)
    call = backbone.denoiser_call(torch.empty(shape, device="meta"), settings.extraction.t_alpha, "")
    weights = [*backbone.denoiser.parameters(), *backbone.denoiser.buffers()]

    def saved(cut: bool, checkpointing: bool) -> _Saved:
        latents = call[backbone.latents_name].clone().requires_grad_()
        ledgers = _Saved({weight.untyped_storage()._cdata for weight in weights})
        with (
            _StandIn(),
            ledgers.counting([] if checkpointing else backbone.heavy_blocks()),
            checkpointed(backbone.denoiser, backbone.heavy_blocks() if checkpointing else []),
            listening(partial(backbone.tap, call), sites, _empty_energy),
            graph_cut_at(backbone.after(sites)) if cut else nullcontext(),
        ):
            backbone.denoiser(**{**call, backbone.latents_name: latents})
        return ledgers

    cut, naive = (saved(cut, checkpointing=False) for cut in (True, False))
    kept, again = cut, 0
    if settings.guidance.checkpointing:
        kept, again = saved(True, checkpointing=True), cut.largest_block()
    experts = [part for part in (backbone.denoiser, getattr(pipe, "transformer_2", None)) if part is not None]
    return Counted(
        sum(weight.nbytes for part in experts for weight in (*part.parameters(), *part.buffers())),
        sum(kept.sizes.values()),
        again,
        sum(cut.sizes.values()),
        sum(naive.sizes.values()),
    )


def _empty_energy(_site: str, query: Tensor, key: Tensor) -> Tensor:
    """The energy of a k = 1 reference on the meta device."""
    shape = (*query.shape[:3], 1)
    values, indices = (torch.empty(shape, dtype=kind, device="meta") for kind in (torch.float32, torch.int64))
    return energy(query, key, SparseMap(values, indices))


# Of one prompt, as the pipelines' encode_prompt returns it: shapes of the embeddings, masks and summaries. Not here are
# HunyuanVideo-1.5, whose denoiser looks at values, which tensors on the meta device do not have, and LTX-2, whose sound
# comes from further networks.
_WORDS: dict[str, tuple[tuple[int, ...] | None, ...]] = {
    "AnimateDiffPipeline": ((1, 77, 768), None),
    "CogVideoXPipeline": ((1, 226, 4096), None),
    "WanPipeline": ((1, 512, 4096), None),
    "LTXPipeline": ((1, 128, 4096), (1, 128)),
    "HunyuanVideoPipeline": ((1, 256, 4096), (1, 768), (1, 256)),
}


def _on_meta(name: str) -> Any:
    """The pipeline of a named model without weights; its text encoders are replaced by the shape of their output."""
    model = named_models()[name]
    if isinstance(model, HubModel) and model.pipeline not in _WORDS:
        raise InputError(f"the memory of {name} cannot be counted from the shapes of its denoiser alone.")
    if model == named_models()["mini"]:
        return load_pipeline(name, device="cpu").to("meta")
    pipe = load_pipeline(name, device="cpu", weights=False)
    dtype = getattr(torch, model.dtype) if isinstance(model, HubModel) else torch.float16
    shapes = _WORDS[type(pipe).__name__]
    words = tuple(shape and torch.empty(shape, dtype=dtype, device="meta") for shape in shapes)
    pipe.encode_prompt = lambda *_, **__: words
    return pipe
