"""Motion against words: ways of guiding, each over its weights or strengths, compared where they keep as many words.

At one weight, one way is often only stronger than another, and looks better for it. A curve tells what each makes of
the words that it costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionclone.lab.metrics.statistics import Interval
from motionclone.lab.results import DescribedMethod, ResultLine

_RESAMPLES = 2000
_Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Curve:
    """One way of guiding, from the unguided video on with ever more weight or strength."""

    label: str
    about: str
    factors: tuple[float, ...]  # of weight or strength; the first is 0
    words: Tensor  # (factors, cases): text score, as a share of the unguided video's; NaN where there is no video
    motion: Tensor  # (factors, cases): `motion_share`


@dataclass(frozen=True)
class AtEqualWords:
    """What a curve is worth where its words are those that another one has at its recommended point."""

    motion: Interval
    difference: Interval  # to the other's motion there
    factor: float  # about where on the curve; NaN where its words do not fall so far
    reached: float  # in which share of the draws they do
    base: Interval  # the other's motion on the same cases


def motion_share(scores: _Scores, ceiling: _Scores) -> float:
    """Explained motion of path and camera, as far as a case has them, as a share of the re-encoded reference's.

    Each lies between 0 and 1: what moves worse than a still video counts as one. NaN if a case has neither.
    """
    shares = []
    for name in ("path_explained", "camera_explained"):
        if (most := ceiling.get(name)) is not None and most > 0:
            shares.append(min(1.0, max(0.0, scores.get(name) or 0.0) / most))
    return sum(shares) / len(shares) if shares else float("nan")


def words_share(scores: _Scores, unguided: _Scores) -> float:
    """The text score as a share of the unguided video's; NaN if either has none."""
    own, whole = scores.get("text"), unguided.get("text")
    return float("nan") if own is None or not whole else own / whole


def curve_of(
    methods: Sequence[DescribedMethod], lines: Mapping[tuple[str, str], ResultLine], cases: Sequence[str]
) -> Curve:
    """The curve of methods that differ in their factor alone.

    Args:
        methods: one or more, each with a video at least.
        lines: of the whole run, by method and case, "unguided" and "ceiling" among them.
        cases: names.
    """
    methods = sorted(methods, key=lambda method: method.factor)

    def scores(method: str, case: str) -> _Scores:
        line = lines.get((method, case))
        return {} if line is None else line.scores

    names = ["unguided", *(method.name for method in methods)]
    words = [[words_share(scores(name, case), scores("unguided", case)) for case in cases] for name in names]
    motion = [
        [motion_share(own, scores("ceiling", case)) if (own := scores(name, case)) else float("nan") for case in cases]
        for name in names
    ]
    return Curve(
        methods[0].curve,
        methods[0].about,
        (0.0, *(method.factor for method in methods)),
        torch.tensor(words, dtype=torch.float64),
        torch.tensor(motion, dtype=torch.float64),
    )


def means(curve: Curve) -> tuple[Tensor, Tensor]:
    """Mean words and motion of every factor, (factors,) each; NaN where there are none."""
    return curve.words.nanmean(-1), curve.motion.nanmean(-1)


def read_at(words: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """What `values` are where words first fall to `wanted`, between the points in a straight line.

    Args:
        words: (..., points).
        values: (..., points).
        wanted: (...).

    Returns:
        (...); NaN where words do not fall so far, or begin below.
    """
    before, after = words[..., :-1], words[..., 1:]
    wanted = wanted.unsqueeze(-1)
    crossed = (before >= wanted) & (after <= wanted)
    share = ((before - wanted) / (before - after).clamp(min=1e-12)).clamp(0, 1)
    found = values[..., :-1] + share * (values[..., 1:] - values[..., :-1])
    first = crossed.int().argmax(-1, keepdim=True)
    return torch.where(crossed.any(-1), found.gather(-1, first).squeeze(-1), torch.nan)


def at_equal_words(curve: Curve, base: Curve, seed: int = 0) -> AtEqualWords:
    """Read `curve` off where it keeps as many words as `base` does at its factor 1, which is one of its points.

    Intervals are of the bootstrap over cases that both have at all factors, drawn together for both curves, so that the
    words to be kept are drawn with them.
    """
    whole = (curve.words.isfinite() & curve.motion.isfinite()).all(0)
    whole &= (base.words.isfinite() & base.motion.isfinite()).all(0)
    curve, base = _of(curve, whole), _of(base, whole)
    count = int(whole.sum())
    if not count:
        nothing = Interval(float("nan"), float("nan"), float("nan"), 0)
        return AtEqualWords(nothing, nothing, float("nan"), 0.0, nothing)
    draws = torch.randint(count, (_RESAMPLES, count), generator=torch.Generator().manual_seed(seed))
    every = torch.cat([torch.arange(count)[None], draws])  # first the cases as they are
    own = base.factors.index(1.0)

    def over(values: Tensor) -> Tensor:
        return values[:, every].mean(-1).T  # (draws, factors)

    wanted, there = over(base.words)[:, own], over(base.motion)[:, own]
    factors = torch.tensor(curve.factors, dtype=torch.float64).expand(len(every), -1)
    words = over(curve.words)
    found = read_at(words, over(curve.motion), wanted)
    place = read_at(words[:1], factors[:1], wanted[:1])
    reached = found[1:].isfinite().double().mean()
    motion, difference, own_motion = (_interval(each, count) for each in (found, found - there, there))
    return AtEqualWords(motion, difference, float(place), float(reached), own_motion)


def _of(curve: Curve, cases: Tensor) -> Curve:
    return replace(curve, words=curve.words[:, cases], motion=curve.motion[:, cases])


def _interval(found: Tensor, count: int) -> Interval:
    """Of the value as it is, which comes first, and the resampled ones."""
    known = found[1:][found[1:].isfinite()]
    if found[0].isnan() or not len(known):
        return Interval(float("nan"), float("nan"), float("nan"), count)
    low, high = known.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(found[0]), low, high, count)
