"""Where an object of known colour is, and how like two paths are."""

from collections.abc import Sequence

import torch
from torch import Tensor


def find_object(frames: Tensor, colour: Sequence[float], background: Sequence[float]) -> Tensor:
    """Centre of the pixels that look like `colour` rather than like any shade of `background`.

    Args:
        frames: (f, 3, h, w), RGB in [-1, 1].
        colour: of the object, RGB in [0, 1].
        background: of the ground at its brightest, RGB in [0, 1]; darker shades count as ground too.

    Returns:
        (f, 2): x to the right and y downwards, in [-1, 1]; NaN in frames without such pixels.
    """
    rgb = (frames.float() + 1) / 2
    thing, ground = (torch.tensor(c, dtype=torch.float32).view(3, 1, 1) for c in (colour, background))
    # Nearest shade of the ground: the point of the segment from 0.2 to 1.2 times its colour.
    shade = ((rgb * ground).sum(1, keepdim=True) / ground.square().sum()).clamp(0.2, 1.2)
    from_ground = (rgb - shade * ground).norm(dim=1)
    from_thing = (rgb - thing).norm(dim=1)
    weight = (from_ground - from_thing).clamp(min=0).square()
    _, height, width = weight.shape
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    mass = weight.sum((1, 2))
    centre: Tensor = torch.stack([(weight * x).sum((1, 2)), (weight * y[:, None]).sum((1, 2))], -1) / mass[:, None]
    centre[mass < 1e-3 * height * width] = torch.nan
    return centre


def path_correlation(path: Tensor, reference: Tensor) -> float:
    """Correlation of two paths (f, 2) about their means, x and y together; in [-1, 1].

    Frames in which either is NaN are left out; NaN if fewer than three remain or a path stands still.
    """
    pair = seen_together(path, reference)
    if pair is None:
        return float("nan")
    a, b = pair
    return float((a * b).sum() / (a.norm() * b.norm()))


def seen_together(path: Tensor, reference: Tensor) -> tuple[Tensor, Tensor] | None:
    """Two paths (f, 2), each about its mean, in the frames in which neither is NaN; None if those are fewer than 3."""
    seen = ~(path.isnan() | reference.isnan()).any(-1)
    if int(seen.sum()) < 3:
        return None
    a, b = path[seen].double(), reference[seen].double()
    return a - a.mean(0), b - b.mean(0)


def path_roughness(path: Tensor) -> float:
    """Root mean square length of the second difference of a path (f, 2), in half frames per frame²; 0 is even motion.

    Differences over frames in which the path is NaN are left out; NaN if none remains.
    """
    bends = path.double().diff(n=2, dim=0).square().sum(-1)
    return float(bends[~bends.isnan()].mean().sqrt())


def seen_fraction(path: Tensor) -> float:
    """Share of the frames in which a path (f, 2) is known, in [0, 1]."""
    return float((~path.isnan().any(-1)).double().mean())
