"""The GroupNorm at the entry of AnimateDiff's motion modules, with statistics per frame.

AnimateDiff was trained, and the authors' code runs, with statistics of every frame by itself. diffusers'
`AnimateDiffTransformer3D` takes them over all frames of the clip, which is the one numerical difference between the
two (tests/test_parity.py). SparseCtrl shares the block.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn

from motionclone.errors import InputError


class PerFrameGroupNorm(nn.GroupNorm):
    """GroupNorm of (b, c, f, h, w) whose statistics are those of each frame."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input` (b, c, f, h, w) frame by frame; same shape out."""
        b, c, f, h, w = input.shape
        frames = input.transpose(1, 2).reshape(b * f, c, h, w)
        return super().forward(frames).reshape(b, f, c, h, w).transpose(1, 2)


def _motion_blocks(module: nn.Module) -> list[AnimateDiffTransformer3D]:
    return [block for block in module.modules() if isinstance(block, AnimateDiffTransformer3D)]


def takes_per_frame_norm(module: nn.Module) -> bool:
    """Whether a network has motion modules."""
    return bool(_motion_blocks(module))


def has_per_frame_norm(module: nn.Module) -> bool:
    """Whether the motion modules of a network normalise per frame."""
    return any(isinstance(block.norm, PerFrameGroupNorm) for block in _motion_blocks(module))


def use_per_frame_norm(module: nn.Module) -> None:
    """Give every motion module of a freshly built network (UNetMotionModel, SparseControlNetModel) per-frame norms.

    Weights are shared with the norms that are replaced, so state dicts stay the same. For a pipeline that is not
    yours to change, use the context manager `per_frame_norm`.
    """
    for block in _motion_blocks(module):
        norm = block.norm
        if isinstance(norm, PerFrameGroupNorm):
            continue
        if norm.weight.is_meta and hasattr(norm, "_hf_hook"):  # a network without any weights may have them
            raise InputError("per-frame norm was asked of offloaded weights; enable it before CPU offload.")
        block.norm = PerFrameGroupNorm(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        block.norm.weight, block.norm.bias = norm.weight, norm.bias
        block.norm.train(norm.training)


@contextmanager
def per_frame_norm(*modules: nn.Module) -> Iterator[None]:
    """Use per-frame norms inside the `with`; the networks are left exactly as found.

    Example: `with per_frame_norm(pipe.unet): pipe(...)`.
    """
    if strange := [module for module in modules if not isinstance(module, nn.Module)]:
        raise InputError(f"networks were expected, not {type(strange[0]).__name__}; give pipe.unet.")
    before = [(block, block.norm) for module in modules for block in _motion_blocks(module)]
    try:
        for module in modules:
            use_per_frame_norm(module)
        yield
    finally:
        for block, norm in before:
            block.norm = norm
