"""How sure a mean over few measurements is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Statistic = Literal["mean", "median"]


@dataclass(frozen=True)
class Interval:
    """A statistic of n values, and the bounds of its confidence interval."""

    value: float
    low: float
    high: float
    n: int

    @property
    def bounded(self) -> bool:
        """Whether the bounds say more than the values do: those of two are the two values."""
        return self.n > 2


def bootstrap(
    values: Sequence[float],
    statistic: Statistic = "mean",
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap (Efron and Tibshirani, 1993, ch. 13) of independent values.

    Args:
        values: one of each case; NaN ones are left out, and n says how many remain.
        statistic: "mean", or "median", which is the mean of the middle two of an even number.
        resamples: how often n values are drawn with replacement.
        seed: of the draws.
        level: share of the resampled statistics between the bounds.

    Returns:
        All NaN if no value remains, NaN bounds if one does.
    """
    known = torch.tensor([value for value in values if not math.isnan(value)], dtype=torch.float64)
    n = len(known)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    value = float(_statistic(known, statistic))
    if n == 1:
        return Interval(value, math.nan, math.nan, 1)
    draws = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed))
    low, high = _statistic(known[draws], statistic).quantile(
        torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    )
    return Interval(value, float(low), float(high), n)


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    statistic: Statistic = "mean",
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """`bootstrap` of a - b over the pairs in which both are finite; as many values in both, case by case."""
    pairs = zip(a, b, strict=True)
    differences = [x - y for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    return bootstrap(differences, statistic, resamples, seed, level)


def _statistic(values: Tensor, statistic: Statistic) -> Tensor:
    """Over the last axis."""
    return values.mean(-1) if statistic == "mean" else values.quantile(0.5, dim=-1)
