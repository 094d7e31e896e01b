"""What tells a model's weights from others, wherever they are kept and in however few bits."""

from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

PRECISE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def vector_norms(network: nn.Module, block: str) -> dict[str, float]:
    """Norms of a block's vectors (biases, and the scales of norms), by name.

    Adapters, fused or not, and quantisation change matrices and leave vectors alone. Those that are stored in few bits
    are left out, as are those that are away for good.
    """
    on_disk = _groups_on_disk(network)
    norms = {}
    for path, part in network.get_submodule(block).named_modules():
        for name, kept in part.named_parameters(recurse=False):
            if kept.ndim != 1 or not kept.numel() or kept.dtype not in PRECISE:
                continue
            vector = _read(part, name, kept, on_disk.get(id(kept)))
            if vector is not None:
                full = f"{path}.{name}".removeprefix(".").replace(".base_layer", "")  # PEFT wraps adapted layers
                norms[full] = float(vector.detach().float().norm())
    return norms


def _read(part: nn.Module, name: str, kept: Tensor, group: Any) -> Tensor | None:
    """A parameter's values where they are kept, or None."""
    if group is not None:
        with safe_open(group.safetensors_file_path, "pt") as file:
            values: Tensor = file.get_tensor(group.tensor_to_key[kept])
            return values
    if not kept.is_meta:
        return kept
    weights = getattr(getattr(part, "_hf_hook", None), "weights_map", None)  # sequential offload
    return weights[name] if weights is not None else None


def _groups_on_disk(network: nn.Module) -> dict[int, Any]:
    """By the id of a parameter, the group of diffusers' group offload that keeps it on disk between uses."""
    found: dict[int, Any] = {}
    for part in network.modules():
        hooks: Any = getattr(getattr(part, "_diffusers_hook", None), "hooks", {})
        group = getattr(hooks.get("group_offloading"), "group", None)
        if group is not None and group.offload_to_disk_path is not None:
            found |= {id(tensor): group for tensor in group.tensor_to_key}
    return found
