"""The parts of the page that show something, as HTML. All that a person wrote is escaped."""

import re
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from motionclone.files import read_json
from motionclone.studio.foretelling import spoken_time
from motionclone.studio.making import COMPARISON, HEAT, MOTION, POSTER, RECORD, SEEN, UNGUIDED, VIDEO
from motionclone.studio.store import Entry
from motionclone.studio.worker import Progress

EMPTY = """<div class="mc-empty"><h3>Your video appears here</h3><ol>
<li>Choose a clip whose <b>motion</b> you like: drop one, or take an example.</li>
<li>Say in words what the new video <b>shows</b>.</li>
<li>Make it, and watch reference and result side by side.</li></ol></div>"""

_STATES = {
    "waiting": "In line",
    "running": "Being made",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}


def refusal(sentence: str) -> str:
    """A sentence that says why something cannot be; nothing for an empty one."""
    return f'<p class="mc-refusal" role="alert">{escape(_sentence(sentence))}</p>' if sentence else ""


def note(sentence: str) -> str:
    """A sentence worth knowing."""
    return f'<p class="mc-note">{escape(sentence)}</p>' if sentence else ""


def strip(addresses: Sequence[str], notices: Iterable[str]) -> str:
    """The frames that will be read, in their order, and what was done to them."""
    pictures = "".join(
        f'<img src="{address}" alt="frame {number} of {len(addresses)}">' for number, address in enumerate(addresses, 1)
    )
    title = f"The {len(addresses)} frames that will be read"
    told = "".join(note(f"{_sentence(each)}") for each in notices)
    frames = f'<div class="mc-strip" tabindex="0" role="group" aria-label="{title}">{pictures}</div>'
    return f'<p class="mc-title">{title}</p>{frames}{told}'


def status(entry: Entry, progress: Progress | None, ahead: int) -> str:
    """How a job stands."""
    words = f'<p class="mc-words">{escape(entry.asked.prompt)}</p>'
    if entry.state == "waiting":
        line = "next" if not ahead else f"{ahead} before it" if ahead > 1 else "one before it"
        return f'{words}<p class="mc-state">In line: {line}.</p>'
    if entry.state == "running" and progress is not None:
        return words + _running(progress)
    if entry.state == "failed":
        return words + refusal(entry.sentence)
    took = f" in {spoken_time(entry.seconds)}" if entry.seconds is not None else ""
    return f'{words}<p class="mc-state">{_STATES[entry.state]}{took}.</p>{note(entry.sentence)}'


def _running(progress: Progress) -> str:
    share = progress.step / progress.steps if progress.steps else 0.0
    told = [progress.part]
    if progress.steps:
        told.append(f"step {progress.step} of {progress.steps}")
    if progress.left is not None:
        told.append(f"about {spoken_time(progress.left)} left")
    bar = (
        f'<div class="mc-bar" role="progressbar" aria-label="{escape(progress.part)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{share * 100:.0f}"><i style="width:{share * 100:.1f}%"></i></div>'
    )
    return f'{bar}<p class="mc-state">{escape(_sentence(", ".join(told)))}</p>{_curve(progress.energies)}'


def _curve(energies: Sequence[float]) -> str:
    """How far the motion still is from the reference's, step by step."""
    if len(energies) < 2:
        return ""
    top = max(energies) or 1.0
    width = 100 / (len(energies) - 1)
    points = " ".join(f"{i * width:.1f},{30 - 28 * energy / top:.1f}" for i, energy in enumerate(energies))
    told = f"Distance from the reference's motion: {energies[0]:.4f} at first, {energies[-1]:.4f} now"
    return (
        f'<figure class="mc-curve"><svg viewBox="0 0 100 32" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline points="{points}"/></svg><figcaption>{told}</figcaption></figure>'
    )


def result(entry: Entry, place: Path) -> str:
    """The videos of a job in step with each other, and what can be taken away."""
    shown = [("Reference", SEEN), ("Your video", VIDEO), ("Without guidance", UNGUIDED), ("Where motion is seen", HEAT)]
    videos = "".join(
        f'<figure><video src="{address(place / name)}" muted loop playsinline autoplay aria-label="{title}"></video>'
        f"<figcaption>{title}</figcaption></figure>"
        for title, name in shown
        if (place / name).is_file()
    )
    stem = re.sub(r"[^a-z0-9]+", "-", entry.asked.prompt.lower())[:60].strip("-") or "video"
    taken = {"Video": (VIDEO, ".mp4"), "Record": (RECORD, ".json"), "Motion": (MOTION, ".safetensors"),
             "Side by side": (COMPARISON, "-compare.mp4")}  # fmt: skip
    links = "".join(
        f'<a href="{address(place / name)}" download="{stem}{ending}">{title}</a>'
        for title, (name, ending) in taken.items()
    )
    return (
        f'<div class="mc-together" data-fps="{_fps(place):g}"><div class="mc-videos">{videos}</div>'
        '<div class="mc-controls">'
        '<button type="button" data-mc="back" aria-label="One frame back">&lsaquo;</button>'
        '<button type="button" data-mc="play">Pause</button>'
        '<button type="button" data-mc="on" aria-label="One frame on">&rsaquo;</button>'
        '<input type="range" min="0" max="1000" value="0" aria-label="Place in the videos"></div></div>'
        f'<p class="mc-title">Download</p><nav class="mc-links" aria-label="Downloads">{links}</nav>{_facts(entry)}'
    )


def _fps(place: Path) -> float:
    """Frames per second of a job's videos, by its record."""
    return float(read_json(place / RECORD, "a record")["motion"]["source"]["fps"])


def _facts(entry: Entry) -> str:
    asked = entry.asked
    end = "its end" if asked.end is None else f"{asked.end:g} s"
    facts = {
        "Clip": f"{asked.clip}, {asked.start:g} s to {end}",
        "Strength": f"{asked.strength:g}",
        "Steps": str(asked.steps),
        "Seed": str(asked.seed),
        "Model": entry.model,
    }
    return "<dl class='mc-facts'>" + "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def history(entries: Sequence[Entry], places: Sequence[Path], current: str, unreadable: Sequence[str]) -> str:
    """All jobs, the newest first, each a button that shows it."""
    cards = [
        f'<button type="button" class="mc-card mc-{entry.state}" data-job="{entry.id}" '
        f'aria-pressed="{"true" if entry.id == current else "false"}">'
        f'<img src="{address(place / POSTER)}?{entry.state}" alt="" loading="lazy">'
        f"<span>{escape(entry.asked.prompt)}</span>"
        f"<small>{_STATES[entry.state]}, {time.strftime('%d %b %H:%M', time.localtime(entry.created))}</small></button>"
        for entry, place in zip(reversed(entries), reversed(places), strict=True)
    ]
    lost = note(f"No jobs that can be read: {', '.join(unreadable)}, in the studio's folder.") if unreadable else ""
    if not cards:
        return (
            f'<p class="mc-note">Every video that you make stays here with its record, also after a restart.</p>{lost}'
        )
    return f'<div class="mc-cards">{"".join(cards)}</div>{lost}'


def address(path: Path) -> str:
    """Where the server has one of the studio's files."""
    return f"gradio_api/file={quote(str(path))}"


def _sentence(words: str) -> str:
    words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "!", "?")) else f"{words}."
