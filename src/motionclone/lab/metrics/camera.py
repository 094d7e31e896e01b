"""The camera's share of a dense flow: compare two by `camera_cosine`, where the reference's camera moves.

What is measured of a still camera is noise, whose direction says nothing.

A point of the picture is a complex number p = x + iy about the frame's centre; a similarity moves it by a + c p.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from motionclone.lab.metrics.flow import cosine_of_fields


def camera_parameters(flow: Tensor, iterations: int = 30) -> Tensor:
    """Robust similarity transform from each frame to the next: how the picture moves as a whole.

    Least squares, reweighted with Tukey's biweight (Holland and Welsch, 1977), whose scale is the median residual:
    an object that covers up to a fifth of the frame may move as it likes.

    Args:
        flow: (f-1, 2, h, w): x then y, in pixels.
        iterations: of the reweighting.

    Returns:
        (f-1, 4), of the picture, which moves against the camera: pan of the frame's centre, x and y in pixels;
        natural logarithm of the magnification; clockwise turn in radians.
    """
    step = max(1, min(flow.shape[-2:]) // 64)  # some 64 by 64 points are enough
    points = _points(*flow.shape[-2:])[::step, ::step].flatten()
    moves = _complex(flow[..., ::step, ::step]).flatten(1)
    weight = torch.ones(moves.shape, dtype=torch.float64)
    for _ in range(iterations):
        pan, change = _fit(points, moves, weight)
        residual = (moves - pan - change * points).abs()
        # The median length of two normal components is 1.1774 of their deviation; 1e-3 pixels keep a perfect fit.
        deviation = residual.median(1, keepdim=True).values / 1.1774 + 1e-3
        weight = (1 - (residual / (4.685 * deviation)).square()).clamp(min=0).square()
    pan, change = _fit(points, moves, weight)
    zoom_and_turn = (1 + change).log()
    return torch.cat([pan.real, pan.imag, zoom_and_turn.real, zoom_and_turn.imag], 1).to(flow.dtype)


def camera_flow(flow: Tensor) -> Tensor:
    """The flow that the `camera_parameters` of a flow make by themselves; same shape (f-1, 2, h, w), in pixels."""
    return torch.stack(list(camera_fields(camera_parameters(flow), *flow.shape[-2:])))


def camera_cosine(parameters: Tensor, reference: Tensor, height: int, width: int) -> float:
    """`flow_cosine` of the flows that two cameras' parameters (f-1, 4) make, one frame at a time."""
    pairs = zip(camera_fields(parameters, height, width), camera_fields(reference, height, width), strict=True)
    return cosine_of_fields(pairs)


def camera_fields(parameters: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """The flow (2, height, width), in pixels, that a camera's parameters (f-1, 4) make, one frame at a time."""
    points = _points(height, width)
    for x, y, zoom, turn in parameters.double():
        field = torch.complex(x, y) + (torch.complex(zoom, turn).exp() - 1) * points
        yield torch.stack([field.real, field.imag]).to(parameters.dtype)


def _complex(field: Tensor) -> Tensor:
    """Vectors (f-1, 2, h, w) as complex numbers (f-1, h, w)."""
    return torch.complex(field[:, 0].double(), field[:, 1].double())


def _points(height: int, width: int) -> Tensor:
    """Centres of the pixels about the frame's centre, (h, w), complex."""
    y = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return torch.complex(x.expand(height, width), y[:, None].expand(height, width))


def _fit(points: Tensor, moves: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares a and c of moves (f-1, n) at points (n,), each (f-1, 1)."""
    weight = weight / weight.sum(1, keepdim=True)
    middle, mean = (weight * points).sum(1, keepdim=True), (weight * moves).sum(1, keepdim=True)
    p, m = points - middle, moves - mean
    change = (weight * p.conj() * m).sum(1, keepdim=True) / (weight * p.abs().square()).sum(1, keepdim=True)
    return mean - change * middle, change
