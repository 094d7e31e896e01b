"""The report's pictures: dots with whiskers as SVG, and videos side by side as MP4."""

import io
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import torch
from torch import Tensor

from motionclone.errors import from_extra
from motionclone.lab.metrics.statistics import Interval
from motionclone.media.reading import Clip, clip_size, read_clip
from motionclone.media.writing import side_by_side, write_video

with from_extra("lab", "the report"):
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

# Stand-ins that become the page's CSS variables, so that plots are right in light and dark.
_INK, _MUTED, _RULE, _ACCENT = "#010101", "#020202", "#030303", "#040404"
_VARIABLES = {_INK: "var(--ink)", _MUTED: "var(--muted)", _RULE: "var(--rule)", _ACCENT: "var(--accent)"}
_TALLEST, _WIDEST = 128, 320  # pixels; larger videos are shrunk, or the page of a real model would weigh hundreds of MB
_LONGEST = 161  # frames; of longer videos so many are taken


@dataclass(frozen=True)
class Panel:
    """One metric of several methods."""

    title: str
    intervals: tuple[Interval, ...]  # one for each method; what is NaN is not drawn
    limits: tuple[float, float]  # of the axis


def whiskers(name: str, description: str, labels: Sequence[str], panels: Sequence[Panel], compared: bool) -> str:
    """Dots with their intervals, methods from top to bottom, as an SVG element to stand inside a page.

    Colours are the CSS variables --ink, --muted, --rule and --accent; the font is the page's.

    Args:
        name: unique in the page; the element's ids begin with it.
        description: what the plot shows, for those who cannot see it.
        labels: of the methods.
        panels: next to each other, left to right.
        compared: whether the first method is what the others are compared with: it is accented then, and a line runs
            from it through the panel.
    """
    rows = range(len(labels))
    figure = Figure(figsize=(8.4, 0.62 + 0.3 * len(labels)), layout=ConstrainedLayoutEngine(wspace=0.08))
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        for row, interval in zip(rows, panel.intervals, strict=True):
            colour = _ACCENT if compared and row == 0 else _INK
            axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=1.3)
            axes.plot(interval.value, row, "o", color=colour, markersize=5.5)
        if compared and panel.intervals[0].n:
            axes.axvline(panel.intervals[0].value, color=_ACCENT, linewidth=0.6, dashes=(2, 3))
        axes.set(xlim=panel.limits, ylim=(len(labels) - 0.4, -0.6))
        axes.set_title(panel.title, loc="left", fontsize=9.5, color=_INK)
        axes.set_yticks(rows, [fill(label, 28) for label in labels], parse_math=False, fontsize=9.5, color=_INK)
        axes.grid(axis="y", color=_RULE, linewidth=0.7)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(length=0, labelcolor=_INK)
        axes.tick_params(axis="x", labelsize=8.5, labelcolor=_MUTED)
        axes.spines[:].set_visible(False)
        axes.set_axisbelow(True)
    return _for_page(figure, name, description)


@dataclass(frozen=True)
class Line:
    """Points of a plane, in their order."""

    title: str
    across: tuple[float, ...]
    up: tuple[float, ...]


def fronts(name: str, description: str, base: Line, lines: Sequence[Line], axes_titles: tuple[str, str]) -> str:
    """Each line beside `base`, which is accented, in a panel of its own, as an SVG element like that of `whiskers`."""
    columns = min(4, len(lines))
    rows = -(-len(lines) // columns)
    figure = Figure(figsize=(8.4, 0.4 + 1.9 * rows), layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.06))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for number, (axes, line) in enumerate(zip(grid, lines, strict=False)):
        axes.tick_params(labelbottom=number >= len(lines) - columns)  # the lowest of each column
        axes.plot(base.across, base.up, "o-", color=_ACCENT, markersize=2.5, linewidth=1)
        axes.plot(line.across, line.up, "o-", color=_INK, markersize=3.5, linewidth=1.3)
        axes.set_title(fill(line.title, 28), loc="left", fontsize=9.5, color=_INK, parse_math=False)
        axes.grid(color=_RULE, linewidth=0.7)
        axes.locator_params(nbins=4)
        axes.tick_params(length=0, labelsize=8.5, labelcolor=_MUTED)
        axes.spines[:].set_visible(False)
        axes.set_axisbelow(True)
    for axes in grid[len(lines) :]:
        axes.remove()
    figure.supxlabel(axes_titles[0], fontsize=9.5, color=_INK)
    figure.supylabel(axes_titles[1], fontsize=9.5, color=_INK)
    return _for_page(figure, name, description)


def _for_page(figure: Figure, name: str, description: str) -> str:
    """As an SVG element of a page: own ids, the page's colours and font, and an accessible name."""
    drawn = io.StringIO()
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", transparent=True, metadata=undated)
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font-family: [^;]*;", "", re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL))
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    title = description.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return svg.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title" ', 1).replace(
        ">", f'><title id="{name}-title">{title}</title>', 1
    )


def montage(paths: Sequence[Path | None], *, generated: bool) -> bytes:
    """Videos side by side as the bytes of an MP4; grey where there is none. At least one must be.

    Frames are kept pixel by pixel up to 128 rows and shrunk beyond; all end with the shortest.

    Args:
        paths: of the videos, left to right.
        generated: whether a model made them; then the metadata say so.

    Raises:
        InputError: a file is no video.
    """
    clips = [None if path is None else _read(path) for path in paths]
    there = [clip for clip in clips if clip is not None]
    length = min(len(clip.frames) for clip in there)
    blank = torch.zeros_like(there[0].frames[:length])
    frames: list[Tensor] = [blank if clip is None else clip.frames[:length] for clip in clips]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "montage.mp4"
        provenance = {"ai_generated": True, "made_by": "motionclone evaluate"} if generated else None
        write_video(path, side_by_side(frames, gap=2, min_height=1), there[0].fps, provenance=provenance)
        return path.read_bytes()


def _read(path: Path) -> Clip:
    """The whole video, or of one that evaluate cannot have made what a page can hold."""
    count, height, width = clip_size(path)
    scale = min(1.0, _TALLEST / height, _WIDEST / width)
    return read_clip(path, min(count, _LONGEST), max(2, round(height * scale)), max(2, round(width * scale)))
