"""The sections of a report: what a run found, put in order."""

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionclone.lab.curves import curve_of, means
from motionclone.lab.experiments import PRESET
from motionclone.lab.identity import without_places
from motionclone.lab.metric import Metric
from motionclone.lab.metric_list import METRICS
from motionclone.lab.montages import Montage, montages, spread
from motionclone.lab.plots import Line, Panel, fronts, whiskers
from motionclone.lab.results import DescribedCase, DescribedMethod, Description
from motionclone.lab.tables import (
    DIVERSITY,
    FEWEST_PAIRS,
    Run,
    Source,
    Table,
    case_table,
    difference_table,
    equal_words_table,
    score_table,
)
from motionclone.lab.verdict import verdict

_BASELINE, _UNGUIDED, _CEILING = "cloned", "unguided", "ceiling"


@dataclass(frozen=True)
class Section:
    """A part of the report; what is empty is left out."""

    title: str
    notice: str = ""  # what must not be overlooked
    paragraphs: tuple[str, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    plot: str = ""  # SVG
    tables: tuple[Table, ...] = ()
    cases: tuple[DescribedCase, ...] = ()  # the columns of the montages
    montages: tuple[Montage, ...] = ()


def sections_of(run: Run, folder: Path) -> Iterator[Section]:
    """The whole report, what it comes to first; videos are looked for in the folder."""
    methods = [method for method in run.description.methods if method.name != _CEILING]
    if said := verdict(run, _BASELINE, _UNGUIDED):
        yield Section("Verdict", paragraphs=said)
    yield _videos(run, methods, folder)
    yield _about(run)
    if run.description.left_out or run.made < len(run.lines):
        yield _not_made(run)
    yield _headline(run, [method for method in methods if method.experiment == "main"])
    yield Section("What the columns mean", terms=tuple((m.title, m.about) for m in (*METRICS.values(), DIVERSITY)))
    if curves := [method for method in methods if method.curve]:
        yield from _equal_words(run, curves)
    methods = [method for method in methods if not method.curve]
    experiments = dict.fromkeys(method.experiment for method in methods)
    baseline = next((method for method in methods if method.name == _BASELINE), None)
    limits = _limits(run, methods)
    for number, experiment in enumerate(experiments, 1):
        own = [method for method in methods if method.experiment == experiment and method is not baseline]
        yield _experiment(run, f"plot{number}", experiment, baseline, own, limits)
    compared = [method for method in methods if method.name in (_BASELINE, _UNGUIDED)]
    if compared:
        plotted = [metric for metric in _plotted(run) if metric.main]
        yield Section("Case by case", tables=(case_table(run, "", compared, plotted),))


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" + ("" if len(things) == 1 else "s")


def command(description: Description) -> str:
    """What makes such a run."""
    return f"motionclone evaluate {shlex.quote(without_places(description.suite))}"


def _about(run: Run) -> Section:
    description = run.description
    pairs = len(description.methods) * len(description.cases)
    notice = ""
    if len(run.lines) < pairs:
        begun = {method for method, _ in run.lines}
        waiting = [method.label for method in description.methods if method.name not in begun]
        notice = (
            f"This run is not finished: {len(run.lines)} of {pairs} videos are done. What follows is of those alone, "
            "so rows may differ in their cases; paired differences do not."
        ) + (f" Not begun: {', '.join(waiting)}." if waiting else "")
    model = without_places(description.model)
    paragraphs = [
        f"{_count(description.methods, 'way')} of making videos with the model {model} were tried on "
        f"{_count(description.cases, 'case')}, each a reference clip and a prompt. Each video was then compared "
        "with the motion of its reference and with its prompt.",
        "Brackets hold 95 % intervals, where there are three cases or more: the cases are drawn again with "
        "replacement, 2000 times, and 95 of 100 of the values so found lie within. They tell how much the choice "
        "of cases matters, not other models, seeds or kinds of motion. A dash stands where there is nothing to "
        "measure, for example the path of an object that was never found; such cases are left out.",
        "Differences are taken case by case, and their mean or median is given. They are called higher or lower if the "
        f"interval excludes 0 and there are {FEWEST_PAIRS} pairs or more. No correction is made for looking at many: "
        "where nothing differs, one in twenty is still expected to be called so.",
    ]
    if run.unusable:
        paragraphs.append(
            f"{_count(range(run.unusable), 'line')} of results.jsonl could not be used (cut off by an interruption, or "
            "of another suite) and were left out."
        )
    kinds = dict.fromkeys(case.kind for case in description.cases)
    counted = ", ".join(f"{sum(case.kind == kind for case in description.cases)} {kind}" for kind in kinds)
    seconds = sum(line.seconds for line in run.lines.values() if line.seconds >= 0)
    software = {"motionclone": description.motionclone, **description.libraries}
    loading = _flat({"dtype": description.dtype, "device": description.device, **description.loading})
    terms = [
        ("suite", without_places(description.suite)),
        ("made again by", f"{command(description)}, with the model and settings below"),
        ("model", ", ".join((model, *loading))),
        ("judge of looks", f"CLIP: {without_places(description.judge)}"),
        ("methods", str(len(description.methods))),
        ("cases", f"{len(description.cases)} ({counted})"),
        ("done", f"{run.made} of {pairs} videos, in {seconds / 3600:.1f} hours of computing"),
        ("seed", str(description.seed)),
        ("settings", ", ".join(_flat(description.settings)) or "none recorded"),
        ("machine", description.machine),
        ("software", ", ".join(f"{name} {number}" for name, number in software.items())),
    ]
    return Section("What this is", notice, tuple(paragraphs), tuple(terms))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`guidance.weight 2000` and so on, for every leaf that is set."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key} {without_places(value) if isinstance(value, str) and value else json.dumps(value)}"


def _not_made(run: Run) -> Section:
    """Which methods have no videos, or not of all cases, and why."""
    reasons: dict[tuple[str, str, str], int] = {}
    for (method, _), line in run.lines.items():
        if line.outcome != "made":
            reasons[method, line.outcome, line.reason] = reasons.get((method, line.outcome, line.reason), 0) + 1
    labels = {method.name: method.label for method in run.description.methods}
    terms = [(omission.label, f"left out: {omission.reason}") for omission in run.description.left_out]
    for (method, outcome, reason), count in reasons.items():
        terms.append((labels[method], f"{outcome} ({count} of {_count(run.description.cases, 'case')}): {reason}"))
    failed = any(line.outcome == "failed" for line in run.lines.values())
    notice = "Some methods failed; called again, evaluate tries them again." if failed else ""
    return Section("What was not made", notice, terms=tuple(terms))


def _headline(run: Run, methods: Sequence[DescribedMethod]) -> Section:
    sources = [
        *(Source(method.label, method.name) for method in methods),
        Source("floor (cloned against an unrelated reference)", _BASELINE, floor=True),
        Source("ceiling (the reference re-encoded)", _CEILING),
    ]
    captions: dict[str, list[Metric]] = {}
    for metric in METRICS.values():
        if metric.table != "Heat map" and _is_measured(run, metric):
            captions.setdefault(metric.table, []).append(metric)
    tables = [
        score_table(run, caption, sources, metrics, with_diversity=caption == DIVERSITY.table)
        for caption, metrics in captions.items()
    ]
    return Section("Headline", tables=tuple(tables))


def _is_measured(run: Run, metric: Metric) -> bool:
    """Whether these results can have the metric: pictures are not in every suite, and old ones know no speed."""
    if metric.table not in ("The picture to follow", "Motion at its speed"):
        return True
    return any(metric.name in line.scores for line in run.lines.values())


def _plotted(run: Run) -> list[Metric]:
    """The metrics that have plots, without those that others have taken the place of."""
    metrics = [metric for metric in METRICS.values() if metric.plotted and _is_measured(run, metric)]
    replaced = {metric.before for metric in metrics}
    return [metric for metric in metrics if metric.name not in replaced]


def _limits(run: Run, methods: Sequence[DescribedMethod]) -> dict[str, tuple[float, float]]:
    """One axis for each plotted metric that has values, for all experiments, so that their plots can be compared."""
    limits = {}
    for metric in _plotted(run):
        intervals = [Source(method.label, method.name).interval(run, metric) for method in methods]
        ends = [end for i in intervals if i.n for end in (i.value, i.low, i.high, 0.0) if math.isfinite(end)]
        if ends:
            margin = 0.05 * (max(ends) - min(ends)) or 1.0
            limits[metric.name] = (min(ends) - margin, max(ends) + margin)
    return limits


def _experiment(
    run: Run,
    plot: str,
    name: str,
    baseline: DescribedMethod | None,
    methods: Sequence[DescribedMethod],
    limits: Mapping[str, tuple[float, float]],
) -> Section:
    # Heat maps are drawn over the reference: nothing is cloned that could be compared.
    heat = bool(methods) and all(method.kind == "heat map" for method in methods)
    baseline = None if heat else baseline
    compared = [*([baseline] if baseline else []), *methods]
    sources = [Source(method.label, method.name) for method in compared]
    metrics = [
        metric
        for metric in METRICS.values()
        if (metric.needs == "heat" if heat else metric.main) and _is_measured(run, metric)
    ]
    plotted = [metric for metric in metrics if metric.name in limits]
    panels = [
        Panel(
            f"{metric.title} {metric.arrow}".strip(),
            tuple(source.interval(run, metric) for source in sources),
            limits[metric.name],
        )
        for metric in plotted
    ]
    labels = [source.label for source in sources]
    titles = ", ".join(metric.title for metric in plotted)
    about = f"{titles} of {', '.join(labels)}, with 95 % intervals; the numbers are in the table"
    tables = [score_table(run, "Scores", sources, metrics)]
    if baseline and methods:
        caption = f"Difference to {baseline.label}, on the same cases"
        tables.append(difference_table(run, caption, methods, baseline.name, metrics))
    return Section(
        re.sub("^[a-z](?=[a-z]+\\b)", lambda first: first[0].upper(), name),  # not "k" or "t_alpha"
        terms=tuple((method.label, method.about) for method in compared),
        plot=whiskers(plot, about, labels, panels, baseline is not None) if panels else "",
        tables=tuple(tables),
    )


def _equal_words(run: Run, methods: Sequence[DescribedMethod]) -> Iterator[Section]:
    """The curves of every experiment beside the preset's, and what each is worth at the preset's words."""
    scored = {name for (name, _), line in run.lines.items() if line.scores}
    grouped: dict[str, dict[str, list[DescribedMethod]]] = {}
    for method in (method for method in methods if method.name in scored):
        grouped.setdefault(method.experiment, {}).setdefault(method.curve, []).append(method)
    own = grouped.pop(PRESET, {}).get(PRESET, [])
    points = [method for method in run.description.methods if method.name == _BASELINE and method.name in scored]
    if not points:
        return
    cases = [case.name for case in run.description.cases]
    base = curve_of([*own, points[0].model_copy(update={"curve": PRESET, "factor": 1.0})], run.lines, cases)
    for number, (experiment, by_label) in enumerate(grouped.items(), 1):
        curves = [curve_of(each, run.lines, cases) for each in by_label.values()]
        lines = [Line(curve.label, *(tuple(each.tolist()) for each in means(curve))) for curve in (base, *curves)]
        labels = ", ".join(by_label)
        yield Section(
            f"{experiment}, at equal words",
            paragraphs=(
                "Over weights or strengths, from the unguided video on: across the share of its words that is kept, up "
                "the motion that is carried, of path and camera, as a share of the re-encoded reference's. The "
                "preset's curve is in every panel. The table reads each off where it keeps as many words as the preset "
                "does, between the points in a straight line, on the cases that both have at every point; where its "
                "words do not fall so far, there is a dash. Cases whose path and camera are not known, or still, are "
                "left out.",
            ),
            terms=tuple((curve.label, curve.about) for curve in curves),
            plot=fronts(
                f"curves{number}", f"motion against words: {labels}", lines[0], lines[1:], ("words kept", "motion")
            ),
            tables=(equal_words_table("At the preset's words", curves, base),),
        )


def _videos(run: Run, methods: Sequence[DescribedMethod], folder: Path) -> Section:
    cases = spread(run.description.cases)
    rows, missing = montages(run, methods, cases, folder)
    paragraphs = [f"The same {len(cases)} cases from left to right in every row; the first row is what was cloned."]
    if missing:
        paragraphs.append(f"No video is there of: {', '.join(missing)}.")
    return Section("Videos", paragraphs=tuple(paragraphs), cases=tuple(cases), montages=tuple(rows))
