"""Dense optical flow, and how like two flows are."""

import cv2
import numpy as np
import torch
from torch import Tensor


def dense_flow(frames: Tensor) -> Tensor:
    """Flow from each frame to the next by OpenCV's DIS (medium preset).

    Args:
        frames: (f, 3, h, w), RGB in [-1, 1].

    Returns:
        (f-1, 2, h, w): x then y, in pixels.
    """
    grey = ((frames.float() + 1) / 2).clamp(0, 1) * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    images = np.ascontiguousarray((grey.sum(1) * 255).byte().numpy())
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = [method.calc(images[i], images[i + 1], None) for i in range(len(images) - 1)]
    return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)


def flow_cosine(flow: Tensor, reference: Tensor) -> float:
    """Cosine of two flow fields (f-1, 2, h, w) as vectors over all frames and pixels; in [-1, 1], NaN if one is 0.

    Fast places count more than slow ones; the speed as a whole does not count.
    """
    a, b = flow.double(), reference.double()
    return float((a * b).sum() / (a.norm() * b.norm()))
