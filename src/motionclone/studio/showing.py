"""The part of the page that shows a finished job: its videos in step, to compare and to take away, as HTML."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from motionclone.errors import InputError
from motionclone.files import read_json
from motionclone.studio.making import DOWNLOADS, HEAT, RECORD, SEEN, UNGUIDED, VIDEO, download_name
from motionclone.studio.panels import address, definitions, note
from motionclone.studio.store import Entry

TRIES = (
    ("Round in a circle", "a red star on blue waves"),
    ("There and back", "a green ring on gray rocks"),
    ("Camera zooms in", "a yellow square on purple clouds"),
)
"""Ready motions and words of the empty page, for the bundled model."""
OTHER_TRIES = (
    ("Round in a circle", "a goldfish in a bowl"),
    ("There and back", "a pig walks in the forest"),
    ("Camera zooms in", "a castle on a hill, at dusk"),
)
"""Likewise, for models that know more."""
_SHOWN = {"reference": ("Reference", SEEN), "video": ("Your video", VIDEO),
          "unguided": ("Without guidance", UNGUIDED), "heat": ("Where motion is seen", HEAT)}  # fmt: skip
_LINKS = {"video": "Video", "record": "Record", "motion": "Motion", "comparison": "Side by side"}


def result(entry: Entry, place: Path) -> str:
    """The videos of a job in step with each other, two of them one over the other, and what can be taken away."""
    sheet = bool(entry.asked.strengths)
    shown = {kind: (title, place / name) for kind, (title, name) in _SHOWN.items() if (place / name).is_file()}
    if sheet:  # it holds the reference
        shown = {"video": ("Every strength with every seed", place / VIDEO)}
    videos = "".join(
        f'<figure data-video="{kind}"><video src="{address(path)}" muted loop playsinline autoplay '
        f'aria-label="{title}"></video><figcaption>{title}</figcaption></figure>'
        for kind, (title, path) in shown.items()
    )
    links = "".join(
        f'<a href="{address(place / DOWNLOADS[what])}" download="{download_name(entry.asked, what)}">{title}</a>'
        for what, title in _LINKS.items()
        if (place / DOWNLOADS[what]).is_file()
    )
    fps, frames = _pace(place)
    first = "reference" if "reference" in shown else "heat"
    modes = (
        '<div class="mc-modes" role="group" aria-label="How to compare">'
        '<button type="button" data-mode="side" aria-pressed="true">Side by side</button>'
        '<button type="button" data-mode="wipe" aria-pressed="false">Wipe</button>'
        f'<span class="mc-which">{_select("left", shown, first)}{_select("right", shown, "video")}</span></div>'
    )
    wiper = (
        '<input type="range" class="mc-wiper" min="0" max="100" value="50" '
        'aria-label="Where the two videos meet, percent from the left">'
    )
    return (
        f'<div class="mc-together" data-fps="{fps:g}" data-frames="{frames}" role="group" aria-label="Videos">'
        f'{"" if sheet else modes}<div class="mc-videos{" mc-sheet" * sheet}">{videos}{"" if sheet else wiper}</div>'
        '<div class="mc-controls">'
        '<button type="button" data-mc="back" aria-label="One frame back">&lsaquo;</button>'
        '<button type="button" data-mc="play">Pause</button>'
        '<button type="button" data-mc="on" aria-label="One frame on">&rsaquo;</button>'
        f'<input type="range" class="mc-place" min="1" max="{frames}" value="1" aria-label="Frame">'
        f'<output class="mc-frame" aria-hidden="true">1 / {frames}</output></div></div>'
        f'<h3 class="mc-title">Download</h3><nav class="mc-links" aria-label="Downloads">{links}</nav>'
        f"{_facts(entry, fps, frames)}"
    )


def _select(side: str, shown: dict[str, tuple[str, Path]], chosen: str) -> str:
    options = "".join(
        f'<option value="{kind}"{" selected" if kind == chosen else ""}>{title}</option>'
        for kind, (title, _) in shown.items()
    )
    return f'<select data-side="{side}" aria-label="On the {side}">{options}</select>'


def _pace(place: Path) -> tuple[float, int]:
    """Frames per second of a job's videos, and how many, by its record."""
    record = read_json(place / RECORD, "a record")
    try:
        fps, frames = record["motion"].get("source", {}).get("fps", 8), record["settings"]["sampling"]["num_frames"]
        return float(fps), int(frames)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{RECORD} of this job is not the record of a video; make it again.") from error


def _facts(entry: Entry, fps: float, frames: int) -> str:
    asked = entry.asked
    end = "its end" if asked.end is None else f"{asked.end:.2f} s"
    part = "" if asked.motion else f", {asked.start:.2f} s to {end}"
    part += ", mirrored" * asked.flip
    if asked.crop is not None:
        left, top, right, bottom = (f"{share:.0%}" for share in asked.crop)
        part += f", cut to {left}-{right} across and {top}-{bottom} down"
    facts = {"Motion file" if asked.motion else "Clip": f"{asked.clip}{part}"}
    if asked.follows is not None:
        facts["First frame" if asked.image else "Sketch"] = asked.image or asked.sketch or ""
    facts["Frames"] = f"{frames}, {fps:.3g} a second"
    sheet = ", ".join(f"{each:g}" for each in asked.strengths)
    facts |= {
        "Strength": sheet or f"{asked.strength:g}",
        "Steps": str(asked.steps),
        "Seed": ", ".join(map(str, asked.seeds or (asked.seed,))),
        "Model": entry.model,
    }
    return definitions(facts)


def scores(found: Mapping[str, Any]) -> str:
    """A table of what was measured of a video, beside the reference itself and, if there is one, the unguided twin.

    Args:
        found: as `Desk.scores_of` gives it.
    """
    columns = {"scores": "Your video", "unguided": "Without guidance", "ceiling": "The reference itself"}
    there = {name: title for name, title in columns.items() if name in found}
    head = "".join(f'<th scope="col">{title}</th>' for title in there.values())
    rows = "".join(
        f'<tr><th scope="row">{escape(metric.replace("_", " "))}</th>'
        + "".join(f"<td>{_number(found[name].get(metric))}</td>" for name in there)
        + "</tr>"
        for metric in found["scores"]
        if any(found[name].get(metric) is not None for name in there)
    )
    return (
        f'<table class="mc-scores"><caption>Scores</caption><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>{note(found['note'])}"
    )


def _number(value: float | None) -> str:
    return "&ndash;" if value is None else f"{value:.3g}"
