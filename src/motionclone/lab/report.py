"""What a run of `motionclone evaluate` found, as one page that needs nothing else and as Markdown."""

from pathlib import Path
from typing import NamedTuple

from motionclone.errors import InputError, from_extra
from motionclone.files import whole_file
from motionclone.lab.markdown import as_markdown
from motionclone.lab.results import ResultLine, read_description, read_results
from motionclone.lab.sections import command, sections_of
from motionclone.lab.tables import Run

with from_extra("lab", "the report"):
    from motionclone.lab.pages import rendered


class Report(NamedTuple):
    """Where the report lies."""

    page: Path
    markdown: Path


def write_report(folder: Path) -> Report:
    """Write `report.html` and `report.md` into the folder of a run, finished or not; older ones are replaced.

    The same results give the same bytes. The page makes no request of any kind, and names no absolute path.

    Args:
        folder: with `suite.json`, `results.jsonl` and `videos/`, as `motionclone evaluate` writes them.

    Raises:
        InputError: the folder holds no run, not a single result, or something that evaluate has not written; nothing is
            written then.
    """
    run = read_run(folder)
    title = f"{run.description.suite}: MotionClone measured"
    sections = tuple(sections_of(run, folder))
    page = rendered("report.html.j2", title=title, sections=sections)
    report = Report(folder / "report.html", folder / "report.md")
    with whole_file(report.page, True) as first, whole_file(report.markdown, True) as second:
        first.write_text(page, encoding="utf-8")
        second.write_text(as_markdown(title, sections), encoding="utf-8")
    return report


def read_run(folder: Path) -> Run:
    """The run as far as it has come; of several lines of one video the last counts.

    Raises:
        InputError: if there is none, or not a single result.
    """
    description = read_description(folder)
    written, torn = read_results(folder)
    known = {(method.name, case.name) for method in description.methods for case in description.cases}
    lines: dict[tuple[str, str], ResultLine] = {}
    unusable = int(torn)
    for line in written:
        if (line.method, line.case) in known:
            lines[line.method, line.case] = line
        else:
            unusable += 1
    if not lines:
        raise InputError(f"{folder} has no results, so there is nothing to report yet: run {command(description)}.")
    return Run(description, lines, unusable)
