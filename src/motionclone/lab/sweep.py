"""One sheet of looping videos, strength by seed, from which a person picks by eye."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from motionclone.cloning import Generated, Step, generate, motion_for
from motionclone.lab.measures import measure_motion
from motionclone.lab.metric import Goal, Video
from motionclone.lab.metrics import Embedder
from motionclone.lab.scoring import score
from motionclone.media.conditions import Condition
from motionclone.media.writing import side_by_side
from motionclone.settings import Settings

TALLEST = 256
"""Pixels of a video in the sheet."""
SHOWN = ("flow_explained", "text", "consistency", "leakage")
"""Of the scores, those that are shown; the first two on the sheet."""
_GAP = 4


@dataclass(frozen=True)
class Tried:
    """A video of the sheet."""

    strength: float
    seed: int
    generated: Generated  # as `clone` gives it, with frames no higher than the sheet's
    scores: Mapping[str, float] = field(default_factory=dict)  # by metric, if they were asked for


def with_strength(settings: Settings, strength: float, seed: int) -> Settings:
    """The same otherwise."""
    guidance = settings.guidance.model_copy(update={"strength": strength})
    return settings.model_copy(update={"guidance": guidance, "seed": seed})


def sweep(
    pipe: Any,
    frames: Tensor,
    prompt: str,
    settings: Settings,
    strengths: Sequence[float],
    seeds: Sequence[int],
    *,
    condition: Condition | None = None,
    source: dict[str, Any] | None = None,
    judge: Embedder | None = None,
    on_step: Callable[[float, int, Step], None] | None = None,
) -> list[Tried]:
    """A video for every seed and strength, each the one that `clone` makes with them.

    The motion is read once for every seed, whose noise the reference and its videos have in common.

    Args:
        pipe: as in `clone`.
        frames: the reference, (f, 3, h, w) in [-1, 1].
        prompt: what the videos show.
        settings: all the rest.
        strengths: of the columns.
        seeds: of the rows.
        condition: pictures that the videos follow.
        source: facts about the clip for the records.
        judge: of looks, if the videos are to be scored, at the size that the sheet shows them at.
        on_step: called with strength and seed after every denoising step.

    Raises:
        InputError: as `clone`; or, before any video, frames too small to be scored.
    """
    found = []
    score_of = None if judge is None else _scorer(_small(frames), prompt, judge)
    for seed in seeds:
        chosen = settings.model_copy(update={"seed": seed})
        motion = motion_for(pipe, frames, chosen, condition=condition, source=source)
        for strength in strengths:

            def tell(step: Step, strength: float = strength, seed: int = seed) -> None:
                if on_step is not None:
                    on_step(strength, seed, step)

            chosen = with_strength(settings, strength, seed)
            made = generate(pipe, motion, prompt, chosen, condition=condition, on_step=tell)
            small = Generated(_small(made.frames), made.steps, made.record)
            found.append(Tried(strength, seed, small, {} if score_of is None else score_of(small.frames)))
    return found


def sheet(reference: Tensor, tried: Sequence[Tried]) -> Tensor:
    """The videos under their labels, a row for every seed with the reference before it: (f, 3, H, W) in [-1, 1]."""
    rows = []
    for seed in dict.fromkeys(each.seed for each in tried):
        row = [each for each in tried if each.seed == seed]
        labels = [f"reference, seed {seed}" if row[0].scores else "reference", *map(_label, row)]
        clips = [_small(reference), *(_small(each.generated.frames) for each in row)]
        rows.append(side_by_side(clips, gap=_GAP, labels=labels))
    white = torch.ones(*rows[0].shape[:2], _GAP, rows[0].shape[3])
    parts = [part for row in rows for part in (white, row)]
    return torch.cat(parts[1:], dim=2)


def _label(tried: Tried) -> str:
    if not tried.scores:
        return f"strength {tried.strength:g}, seed {tried.seed}"
    told = [f"{name.partition('_')[0]} {tried.scores[name]:.2f}" for name in SHOWN[:2] if name in tried.scores]
    return f"{tried.strength:g}: {', '.join(told)}"


def _scorer(reference: Tensor, prompt: str, judge: Embedder) -> Callable[[Tensor], dict[str, float]]:
    """What scores videos against a clip of which nobody said what moves."""
    goal = Goal(measure_motion(reference), "real", judge.images(reference), prompt, judge.texts([prompt])[0])

    def scores(frames: Tensor) -> dict[str, float]:
        return {name: value for name, value in score(Video(frames, judge), goal).items() if value is not None}

    return scores


def _small(frames: Tensor) -> Tensor:
    """(f, 3, h, w) no higher than a sheet shows them."""
    height, width = frames.shape[-2:]
    if height <= TALLEST:
        return frames
    size = (TALLEST, max(1, round(width * TALLEST / height)))
    return functional.interpolate(frames, size, mode="bilinear", antialias=True)
