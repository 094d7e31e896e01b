"""How much a call has in memory at once, counted on the meta device: nothing is computed."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the storages that operations made and nobody has let go of, and the most that they ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self._known: set[int] = set()

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)}
        for leaf in tree_leaves(found):
            storage = leaf.untyped_storage() if torch.is_tensor(leaf) else None
            if storage is None or storage._cdata in self._known or storage._cdata in given:
                continue
            self._known.add(storage._cdata)
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
        return found


def peak_of(call: Callable[[], Any]) -> int:
    """The most bytes that a call without a graph has at once, beyond what was there before; tensors lie on meta."""
    with torch.no_grad(), _Live() as live:
        call()
    most: int = live.peak
    return most
