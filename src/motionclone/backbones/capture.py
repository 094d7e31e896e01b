"""Listen inside a denoiser, stop its forward pass early, cut the graph.

Everything here is a context manager that leaves what it touches exactly as it was found, however it is left, and that
concerns only the forward passes inside it: not those of another thread that runs the same network.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from motionclone.backbones.patching import only_here
from motionclone.errors import InputError

Keep = Callable[[str, Tensor, Tensor], Any]
"""What to keep of a site's query and key, each (p, heads, f, d)."""


NO_WINDOWS = "windows over the frames are not supported, switch them off (FreeNoise: disable_free_noise())."


class Heard(dict[str, Any]):
    """What was kept of every site."""

    def __init__(self, keep: Keep, sites: Sequence[str], here: Callable[[], bool]) -> None:
        super().__init__()
        self.keep, self.replaying = keep, False
        self.here = here  # whether the running code belongs to the pass that is listened to; for taps to ask
        self.cuts = False  # whether no graph is built behind the last site
        self._sites = sites

    def hear(self, site: str, query: Tensor, key: Tensor) -> None:
        """For taps. InputError if a site is called for the second time."""
        if site in self and not self.replaying:
            raise InputError(f"{site} was called more than once in one forward pass; {NO_WINDOWS}")
        kept = self.keep(site, query, key)
        if not self.replaying:  # else a checkpoint computes again, and wants the same operations
            self[site] = kept
        if self.cuts and len(self) == len(self._sites) and site == next(reversed(self)):
            torch.set_grad_enabled(False)

    def finish(self) -> None:
        """The forward pass is over. InputError if a site was not heard."""
        self.replaying = True
        missing = [site for site in self._sites if site not in self]
        if missing:
            raise InputError(
                f"no query and key were seen at {missing[0]}: guidance needs unfused projections, every block run and "
                "PyTorch's own attention; call unfuse_qkv_projections(), switch feature caches off and call "
                'set_attention_backend("native").'
            )


class _Stop(Exception):  # noqa: N818 - no error
    """Raised at the module where a forward pass is to end."""


@contextmanager
def removing(handles: list[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _both(_site: str, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    return query, key


@contextmanager
def listening(
    tap: Callable[[str, Heard], list[RemovableHandle]], sites: Sequence[str], keep: Keep = _both
) -> Iterator[Heard]:
    """Hear query and key of every site during the forward pass inside the `with`.

    Outputs stay bit-identical. If checkpoints are to compute what `keep` does a second time, the backward pass belongs
    inside the `with`, after `finish`; if it keeps query and key as they are, outside.

    Args:
        tap: installs the hooks of one site.
        sites: module paths of temporal attentions.
        keep: what to keep of them; by default both.

    Raises:
        InputError: on leaving, if a site was not heard: its projections are fused or its block is skipped.
    """
    handles: list[RemovableHandle] = []
    with only_here() as here, removing(handles):
        heard = Heard(keep, sites, here)
        for site in sites:
            handles += tap(site, heard)
        yield heard
    heard.finish()


class _Hearing(TorchFunctionMode):
    """Tells `hear` query and key of every scaled dot product attention, (b, heads, s, d)."""

    def __init__(self, hear: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self.hear = hear

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key"), args, strict=False)) | (kwargs or {})
            self.hear(named["query"], named["key"])
        return func(*args, **(kwargs or {}))


def attention_heard(
    module: nn.Module, hear: Callable[[Tensor, Tensor], None], here: Callable[[], bool]
) -> list[RemovableHandle]:
    """Hooks that tell `hear` query and key of every scaled dot product attention inside a module's forward.

    Passes for which `here` is false are left alone.
    """
    running: list[ExitStack] = []

    def begin(*_: Any) -> None:
        if here():
            running.append(ExitStack())
            running[-1].enter_context(_Hearing(hear))

    def end(*_: Any) -> None:
        if here():
            running.pop().close()

    return [module.register_forward_pre_hook(begin), module.register_forward_hook(end, always_call=True)]


@contextmanager
def stopping_at(module: nn.Module) -> Iterator[None]:
    """End the forward pass inside the `with` where `module` would start."""

    with only_here() as here:

        def stop(*_: Any) -> None:
            if here():
                raise _Stop

        with removing([module.register_forward_pre_hook(stop)]), suppress(_Stop):
            yield


@contextmanager
def graph_cut_behind(heard: Heard) -> Iterator[None]:
    """Inside the `with`, build no graph from the last site on, be it in the middle of a block.

    Detaching what is computed there would not do: in a UNet the skip connections carry the graph past it.
    """
    before = torch.is_grad_enabled()
    heard.cuts = True
    try:
        yield
    finally:
        torch.set_grad_enabled(before)
