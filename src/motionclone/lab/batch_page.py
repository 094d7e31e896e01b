"""The videos of a batch as one page that needs nothing else, with filters."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from motionclone.batch.folder import Listed, read_error, read_lists, state_of
from motionclone.errors import from_extra
from motionclone.files import whole_file

with from_extra("lab", "the page of a batch"):
    from motionclone.lab.pages import rendered

PAGE = "index.html"
MOST, FEW = 2000, 200
"""Videos that a page shows, the failed ones first; and so few that a browser can fetch something of each at once."""


def write_page(folder: Path) -> Path:
    """Write `index.html` into the folder of a batch, finished or not; an older one is replaced.

    It makes no request but for the videos beside it, and names no absolute path.

    Raises:
        InputError: the folder holds no batch, or cannot be written to.
    """
    asked, state = read_lists(folder), state_of(folder)
    states = {name: _state(name, state.done, state.failed) for name in asked}
    counts = {each: sum(found == each for found in states.values()) for each in ("done", "failed", "waiting")}
    shown = sorted(asked.values(), key=lambda job: states[job.name] != "failed")[:MOST]
    rows = [_row(folder, job, states[job.name]) for job in shown]
    names = ("state", "model", "source")
    told = f"{len(asked):,} videos: " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    page = rendered(
        "batch.html.j2",
        title=f"{folder.resolve().name}: a batch",
        told=told + (f". Below are {MOST:,} of them." if len(asked) > MOST else "."),
        rows=rows,
        filters=[(name, sorted({row[name] for row in rows})) for name in names],
        preload="metadata" if len(rows) <= FEW else "none",
    )
    with whole_file(folder / PAGE, overwrite=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / PAGE


def _state(name: str, done: frozenset[str], failed: frozenset[str]) -> str:
    return "done" if name in done else "failed" if Path(name).stem in failed else "waiting"


def _row(folder: Path, job: Listed, state: str) -> dict[str, Any]:
    reason = read_error(folder, job.name) if state == "failed" else ""
    return {**job.model_dump(), "state": state, "address": quote(job.name), "reason": reason}
