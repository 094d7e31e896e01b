"""What an evaluation run holds, and its numbers as tables of values with their 95 % intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from motionclone.lab.cases import Kind
from motionclone.lab.metrics.appearance import diversity
from motionclone.lab.metrics.statistics import Interval, Statistic, bootstrap, paired_difference

DASH = "\N{EN DASH}"
# With fewer pairs all of one sign, chance alone makes an interval exclude 0 more often than once in twenty times.
FEWEST_PAIRS = 6


class _Written(BaseModel):
    """What `motionclone evaluate` wrote; keys that no report needs are ignored."""

    model_config = ConfigDict(frozen=True)


class Method(_Written):
    """One way of making the videos."""

    name: str
    label: str
    experiment: str
    about: str
    kind: str = "clone"  # or "ceiling", "drawn", "heat map"


class Case(_Written):
    """One reference with the words to clone it into."""

    name: str
    motion: str
    kind: Kind
    prompt: str


class Suite(_Written):
    """What was to be run (`suite.json`)."""

    suite: str
    model: str
    motionclone: str
    clip: str = "mini"
    seed: int
    libraries: dict[str, str] = {}
    dtype: str | None
    machine: str
    settings: dict[str, Any] = {}
    methods: tuple[Method, ...] = Field(min_length=1)
    cases: tuple[Case, ...] = Field(min_length=1)


class Result(_Written):
    """One video and what was measured of it (a line of `results.jsonl`)."""

    method: str
    case: str
    video: str
    scores: dict[str, float | None]
    floor: dict[str, float | None] = {}
    embedding: tuple[float, ...] | None = None
    seconds: float = math.nan


@dataclass(frozen=True)
class Metric:
    """A number that every video is given, and how it is shown."""

    name: str
    title: str
    about: str  # one sentence
    better: Literal["higher", "lower"] | None
    kinds: tuple[Kind, ...] = ("object", "camera", "both", "real")  # of the cases it is for
    statistic: Statistic = "mean"
    form: str = "z.2f"

    def text(self, value: float, sign: str = "") -> str:
        """The number as it is printed, with a true minus; NaN is a dash."""
        return format(value, sign + self.form).replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else DASH

    @property
    def arrow(self) -> str:
        """Which way is better, if any is."""
        return {"higher": "↑", "lower": "↓", None: ""}[self.better]


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "path",
            "object path",
            "Correlation of the object's path with the path in the reference, from -1 to 1.",
            "higher",
            ("object", "both"),
            "median",
        ),
        Metric(
            "camera",
            "camera",
            "Cosine between the camera's share of the motion and that of the reference, from -1 to 1.",
            "higher",
            ("camera", "both", "real"),
        ),
        Metric("flow", "dense flow", "Cosine of the dense optical flows, pixel by pixel, from -1 to 1.", "higher"),
        Metric(
            "motion_fidelity",
            "motion fidelity",
            "How like tracked points move to points nearby in the reference, and those to them, from -1 to 1.",
            "higher",
        ),
        Metric(
            "mf_dmt",
            "motion fidelity (DMT)",
            "The same as the code released with DMT computes it, to compare with published numbers; far above 0 for "
            "unrelated motions.",
            "higher",
        ),
        Metric(
            "roughness",
            "roughness",
            "Root mean square change of the object's step from frame to frame, in half frames; 0 is even motion.",
            "lower",
            ("object", "both"),
            form="z.3f",
        ),
        Metric(
            "seen", "object seen", "Share of the frames in which the object is found.", "higher", ("object", "both")
        ),
        Metric(
            "text", "text", "Mean cosine between the frames and the prompt, as CLIP sees them.", "higher", form="z.3f"
        ),
        Metric(
            "consistency",
            "consistency",
            "Mean cosine between neighbouring frames, as CLIP sees them; a still video has 1.",
            "higher",
            form="z.3f",
        ),
        Metric(
            "leakage",
            "leakage",
            "Mean cosine between the frames and those of the reference, as CLIP sees them; what is more than the "
            "unguided video has leaked.",
            "lower",
            form="z.3f",
        ),
        Metric("colour", "colour", "Share of the videos whose object has the colour asked for.", "higher", form=".0%"),
        Metric("shape", "shape", "Share of the videos whose object has the shape asked for.", "higher", form=".0%"),
        Metric(
            "texture", "texture", "Share of the videos whose ground has the texture asked for.", "higher", form=".0%"
        ),
        Metric(
            "background",
            "background",
            "Share of the videos whose ground has the colour asked for.",
            "higher",
            form=".0%",
        ),
        Metric(
            "picture",
            "first frame",
            "Correlation of the first frame's pixels with those of the picture to follow, from -1 to 1.",
            "higher",
        ),
        Metric(
            "lines",
            "first outlines",
            "How well the outlines of the first frame lie on the picture's: harmonic mean of precision and recall.",
            "higher",
        ),
        Metric(
            "heat",
            "heat map",
            "Rank correlation of the heat map, where the representation sees motion, with how fast things truly move "
            "there, from -1 to 1.",
            "higher",
        ),
    )
}
DIVERSITY = Metric(
    "diversity",
    "diversity",
    "One minus the mean cosine between the videos of a method, as CLIP sees them; one number for all cases.",
    "higher",
    form="z.3f",
)


@dataclass(frozen=True)
class Run:
    """A run as far as it has come."""

    suite: Suite
    results: Mapping[tuple[str, str], Result]  # by method and case, only those that the suite names

    def value(self, metric: Metric, method: str, case: Case, floor: bool = False) -> float:
        """The number of one video; NaN where there is none (yet) or the metric is not for such cases."""
        result = self.results.get((method, case.name))
        if result is None or case.kind not in metric.kinds:
            return math.nan
        value = (result.floor if floor else result.scores).get(metric.name)
        return math.nan if value is None or math.isinf(value) else value

    def values(self, metric: Metric, method: str, floor: bool = False) -> list[float]:
        """One `value` for each case of the suite."""
        return [self.value(metric, method, case, floor) for case in self.suite.cases]


@dataclass(frozen=True)
class Source:
    """Where the numbers of a row come from."""

    label: str
    method: str
    floor: bool = False  # the same videos against an unrelated reference or prompt

    def interval(self, run: Run, metric: Metric) -> Interval:
        """The metric over the cases."""
        return bootstrap(run.values(metric, self.method, self.floor), metric.statistic)


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table, ready to print."""

    value: str
    interval: str = ""
    note: str = ""
    tone: Literal["", "better", "worse"] = ""


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    label: str
    cells: tuple[Cell, ...]
    about: str = ""


