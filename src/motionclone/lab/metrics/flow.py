"""Dense optical flow, and how like two flows are."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionclone.errors import InputError


def grey_pictures(frames: Tensor) -> NDArray[np.uint8]:
    """Luma (f, h, w) of frames (f, 3, h, w), RGB in [-1, 1], in whole numbers from 0 to 255, as OpenCV wants them."""
    grey = ((frames.float() + 1) / 2).clamp(0, 1) * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return np.ascontiguousarray((grey.sum(1) * 255).byte().numpy())


def dense_flow(frames: Tensor) -> Tensor:
    """Flow from each frame to the next by OpenCV's DIS (medium preset).

    Args:
        frames: (f, 3, h, w), RGB in [-1, 1].

    Returns:
        (f-1, 2, h, w): x then y, in pixels.
    """
    images = grey_pictures(frames)
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = [method.calc(images[i], images[i + 1], None) for i in range(len(images) - 1)]
    return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)


def flow_cosine(flow: Tensor, reference: Tensor) -> float:
    """Cosine of two flow fields (f-1, 2, h, w) as vectors over all frames and pixels; in [-1, 1], NaN if one is 0.

    Fast places count more than slow ones; the speed as a whole does not count. Raises InputError if the videos differ
    in length or size.
    """
    if flow.shape != reference.shape:
        one, other = (f"{steps + 1} frames of {w} x {h}" for steps, _, h, w in (flow.shape, reference.shape))
        raise InputError(f"the videos have {one} and {other} pixels; read both with the same length and size.")
    a, b = flow.double(), reference.double()
    return float((a * b).sum() / (a.norm() * b.norm()))
