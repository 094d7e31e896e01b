"""A report's sections as Markdown."""

import re
from collections.abc import Sequence

from motionclone.lab.sections import Section
from motionclone.lab.tables import Cell, Table


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """The whole report; its plots and videos are only in the page."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        if section.notice:
            parts.append(f"**{_plain(section.notice)}**")
        parts += map(_plain, section.paragraphs)
        if section.terms:
            parts.append("\n".join(f"- **{_plain(term)}**: {_plain(text)}" for term, text in section.terms))
        parts += map(_table, section.tables)
        if section.cases:
            columns = [
                f"{number}. {_plain(f'{case.name}: {case.prompt}')}" for number, case in enumerate(section.cases, 1)
            ]
            parts += ["\n".join(columns), "The videos are in report.html."]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
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
