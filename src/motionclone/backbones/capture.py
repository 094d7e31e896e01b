"""Listen inside a denoiser and to its scheduler, stop early, cut the graph, checkpoint. Every patch goes through here.

Everything here is a context manager that leaves what it touches exactly as it was found, however it is left.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from inspect import signature
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from motionclone.errors import InputError

Forward = Callable[..., Any]

Keep = Callable[[str, Tensor, Tensor], Any]
"""What to keep of a site's query and key, each (p, heads, f, d)."""


NO_WINDOWS = "windows over the frames are not supported, switch them off (FreeNoise: disable_free_noise())."


class Heard(dict[str, Any]):
    """What was kept of every site."""

    def __init__(self, keep: Keep) -> None:
        super().__init__()
        self.keep, self.replaying = keep, False

    def hear(self, site: str, query: Tensor, key: Tensor) -> None:
        """For taps. InputError if a site is called for the second time."""
        if self.replaying:  # a checkpoint computes again, and wants the same operations
            self.keep(site, query, key)
            return
        if site in self:
            raise InputError(f"{site} was called more than once in one forward pass; {NO_WINDOWS}")
        self[site] = self.keep(site, query, key)

    def finish(self, sites: Sequence[str]) -> None:
        """The forward pass is over. InputError if a site was not heard."""
        self.replaying = True
        missing = [site for site in sites if site not in self]
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
    heard = Heard(keep)
    handles: list[RemovableHandle] = []
    with removing(handles):
        for site in sites:
            handles += tap(site, heard)
        yield heard
    heard.finish(sites)


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


def attention_heard(module: nn.Module, hear: Callable[[Tensor, Tensor], None]) -> list[RemovableHandle]:
    """Hooks that tell `hear` query and key of every scaled dot product attention inside a module's forward."""
    running: list[ExitStack] = []

    def begin(*_: Any) -> None:
        running.append(ExitStack())
        running[-1].enter_context(_Hearing(hear))

    def end(*_: Any) -> None:
        running.pop().close()

    return [module.register_forward_pre_hook(begin), module.register_forward_hook(end, always_call=True)]


@contextmanager
def steps_heard(scheduler: Any, hear: Callable[[float, Tensor], None]) -> Iterator[None]:
    """Tell `hear` the timestep and the resulting latents of every step of a scheduler, whatever pipeline takes it.

    Steps of the scheduler's copies are not heard.
    """
    plain = type(scheduler).step

    @wraps(plain)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = plain(self, *args, **kwargs)
        if self is scheduler:
            hear(float(signature(plain).bind(self, *args, **kwargs).arguments["timestep"]), result[0])
        return result

    scheduler.step = MethodType(step, scheduler)  # as a method, it goes over to a copy as the copy's own
    try:
        yield
    finally:
        del scheduler.step


@contextmanager
def stopping_at(module: nn.Module) -> Iterator[None]:
    """End the forward pass inside the `with` where `module` would start."""

    def stop(*_: Any) -> None:
        raise _Stop

    with removing([module.register_forward_pre_hook(stop)]), suppress(_Stop):
        yield


@contextmanager
def graph_cut_at(module: nn.Module) -> Iterator[None]:
    """Build no graph from `module` on.

    Detaching its input would not do: in a UNet the skip connections carry the graph past it.
    """
    before = torch.is_grad_enabled()

    def cut(*_: Any) -> None:
        torch.set_grad_enabled(False)

    with removing([module.register_forward_pre_hook(cut)]):
        try:
            yield
        finally:
            torch.set_grad_enabled(before)


@contextmanager
def forward_wrapped(module: nn.Module, wrap: Callable[[Forward], Forward]) -> Iterator[None]:
    """Run `wrap(forward)` in place of a module's forward.

    Under accelerate's offload hooks the own forward lives under another name, and the hooks are put on anew after
    every pipeline call; so it is looked for in both places.
    """
    place = "_old_forward" if "_old_forward" in vars(module) else "forward"
    own = vars(module).get(place)
    wrapped = wrap(getattr(module, place))
    setattr(module, place, wrapped)
    try:
        yield
    finally:
        for name in ("_old_forward", "forward"):
            if vars(module).get(name) is wrapped:
                if own is None:
                    delattr(module, name)
                else:
                    setattr(module, name, own)


@contextmanager
def checkpointed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Keep only the inputs of `blocks` for the backward pass and compute their insides again when it comes.

    Blocks may lie inside one another: then the inputs of the inner ones are kept only while the outer one is computed
    again. What a block makes without a graph, such as rotary embeddings, is not kept either where others take it, but
    made again. The backward pass belongs inside the `with`.
    """
    made_by: WeakIdKeyDictionary = WeakIdKeyDictionary()  # a tensor without a graph: what makes it again

    def replay(forward: Forward) -> Forward:
        def run(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return forward(*args, **kwargs)
            # Tensors go in by position, also those in tuples: only so does autograd know that they are kept.
            leaves, structure = tree_flatten((args, kwargs))
            places = [i for i, leaf in enumerate(leaves) if torch.is_tensor(leaf) and leaf not in made_by]
            makers = {i: made_by[leaf] for i, leaf in enumerate(leaves) if torch.is_tensor(leaf) and leaf in made_by}

            def whole(*tensors: Tensor) -> Any:
                filled = list(leaves)
                for place, tensor in zip(places, tensors, strict=True):
                    filled[place] = tensor
                for place, make in makers.items():
                    filled[place] = make()
                inner_args, inner_kwargs = tree_unflatten(filled, structure)
                return forward(*inner_args, **inner_kwargs)

            tensors = [leaves[place] for place in places]
            for place in (*places, *makers):
                leaves[place] = None
            result = checkpoint(whole, *tensors, use_reentrant=False, preserve_rng_state=False)
            outputs = tree_leaves(result)
            if not any(output.requires_grad for output in outputs):
                for i, output in enumerate(outputs):
                    made_by[output] = lambda i=i: tree_leaves(whole(*tensors))[i]
            return result

        return run

    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(forward_wrapped(block, replay))
        yield
