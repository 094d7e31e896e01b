"""How like a frame is to the picture or the sketch that it should follow."""

import torch
from torch import Tensor
from torch.nn import functional


def picture_correlation(frame: Tensor, picture: Tensor) -> float:
    """Pearson correlation of all values of two pictures (3, h, w); in [-1, 1], NaN if one is of a single value."""
    return float(torch.corrcoef(torch.stack([frame.flatten(), picture.flatten()]).double())[0, 1])


def line_agreement(lines: Tensor, target: Tensor, reach: int = 2) -> float:
    """How well two line drawings lie on each other: harmonic mean of precision and recall (the F score of edges).

    Args:
        lines: (h, w), above 0.5 where there is a line.
        target: likewise.
        reach: pixels that a line may be off, along x and y.

    Returns:
        In [0, 1]; 0 if one has no lines.
    """
    drawn, true = (each > 0.5 for each in (lines, target))
    near_drawn, near_true = (
        functional.max_pool2d(each[None, None].float(), 2 * reach + 1, stride=1, padding=reach)[0, 0] > 0
        for each in (drawn, true)
    )
    if not drawn.any() or not true.any():
        return 0.0
    precision = float((drawn & near_true).sum() / drawn.sum())
    recall = float((true & near_drawn).sum() / true.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
