"""Trends: whether a value of a device rises or falls over time, by tests that outliers do not upset."""

from collections.abc import Mapping, Sequence
from math import erfc, sqrt
from typing import TypeVar

import numpy as np
from attrs import frozen

K = TypeVar("K")

LEAST_POINTS = 8
"""A trend is judged from this number of values on."""
LEAST_DAYS = 1.0
"""A trend is judged if the ends are this far apart: within a day, light and traffic change anyway."""
_MOST_POINTS = 1000
_LEAST_AT_END = 3
_DAY_SECONDS = 86_400


@frozen
class Trend:
    """The trend of a value over time.

    Attributes:
        points: the number of values.
        days: the time between the ends; an end is a tenth of the values, at least three of them, and
            its time is their median.
        slope: the median change a day.
        first: the median of the values of the first end, `last` that of the last. Both were observed,
            while a fitted line can go below zero, and one wrong time draws it out.
        p_value: the chance of such an order of values if there is no trend.
    """

    points: int
    days: float
    slope: float
    first: float
    last: float
    p_value: float


def trend_of(times: Sequence[float], values: Sequence[float]) -> Trend | None:
    """Return the trend of values at times (seconds).

    It is None for less than 8 values, or if the ends are less than a day apart.

    The slope is the median of the slopes between all pairs (Theil 1950, Sen 1968); up to 29 % of the
    points may be wrong without spoiling it. Of more than 1,000 values, every n-th is compared, so
    that there are at most 500,000 pairs. The p-value is that of the Mann-Kendall test (Mann 1945, Kendall 1975), two
    sided, with the correction for ties: `S` is the number of pairs that rise minus those that fall,
    its variance `(n(n-1)(2n+5) - sum of t(t-1)(2t+5)) / 18` over groups of `t` equal values.
    """
    at, value = np.asarray(times, np.float64) / _DAY_SECONDS, np.asarray(values, np.float64)
    count = len(at)
    if count < LEAST_POINTS:
        return None
    order = np.argsort(at, kind="stable")
    at, value = at[order], value[order]
    end = max(_LEAST_AT_END, count // 10)
    days = float(np.median(at[-end:]) - np.median(at[:end]))
    if days < LEAST_DAYS:
        return None
    first, last = float(np.median(value[:end])), float(np.median(value[-end:]))
    if count > _MOST_POINTS:
        kept = np.linspace(0, count - 1, _MOST_POINTS).round().astype(np.intp)
        at, value = at[kept], value[kept]
    one, other = np.triu_indices(len(at), 1)
    elapsed, change = at[other] - at[one], value[other] - value[one]
    slope = float(np.median(change[elapsed > 0] / elapsed[elapsed > 0]))
    score = int(np.sign(change[elapsed > 0]).sum())
    return Trend(count, days, slope, first, last, _mann_kendall(value, score))


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
