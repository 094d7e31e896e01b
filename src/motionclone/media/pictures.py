"""Read pictures and sketches that a video shall follow, and draw a sketch of a photograph."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from motionclone.errors import InputError
from motionclone.media.conditions import Condition
from motionclone.media.reading import fitted


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


def read_picture(path: Path, height: int, width: int) -> Picture:
    """Read a picture, upright, on white where it is transparent, its middle cut out to the aspect asked for.

    Raises:
        InputError: if it cannot be read or is animated.
    """
    rgb, notices = _opened(path)
    pixels, changed = _fitted(rgb, height, width, path)
    return Picture(pixels, _digest(path), (*notices, *changed))


def _opened(path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """RGB (h, w, 3) of a picture at its own size, and notices."""
    if not path.is_file():
        raise InputError(f"there is no picture {path}.")
    notices = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                # The second picture in a camera's MPO file is a preview of the first.
                if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
                    raise InputError(f"{path} is animated; save the frame that is meant as a picture of its own.")
                picture = ImageOps.exif_transpose(opened)
                if picture.mode.startswith("I;16"):  # Pillow would cut off what is above 255
                    picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
                elif picture.mode in ("I", "F"):
                    raise InputError(f"{path} has 32 bits a pixel, of unknown range; save it as PNG or JPEG.")
                if picture.has_transparency_data:
                    layer = picture.convert("RGBA")
                    if layer.getchannel("A").getextrema() != (255, 255):
                        notices.append(f"{path.name} is transparent in parts and was put on white")
                    picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
                return np.array(picture.convert("RGB")), notices
    except InputError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{path} has more pixels than can be trusted to be a picture; make it smaller.") from error
    except Exception as error:  # Pillow's decoders raise all kinds over damaged files
        said = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path} cannot be read as a picture ({said}); save it as PNG or JPEG.") from error


def _fitted(rgb: NDArray[np.uint8], height: int, width: int, path: Path) -> tuple[Tensor, list[str]]:
    """The picture at another size, (3, height, width) in [-1, 1], and what was done to it."""
    pixels, cropped = fitted(rgb, 1.0, height, width, "crop")
    if not cropped and rgb.shape[:2] != (height, width):
        cropped = [f"scaled from {rgb.shape[1]}x{rgb.shape[0]} to {width}x{height}"]
    return pixels, [f"{path.name}: {notice}" for notice in cropped]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_sketch(path: Path, height: int, width: int) -> Picture:
    """Read a drawing as white lines on black, as SparseCtrl was trained; dark lines on a light ground are inverted.

    What looks like a photograph is taken as it is, with a notice that says how to have its outlines drawn.

    Raises:
        InputError: as `read_picture`, and if the drawing is blank, or its lines vanish at the video's size.
    """
    rgb, notices = _opened(path)
    brightness = rgb.mean(-1) / 255
    low, high = brightness.min(), brightness.max()
    if high - low < 0.1:
        said = "".join(f" ({notice})" for notice in notices)
        raise InputError(
            f"{path} has no lines: it is all of one brightness{said}; draw some, or use --sketch-from a photo."
        )
    brightness = (brightness - low) / (high - low)
    pixels, changed = _fitted(rgb, height, width, path)
    notices += changed
    grey = pixels.mean(0)
    faintest, brightest = float(grey.min()), float(grey.max())
    if brightest - faintest < 0.05:
        raise InputError(f"the lines of {path} vanish at {width}x{height}; draw them thicker.")
    lines = (grey - faintest) / (brightest - faintest)
    if ((brightness > 0.1) & (brightness < 0.9)).mean() > MIDDLE_TONES_OF_A_PHOTO:
        notices.append(f"{path.name} looks like a photograph; to have its outlines drawn, give it with --sketch-from")
    elif np.median(brightness) > 0.5:
        lines = 1 - lines
        notices.append(f"{path.name} has dark lines on a light ground and was inverted")
    return Picture(_grey(lines), _digest(path), tuple(notices))


def sketch_from(path: Path, height: int, width: int) -> Picture:
    """Draw the outlines of a photograph as white lines on black, by Canny's edges (1986).

    Raises:
        InputError: as `read_picture`, and if there is nothing to draw.
    """
    photo = read_picture(path, height, width)
    lines = outlines(photo.pixels)
    if not lines.any():
        raise InputError(f"no outline was found in {path}; use a photo with more contrast, or draw with --sketch.")
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
