"""What a metric is: a number that tells something of a video, held against its goal."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from motionclone.lab.cases import CaseKind
from motionclone.lab.measures import MotionMeasures, measure_motion
from motionclone.lab.metrics import Embedder
from motionclone.lab.metrics.statistics import Statistic
from motionclone.lab.world import Scene
from motionclone.motion import Motion

DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Video:
    """A video to be scored; what is measured of it is measured when it is first asked for."""

    frames: Tensor  # (f, 3, h, w), RGB in [-1, 1]
    judge: Embedder
    target: Scene | None = None  # what it should show, if that is a scene
    heat: Motion | None = None  # the motion whose heat map it shows, if that is what it shows

    @cached_property
    def motion(self) -> MotionMeasures:
        """How it moves."""
        return measure_motion(self.frames, self.target)

    @cached_property
    def images(self) -> Tensor:
        """Its frames' embeddings, (f, d)."""
        return self.judge.images(self.frames)


@dataclass(frozen=True)
class Goal:
    """What a video is held against: a reference, its words and, where it was given one, its first frame."""

    motion: MotionMeasures  # of the reference
    kind: CaseKind  # what moves in the reference
    look: Tensor  # embeddings of the reference's frames, (g, d)
    prompt: str | None  # None if nobody said what the video shows
    words: Tensor | None  # the prompt's embedding, (d,)
    picture: Tensor | None = None  # that the first frame follows, (3, h, w)


@dataclass(frozen=True)
class Metric:
    """A number that every video is given, and how it is shown."""

    name: str
    title: str
    about: str  # one sentence
    better: Literal["higher", "lower"] | None
    table: Literal[
        "Motion at its speed", "Motion", "Words and pictures", "The picture to follow", "Heat map"
    ]  # of the report's headline
    compute: Callable[[Video, Goal], float | None]
    needs: Literal["", "target", "picture", "heat"] = ""  # what a video without is not asked for
    floor: Literal["", "reference", "words"] = ""  # what another one of gives the floor
    kinds: tuple[CaseKind, ...] = ("object", "camera", "both", "real")  # of the references it is for
    statistic: Statistic = "mean"
    form: str = "z.2f"
    main: bool = False  # stands in the tables of every experiment
    plotted: bool = False
    before: str = ""  # what is plotted in its place of results that are older than it

    def text(self, value: float, sign: str = "") -> str:
        """The number as it is printed, with a true minus; NaN is a dash."""
        return format(value, sign + self.form).replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else DASH

    @property
    def arrow(self) -> str:
        """Which way is better, if any is."""
        return {"higher": "↑", "lower": "↓", None: ""}[self.better]

    def of(self, video: Video, goal: Goal) -> float | None:
        """The number, rounded; None where there is none."""
        value = self.compute(video, goal) if goal.kind in self.kinds else None
        return None if value is None or not math.isfinite(value) else round(float(value), 6)
