"""Trends: whether a value of a device rises or falls over time, by tests that outliers do not upset."""

from collections.abc import Mapping, Sequence
from math import erfc, sqrt
from typing import TypeVar

import numpy as np
from attrs import frozen

K = TypeVar("K")

LEAST_POINTS = 8
"""A trend is judged from this number of values on."""
_DAY_SECONDS = 86_400


@frozen
class Trend:
    """The trend of a value over time.

    Attributes:
        points: the number of values.
        days: the time from the first to the last of them.
        slope: the median change a day.
        first: the value at the beginning of the fitted line, `last` that at its end.
        p_value: the chance of such an order of values if there is no trend.
    """

    points: int
    days: float
    slope: float
    first: float
    last: float
    p_value: float


def trend_of(times: Sequence[float], values: Sequence[float]) -> Trend | None:
    """Return the trend of values at times (seconds); None for less than 8 values or no time between.

    The slope is the median of the slopes between all pairs (Theil 1950, Sen 1968), and the line goes
    through the medians. The p-value is that of the Mann-Kendall test (Mann 1945, Kendall 1975), two
    sided, with the correction for ties: `S` is the number of pairs that rise minus those that fall,
    its variance `(n(n-1)(2n+5) - sum of t(t-1)(2t+5)) / 18` over groups of `t` equal values.
    """
    at, value = np.asarray(times, np.float64) / _DAY_SECONDS, np.asarray(values, np.float64)
    if len(at) < LEAST_POINTS or not np.ptp(at) > 0:
        return None
    order = np.argsort(at, kind="stable")
    at, value = at[order], value[order]
    one, other = np.triu_indices(len(at), 1)
    elapsed, change = at[other] - at[one], value[other] - value[one]
    slope = float(np.median(change[elapsed > 0] / elapsed[elapsed > 0]))
    middle, level = float(np.median(at)), float(np.median(value))
    return Trend(
        len(at),
        float(np.ptp(at)),
        slope,
        level + slope * (float(at[0]) - middle),
        level + slope * (float(at[-1]) - middle),
        _mann_kendall(value, int(np.sign(change[elapsed > 0]).sum())),
    )


def significant(p_values: Mapping[K, float], rate: float) -> frozenset[K]:
    """Return the keys of the tests that are significant at a false discovery rate.

    Of `m` tests ordered by their p-values, those up to the last whose p-value is at most
    `rank / m * rate` (Benjamini and Hochberg, 1995).
    """
    ranked = sorted(p_values, key=lambda key: p_values[key])
    passed = 0
    for rank, key in enumerate(ranked, 1):
        if p_values[key] <= rank / len(ranked) * rate:
            passed = rank
    return frozenset(ranked[:passed])


def _mann_kendall(value: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", score: int) -> float:
    count = len(value)
    _, ties = np.unique(value, return_counts=True)
    variance = (
        count * (count - 1) * (2 * count + 5) - int((ties * (ties - 1) * (2 * ties + 5)).sum())
    ) / 18
    if score == 0 or variance <= 0:
        return 1.0
    return erfc((abs(score) - 1) / sqrt(variance) / sqrt(2))
