"""The videos of a batch as one page that needs nothing else, with filters."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from motionclone.batch.folder import Listed, read_error, read_lists, state_of
from motionclone.batch.storage import Storage
from motionclone.errors import from_extra

with from_extra("lab", "the page of a batch"):
    from motionclone.lab.pages import rendered

PAGE = "index.html"
MOST, FEW = 2000, 200
"""Videos that a page shows, the failed ones first; and so few that a browser can fetch something of each at once."""


def write_page(storage: Storage) -> str:
    """Write `index.html` beside the videos of a batch, finished or not, and say where; an older one is replaced.

    It makes no request but for the videos beside it, and names no absolute path.

    Raises:
        InputError: there is no batch, or nothing can be written there.
    """
    asked, state = read_lists(storage), state_of(storage)
    states = {name: _state(name, state.done, state.failed) for name in asked}
    counts = {each: sum(found == each for found in states.values()) for each in ("done", "failed", "waiting")}
    shown = sorted(asked.values(), key=lambda job: states[job.name] != "failed")[:MOST]
    rows = [_row(storage, job, states[job.name]) for job in shown]
    names = ("state", "model", "source")
    told = f"{len(asked):,} videos: " + ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    page = rendered(
        "batch.html.j2",
        title=f"{Path(str(storage)).resolve().name}: a batch",
        told=told + (f". Below are {MOST:,} of them." if len(asked) > MOST else "."),
        rows=rows,
        filters=[(name, sorted({row[name] for row in rows})) for name in names],
        preload="metadata" if len(rows) <= FEW else "none",
    )
    storage.write(PAGE, page)
    return f"{storage}/{PAGE}"


def _state(name: str, done: frozenset[str], failed: frozenset[str]) -> str:
    return "done" if name in done else "failed" if Path(name).stem in failed else "waiting"


def _row(storage: Storage, job: Listed, state: str) -> dict[str, Any]:
    reason = read_error(storage, job.name) if state == "failed" else ""
    return {**job.model_dump(), "state": state, "address": quote(job.name), "reason": reason}