@dataclass(frozen=True)
class Table:
    """Rows that have one cell for each column."""

    caption: str
    columns: tuple[tuple[str, str], ...]  # title, hint
    rows: tuple[Row, ...]


def score_table(
    run: Run, caption: str, sources: Sequence[Source], metrics: Sequence[Metric], *, with_diversity: bool = False
) -> Table:
    """Values with intervals, one row for each source. Cells tell where fewer cases count than in the best row."""
    columns, cells = [], []
    for metric in metrics:
        intervals = [source.interval(run, metric) for source in sources]
        most = max(interval.n for interval in intervals)
        columns.append((metric.title, f"{metric.arrow} {metric.statistic} of {most}".strip()))
        cells.append([_score(metric, interval, most) for interval in intervals])
    if with_diversity:
        columns.append((DIVERSITY.title, DIVERSITY.arrow))
        cells.append([Cell(DASH) if source.floor else _diversity(run, source.method) for source in sources])
    rows = [Row(source.label, tuple(found)) for source, *found in zip(sources, *cells, strict=True)]
    return Table(caption, tuple(columns), tuple(rows))


def _score(metric: Metric, interval: Interval, most: int) -> Cell:
    note = f"{interval.n} of {most}" if 0 < interval.n < most else ""
    return Cell(metric.text(interval.value), _bounds(metric, interval), note)


def _bounds(metric: Metric, interval: Interval, sign: str = "") -> str:
    if interval.n < 2:
        return ""
    return f"[{metric.text(interval.low, sign)}, {metric.text(interval.high, sign)}]"


def _diversity(run: Run, method: str) -> Cell:
    found = (run.results.get((method, case.name)) for case in run.suite.cases)
    embeddings = [result.embedding for result in found if result is not None and result.embedding]
    return Cell(DIVERSITY.text(diversity(torch.tensor(embeddings)))) if len(embeddings) > 1 else Cell(DASH)


def difference_table(
    run: Run, caption: str, methods: Sequence[Method], baseline: str, metrics: Sequence[Metric]
) -> Table:
    """What each method has more than `baseline` on the same cases, and in words whether the interval excludes 0."""
    rows = [
        Row(method.label, tuple(_difference(metric, _paired(run, metric, method.name, baseline)) for metric in metrics))
        for method in methods
    ]
    columns = [(metric.title, f"{metric.arrow} {metric.statistic}".strip()) for metric in metrics]
    return Table(caption, tuple(columns), tuple(rows))


def _paired(run: Run, metric: Metric, method: str, baseline: str) -> Interval:
    return paired_difference(run.values(metric, method), run.values(metric, baseline), metric.statistic)


def _difference(metric: Metric, interval: Interval) -> Cell:
    if not interval.n:
        return Cell(DASH)
    value, bounds = metric.text(interval.value, "+"), _bounds(metric, interval, "+")
    if interval.n < FEWEST_PAIRS:
        return Cell(value, bounds, f"only {interval.n} {'pair' if interval.n == 1 else 'pairs'}")
    if interval.low <= 0 <= interval.high:
        return Cell(value, bounds, "no difference seen")
    found = "higher" if interval.low > 0 else "lower"
    return Cell(value, bounds, found, "better" if found == metric.better else "worse" if metric.better else "")


def case_table(run: Run, caption: str, methods: Sequence[Method], metrics: Sequence[Metric]) -> Table:
    """One row for each case: every metric of every method, side by side."""
    columns = [(metric.title, method.name) for metric in metrics for method in methods]
    rows = [
        Row(
            case.name,
            tuple(Cell(metric.text(run.value(metric, method.name, case))) for metric in metrics for method in methods),
            case.prompt,
        )
        for case in run.suite.cases
    ]
    return Table(caption, tuple(columns), tuple(rows))
