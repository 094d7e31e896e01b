"""Other ways to compute the same steps, of which it is to be measured what they gain."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from gpu_models import Model
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from motionclone.backbones.backbone import named_arguments, with_increment
from motionclone.backbones.patching import layered

COMPILING = 40.0
"""Seconds that the first step takes longer on a GPU, where blocks are compiled."""


def variants(model: Model, tiny: bool) -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """By name, inside what steps are to be computed. Not all of them work everywhere, nor fit the memory."""
    found: dict[str, Callable[[], AbstractContextManager[Any]]] = {"TF32": tf32}
    if model.name != "wan2.1-1.3b":  # whose pipeline does so anyway
        found["halves in two calls"] = partial(halves_apart, model)
    for backend in ("flash", "cudnn", "efficient", "math"):
        kind = SDPBackend.MATH if backend == "math" else getattr(SDPBackend, f"{backend.upper()}_ATTENTION")
        found[f"{backend} attention"] = partial(sdpa_kernel, kind)
    if model.name == "animatediff":
        found["channels last"] = partial(channels_last, model.backbone.denoiser)
    if not (tiny and model.name == "animatediff"):  # whose blocks take long, be they small
        found["compiled behind the guided part"] = partial(
            compiled, blocks_behind(model), "eager" if tiny else "inductor"
        )
    return found


@contextmanager
def halves_apart(model: Model) -> Iterator[None]:
    """A plain step calls for each prompt by itself, as a guided one does anyway."""
    backbone = model.backbone

    def apart(plain: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = named_arguments(backbone.denoiser, args, kwargs)
        unconditional, conditional = backbone.split(call)
        if unconditional is None:
            return plain(**conditional)
        nothing = torch.zeros((), device=model.device)
        return with_increment(plain(**unconditional), plain(**conditional), nothing, call)

    with layered(backbone.denoiser, "forward", apart):
        yield


@contextmanager
def tf32() -> Iterator[None]:
    """Matrix products of float32, of which half precision leaves few: energies and rotary embeddings."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def channels_last(network: nn.Module) -> Iterator[None]:
    """Convolutions' weights with the channels behind height and width."""
    network.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        network.to(memory_format=torch.contiguous_format)


def blocks_behind(model: Model) -> list[nn.Module]:
    """Outermost blocks that run after all that is guided, and so without a graph."""
    backbone = model.backbone
    names = {module: name for name, module in backbone.denoiser.named_modules()}
    heavy = backbone.heavy_blocks()  # the outermost come first, in the order they run
    outermost = [each for each in heavy if not any(names[each].startswith(f"{names[other]}.") for other in heavy)]
    following = backbone.after(backbone.sites(model.settings.extraction.blocks))
    return outermost[outermost.index(following) :] if following in outermost else []


@contextmanager
def compiled(blocks: Sequence[nn.Module], backend: str) -> Iterator[None]:
    """Their forwards alone, so that hooks stay as they are; blocks of one kind are compiled once."""
    with ExitStack() as stack:
        stack.callback(torch.compiler.reset)
        for block in blocks:
            compact = torch.compile(block.forward, backend=backend)
            stack.enter_context(mock.patch.object(block, "forward", compact))
        yield
