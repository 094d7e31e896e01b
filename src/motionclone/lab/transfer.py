"""Whether a strength is the same everywhere: the best one at other sizes, lengths, numbers of steps and schedulers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from motionclone.files import whole_file
from motionclone.lab.bundled import SCHEDULERS, bundled_setup
from motionclone.lab.methods import Method
from motionclone.lab.results import RESULTS, ResultLine, read_results
from motionclone.lab.running import run_suite
from motionclone.settings import Settings, preset, preset_of

STRENGTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
SIDES, FRAMES, STEPS = (32, 96), (8, 24), (8, 16, 50)
"""Beside those of the bundled models' presets, which are 64 pixels, 16 frames and 24 steps of DDIM."""
UNGUIDED, PRESET, TABLE = "unguided", "preset", "table.md"


@dataclass(frozen=True)
class Setting:
    """A model's preset but for one thing."""

    name: str
    side: int | None = None
    frames: int | None = None
    steps: int | None = None
    scheduler: str | None = None

    def settings(self, base: Settings) -> Settings:
        """The preset's, in another number of steps as `in_steps` has them."""
        settings = base if self.steps is None else base.in_steps(self.steps)
        size = {"height": self.side, "width": self.side, "num_frames": self.frames}
        changes = {name: value for name, value in size.items() if value is not None}
        return settings.model_copy(update={"sampling": settings.sampling.model_copy(update=changes)})


@dataclass(frozen=True)
class Best:
    """The best strength of a setting, with its 95 % interval over cases, and the curve that it is the top of."""

    setting: str
    cases: int
    best: float | None  # None if no case tells
    low: float | None
    high: float | None
    strengths: tuple[float, ...]
    worth: tuple[float, ...]
    failed: int = 0  # videos, which the same call tries again


def settings_to_compare(schedulers: bool = True) -> tuple[Setting, ...]:
    """The preset itself, and it with one thing changed."""
    return (
        Setting(PRESET),
        *(Setting(f"side-{side}", side=side) for side in SIDES),
        *(Setting(f"frames-{frames}", frames=frames) for frames in FRAMES),
        *(Setting(f"steps-{steps}", steps=steps) for steps in STEPS),
        *(Setting(f"scheduler-{name}", scheduler=name) for name in SCHEDULERS if schedulers),
    )


def measure(
    folder: Path,
    model: str,
    compared: Sequence[Setting],
    *,
    cases: int,
    strengths: Sequence[float] = STRENGTHS,
    dtype: torch.dtype = torch.float32,
    workers: int = 1,
    on_done: Callable[[str, int, int], None] | None = None,
) -> list[Best]:
    """Run all settings, each in a folder of its own, as far as they are not done; what is done is read again.

    After every setting `folder/results.jsonl` has a line for each of them that is done, and table.md shows them.

    Args:
        folder: for results; may hold those of an earlier run that was interrupted.
        model: bundled, on whose world the motion is known.
        compared: the settings.
        cases: of the validation split, for each.
        strengths: of the curve.
        dtype: of the networks.
        workers: processes.
        on_done: called with the setting's name, its videos that are done, and all of them.

    Raises:
        InputError: a setting does not fit the model, or the folder holds something else.
    """
    base = preset(preset_of(model))
    methods = (
        Method(UNGUIDED, UNGUIDED, "strength", "The same noise.", {"guidance": {"strength": 0.0}}),
        *(Method(f"s-{s:g}", f"strength {s:g}", "strength", "", {"guidance": {"strength": s}}) for s in strengths),
    )
    found = []
    for setting in compared:
        setup, pipe = bundled_setup(
            "strength-transfer",
            methods,
            model,
            split="validation",
            cases=cases,
            dtype=dtype,
            settings=setting.settings(base),
            scheduler=setting.scheduler,
        )
        told = None if on_done is None else partial(on_done, setting.name)
        place, own = folder / setting.name, pipe if workers == 1 else None
        outcome = run_suite(setup, place, workers=workers, pipe=own, on_done=told)
        best = best_of(setting.name, worth_of(read_results(place)[0], strengths), strengths)
        found.append(replace(best, failed=outcome.failed))
        _write(folder, found)
    return found


