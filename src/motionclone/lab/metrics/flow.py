"""Dense optical flow, and how like two flows are."""

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionclone.errors import InputError

SMALLEST_SIDE = 16
"""Pixels; below, OpenCV's flow ends the process on some sizes."""


def grey_pictures(frames: Tensor) -> NDArray[np.uint8]:
    """Luma (f, h, w) of frames (f, 3, h, w), RGB in [-1, 1], in whole numbers from 0 to 255, as OpenCV wants them."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    pictures = np.empty((len(frames), *frames.shape[-2:]), np.uint8)
    for picture, frame in zip(pictures, frames, strict=True):  # one at a time: floats take four times the memory
        grey = ((frame.float() + 1) / 2).clamp(0, 1) * weights
        picture[:] = (grey.sum(0) * 255).byte().numpy()
    return pictures


def flow_between(picture: NDArray[np.uint8], following: NDArray[np.uint8]) -> Tensor:
    """Flow (2, h, w), x then y, in pixels, from one luma picture (h, w) to the next, by OpenCV's DIS (medium preset).

    Raises InputError if a side has less than `SMALLEST_SIDE` pixels.
    """
    if min(picture.shape) < SMALLEST_SIDE:
        height, width = picture.shape
        raise InputError(
            f"motion is measured in videos of {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels or more, not {width}x{height}; "
            "give larger ones."
        )
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return torch.from_numpy(method.calc(picture, following, None)).permute(2, 0, 1)


def dense_flow(frames: Tensor) -> Tensor:
    """Flow from each frame to the next, as `flow_between` finds it.

    Args:
        frames: (f, 3, h, w), RGB in [-1, 1].

    Returns:
        (f-1, 2, h, w): x then y, in pixels.
    """
    pictures = grey_pictures(frames)
    flow = torch.empty(len(pictures) - 1, 2, *pictures.shape[1:])
    for number in range(len(flow)):
        flow[number] = flow_between(pictures[number], pictures[number + 1])
    return flow


def flow_cosine(flow: Tensor, reference: Tensor) -> float:
    """Cosine of two flow fields (f-1, 2, h, w) as vectors over all frames and pixels; in [-1, 1], NaN if one is 0.

    Fast places count more than slow ones; the speed as a whole does not count. Raises InputError if the videos differ
    in length or size.
    """
    check_same_size(flow, reference)
    return cosine_of_fields(zip(flow, reference, strict=True))


def check_same_size(flow: Tensor, reference: Tensor) -> None:
    """Raise InputError if two flows (f-1, 2, h, w) are not of videos of one length and size."""
    if flow.shape != reference.shape:
        one, other = (f"{steps + 1} frames of {w} x {h}" for steps, _, h, w in (flow.shape, reference.shape))
        raise InputError(f"the videos have {one} and {other} pixels; read both with the same length and size.")


def cosine_of_fields(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Cosine of two fields that come in pieces, each piece a pair; NaN if one is 0."""
    product = own = other = 0.0
    for a, b in pairs:
        a, b = a.double(), b.double()
        product, own, other = (
            product + float((a * b).sum()),
            own + float(a.square().sum()),
            other + float(b.square().sum()),
        )
    return product / (own * other) ** 0.5 if own * other else float("nan")
