"""What is to be seen of a video while it is made: now and then a few frames of the clean estimate.

Two latents that follow each other tell where a first-order step leads to (`steps.has_first_order_steps`). Of them the
VAE decodes four frames where frames have latents of their own, as in AnimateDiff, and else the first alone. Models that
are moved to and fro to save memory, samplers of higher order and latents of another layout have no preview.
"""

import logging
import time
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from motionclone.backbones.families import backbone_of
from motionclone.cloning import Step
from motionclone.media.frames import in_form
from motionclone.settings import Settings
from motionclone.steps import has_first_order_steps, noise_levels
from motionclone.studio.store import PREVIEW

_log = logging.getLogger(__name__)
SHARE = 0.03
"""Of a run's time that goes into its previews, at most."""
_SHOWN, _SIDE = 4, 256  # frames, and the pixels of the longer side of each


class Previews:
    """Of one run, in the folder of its job."""

    def __init__(self, pipe: Any, settings: Settings, folder: Path, held: bool) -> None:
        """`held` says that the whole model stays on its device."""
        self._pipe, self._folder = pipe, folder
        sampling = settings.sampling
        self._shape = backbone_of(pipe).latents_shape(sampling.num_frames, sampling.height, sampling.width)
        self._apart = self._shape[2] == sampling.num_frames  # frames do not share latents
        self._held, self._before = held, cast(Tensor | None, None)
        self._began, self._spent, self._last = time.monotonic(), 0.0, 0.0

    def hear(self, step: Step) -> None:
        """Show where the run is heading, if that costs no more than `SHARE`."""
        before, self._before = self._before, step.latents
        now = time.monotonic()
        if before is None or step.latents is None or step.index == step.steps or not self._held:
            return
        if self._spent + self._last > SHARE * (now - self._began) or not has_first_order_steps(self._pipe.scheduler):
            return
        try:
            self._write(before, step.latents, step)
        except (RuntimeError, OSError):  # such as no memory or no room for it: nobody loses a video for its preview
            _log.exception("there are no more previews of this video")
            self._held = False
        self._last = time.monotonic() - now
        self._spent += self._last

    @torch.no_grad()
    def _write(self, before: Tensor, after: Tensor, step: Step) -> None:
        now, behind = noise_levels(self._pipe.scheduler, step.timestep, step.index - 1)
        # z = alpha x0 + sigma eps before and after a step that keeps both
        clean = (now.sigma * after.float() - behind.sigma * before.float()) / (
            now.sigma * behind.alpha - behind.sigma * now.alpha
        )
        clean = clean.to(after.dtype)
        if clean.ndim == 5 and clean.shape != self._shape:  # as CogVideoX has them
            clean = clean.transpose(1, 2)
        if clean.shape != self._shape:
            self._held = False
            return
        frames = self._shape[2]
        chosen = [round(i * (frames - 1) / (_SHOWN - 1)) for i in range(_SHOWN)] if self._apart else [0]
        seen = backbone_of(self._pipe).decode_video(clean[:, :, sorted(set(chosen))])
        pictures = in_form(((seen.float().cpu() + 1) / 2).clamp(0, 1), "pil")
        file = BytesIO()
        _grid(pictures).save(file, "WEBP", quality=80)
        new = self._folder / f".{PREVIEW}"
        new.write_bytes(file.getvalue())
        new.replace(self._folder / PREVIEW)

    def end(self) -> None:
        """Take the preview away, whose time is over."""
        for name in (f".{PREVIEW}", PREVIEW):
            (self._folder / name).unlink(missing_ok=True)


def _grid(pictures: list[Image.Image]) -> Image.Image:
    """One picture, or four in two rows; small ones are enlarged by a whole factor and so stay sharp."""
    longest, columns = max(pictures[0].size), 2 if len(pictures) == _SHOWN else 1
    scale = float(_SIDE // longest) if longest <= _SIDE else _SIDE / longest
    width, height = (max(1, round(side * scale)) for side in pictures[0].size)
    whole = Image.new("RGB", (width * columns, height * columns))
    for number, picture in enumerate(pictures[: columns**2]):
        small = picture.resize((width, height), Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
        whole.paste(small, (number % columns * width, number // columns * height))
    return whole
