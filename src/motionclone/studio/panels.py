"""The parts of the page that show something, as HTML. All that a person wrote is escaped."""

import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from motionclone.studio.clips import READY
from motionclone.studio.foretelling import spoken_time
from motionclone.studio.icons import icon
from motionclone.studio.making import POSTER, VIDEO
from motionclone.studio.store import Entry
from motionclone.studio.worker import Progress

_STATES = {
    "waiting": "In line",
    "running": "Being made",
    "done": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}


def refusal(why: str) -> str:
    """A sentence that says why something cannot be; nothing for an empty one."""
    return f'<p class="mc-refusal" role="alert">{escape(sentence(why))}</p>' if why else ""


def note(words: str) -> str:
    """A sentence worth knowing."""
    return f'<p class="mc-note">{escape(words)}</p>' if words else ""


def empty(tries: Sequence[tuple[str, str]]) -> str:
    """What stands where nothing is shown yet: how it goes, and examples, ready motions with words, to try."""
    buttons = "".join(
        f'<button type="button" class="mc-try" data-try="{number}">{icon(READY[name])}<span><b>{escape(words)}</b>'
        f"<small>{name}</small></span></button>"
        for number, (name, words) in enumerate(tries)
    )
    return f"""<div class="mc-empty"><h3>Your video appears here</h3><ol>
<li>Choose a clip whose <b>motion</b> you like: drop one, or take a ready motion.</li>
<li>Say in words what the new video <b>shows</b>.</li>
<li>Make it, and watch reference and result side by side.</li></ol>
<h4>Or try one of these</h4><div class="mc-tries">{buttons}</div></div>"""


def news(entry: Entry | None, progress: Progress | None) -> str:
    """How a job stands, for those who listen: by quarters, so that they are not told every second."""
    if entry is None:
        return ""
    told = _STATES[entry.state]
    if entry.state == "running" and progress is not None:
        quarter = 25 * (4 * progress.step // progress.steps) if progress.steps else 0
        told = f"{progress.part}, {quarter} percent"
    return f'<p class="mc-heard" role="status">{escape(sentence(told))}</p>'


def status(entry: Entry, progress: Progress | None, ahead: int, wait: float | None = None, preview: str = "") -> str:
    """How a job stands.

    Args:
        entry: of the job.
        progress: of one that is being made.
        ahead: how many jobs are made before one that waits.
        wait: about how many seconds that takes, if it is known.
        preview: address of a picture of where the job is heading, if there is one.
    """
    words = f'<p class="mc-words">{escape(entry.asked.prompt)}</p>'
    if entry.state == "waiting":
        line = "next" if not ahead else f"{ahead} before it" if ahead > 1 else "one before it"
        about = f", about {spoken_time(wait)}" if ahead and wait is not None else ""
        return f'{words}<p class="mc-state">In line: {line}{about}.</p>'
    if entry.state == "running" and progress is not None:
        seen = (
            f'<figure class="mc-preview"><img src="{preview}" alt="The video as it is now expected to become">'
            "<figcaption>Where it is heading</figcaption></figure>"
            if preview
            else ""
        )
        return words + _running(progress) + seen
    if entry.state == "failed":
        return words + refusal(entry.sentence)
    took = f" in {spoken_time(entry.seconds)}" if entry.seconds is not None else ""
    told = note(entry.sentence and sentence(entry.sentence))
    return f'{words}<p class="mc-state">{_STATES[entry.state]}{took}.</p>{told}'


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
    return f'{bar}<p class="mc-state">{escape(sentence(", ".join(told)))}</p>{_curve(progress.energies)}'


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


def definitions(facts: Mapping[str, str]) -> str:
    """Names and what stands for them."""
    told = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f'<dl class="mc-facts">{told}</dl>'


def history(entries: Sequence[Entry], places: Sequence[Path], current: str, unreadable: Sequence[str]) -> str:
    """All jobs, the newest first, each with a button that shows it and one that makes it a winner."""
    cards = "".join(
        _card(entry, place, entry.id == current)
        for entry, place in zip(reversed(entries), reversed(places), strict=True)
    )
    lost = note(f"No jobs that can be read: {', '.join(unreadable)}, in the studio's folder.") if unreadable else ""
    if not cards:
        return note("Every video that you make stays here with its record, also after a restart.") + lost
    return f'<ul class="mc-cards">{cards}</ul>{lost}'


def _card(entry: Entry, place: Path, current: bool) -> str:
    words, chosen = escape(entry.asked.prompt), str(entry.chosen).lower()
    when = time.strftime("%d %b %H:%M", time.localtime(entry.created))
    star = (
        f'<button type="button" class="mc-star" data-star="{entry.id}" aria-pressed="{chosen}" '
        f'aria-label="Winner: {words}" title="Winner">&#9733;</button>'
        if entry.state == "done"
        else ""
    )
    compared = ""
    if entry.state == "done" and not entry.asked.strengths:  # with the video that is shown, for which it has a name
        short = entry.asked.prompt if len(entry.asked.prompt) <= 40 else f"{entry.asked.prompt[:36]} ..."
        at = time.strftime("%d %b %H:%M:%S", time.localtime(entry.created))
        name = escape(f"Strength {entry.asked.strength:g}, seed {entry.asked.seed}: {short} ({at})")
        compared = f'data-video="{address(place / VIDEO)}" data-name="{name}" '
    return (
        f'<li class="mc-card mc-{entry.state}{" mc-chosen" * entry.chosen}">'
        f'<button type="button" data-job="{entry.id}" {compared}'
        f'aria-pressed="{str(current).lower()}">'
        f'<img src="{address(place / POSTER)}?{entry.state}" alt="" loading="lazy">'
        f"<span>{words}</span><small>{_STATES[entry.state]}, {when}</small></button>{star}</li>"
    )


def address(path: Path) -> str:
    """Where the server has one of the studio's files."""
    return f"gradio_api/file={quote(str(path))}"


def sentence(words: str) -> str:
    """Words with a capital at the beginning and a stop at the end."""
    if "." not in words.split(" ")[0]:  # the name of a file stays as it is
        words = words[:1].upper() + words[1:]
    return words if words.endswith((".", "!", "?")) else f"{words}."
