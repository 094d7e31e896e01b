"""Tracks of a regular grid of points through a video, without learned weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from motionclone.lab.metrics.flow import flow_between, grey_pictures

TOLERANCE = 0.03
"""How far, in half frames, the way there and back may end from where it began; about a pixel of 64."""


@dataclass(frozen=True)
class Tracks:
    """Where n points of the first of f frames go.

    Positions are in units of half a frame: x to the right, y downwards, both in [-1, 1] inside the frame. A point that
    leaves the frame or is lost is not visible from then on; its positions are guesses from there.
    """

    positions: Tensor  # (f, n, 2)
    visible: Tensor  # (f, n) bool


def lucas_kanade_tracks(frames: Tensor, spacing: float = 0.125) -> Tracks:
    """Points followed by OpenCV's pyramidal Lucas-Kanade (Bouguet, 2000); lost where there is no texture.

    Args:
        frames: (f, 3, h, w), RGB in [-1, 1].
        spacing: of the points in the first frame, in half frames; 0.125 gives 16 by 16.
    """
    pictures = grey_pictures(frames)
    height, width = pictures.shape[1:]
    window = 2 * round(min(height, width) / 32 + 2) + 1  # 9 pixels at 64, 37 at 512
    levels = max(0, int(math.log2(min(height, width) / 16)))
    half = np.array([width, height], np.float32) / 2

    def follow(start: int, end: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (positions.numpy() + 1) * half - 0.5
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            pictures[start], pictures[end], pixels, None, winSize=(window, window), maxLevel=levels
        )
        return torch.from_numpy((found + 0.5) / half - 1), torch.from_numpy(status[:, 0] > 0)

    return _chain(follow, len(frames), spacing)


def flow_tracks(frames: Tensor, spacing: float = 0.125) -> Tracks:
    """Points carried by the dense flow there and back, which is defined where there is no texture too.

    Args:
        frames: (f, 3, h, w), RGB in [-1, 1].
        spacing: of the points in the first frame, in half frames; 0.125 gives 16 by 16.
    """
    pictures = grey_pictures(frames)
    half = torch.tensor([frames.shape[3], frames.shape[2]]) / 2

    def follow(start: int, end: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        flow = flow_between(pictures[start], pictures[end])
        moves = functional.grid_sample(
            flow[None], positions[None, None], mode="bilinear", padding_mode="border", align_corners=False
        )
        return positions + moves[0, :, 0].T / half, torch.ones(len(positions), dtype=torch.bool)

    return _chain(follow, len(frames), spacing)


def _chain(follow: Callable[[int, int, Tensor], tuple[Tensor, Tensor]], num_frames: int, spacing: float) -> Tracks:
    """Tracks from `follow`, which takes points (n, 2) from one frame to another and says which it found."""
    line = (torch.arange(round(2 / spacing)) + 0.5) * spacing - 1
    positions = [torch.cartesian_prod(line, line).flip(-1)]
    visible = [torch.ones(len(line) ** 2, dtype=torch.bool)]
    for frame in range(num_frames - 1):
        there, found = follow(frame, frame + 1, positions[-1])
        back, found_back = follow(frame + 1, frame, there)
        returned = (back - positions[-1]).norm(dim=-1) < TOLERANCE
        inside = (there.abs() <= 1).all(-1)
        positions.append(there)
        visible.append(visible[-1] & found & found_back & returned & inside)
    return Tracks(torch.stack(positions), torch.stack(visible))
