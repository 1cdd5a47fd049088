"""Statistics of scores per picture: intervals by the bootstrap, paired differences, wins.

Pictures differ much more than methods do, so two methods are compared picture by picture. An
interval says how far the figure would move with other pictures of the same kind (Efron 1979); it
knows nothing of other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9999
Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """Of one metric over several pictures; no interval (None) for a single picture."""

    mean: float
    median: float
    interval: Interval | None


@dataclass(frozen=True)
class PairedDifference:
    """One method minus another, picture by picture: the mean difference and its interval, and on
    how many pictures the first is better, the second is better, or both are equal.
    """

    mean: float
    interval: Interval | None
    wins: int
    losses: int
    ties: int


def summarize(values: Sequence[float]) -> Summary:
    """Mean, median and 95 % interval of the mean of at least one value."""
    return Summary(fmean(values), median(values), mean_interval(values))


def paired_difference(
    first: Sequence[float], second: Sequence[float], better: int
) -> PairedDifference:
    """Values of two methods on the same pictures, in the same order; `better` is 1 where more is
    better, -1 where less is.
    """
    changes = [a - b for a, b in zip(first, second, strict=True)]
    wins = sum(better * each > 0 for each in changes)
    losses = sum(better * each < 0 for each in changes)
    interval = mean_interval(changes)
    return PairedDifference(fmean(changes), interval, wins, losses, len(changes) - wins - losses)


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval | None:
    """95 % percentile bootstrap interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import bootstrap

    result = bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=math.ceil(2**22 / len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def share_interval(count: int, total: int) -> Interval | None:
    """95 % interval of a share by Wilson's formula; None where there is nothing to share."""
    if not total:
        return None
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
