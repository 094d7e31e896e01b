"""What a run of `motionclone evaluate` found, as one page that needs nothing else and as Markdown."""

import base64
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from motionclone.errors import InputError
from motionclone.files import whole_file
from motionclone.lab.plots import Panel, montage, whiskers
from motionclone.lab.tables import (
    DIVERSITY,
    FEWEST_PAIRS,
    METRICS,
    Case,
    Cell,
    Method,
    Result,
    Run,
    Source,
    Suite,
    Table,
    case_table,
    difference_table,
    score_table,
)

_HEADLINE = {
    "Motion": ("path", "camera", "flow", "motion_fidelity", "mf_dmt", "roughness", "seen"),
    "Words and pictures": ("text", "consistency", "leakage", "colour", "shape", "texture", "background"),
}
_PICTURE = ("picture", "lines")
_MAIN = ("path", "camera", "flow", "motion_fidelity", "text", "consistency", "leakage")
_PLOTTED = ("path", "camera", "flow")
_BASELINE, _UNGUIDED, _CEILING = "cloned", "unguided", "ceiling"
_COLUMNS = 8  # of a montage


class Report(NamedTuple):
    """Where the report lies."""

    page: Path
    markdown: Path


@dataclass(frozen=True)
class Montage:
    """A looping video of several cases."""

    label: str
    address: str  # data URI
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report; what is empty is left out."""

    title: str
    notice: str = ""  # what must not be overlooked
    paragraphs: tuple[str, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()
    plot: str = ""  # SVG
    tables: tuple[Table, ...] = ()
    shown: tuple[Case, ...] = ()  # the columns of the montages
    montages: tuple[Montage, ...] = ()


def write_report(folder: Path) -> Report:
    """Write `report.html` and `report.md` into the folder of a run, finished or not; older ones are replaced.

    The same results give the same bytes. The page makes no request of any kind, and names no absolute path.

    Args:
        folder: with `suite.json`, `results.jsonl` and `videos/`, as `motionclone evaluate` writes them.

    Raises:
        InputError: the folder holds no run, or not a single result; nothing is written then.
    """
    run, unreadable = _read_run(folder)
    title = f"{run.suite.suite}: MotionClone measured"
    sections = tuple(_sections(run, unreadable, folder))
    jinja = Environment(
        loader=PackageLoader("motionclone.lab", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    page = jinja.get_template("report.html.j2").render(title=title, sections=sections)
    report = Report(folder / "report.html", folder / "report.md")
    with whole_file(report.page, True) as first, whole_file(report.markdown, True) as second:
        first.write_text(page, encoding="utf-8")
        second.write_text(_markdown(title, sections), encoding="utf-8")
    return report


def _read_run(folder: Path) -> tuple[Run, int]:
    """The run, and how many lines of its results could not be read or belong to nothing in the suite."""
    place = folder / "suite.json"
    try:
        suite = Suite.model_validate_json(place.read_bytes())
    except OSError as error:
        raise InputError(
            f"{place} cannot be read ({error.strerror}); give a folder that motionclone evaluate has written"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(
            f"{place} is not as motionclone evaluate writes it ({where}: {first['msg']}); run it again"
        ) from error
    lines = folder / "results.jsonl"
    known = {(method.name, case.name) for method in suite.methods for case in suite.cases}
    results: dict[tuple[str, str], Result] = {}
    unreadable = 0
    for line in lines.read_bytes().splitlines() if lines.is_file() else ():
        try:
            result = Result.model_validate_json(line)
        except ValidationError:
            unreadable += 1
            continue
        if (result.method, result.case) in known:
            results[result.method, result.case] = result
        else:
            unreadable += 1
    if not results:
        raise InputError(f"{folder} has no results, so there is nothing to report yet: run {_command(suite)}")
    return Run(suite, results), unreadable


def _command(suite: Suite) -> str:
    return f"motionclone evaluate {shlex.quote(_public(suite.suite))}"


def _public(text: str) -> str:
    """A name as it is, an absolute path as its last part."""
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1] if re.match(r"[\\/~]|[A-Za-z]:[\\/]", text) else text


def _sections(run: Run, unreadable: int, folder: Path) -> Iterator[Section]:
    methods = [method for method in run.suite.methods if method.name != _CEILING]
    yield _about(run, unreadable)
    yield _headline(run, [method for method in methods if method.experiment == "main"])
    yield Section("What the columns mean", terms=tuple((m.title, m.about) for m in (*METRICS.values(), DIVERSITY)))
    experiments = dict.fromkeys(method.experiment for method in methods)
    baseline = next((method for method in methods if method.name == _BASELINE), None)
    limits = _limits(run, methods)
    for number, experiment in enumerate(experiments, 1):
        own = [method for method in methods if method.experiment == experiment and method is not baseline]
        yield _experiment(run, f"plot{number}", experiment, baseline, own, limits)
    compared = [method for method in methods if method.name in (_BASELINE, _UNGUIDED)]
    if compared:
        table = case_table(run, "", compared, [METRICS[name] for name in _PLOTTED])
        yield Section("Case by case", tables=(table,))
    yield _videos(run, methods, folder)


def _about(run: Run, unreadable: int) -> Section:
    suite = run.suite
    pairs = len(suite.methods) * len(suite.cases)
    notice = ""
    if len(run.results) < pairs:
        begun = {method for method, _ in run.results}
        waiting = [method.label for method in suite.methods if method.name not in begun]
        notice = (
            f"This run is not finished: {len(run.results)} of {pairs} videos are done. What follows is of those alone, "
            "so rows may differ in their cases; paired differences do not."
        ) + (f" Not begun: {', '.join(waiting)}." if waiting else "")
    paragraphs = [
        f"{len(suite.methods)} ways of making videos with the model {_public(suite.model)} were tried on the same "
        f"{len(suite.cases)} cases, each a reference clip and a prompt. Each video was then compared with the motion "
        "of its reference and with its prompt.",
        "Brackets hold 95 % intervals: the cases are drawn again with replacement, 2000 times, and 95 of 100 of the "
        "values so found lie within. They tell how much the choice of cases matters, not other models, seeds or kinds "
        "of motion. A dash stands where there is nothing to measure, for example the path of an object that was never "
        "found; such cases are left out.",
        "Differences are taken case by case, and their mean or median is given. They are called higher or lower if the "
        f"interval excludes 0 and there are {FEWEST_PAIRS} pairs or more. No correction is made for looking at many: "
        "where nothing differs, one in twenty is still expected to be called so.",
    ]
    if unreadable:
        paragraphs.append(
            f"{unreadable} {'line' if unreadable == 1 else 'lines'} of results.jsonl could not be used (cut off by an "
            "interruption, or of another suite) and were left out."
        )
    kinds = dict.fromkeys(case.kind for case in suite.cases)
    counted = ", ".join(f"{sum(case.kind == kind for case in suite.cases)} {kind}" for kind in kinds)
    seconds = sum(result.seconds for result in run.results.values() if result.seconds >= 0)
    terms = [
        ("suite", _public(suite.suite)),
        ("made again by", f"{_command(suite)}, with the model and settings below"),
        ("model", ", ".join(filter(None, (_public(suite.model), suite.dtype)))),
        ("judge of looks", f"CLIP: {_public(suite.clip)}"),
        ("methods", str(len(suite.methods))),
        ("cases", f"{len(suite.cases)} ({counted})"),
        ("done", f"{len(run.results)} of {pairs} videos, in {seconds / 3600:.1f} hours of computing"),
        ("seed", str(suite.seed)),
        ("settings", ", ".join(_flat(suite.settings)) or "none recorded"),
        ("machine", suite.machine),
        ("software", ", ".join(f"{k} {v}" for k, v in {"motionclone": suite.motionclone, **suite.libraries}.items())),
    ]
    return Section("What this is", notice, tuple(paragraphs), tuple(terms))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """`guidance.weight 2000` and so on, for every leaf."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} {_public(value) if isinstance(value, str) and value else json.dumps(value)}"