def worth_of(lines: Sequence[ResultLine], strengths: Sequence[float]) -> Tensor:
    """What every case is worth at every strength, (cases, strengths).

    The explained motion of path and camera, as far as the case has them, between 0 and 1, less the share of the words
    that the unguided video has and this one has not: as large a share of either is worth the same. Where no object is
    found, its path explains nothing. Cases that are not complete, or of whose motion no strength explains anything, are
    left out.
    """
    scores: dict[str, dict[str, Mapping[str, float | None]]] = {}
    for line in lines:
        if line.outcome == "made":
            scores.setdefault(line.case, {})[line.method] = line.scores
    rows = []
    for by_method in scores.values():
        guided = [by_method.get(f"s-{s:g}", {}) for s in strengths]
        texts = [each.get("text") for each in (by_method.get(UNGUIDED, {}), *guided)]
        names = [n for n in ("path_explained", "camera_explained") if any(each.get(n) is not None for each in guided)]
        motion = [sum(min(1.0, max(0.0, each.get(n) or 0.0)) for n in names) / max(len(names), 1) for each in guided]
        plain = texts[0]
        if plain and None not in texts and max(motion) > 0:
            rows.append(
                [moved - (plain - (text or 0.0)) / plain for moved, text in zip(motion, texts[1:], strict=True)]
            )
    return torch.tensor(rows, dtype=torch.float64).view(len(rows), len(strengths))


def best_of(name: str, worth: Tensor, strengths: Sequence[float], resamples: int = 2000) -> Best:
    """Where the mean over cases is highest, and where it is over cases drawn with replacement (95 %).

    Args:
        name: of the setting.
        worth: (cases, strengths).
        strengths: ascending, three or more.
        resamples: how often cases are drawn.
    """
    logs = torch.tensor(strengths, dtype=torch.float64).log()
    count = len(worth)
    if count == 0:
        return Best(name, 0, None, None, None, tuple(strengths), ())
    draws = torch.randint(count, (resamples, count), generator=torch.Generator().manual_seed(0))
    drawn = top_of(logs, worth[draws].mean(1)).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    mean = worth.mean(0)
    low, high = (float(each.exp()) for each in drawn)
    best = float(top_of(logs, mean[None])[0].exp())
    return Best(name, count, best, low, high, tuple(strengths), tuple(round(float(x), 4) for x in mean))


def top_of(places: Tensor, curves: Tensor) -> Tensor:
    """Where curves (n, m) over ascending places (m,) are highest, (n,): the top of the parabola about the highest."""
    middle = curves.argmax(1).clamp(1, curves.shape[1] - 2)
    x = torch.stack([places[middle + i] for i in (-1, 0, 1)], 1)
    y = torch.stack([curves.gather(1, (middle + i)[:, None])[:, 0] for i in (-1, 0, 1)], 1)
    left, right = (y[:, 1] - y[:, 0]) / (x[:, 1] - x[:, 0]), (y[:, 2] - y[:, 1]) / (x[:, 2] - x[:, 1])
    bend = (right - left) / (x[:, 2] - x[:, 0])
    vertex = (x[:, 0] + x[:, 1]) / 2 - left / (2 * bend)
    ends = torch.where(y[:, 2] > y[:, 0], x[:, 2], x[:, 0])
    return torch.where(bend < 0, vertex.clamp(x[:, 0], x[:, 2]), ends)


def _write(folder: Path, found: Sequence[Best]) -> None:
    with whole_file(folder / RESULTS, overwrite=True) as temporary:
        temporary.write_text("".join(json.dumps(asdict(each)) + "\n" for each in found), encoding="utf-8")
    with whole_file(folder / TABLE, overwrite=True) as temporary:
        temporary.write_text(table(found), encoding="utf-8")


def table(found: Sequence[Best]) -> str:
    """As Markdown; the factor is to the preset's own best strength."""
    own = next((each.best for each in found if each.setting == PRESET), None)
    rows = []
    for each in found:
        factor = f"{each.best / own:.2f}" if each.best and own else ""
        best = "" if each.best is None else f"{each.best:.2f} [{each.low:.2f}, {each.high:.2f}]"
        failed = f", {each.failed} videos failed" if each.failed else ""
        rows.append(f"| {each.setting} | {each.cases}{failed} | {best} | {factor} |")
    return "\n".join(["| setting | cases | best strength, 95 % | to the preset's |", "|---|---|---|---|", *rows, ""])
