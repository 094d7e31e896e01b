"""Make the videos of docs/gallery.md: `python docs/scripts/gallery.py`, five minutes on two cores.

Every one shows reference, unguided and cloned video side by side, from the same noise, with the bundled model's preset
and seed 0; none was picked. Words are `COLOUR SHAPE on BACKGROUND TEXTURE`, as in `motionclone demo`.
"""

import sys
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional

from motionclone import load_pipeline, preset
from motionclone.lab.demo import Words, run_demo
from motionclone.media.writing import side_by_side

FOLDER = Path(__file__).parents[1] / "gallery"
SHOWN: dict[str, tuple[Words, Literal["image", "sketch"] | None]] = {
    "circle": (Words("circle", "red", "star", "blue", "waves"), None),
    "figure-eight": (Words("figure-eight", "yellow", "ring", "purple", "clouds"), None),
    "bounce": (Words("bounce", "green", "cross", "gray", "rocks"), None),
    "turn-back": (Words("turn-back", "orange", "square", "blue", "dots"), None),
    "zoom-in": (Words("zoom-in", "blue", "circle", "yellow", "checks"), None),
    "pan-left": (Words("pan-left", "purple", "triangle", "green", "stripes"), None),
    "roll": (Words("roll", "red", "ring", "gray", "checks"), None),
    "picture": (Words("diagonal", "yellow", "star", "green", "clouds"), "image"),
    "sketch": (Words("right", "red", "square", "blue", "plain"), "sketch"),
}
SCALE = 3


def enlarged(frames: Tensor) -> Tensor:
    """Frames at `SCALE` times their size, smoothly; in and out (f, 3, h, w) in [-1, 1]."""
    return functional.interpolate(frames, scale_factor=SCALE, mode="bicubic").clamp(-1, 1)


def write_webp(path: Path, frames: Tensor, fps: float = 8.0) -> None:
    """An endless animated WebP, small and shown by browsers and hubs alike; frames are (f, 3, h, w) in [-1, 1]."""
    pixels = ((frames + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    first, *others = (Image.fromarray(np.ascontiguousarray(picture)) for picture in pixels)
    first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=80, method=6)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    pipes = {given: load_pipeline("mini", control=given, device="cpu") for given in (None, "image", "sketch")}
    for name in sys.argv[1:] or SHOWN:
        words, given = SHOWN[name]
        made = run_demo(pipes[given], words, preset("mini"), given=given)
        shown = [made.reference, made.unguided.frames, made.cloned.frames]
        if made.condition is not None:
            shown.insert(1, made.condition.pictures[:1].expand(len(made.reference), -1, -1, -1))
        write_webp(FOLDER / f"{name}.webp", side_by_side([enlarged(each) for each in shown]))
        found = made.similarity
        print(name, *(f"{each} {found[each].path:+.2f} {found[each].flow:+.2f}" for each in ("unguided", "cloned")))


if __name__ == "__main__":
    main()
