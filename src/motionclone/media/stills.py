"""Open a picture from anywhere: upright RGB, checked by its header before it is unpacked."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from motionclone.errors import InputError
from motionclone.media.limits import MOST_PICTURE_PIXELS, MOST_PICTURE_SIDE
from motionclone.media.paths import check_file, spoken

# Formats of pictures alone (JPEG includes MPO). Pillow's others start programs (EPS), or are of no use here.
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "TGA")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2", ".tga")


@contextmanager
def open_picture(path: Path, most_pixels: int = MOST_PICTURE_PIXELS) -> Iterator[Image.Image]:
    """The open picture, of which nothing but the header has been read.

    Raises:
        InputError: not there, no picture, or larger than `most_pixels`; and whatever Pillow raises over the file while
            the block reads it.
    """
    check_file(path, "picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow thinks of metadata
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > most_pixels or max(picture.size) > MOST_PICTURE_SIDE:
                    raise Image.DecompressionBombError
                yield picture
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{spoken(path)} has more pixels than can be trusted to be a picture ({most_pixels:,}); make it smaller."
        ) from error
    except Exception as error:  # Pillow's decoders raise all kinds over damaged files
        said = " ".join(str(error).replace(str(path), spoken(path)).split()).rstrip(".") or type(error).__name__
        raise InputError(f"{spoken(path)} cannot be read as a picture ({said}); save it as PNG or JPEG.") from error


def read_still(path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """RGB (h, w, 3) of a picture at its own size, upright, and what was done to it ("was put on white").

    Raises:
        InputError: if it cannot be read, is too large, animated, or has values of unknown range.
    """
    with open_picture(path) as picture:
        # The second picture in a camera's MPO file is a preview of the first.
        if getattr(picture, "is_animated", False) and picture.format != "MPO":
            raise InputError(f"{spoken(path)} is animated; save the frame that is meant as a picture of its own.")
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode in ("I", "F"):
            raise InputError(f"{spoken(path)} has 32 bits a pixel, of unknown range; save it as PNG or JPEG.")
        return flattened(picture)


def flattened(picture: Image.Image) -> tuple[NDArray[np.uint8], list[str]]:
    """RGB (h, w, 3) of a picture on white, and whether that shows."""
    if picture.mode.startswith("I;16"):  # Pillow would cut off what is above 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    notices = []
    if picture.has_transparency_data:
        picture = _in_mode(picture, "RGBA")
        opacity = picture.getchannel("A")
        if opacity.getextrema() != (255, 255):
            notices.append("is transparent in parts and was put on white")
            ground = Image.new("RGB", picture.size, "white")
            ground.paste(picture, mask=opacity)
            picture = ground
    return np.asarray(_in_mode(picture, "RGB")), notices


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The picture itself where it can be: a copy of a large one is large."""
    return picture if picture.mode == mode else picture.convert(mode)
