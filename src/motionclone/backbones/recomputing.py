"""Choose what guided steps compute again in the backward pass, by the memory that is free."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor, nn

from motionclone.backbones.backbone import Guidable
from motionclone.backbones.budget import Cost, cheapest
from motionclone.errors import GuidanceWarning, InputError, named
from motionclone.settings import Checkpointing

SHARE = 0.8
"""Of the free memory that guidance may fill; the rest of the network runs while it is filled."""

T = TypeVar("T")
Measure = Callable[[Sequence[nn.Module]], tuple[tuple[Cost, ...], int]]


@dataclass(frozen=True)
class Recomputed:
    """What is computed again in the backward pass of guided steps, and why."""

    asked: Checkpointing
    blocks: tuple[str, ...]  # in the order of the network
    candidates: int  # blocks that could be
    kept_bytes: int | None  # at the most, for the backward pass; None if it was not measured
    free_bytes: int | None  # when it was chosen
    ran_out: bool = False  # whether memory ran out with fewer

    def values(self) -> dict[str, Any]:
        """For a record."""
        return asdict(self) | {"blocks": list(self.blocks)}


class Recomputing:
    """Runs guided steps with as much kept as fits, chosen anew for every size of the latents."""

    def __init__(self, backbone: Guidable, asked: Checkpointing) -> None:
        self.asked = asked
        self.chosen: Recomputed | None = None  # of the last step
        self._device = torch.device("cpu")
        self._network = backbone.denoiser
        names = {module: name for name, module in self._network.named_modules()}
        self._heavy = {names[block]: block for block in backbone.heavy_blocks()}
        self._of_size: dict[torch.Size, Recomputed] = {}
        self._costs: dict[torch.Size, tuple[tuple[Cost, ...], int]] = {}

    def run(
        self,
        latents: Tensor,
        measure: Measure,
        step: Callable[[Sequence[nn.Module]], T],
    ) -> T:
        """The guided step.

        Args:
            latents: of the step.
            measure: the costs of blocks, and the bytes kept outside them.
            step: the step, with these blocks computed again.

        Raises:
            InputError: if it does not fit the memory whatever is computed again.
        """
        self._device, size = latents.device, latents.shape
        if size not in self._of_size:
            self._of_size[size] = self._choose(size, measure)
        while True:
            self.chosen = self._of_size[size]
            try:
                return step([self._heavy[name] for name in self.chosen.blocks])
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Not in there, where the exception holds on to all that the step had made.
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            self._of_size[size] = self._less(size, self.chosen)

    def _choose(self, size: torch.Size, measure: Measure) -> Recomputed:
        if self.asked == "none":
            return Recomputed("none", (), len(self._heavy), None, None)
        with within_memory(self._device, "a forward pass of the denoiser"):
            self._costs[size] = measure(list(self._heavy.values()))
        free = free_bytes(self._device)
        return self._within(size, 0 if self.asked == "least" or free is None else int(SHARE * free), free)

    def _within(self, size: torch.Size, budget: int, free: int | None, ran_out: bool = False) -> Recomputed:
        costs, rest = self._costs[size]
        choice = cheapest(costs, budget - rest)
        blocks = tuple(name for name in self._heavy if name in choice.recomputed)
        return Recomputed(self.asked, blocks, len(self._heavy), choice.peak + rest, free, ran_out)

    def _less(self, size: torch.Size, chosen: Recomputed) -> Recomputed:
        """What keeps the least. InputError if that was kept, or everything was to be."""
        free = free_bytes(self._device)
        have = _have(self._device)
        if self.asked == "none":
            raise InputError(f"a guided step does not fit the memory{have}; use checkpointing auto.")
        least = self._within(size, 0, free, ran_out=True)
        if least.blocks == chosen.blocks:
            raise InputError(
                f"a guided step does not fit the memory{have}, though it keeps the least it can, "
                f"{(least.kept_bytes or 0) / 1e9:.1f} GB; generate fewer or smaller frames, or offload the model."
            )
        warnings.warn(
            f"memory ran out in a guided step{have}; from here on it keeps as little as it can, which is slower.",
            GuidanceWarning,
            stacklevel=2,
        )
        return least


def free_bytes(device: torch.device) -> int | None:
    """Memory that a tensor on the device could have now; None where nobody says."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return int(psutil.virtual_memory().available) if device.type == "cpu" else None


def _have(device: torch.device) -> str:
    free = free_bytes(device)
    return "" if free is None else f" ({free / 1e9:.1f} GB are free on {device})"


@contextmanager
def within_memory(device: torch.device, what: str, remedy: str | None = None) -> Iterator[None]:
    """Inside the `with`, want of memory is an InputError that says what does not fit where, and what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        remedy = remedy or f"generate fewer or smaller frames, or use {named('offload', 'model')}"
        raise InputError(f"{what} does not fit the memory{_have(device)}; {remedy}.") from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says so, of any device."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("not enough memory", "out of memory", "can't allocate memory")
    )
