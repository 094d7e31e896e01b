"""A run's numbers as tables of values with their 95 % intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from motionclone.lab.curves import Curve, at_equal_words
from motionclone.lab.metric import DASH, Metric
from motionclone.lab.metrics.appearance import diversity
from motionclone.lab.metrics.statistics import Interval, bootstrap, paired_difference
from motionclone.lab.results import DescribedCase, DescribedMethod, Description, ResultLine

# With fewer pairs all of one sign, chance alone makes an interval exclude 0 more often than once in twenty times.
FEWEST_PAIRS = 6

DIVERSITY = Metric(
    "diversity",
    "diversity",
    "One minus the mean cosine between the videos of a method, as CLIP sees them; one number for all cases.",
    "higher",
    "Words and pictures",
    lambda video, goal: None,  # of one video there is none
    form="z.3f",
)


SHARE = Metric(
    "motion",
    "motion",
    "Explained motion of path and camera, as a share of the re-encoded reference's.",
    "higher",
    "Motion at its speed",
    lambda video, goal: None,  # it takes the ceiling's
)


@dataclass(frozen=True)
class Run:
    """A run as far as it has come."""

    description: Description
    lines: Mapping[tuple[str, str], ResultLine]  # by method and case, only those that the description names
    unusable: int = 0  # lines that it does not name, or that are torn

    @property
    def made(self) -> int:
        """How many videos there are."""
        return sum(line.outcome == "made" for line in self.lines.values())

    def value(self, metric: Metric, method: str, case: DescribedCase, floor: bool = False) -> float:
        """The number of one video; NaN where there is none (yet) or the metric is not for such cases."""
        line = self.lines.get((method, case.name))
        if line is None or case.kind not in metric.kinds:
            return math.nan
        value = (line.floor if floor else line.scores).get(metric.name)
        return math.nan if value is None else value

    def values(self, metric: Metric, method: str, floor: bool = False) -> list[float]:
        """One `value` for each case of the suite."""
        return [self.value(metric, method, case, floor) for case in self.description.cases]


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
    rows = [Row(source.label, tuple(row)) for source, *row in zip(sources, *cells, strict=True)]
    return Table(caption, tuple(columns), tuple(rows))


def _score(metric: Metric, interval: Interval, most: int) -> Cell:
    note = f"{interval.n} of {most}" if 0 < interval.n < most else ""
    return Cell(metric.text(interval.value), _bounds(metric, interval), note)


def _bounds(metric: Metric, interval: Interval, sign: str = "") -> str:
    alike = metric.form.endswith("%") and interval.low == interval.high  # yes or no: the bootstrap cannot know better
    if not interval.bounded or alike:
        return ""
    return f"[{metric.text(interval.low, sign)}, {metric.text(interval.high, sign)}]"


def _diversity(run: Run, method: str) -> Cell:
    lines = (run.lines.get((method, case.name)) for case in run.description.cases)
    embeddings = [line.embedding for line in lines if line is not None and line.embedding]
    return Cell(DIVERSITY.text(diversity(torch.tensor(embeddings)))) if len(embeddings) > 1 else Cell(DASH)


def difference_table(
    run: Run, caption: str, methods: Sequence[DescribedMethod], baseline: str, metrics: Sequence[Metric]
) -> Table:
    """What each method has more than `baseline` on the same cases, and in words whether the interval excludes 0."""
    rows = [
        Row(method.label, tuple(_difference(metric, paired(run, metric, method.name, baseline)) for metric in metrics))
        for method in methods
    ]
    columns = [(metric.title, f"{metric.arrow} {metric.statistic}".strip()) for metric in metrics]
    return Table(caption, tuple(columns), tuple(rows))


def equal_words_table(caption: str, curves: Sequence[Curve], base: Curve) -> Table:
    """The motion of every curve where it keeps as many words as the base does at its own factor 1."""
    most = base.words.shape[1]
    rows = [Row(base.label, (Cell("1"), _share(at_equal_words(base, base).base, most), Cell(DASH)))]
    for curve in curves:
        found = at_equal_words(curve, base)
        sure = found.reached >= 0.95
        where = Cell(f"{found.factor:.2g}" if math.isfinite(found.factor) else DASH)
        difference = _difference(SHARE, found.difference) if math.isfinite(found.difference.value) else Cell(DASH)
        if math.isfinite(found.factor) and not sure:  # what is left of the draws is not a fair sample
            where = replace(where, note=f"reached in {found.reached:.0%} of the draws")
            difference = replace(difference, note="", tone="")
        rows.append(Row(curve.label, (where, _share(found.motion, most), difference)))
    columns = (("about where", "of the weight or strength"), ("motion", "↑ mean"), ("less the preset's", "↑ mean"))
    return Table(caption, columns, tuple(rows))


def _share(interval: Interval, most: int) -> Cell:
    return _score(SHARE, interval, most) if math.isfinite(interval.value) else Cell(DASH)


def paired(run: Run, metric: Metric, method: str, baseline: str) -> Interval:
    """What a method has more than another of a metric, on the same cases."""
    return paired_difference(run.values(metric, method), run.values(metric, baseline), metric.statistic)


def _difference(metric: Metric, interval: Interval) -> Cell:
    if not interval.n:
        return Cell(DASH)
    value, bounds = metric.text(interval.value, "+"), _bounds(metric, interval, "+")
    if interval.n < FEWEST_PAIRS:
        return Cell(value, bounds, f"only {interval.n} {'pair' if interval.n == 1 else 'pairs'}")
    way = way_of(interval)
    if not way:
        return Cell(value, bounds, "no difference seen")
    return Cell(value, bounds, way, "better" if way == metric.better else "worse" if metric.better else "")


def way_of(difference: Interval) -> Literal["higher", "lower", ""]:
    """Which way a paired difference goes; neither if its interval holds 0."""
    return "higher" if difference.low > 0 else "lower" if difference.high < 0 else ""


def case_table(run: Run, caption: str, methods: Sequence[DescribedMethod], metrics: Sequence[Metric]) -> Table:
    """One row for each case: every metric of every method, side by side."""
    columns = [(metric.title, method.name) for metric in metrics for method in methods]
    rows = [
        Row(
            case.name,
            tuple(Cell(metric.text(run.value(metric, method.name, case))) for metric in metrics for method in methods),
            case.prompt,
        )
        for case in run.description.cases
    ]
    return Table(caption, tuple(columns), tuple(rows))
