"""What is measured of one model on a device: seconds and bytes of steps, runs, and what must not change a number."""

import statistics
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from accelerate import cpu_offload
from gpu_models import Model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import motionclone
from motionclone.backbones import recomputing
from motionclone.cloning import clone
from motionclone.extraction import extract_motion
from motionclone.motion import Motion
from motionclone.sampling import energy_and_gradient, motion_guidance
from motionclone.settings import Guidance

Context = AbstractContextManager[Any]
OURS = Path(motionclone.__file__).parent


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Steps:
    """Steps of the pipeline after the first, which warms up."""

    seconds: float  # of one, the median
    peak: int | None  # bytes beyond what was in use before the run; None where no device tells
    kept: int | None  # bytes that the choice of blocks counts on
    blocks: int | None  # computed again
    guided: int


def steps(model: Model, motion: Motion | None, count: int = 3, inside: Context | None = None, **guidance: Any) -> Steps:
    """So many steps, guided by a motion in whatever way; `inside` is entered after the first."""
    device, stamps = model.device, []
    cuda = device.type == "cuda"
    with ExitStack() as stack:

        def stamp(*_: Any) -> dict[str, Any]:
            wait(device)
            stamps.append(time.perf_counter())
            if len(stamps) == 1:
                if cuda:
                    torch.cuda.reset_peak_memory_stats(device)
                if inside is not None:
                    stack.enter_context(inside)
            return {}

        before = torch.cuda.memory_allocated(device) if cuda else 0
        every = Guidance(weight=1.0, guided_fraction=1.0, warm_up=0, cool_down=0, **guidance)
        guiding = nullcontext() if motion is None else motion_guidance(model.pipe, motion, every)
        trace = stack.enter_context(guiding)
        model.pipe(**model.arguments(), num_inference_steps=count, callback_on_step_end=stamp)
    seconds = statistics.median(after - now for now, after in pairwise(stamps))
    peak = torch.cuda.max_memory_allocated(device) - before if cuda else None
    chosen = trace.recomputed if trace is not None else None
    return Steps(
        seconds,
        peak,
        chosen and chosen.kept_bytes,
        None if chosen is None else len(chosen.blocks),
        len(trace.steps) if trace is not None else 0,
    )


def with_free(budget: float) -> Context:
    """Inside the `with`, guided steps find memory for so many bytes."""
    return mock.patch.object(recomputing, "free_bytes", return_value=int(budget / recomputing.SHARE))


@contextmanager
def diffusers_checkpointing(model: Model) -> Iterator[None]:
    """A denoiser's own gradient checkpointing in place of ours."""
    network = model.backbone.denoiser
    network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        network.disable_gradient_checkpointing()


def extraction(model: Model) -> tuple[Motion, float]:
    """The motion of the model's clip, and the seconds of the second of two readings."""
    for _ in range(2):
        begun = time.perf_counter()
        motion = extract_motion(model.pipe, model.clip, model.settings.extraction)
        wait(model.device)
    return motion, time.perf_counter() - begun


def run(model: Model) -> float:
    """Seconds of the whole preset: the motion read, a video generated and decoded."""
    begun = time.perf_counter()
    clone(model.pipe, model.clip, "a red star", model.settings)
    wait(model.device)
    return time.perf_counter() - begun


def decoding(model: Model) -> float:
    """Seconds to make frames of latents."""
    sampling, backbone = model.settings.sampling, model.backbone
    latents = torch.randn(backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width))
    begun = time.perf_counter()
    with torch.no_grad():
        backbone.decode_video(latents.to(model.device, model.pipe.vae.dtype))
    wait(model.device)
    return time.perf_counter() - begun


class Watching(TorchDispatchMode):
    """The bytes in use after every operation inside the `with`; on a CPU, of what was made there and is still held."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.curve = device, []
        self._held: dict[int, int] = {}  # bytes of storages
        self._sum = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if self.device.type == "cuda":
            self.curve.append(torch.cuda.memory_allocated(self.device))
            return made
        for tensor in tree_leaves(made):
            if torch.is_tensor(tensor) and (storage := tensor.untyped_storage())._cdata not in self._held:
                self._held[storage._cdata] = storage.nbytes()
                self._sum += storage.nbytes()
                weakref.finalize(storage, self._let_go, storage._cdata)
        self.curve.append(self._sum)
        return made

    def _let_go(self, storage: int) -> None:
        self._sum -= self._held.pop(storage)


def memory_curve(model: Model, motion: Motion, **guidance: Any) -> list[int]:
    """Bytes above those at the begin, operation by operation, over one guided step."""
    watching = Watching(model.device)
    steps(model, motion, 2, watching, **guidance)
    return [each - watching.curve[0] for each in watching.curve]


@dataclass(frozen=True)
class Waits:
    """Where the host waited for the device in one guided step, as PyTorch warns of it."""

    ours: dict[str, int]
    others: int


def waits(model: Model, motion: Motion) -> Waits:
    """In one guided step after the first. CUDA only."""

    @contextmanager
    def warned() -> Iterator[None]:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        steps(model, motion, 2, warned(), checkpointing="none")
    places = Counter(f"{Path(each.filename).name}:{each.lineno}" for each in told if _is_wait(each, ours=True))
    return Waits(dict(places), sum(_is_wait(each, ours=False) for each in told))


def _is_wait(told: warnings.WarningMessage, ours: bool) -> bool:
    return "synchroniz" in str(told.message) and (OURS in Path(told.filename).parents) == ours


Read = tuple[Motion, Tensor]


def read_and_differentiated(model: Model) -> Read:
    """The motion of the clip, and the gradient of its energy at noise."""
    backbone, sampling = model.backbone, model.settings.sampling
    motion = extract_motion(model.pipe, model.clip, model.settings.extraction)
    shape = backbone.latents_shape(sampling.num_frames, sampling.height, sampling.width)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(model.device)
    with torch.no_grad():
        call = backbone.denoiser_call(noise, 0.95 * 999, "") | {"return_dict": False}
    forward, blocks = backbone.denoiser.forward, backbone.heavy_blocks()
    _, _, gradient = energy_and_gradient(backbone, forward, call, motion, recompute=blocks[::2])
    return motion, gradient.cpu()


def offload(model: Model, mode: str) -> None:
    """Keep a pipeline's weights elsewhere, until it is let go."""
    pipe, device, network = model.pipe, model.device, model.backbone.denoiser
    if mode == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif mode == "sequential":
        pipe.to("cpu")
        for part in pipe.components.values():  # as enable_sequential_cpu_offload, which takes no CPU for a device
            if isinstance(part, nn.Module):
                cpu_offload(part, device, offload_buffers=len(part._parameters) > 0)
    else:
        pipe.vae.to(device)
        network.enable_group_offload(device, torch.device("cpu"), offload_type="leaf_level", non_blocking=True)


def different(wanted: Read, found: Read) -> dict[str, float]:
    """The share of indices of a motion that differ, and how far a gradient is off, by its norm."""
    indices = [(wanted[0].maps[site].indices.cpu(), kept.indices.cpu()) for site, kept in found[0].maps.items()]
    differing = sum(int((ours != theirs).sum()) for ours, theirs in indices)
    off = float((found[1] - wanted[1]).norm() / wanted[1].norm())
    return {"indices": differing / sum(ours.numel() for ours, _ in indices), "gradient": off}
