"""Read pictures and sketches that a video shall follow, and draw a sketch of a photograph."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motionclone.errors import InputError, named
from motionclone.files import as_path, sha256_of
from motionclone.media.conditions import Condition
from motionclone.media.fitting import fitted
from motionclone.media.limits import check_size
from motionclone.media.paths import spoken
from motionclone.media.stills import read_still


@dataclass(frozen=True)
class Picture:
    """A picture, fitted.

    Attributes:
        pixels: (3, height, width), RGB in [-1, 1].
        sha256: of the file.
        notices: sentences worth telling the user.
    """

    pixels: Tensor
    sha256: str
    notices: tuple[str, ...] = ()


# A drawing is lines and ground: where more of a picture than this is neither, it is taken for a photograph.
MIDDLE_TONES_OF_A_PHOTO = 0.3


def read_picture(path: str | os.PathLike[str], height: int, width: int) -> Picture:
    """Read a picture, upright, on white where it is transparent, its middle cut out to the aspect asked for.

    Raises:
        InputError: if it cannot be read, is animated or too large (`motionclone.media.limits`), or the size is no good.
    """
    check_size(height, width)
    path = as_path(path)
    rgb, done = read_still(path)
    pixels, changed = _fitted(rgb, height, width)
    return Picture(pixels, sha256_of(path), _named(path, done, changed))


def _fitted(rgb: NDArray[np.uint8], height: int, width: int) -> tuple[Tensor, list[str]]:
    """The picture at another size, (3, height, width) in [-1, 1], and what was done to it."""
    pixels, cropped = fitted(rgb, 1.0, height, width, "crop")
    if not cropped and rgb.shape[:2] != (height, width):
        cropped = [f"scaled from {rgb.shape[1]}x{rgb.shape[0]} to {width}x{height}"]
    return pixels, cropped


def _named(path: Path, done: Sequence[str], changed: Sequence[str]) -> tuple[str, ...]:
    """Sentences about the picture."""
    name = spoken(path.name)
    return (*(f"{name} {what}" for what in done), *(f"{name}: {what}" for what in changed))


def read_sketch(path: str | os.PathLike[str], height: int, width: int) -> Picture:
    """Read a drawing as white lines on black, as SparseCtrl was trained; dark lines on a light ground are inverted.

    What looks like a photograph is taken as it is, with a notice that says how to have its outlines drawn.

    Raises:
        InputError: as `read_picture`, and if the drawing is blank, or its lines vanish at the video's size.
    """
    check_size(height, width)
    path = as_path(path)
    name = spoken(path)
    rgb, done = read_still(path)
    tones = _tones(rgb)
    levels = np.flatnonzero(tones)
    low, high = int(levels[0]), int(levels[-1])
    if high - low < 0.1 * (len(tones) - 1):
        said = "".join(f" ({path.name} {what})" for what in done)
        raise InputError(
            f"{name} has no lines: it is all of one brightness{said}; draw some, or use {named('sketch_from')} a photo."
        )
    pixels, changed = _fitted(rgb, height, width)
    grey = pixels.mean(0)
    faintest, brightest = float(grey.min()), float(grey.max())
    if brightest - faintest < 0.05:
        raise InputError(f"the lines of {name} vanish at {width}x{height}; draw them thicker.")
    lines = (grey - faintest) / (brightest - faintest)
    notices = [*_named(path, done, changed)]
    brightness = (np.arange(len(tones)) - low) / (high - low)
    middle = tones[(brightness > 0.1) & (brightness < 0.9)].sum() / tones.sum()
    median = brightness[np.searchsorted(tones.cumsum(), tones.sum() / 2)]
    if middle > MIDDLE_TONES_OF_A_PHOTO:
        notices.append(
            f"{spoken(path.name)} looks like a photograph; to have its outlines drawn, give it with "
            f"{named('sketch_from')}"
        )
    elif median > 0.5:
        lines = 1 - lines
        notices.append(f"{spoken(path.name)} has dark lines on a light ground and was inverted")
    return Picture(_grey(lines), sha256_of(path), tuple(notices))


def _tones(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many pixels there are of every brightness, the sum of red, green and blue: (766,)."""
    pixels = rgb.reshape(-1, 3)
    tones = np.zeros(3 * 255 + 1, dtype=np.int64)
    for start in range(0, len(pixels), 2**20):  # in parts: sums of a large picture are larger than the picture
        tones += np.bincount(pixels[start : start + 2**20].sum(-1, dtype=np.int64), minlength=len(tones))
    return tones


def sketch_from(path: str | os.PathLike[str], height: int, width: int) -> Picture:
    """Draw the outlines of a photograph as white lines on black, by Canny's edges (1986).

    Raises:
        InputError: as `read_picture`, and if there is nothing to draw.
    """
    photo = read_picture(path, height, width)
    lines = outlines(photo.pixels)
    if not lines.any():
        raise InputError(
            f"no outline was found in {spoken(path)}; use a photo with more contrast, or draw with {named('sketch')}."
        )
    return Picture(_grey(lines), photo.sha256, photo.notices)


def condition_from(frame: Tensor, kind: Literal["image", "sketch"]) -> Condition:
    """For the first frame: a picture (3, h, w) in [-1, 1] itself, or the sketch of it."""
    return Condition(frame[None] if kind == "image" else _grey(outlines(frame))[None])


def outlines(pixels: Tensor) -> Tensor:
    """Outlines (h, w) of a picture (3, h, w) in [-1, 1]: 1 on lines about a fiftieth of the height wide, else 0."""
    rgb = ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    height = rgb.shape[0]
    # Bilateral: textures go, edges stay. Thresholds about the strongest edges there are, whatever the contrast.
    smooth = cv2.bilateralFilter(rgb, 0, 40, max(1.0, height / 100))
    across, down = (cv2.Sobel(smooth, cv2.CV_16S, dx, 1 - dx) for dx in (1, 0))
    steep = np.abs(across.astype(np.int32)) + np.abs(down.astype(np.int32))
    channel = steep.argmax(-1)[..., None]  # colours may differ where brightness does not
    across, down = (np.ascontiguousarray(np.take_along_axis(each, channel, -1)) for each in (across, down))
    strongest = np.percentile(steep.max(-1), 99)
    edges = cv2.Canny(across, down, max(20.0, 0.3 * strongest), max(40.0, 0.6 * strongest))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(edges, connectivity=8)
    long = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= height / 12]
    width = max(1, round(height / 50))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    drawn = cv2.dilate(np.isin(labels, long).astype(np.uint8), kernel)
    return torch.from_numpy(drawn).float()


def _grey(lines: Tensor) -> Tensor:
    """Brightness (h, w) in [0, 1] as a picture."""
    return lines.expand(3, -1, -1) * 2 - 1