def _headline(run: Run, methods: Sequence[Method]) -> Section:
    sources = [
        *(Source(method.label, method.name) for method in methods),
        Source("floor (cloned against an unrelated reference)", _BASELINE, floor=True),
        Source("ceiling (the reference re-encoded)", _CEILING),
    ]
    tables = [
        score_table(run, caption, sources, [METRICS[name] for name in names], with_diversity="text" in names)
        for caption, names in {
            **_HEADLINE,
            **({"The picture to follow": _PICTURE} if _has_pictures(run) else {}),
        }.items()
    ]
    return Section("Headline", tables=tuple(tables))


def _has_pictures(run: Run) -> bool:
    """Whether this suite compared first frames with pictures."""
    return any(name in result.scores for result in run.results.values() for name in _PICTURE)


def _limits(run: Run, methods: Sequence[Method]) -> dict[str, tuple[float, float]]:
    """One axis for each plotted metric that has values, for all experiments, so that their plots can be compared."""
    limits = {}
    for name in (*_PLOTTED, "heat"):
        intervals = [Source(method.label, method.name).interval(run, METRICS[name]) for method in methods]
        ends = [end for i in intervals if i.n for end in (i.value, i.low, i.high, 0.0) if math.isfinite(end)]
        if ends:
            margin = 0.05 * (max(ends) - min(ends)) or 1.0
            limits[name] = (min(ends) - margin, max(ends) + margin)
    return limits


