"""The videos that a report shows: some cases side by side, the same in every row."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motionclone.lab.plots import montage
from motionclone.lab.results import VIDEOS, DescribedCase, DescribedMethod, video_in
from motionclone.lab.tables import Run

_COLUMNS = 8


@dataclass(frozen=True)
class Montage:
    """A looping video of several cases."""

    label: str
    address: str  # data URI
    note: str = ""


def montages(
    run: Run, methods: Sequence[DescribedMethod], cases: Sequence[DescribedCase], folder: Path
) -> tuple[list[Montage], list[str]]:
    """A row of the references and one for each method; and the labels of those that have no video there.

    Raises:
        InputError: if a video is damaged, or lies elsewhere.
    """
    rows: list[tuple[str, bool, list[Path | None]]] = []
    references = [video_in(folder, f"{VIDEOS}/reference/{case.name}.mp4") for case in cases]
    rows.append(("reference", False, references))
    for method in methods:
        lines = [run.lines.get((method.name, case.name)) for case in cases]
        videos = [video_in(folder, line.video) if line is not None and line.video else None for line in lines]
        rows.append((method.label, method.kind != "heat map", videos))
    drawn, missing = [], []
    for label, generated, videos in rows:
        count = sum(video is not None for video in videos)
        if not count:
            missing.append(label)
            continue
        address = base64.b64encode(montage(videos, generated=generated)).decode()
        note = "" if count == len(videos) else f"{count} of {len(videos)} videos are there; the others are grey"
        drawn.append(Montage(label, f"data:video/mp4;base64,{address}", note))
    return drawn, missing


def spread(cases: Sequence[DescribedCase]) -> list[DescribedCase]:
    """Up to eight cases in their order, spread over kinds and, where there are enough, of different motions."""
    firsts = list({case.motion: case for case in reversed(cases)}.values())
    pool = [case for case in cases if len(firsts) < _COLUMNS or case in firsts]
    kinds = list(dict.fromkeys(case.kind for case in cases))
    pool.sort(key=lambda case: kinds.index(case.kind))
    last = min(_COLUMNS, len(pool)) - 1
    chosen = [pool[round(i * (len(pool) - 1) / max(last, 1))] for i in range(last + 1)]
    return [case for case in cases if case in chosen]
