"""The paper's Fig. 3: where a motion representation sees motion, over the reference."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from motionclone.media.frames import as_frames
from motionclone.motion import Motion, heat_map


def overlay(motion: Motion, frames: Tensor, strength: float = 0.55) -> Tensor:
    """Heat maps of every query frame over the frames they belong to.

    Args:
        motion: of the clip; where one frame of its maps stands for several of the clip's, heat is interpolated.
        frames: (f, 3, h, w), RGB in [-1, 1], or another form that `as_frames` takes.
        strength: opacity of the heat, in [0, 1].

    Returns:
        (f, 3, h, w) in [-1, 1]. Colours span the lowest to the highest intensity of the clip.

    Raises:
        InputError: the frames are of another form.
    """
    frames = as_frames(frames)
    heat = torch.stack([heat_map(motion, i) for i in range(motion.num_frames)])
    heat = (heat - heat.min()) / (heat.max() - heat.min()).clamp(min=1e-8)
    size = (len(frames), *frames.shape[-2:])
    large = functional.interpolate(heat[None, None], size=size, mode="trilinear")[0, 0].clamp(0, 1)
    levels = (large * 255).byte().numpy()
    coloured = np.stack([cv2.applyColorMap(level, cv2.COLORMAP_TURBO)[..., ::-1] for level in levels])
    colours = torch.from_numpy(np.ascontiguousarray(coloured)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return frames.cpu() * (1 - strength) + colours * strength
