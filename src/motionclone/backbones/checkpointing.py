"""Compute blocks again in the backward pass instead of keeping what is inside them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.weak import WeakIdKeyDictionary

from motionclone.backbones.offloading import has_closing_hooks, weights_brought
from motionclone.backbones.patching import Forward, layered, only_here

_writers: WeakSet[nn.Module] = WeakSet()  # blocks that were seen writing into their inputs; they are given copies


class BlockWrites(Exception):  # noqa: N818 - no error: from now on it is known of the block, so call again
    """Raised in the forward pass of a block that changed what it was given, so that it cannot be computed again."""


@contextmanager
def checkpointed(network: nn.Module, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Keep only the inputs of a network's blocks for the backward pass and compute their insides again when it comes.

    Blocks may lie inside one another: then the inputs of the inner ones are kept only while the outer one is computed
    again. What a block makes without a graph, such as rotary embeddings, is not kept either where others take it, but
    made again. Blocks that write into what they are given (FreeU) write into copies once that is known of them. Hooks
    that bring a block's weights and take them away do so again. The backward pass belongs inside the `with`.

    Raises:
        BlockWrites: in the forward pass.
    """
    made_by: WeakIdKeyDictionary = WeakIdKeyDictionary()  # a tensor without a graph: what makes it again
    hooked = bool(blocks) and has_closing_hooks(network)
    with ExitStack() as stack:
        here = stack.enter_context(only_here())

        def run(block: nn.Module, forward: Forward, *args: Any, **kwargs: Any) -> Any:
            if not (torch.is_grad_enabled() and here()):
                return forward(*args, **kwargs)
            # Tensors go in by position, also those in tuples: only so does autograd know that they are kept.
            leaves, structure = tree_flatten((args, kwargs))
            places = [i for i, leaf in enumerate(leaves) if torch.is_tensor(leaf) and leaf not in made_by]
            makers = {i: made_by[leaf] for i, leaf in enumerate(leaves) if torch.is_tensor(leaf) and leaf in made_by}
            context = copy_context()  # of an own thread's backward pass, too

            def whole(*tensors: Tensor) -> Any:
                filled = list(leaves)
                for place, tensor in zip(places, tensors, strict=True):
                    filled[place] = tensor.clone() if block in _writers else tensor
                for place, make in makers.items():
                    filled[place] = make()
                inner_args, inner_kwargs = tree_unflatten(filled, structure)
                if not hooked:
                    return context.copy().run(forward, *inner_args, **inner_kwargs)
                with weights_brought(network, block), _Weights(block):
                    return context.copy().run(forward, *inner_args, **inner_kwargs)

            tensors = [leaves[place] for place in places]
            versions = _versions(tensors)
            for place in (*places, *makers):
                leaves[place] = None
            with set_checkpoint_early_stop(not hooked):
                result = checkpoint(whole, *tensors, use_reentrant=False, preserve_rng_state=False)
            if _versions(tensors) != versions:
                _writers.add(block)
                raise BlockWrites
            outputs = tree_leaves(result)
            if not any(output.requires_grad for output in outputs):
                for i, output in enumerate(outputs):
                    made_by[output] = _output_of(whole, tensors, i)
            return result

        for block in blocks:
            stack.enter_context(layered(block, "forward", partial(run, block)))
        yield


def _versions(tensors: Sequence[Tensor]) -> list[int]:
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _output_of(forward: Callable[..., Any], tensors: Sequence[Tensor], number: int) -> Callable[[], Tensor]:
    def make() -> Tensor:
        made: Tensor = tree_leaves(forward(*tensors))[number]
        return made

    return make


def weights_as_computed() -> saved_tensors_hooks:
    """Inside the `with`, but for checkpoints, the backward pass takes weights as the forward pass had them.

    Those that are stored in float8, or elsewhere between two uses, have other values or none by then.
    """
    return saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)


class _Weights(TorchFunctionMode):
    """The same for a checkpoint, which keeps frozen weights themselves: operations are given a view of their values."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        # Kept, for a hook may put others in their place, and the id of one that is gone is soon another tensor's.
        self.own = {id(tensor): tensor for tensor in (*block.parameters(), *block.buffers())}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(torch.is_tensor(each) and each.requires_grad for each in (*args, *kwargs.values())):
            args = [self._values(each) for each in args]
            kwargs = {name: self._values(each) for name, each in kwargs.items()}
        return func(*args, **kwargs)

    def _values(self, argument: Any) -> Any:
        return argument.detach() if id(argument) in self.own and not argument.requires_grad else argument
