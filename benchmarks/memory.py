"""Count what a guided call keeps for its backward pass, at the real size, on the meta device: nothing is computed.

    python benchmarks/memory.py

SD1.5 with a v3 motion module, 16 frames of 512x512, fp16, one video (the conditional half). Counted are the distinct
storages that autograd saves, parameters excluded, with attention that keeps what flash attention keeps (q, k, v, out).
Compared: no cut (the graph runs through the whole network), the cut after the last guided block alone, and the cut with
checkpointing, which is what motion_guidance does.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from motionclone.backbones.animatediff import AnimateDiff
from motionclone.capture import Found, checkpointed
from motionclone.motion import SparseMap
from motionclone.sampling import energy_by_site, forward_to_sites

ATTENTION = "torch.nn.functional.scaled_dot_product_attention"


class FlashAttention(torch.autograd.Function):
    """Stands in for flash attention: the same inputs, output and saved tensors, without computing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        raise NotImplementedError("nothing is computed here")


@contextmanager
def counting(parameters: set[int]) -> Iterator[dict[int, int]]:
    """Bytes of every storage saved for the backward pass, parameters excluded."""
    kept: dict[int, Any] = {}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            kept[storage._cdata] = storage  # alive, so that no address is used twice
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def sd15() -> UNetMotionModel:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280)
        )
        adapter = MotionAdapter(use_motion_mid_block=False)
        network = UNetMotionModel.from_unet2d(unet, adapter, load_weights=False)
    return network.half().eval().requires_grad_(False)


def saved_bytes(network: UNetMotionModel, cut: bool, checkpointing: bool, frames: int, side: int) -> int:
    backbone = AnimateDiff(SimpleNamespace(unet=network))
    sites = backbone.sites(("up_blocks.1",))
    call = {
        "sample": torch.empty(1, 4, frames, side // 8, side // 8, dtype=torch.float16, device="meta"),
        "timestep": torch.empty((), dtype=torch.int64, device="meta"),
        "encoder_hidden_states": torch.empty(frames, 77, 768, dtype=torch.float16, device="meta"),
    }
    parameters = {p.untyped_storage()._cdata for p in [*network.parameters(), *network.buffers()]}

    def attention(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        return FlashAttention.apply(query, key, value)

    end = backbone.after(sites) if cut else torch.nn.Identity()
    with (
        mock.patch(ATTENTION, attention),
        mock.patch.object(AnimateDiff, "after", return_value=end),
        counting(parameters) as sizes,
        checkpointed(backbone.heavy_blocks() if checkpointing else []),
    ):
        output, _, found = forward_to_sites(backbone, network.forward, call, sites)
        energies = energy_by_site(found, empty_reference(found), checkpointing=checkpointing)
    assert all(energy.requires_grad for energy in energies.values())
    assert output.sample.requires_grad != cut
    return sum(sizes.values())


def empty_reference(found: Found) -> dict[str, SparseMap]:
    """A k = 1 representation on the meta device."""
    shapes = {site: (*query.shape[:3], 1) for site, (query, _) in found.items()}
    return {
        site: SparseMap(torch.empty(shape, device="meta"), torch.empty(shape, dtype=torch.int64, device="meta"))
        for site, shape in shapes.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=512)
    args = parser.parse_args()
    network = sd15()
    table = Table(
        "variant", "kept for the backward pass", title=f"SD1.5 + v3, {args.frames}x{args.side}x{args.side}, fp16"
    )
    for name, cut, checkpointing in (
        ("whole graph", False, False),
        ("cut after up_blocks.1", True, False),
        ("cut and checkpointing (motion_guidance)", True, True),
    ):
        table.add_row(name, f"{saved_bytes(network, cut, checkpointing, args.frames, args.side) / 1e9:.2f} GB")
    Console().print(table)


if __name__ == "__main__":
    main()