def _experiment(
    run: Run,
    plot: str,
    name: str,
    baseline: Method | None,
    methods: Sequence[Method],
    limits: Mapping[str, tuple[float, float]],
) -> Section:
    # Heat maps are drawn over the reference: nothing is cloned that could be compared.
    heat = bool(methods) and all(method.kind == "heat map" for method in methods)
    baseline = None if heat else baseline
    compared = [*([baseline] if baseline else []), *methods]
    sources = [Source(method.label, method.name) for method in compared]
    main = (*(_PICTURE if _has_pictures(run) else ()), *_MAIN)
    metrics = [METRICS[metric] for metric in (("heat",) if heat else main)]
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
    description = f"{titles} of {', '.join(labels)}, with 95 % intervals; the numbers are in the table"
    tables = [score_table(run, "Scores", sources, metrics)]
    if baseline and methods:
        caption = f"Difference to {baseline.label}, on the same cases"
        tables.append(difference_table(run, caption, methods, baseline.name, metrics))
    return Section(
        re.sub("^[a-z](?=[a-z]+\\b)", lambda first: first[0].upper(), name),  # not "k" or "t_alpha"
        terms=tuple((method.label, method.about) for method in compared),
        plot=whiskers(plot, description, labels, panels, baseline is not None) if panels else "",
        tables=tuple(tables),
    )


def _videos(run: Run, methods: Sequence[Method], folder: Path) -> Section:
    cases = _spread(run.suite.cases)
    rows = [("reference", False, [folder / "videos" / "reference" / f"{case.name}.mp4" for case in cases])]
    for method in methods:
        found = [run.results.get((method.name, case.name)) for case in cases]
        paths = [folder / result.video if result else folder / "none" for result in found]
        rows.append((method.label, method.kind == "clone", paths))
    montages, missing = [], []
    for label, generated, paths in rows:
        count = sum(path.is_file() for path in paths)
        if not count:
            missing.append(label)
            continue
        address = base64.b64encode(montage(paths, generated=generated)).decode()
        note = "" if count == len(paths) else f"{count} of {len(paths)} videos are there; the others are grey"
        montages.append(Montage(label, f"data:video/mp4;base64,{address}", note))
    paragraphs = [f"The same {len(cases)} cases from left to right in every row; the first row is what was cloned."]
    if missing:
        paragraphs.append(f"No video is there of: {', '.join(missing)}.")
    return Section("Videos", paragraphs=tuple(paragraphs), shown=tuple(cases), montages=tuple(montages))


def _spread(cases: Sequence[Case]) -> list[Case]:
    """Up to eight cases in their order, spread over kinds and, where there are enough, of different motions."""
    firsts = list({case.motion: case for case in reversed(cases)}.values())
    pool = [case for case in cases if len(firsts) < _COLUMNS or case in firsts]
    kinds = list(dict.fromkeys(case.kind for case in cases))
    pool.sort(key=lambda case: kinds.index(case.kind))
    last = min(_COLUMNS, len(pool)) - 1
    chosen = [pool[round(i * (len(pool) - 1) / max(last, 1))] for i in range(last + 1)]
    return [case for case in cases if case in chosen]


def _markdown(title: str, sections: Sequence[Section]) -> str:
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        if section.notice:
            parts.append(f"**{_plain(section.notice)}**")
        parts += map(_plain, section.paragraphs)
        if section.terms:
            parts.append("\n".join(f"- **{_plain(term)}**: {_plain(text)}" for term, text in section.terms))
        parts += map(_markdown_table, section.tables)
        if section.shown:
            shown = [
                f"{number}. {_plain(f'{case.name}: {case.prompt}')}" for number, case in enumerate(section.shown, 1)
            ]
            parts += ["\n".join(shown), "The videos are in report.html."]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    heads = ["", *(_plain(f"{title} ({hint})" if hint else title) for title, hint in table.columns)]
    labels = [_plain(f"{row.label}: {row.about}" if row.about else row.label) for row in table.rows]
    rows = [[label, *map(_in_line, row.cells)] for label, row in zip(labels, table.rows, strict=True)]
    lines = [heads, ["---", *["---:"] * len(table.columns)], *rows]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{_plain(table.caption)}**\n\n{drawn}" if table.caption else drawn


def _in_line(cell: Cell) -> str:
    return " ".join(filter(None, (cell.value, cell.interval, f"({cell.note})" if cell.note else "")))


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", " ".join(text.split()))
