"""Frames as pictures in the page."""

import base64
from collections.abc import Iterable
from io import BytesIO

from PIL import Image
from torch import Tensor

from motionclone.media.frames import in_form


def png(frame: Tensor, least: int = 256) -> bytes:
    """One frame, (3, h, w) RGB in [-1, 1], as PNG; a small one is enlarged by a whole factor and so stays sharp."""
    picture = _picture(frame)
    factor = max(1, -(-least // max(picture.size)))
    return _written(picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST), "PNG")


def addresses(frames: Iterable[Tensor]) -> list[str]:
    """Frames as addresses that hold the picture itself (data:), for an <img>."""
    made = (_written(_picture(frame), "WEBP") for frame in frames)
    return [f"data:image/webp;base64,{base64.b64encode(each).decode()}" for each in made]


def _picture(frame: Tensor) -> Image.Image:
    picture: Image.Image = in_form(((frame.detach().float().cpu() + 1) / 2).clamp(0, 1)[None], "pil")[0]
    return picture


def _written(picture: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    picture.save(file, kind)
    return file.getvalue()
