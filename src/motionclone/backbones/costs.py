"""Measure what the guided part of a denoiser costs, block by block, in one forward pass that keeps nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from motionclone.backbones.budget import Cost
from motionclone.backbones.capture import removing
from motionclone.backbones.offloading import has_closing_hooks
from motionclone.backbones.patching import only_here


class Flops(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the floating point operations of matrix products, convolutions and attention inside the `with`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            self.total += flop_registry[packet](*args, **kwargs, out_val=out)
        elif packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:  # not in PyTorch's own list
            self.total += sdpa_flop_count(args[0].shape, args[1].shape, args[2].shape)  # type: ignore[no-untyped-call]
        return out


@dataclass
class _Running:
    """A block while it runs."""

    name: str
    begun: int  # operations until then
    inputs: int
    given: dict[int, StorageWeakRef]
    needed: int = 0  # operations until the last tensor was kept: computed again, it stops there
    last: int = 0  # which of the tensors kept that was
    inside: int = 0
    inner: list[tuple[Cost, int]] = field(default_factory=list)


def block_costs(
    network: nn.Module, blocks: Sequence[nn.Module], run: Callable[[saved_tensors_hooks], object]
) -> tuple[tuple[Cost, ...], int]:
    """What every block costs when `run` calls the network inside what it is given; and the bytes kept outside all.

    Nothing is kept meanwhile, so that it takes the memory of a plain pass, and no backward pass is made. Storages count
    once, where they are first kept, and once as an input; weights do not count.
    """
    weights = {each.untyped_storage()._cdata for each in (*network.parameters(), *network.buffers())}
    names = {module: name for name, module in network.named_modules()}
    seen: dict[int, StorageWeakRef] = {}  # by address, which no other storage has as long as somebody points at it
    flops, hooked = Flops(), has_closing_hooks(network)
    kept = 0
    around = _Running("", 0, 0, {})
    running = [around]
    given: dict[int, StorageWeakRef] = {}  # to blocks that have ended: words and positions are one for all

    def keep_nothing(tensor: Tensor) -> None:
        nonlocal kept
        kept += 1
        for each in running:
            each.needed, each.last = flops.total - each.begun, kept
        storage = tensor.untyped_storage()
        brought = isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter)  # by an offloading hook
        if not brought and storage._cdata not in weights and storage._cdata not in seen:
            seen[storage._cdata] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            for each in running:
                each.inside += storage.nbytes()

    with only_here() as here:

        def enter(block: nn.Module, args: Any, kwargs: Any) -> None:
            if here():
                taken = [each.untyped_storage() for each in tree_leaves((args, kwargs)) if torch.is_tensor(each)]
                own = {each._cdata: each for each in taken if each._cdata not in weights and each._cdata not in given}
                size = sum(each.nbytes() for each in own.values())
                refs = {key: StorageWeakRef(each) for key, each in own.items()}  # type: ignore[no-untyped-call]
                running.append(_Running(names[block], flops.total, size, refs))

        def leave(_block: nn.Module, _args: Any, _output: Any) -> None:
            if here():
                done = running.pop()
                given.update(done.given)
                if done.inside:  # else it runs after all that is guided, or without a graph
                    again = flops.total - done.begun if hooked else done.needed
                    inner = tuple(cost for cost, _ in done.inner)
                    ends_inside = not hooked and any(last == done.last for _, last in done.inner)
                    cost = Cost(done.name, again, done.inside, done.inputs, inner, ends_inside)
                    running[-1].inner.append((cost, done.last))

        handles = [block.register_forward_pre_hook(enter, with_kwargs=True, prepend=True) for block in blocks]
        handles += [block.register_forward_hook(leave) for block in blocks]
        with removing(handles), flops:
            run(saved_tensors_hooks(keep_nothing, lambda nothing: nothing))
    outermost = tuple(cost for cost, _ in around.inner)
    return outermost, around.inside - sum(each.inside for each in outermost)
