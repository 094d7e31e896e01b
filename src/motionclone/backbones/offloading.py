"""Hooks of accelerate and diffusers that bring the weights of a network's parts, and take them away when those end."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from accelerate.hooks import ModelHook as AccelerateHook
from diffusers.hooks import ModelHook as DiffusersHook
from diffusers.hooks.layerwise_casting import LayerwiseCastingHook
from torch import nn

_running = threading.local()  # `block` is what runs by itself in this thread


def has_closing_hooks(network: nn.Module) -> bool:
    """Whether hooks act when parts of a network end their forward pass, so that no pass must end by an exception."""
    hooks: list[Any] = [part._hf_hook for part in network.modules() if hasattr(part, "_hf_hook")]
    hooks += [hook for part in network.modules() for hook in _hooks(part)]
    return any(
        type(hook).post_forward not in (AccelerateHook.post_forward, DiffusersHook.post_forward) for hook in hooks
    )


@contextmanager
def weights_brought(network: nn.Module, block: nn.Module) -> Iterator[None]:
    """Inside the `with`, a block has the weights that other modules' hooks bring, those around it or beside it.

    For a block that runs by itself in a backward pass; as a part of something else that runs, it has them.
    """
    in_backward = torch._C._current_graph_task_id() != -1
    if not in_backward or getattr(_running, "block", None) is not None:
        yield
        return
    path = next(name for name, part in network.named_modules() if part is block).split(".")
    around = [network.get_submodule(".".join(path[:i])) for i in range(len(path))]
    inside = list(block.modules())
    found = (getattr(hook, "group", None) for part in (*around, *inside) for hook in _hooks(part))
    groups = {id(group): group for group in found if group is not None}  # of diffusers' group offload
    with ExitStack() as stack:
        for part in around:
            for hook in _hooks(part):
                if isinstance(hook, LayerwiseCastingHook):
                    stack.callback(hook.post_forward, part, None)
                    hook.pre_forward(part)
        for group in groups.values():
            if not any(group.offload_leader is part for part in inside):
                stack.callback(group.offload_)
            if not any(group.onload_leader is part for part in inside):
                group.onload_()
                if group.stream is not None:
                    group.stream.synchronize()
        _running.block = block
        stack.callback(setattr, _running, "block", None)
        yield


def _hooks(part: nn.Module) -> list[Any]:
    """Those of diffusers."""
    return list(getattr(getattr(part, "_diffusers_hook", None), "hooks", {}).values())
