"""Forecasts of a daily series, such as the bytes received a day, with a band; chosen by backtest.

All series are one value a day, the oldest first, without gaps. Formulas follow R. J. Hyndman and
G. Athanasopoulos, *Forecasting: Principles and Practice*, 3rd edition (FPP3), chapters 5 and 8.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import product
from typing import TypeAlias

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

Series: TypeAlias = NDArray[np.float64]
"""One value a day, the oldest first; shape `(days,)`."""

WEEK = 7
BAND_Z = 1.6449
"""Standard deviations to each side of the forecast: a band of 90 % if errors are normal."""

_LEAST_DAYS = 3 * WEEK
"""A shorter series is forecast by its mean: nothing can be held out and learned from besides."""
_ORIGINS = 5
_HELD_OUT = 2 * WEEK
_EARLIER = 0.25
"""The weight of a run of the backtest as a share of that of the next later one.

So a method that suits the time after a step is chosen soon after it.
"""


class Method(StrEnum):
    """How a series is forecast."""

    MEAN = "mean"
    """The mean of the last week."""
    SEASONAL_NAIVE = "seasonal naive"
    """Each day as the same day of the last week (FPP3 5.2)."""
    DAMPED_TREND = "damped trend"
    """Exponential smoothing with a damped additive trend (FPP3 8.2; Gardner and McKenzie 1985)."""
    DAMPED_TREND_WEEKLY = "damped trend, weekly season"
    """The same with an additive season of seven days (FPP3 8.3)."""


@frozen
class Forecast:
    """The forecast of a series.

    Attributes:
        values: the forecast of each day, at least 0; the first is the day behind the series.
        daily_error: the standard deviation of the forecast of one day, from the backtest.
        total_error: that of the sum of `held_out` days.
        held_out: the number of days that each run of the backtest has held out; 0: none was run.
        errors: the mean absolute error of each method in the backtest, in units of the series; the
            last run counts most.
        enough_history: whether at least a week is known. If not, the deviation of so few days says
            nothing (that of a single day is 0), and there is no band.
    """

    method: Method
    values: Series = field(repr=False)
    daily_error: float
    total_error: float
    held_out: int
    errors: Mapping[Method, float]
    enough_history: bool = True

    def total(self, days: int) -> float:
        """Return the forecast of the sum of the first `days` days."""
        return float(self.values[:days].sum())

    def band(self) -> tuple[Series, Series]:
        """Return the lower and the upper limit of each day, of the band of 90 %."""
        half = BAND_Z * self.daily_error
        return np.maximum(0.0, self.values - half), self.values + half

    def total_deviations(self) -> Series:
        """Return for each day the standard deviation of the sum of all days up to it.

        The errors of days add up to at least the root of the number of days (independent errors),
        and to its multiple if the forecast has a wrong level: the larger of both is returned.
        """
        days = np.arange(1, len(self.values) + 1)
        level = self.total_error / self.held_out if self.held_out else self.daily_error
        found: Series = np.maximum(self.daily_error * np.sqrt(days), level * days)
        return found


def forecast(series: Sequence[float] | Series, days: int) -> Forecast:
    """Return the forecast of `days` days by the method with the least error in a backtest.

    A series of less than three weeks is forecast by the mean of its last week; its band is then the
    deviation of these days, if they are a whole week. An empty series is one of zeros.
    """
    known = np.asarray(series, np.float64)
    if len(known) < _LEAST_DAYS:
        week = known[-WEEK:] if len(known) else np.zeros(1)
        values = np.full(days, max(0.0, float(week.mean())))
        enough = len(known) >= WEEK
        return Forecast(Method.MEAN, values, float(week.std()), 0.0, 0, {}, enough)
    runs = backtest(known)
    errors = {method: _mean_error(found) for method, found in runs.items()}
    method = min(errors, key=lambda one: errors[one])
    found = runs[method]
    return Forecast(
        method,
        predict(method, known, days),
        float(np.sqrt((found**2).mean())),
        float(np.sqrt((found.sum(axis=1) ** 2).mean())),
        found.shape[1],
        errors,
    )


def backtest(series: Series) -> Mapping[Method, Series]:
    """Return the errors of each method on days that it was not shown, shape `(runs, days)`.

    Rolling origin (FPP3 5.10): each run is given the days before an origin and forecasts two weeks
    behind it (one week if the series is short). The last origin is two weeks before the end, each
    other one half of that earlier, as far as three weeks remain to learn from.
    """
    ahead = _HELD_OUT if len(series) >= _LEAST_DAYS + _HELD_OUT else WEEK
    least = min(_LEAST_DAYS, len(series) - ahead)
    last = len(series) - ahead
    origins = [last - run * (ahead // 2) for run in range(_ORIGINS)]
    origins = [origin for origin in origins if origin >= least]
    held_out = np.array([series[origin : origin + ahead] for origin in origins])
    return {method: forecasts_at(method, series, origins, ahead) - held_out for method in Method}


def _mean_error(errors: Series) -> float:
    runs = np.abs(errors).mean(axis=1)
    return float(np.average(runs, weights=_EARLIER ** np.arange(len(runs))))


def predict(method: Method, series: Series, days: int) -> Series:
    """Return the forecast of the `days` days behind a series of at least two weeks."""
    found: Series = forecasts_at(method, series, [len(series)], days)[0]
    return found


def forecasts_at(method: Method, series: Series, origins: Sequence[int], days: int) -> Series:
    """Return the forecast of `days` days at each origin, at least 0, shape `(origins, days)`.

    The forecast at an origin depends on the days before it only. Origins are at least 14.
    """
    match method:
        case Method.MEAN:
            rows = [np.full(days, series[at - WEEK : at].mean()) for at in origins]
        case Method.SEASONAL_NAIVE:
            rows = [np.resize(series[at - WEEK : at], days) for at in origins]
        case _:
            seasonal = method is Method.DAMPED_TREND_WEEKLY
            rows = _smoothed(series, origins, days, seasonal=seasonal)
    found: Series = np.maximum(0.0, np.array(rows))
    return found


_ALPHAS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
_BETAS = (0.01, 0.05, 0.15, 0.4)
_GAMMAS = (0.05, 0.15, 0.4)
_DAMPINGS = (0.8, 0.9, 0.95, 0.98)


def _smoothed(series: Series, origins: Sequence[int], days: int, *, seasonal: bool) -> list[Series]:
    """Return the forecasts at origins by ETS(A,Ad,N) or, with `seasonal`, ETS(A,Ad,A).

    One pass over the series serves all origins: the state at an origin depends on the days before.

    Level l, trend b, season s, damping d, and the smoothing parameters p, q and r of the level, the
    trend and the season; all parameters of a grid are tried at once:

        e(t) = y(t) - l(t-1) - d b(t-1) - s(t-7)
        l(t) = l(t-1) + d b(t-1) + p e(t)
        b(t) = d b(t-1) + p q e(t)
        s(t) = s(t-7) + r (1 - p) e(t)
        forecast of t+h = l(t) + (d + d^2 + … + d^h) b(t) + s of that weekday

    At each origin the parameters with the least sum of squared e(t) until then are used.
    """
    gammas = _GAMMAS if seasonal else (0.0,)
    grid = np.array(list(product(_ALPHAS, _BETAS, gammas, _DAMPINGS))).T
    alpha, beta, gamma, damping = grid
    level, trend, season = _start(series[: min(origins)], len(alpha), seasonal=seasonal)
    squares = np.zeros(len(alpha))
    found: dict[int, Series] = {}
    for day in range(max(origins) + 1):
        if day in origins:
            best = int(squares.argmin())
            damped = np.cumsum(damping[best] ** np.arange(1, days + 1))
            places = (day + np.arange(days)) % WEEK
            found[day] = level[best] + damped * trend[best] + season[places, best]
        if day < len(series):
            place = day % WEEK
            base = level + damping * trend
            error = series[day] - base - season[place]
            level = base + alpha * error
            trend = damping * trend + alpha * beta * error
            season[place] += gamma * (1 - alpha) * error
            squares += error**2
    return [found[origin] for origin in origins]


def _start(series: Series, count: int, *, seasonal: bool) -> tuple[Series, Series, Series]:
    """Return the first level, trend and season, the same for each of `count` parameters.

    The trend is the change from the mean of the first week to that of the second. The season is the
    mean difference of each weekday of the first three weeks from the mean of its week.
    """
    first, second = series[:WEEK].mean(), series[WEEK : 2 * WEEK].mean()
    season = np.zeros((WEEK, count))
    if seasonal:
        whole = min(3, len(series) // WEEK)
        weeks = series[: whole * WEEK].reshape(whole, WEEK)
        season += (weeks - weeks.mean(axis=1, keepdims=True)).mean(axis=0)[:, None]
    return np.full(count, first), np.full(count, (second - first) / WEEK), season
