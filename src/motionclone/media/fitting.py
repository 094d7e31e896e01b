"""One picture to the size that is asked for."""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

Fit = Literal["crop", "squash"]
Crop = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, as shares of its width and height."""
_Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the source


def part_of(picture: NDArray[np.uint8], crop: Crop | None, flip: bool) -> NDArray[np.uint8]:
    """The part of an RGB picture (h, w, 3) that is asked for, in whole pixels and at least one, mirrored for `flip`."""
    if crop is not None:
        (height, width), (left, top, right, bottom) = picture.shape[:2], crop
        x, y = min(round(left * width), width - 1), min(round(top * height), height - 1)
        picture = picture[y : max(y + 1, round(bottom * height)), x : max(x + 1, round(right * width))]
    return np.ascontiguousarray(picture[:, ::-1]) if flip else picture


def fitted(
    picture: NDArray[np.uint8], pixel_aspect: float, height: int, width: int, fit: Fit
) -> tuple[Tensor, list[str]]:
    """RGB (h, w, 3) to a (3, height, width) tensor in [-1, 1], and a notice if something was cut off.

    "crop" scales until the target is covered and cuts the middle out. It resizes the middle alone, so that a picture
    of extreme aspect takes no more memory than any other.
    """
    if fit == "squash":
        # As the authors' numbers show: on 8-bit pixels, with aligned corners.
        pixels = torch.from_numpy(np.require(picture, requirements="W")).permute(2, 0, 1)[None]
        resized = functional.interpolate(pixels, (height, width), mode="bilinear", align_corners=True).float()
        return resized[0] / 127.5 - 1, []
    rows, columns = picture.shape[0], picture.shape[1] * pixel_aspect
    scale = max(height / rows, width / columns)
    size = (max(height, round(rows * scale)), max(width, round(columns * scale)))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    down, across = picture.shape[0] / size[0], picture.shape[1] / size[1]
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    middle = _resized(picture, box, height, width) / 127.5 - 1
    ratio = Fraction(width, height)
    lost = size[0] - height > 1 or size[1] - width > 1
    what = f"centre-cropped {round(columns)}x{rows} to {ratio.numerator}:{ratio.denominator}"
    return middle, [what] if lost else []


def _resized(picture: NDArray[np.uint8], box: _Box, height: int, width: int) -> Tensor:
    """The box of an RGB picture as (3, height, width) floats in [0, 255]: bilinear, antialiased where it shrinks."""
    left, top, right, bottom = box
    # The filter reaches one output pixel, or one of the source, beyond the box.
    reach = (math.ceil((bottom - top) / height) + 1, math.ceil((right - left) / width) + 1)
    y, x = max(0, math.floor(top) - reach[0]), max(0, math.floor(left) - reach[1])
    part = picture[y : math.ceil(bottom) + reach[0], x : math.ceil(right) + reach[1]]
    # Rounding must not carry the box over the edge.
    inside = (left - x, top - y, min(right - x, part.shape[1]), min(bottom - y, part.shape[0]))
    channels = []
    for number in range(3):  # one by one: as floats they are large
        channel = Image.fromarray(np.ascontiguousarray(part[..., number])).convert("F")
        channels.append(np.array(channel.resize((width, height), Image.Resampling.BILINEAR, box=inside)))
    return torch.from_numpy(np.stack(channels)).clamp(0, 255)
