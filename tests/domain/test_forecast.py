"""Forecasts: generated series with held-out days, short series, bands; days until a store is full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.forecast import Method, forecast
from traffic_storage.domain.pressure import days_to_fill

DAYS = np.arange(120)
HELD_OUT = 14


SERIES = {
    "trend": 100 + 1.5 * DAYS,
    "weekly season": 100 + np.resize([30.0, 20, 10, 0, -10, -20, -30], len(DAYS)),
    "step": np.where(DAYS < 80, 100.0, 220.0),
}
NOISE = 5.0


@pytest.mark.parametrize("name", SERIES)
def test_held_out_days_are_forecast_better_than_by_the_last_value(name: str) -> None:
    errors, naive, within = [], [], []
    for seed in range(6):
        series = SERIES[name] + np.random.default_rng(seed).normal(0, NOISE, len(DAYS))
        known, held_out = series[:-HELD_OUT], series[-HELD_OUT:]
        found = forecast(known, HELD_OUT)
        low, high = found.band()
        errors.append(np.abs(found.values - held_out).mean())
        naive.append(np.abs(known[-1] - held_out).mean())
        within.append(((low <= held_out) & (held_out <= high)).mean())
    assert np.mean(errors) < np.mean(naive)
    assert np.mean(errors) < 2 * NOISE
    assert np.mean(within) > 0.8


def test_a_repeated_week_is_forecast_exactly() -> None:
    week = [5.0, 0, 0, 1, 2, 3, 4]
    found = forecast(week * 8, 14)
    assert found.method in (Method.SEASONAL_NAIVE, Method.DAMPED_TREND_WEEKLY)
    assert found.values == pytest.approx(week * 2, abs=1e-6)
    assert found.total(7) == pytest.approx(15)
    assert found.total_deviations() == pytest.approx(np.zeros(14), abs=1e-6)


@pytest.mark.parametrize(("series", "mean"), [([], 0), ([4.0, 8.0], 6), ([9.0] * 5 + [2.0] * 7, 2)])
def test_a_short_series_is_forecast_by_its_last_week(series: list[float], mean: float) -> None:
    found = forecast(series, 3)
    assert (found.method, found.held_out, found.values.tolist()) == (Method.MEAN, 0, [mean] * 3)
    assert (np.diff(found.total_deviations()) >= 0).all()
    assert found.enough_history == (len(series) >= 7)


@given(st.lists(st.floats(0, 1e12), max_size=40))
def test_a_forecast_is_never_negative_or_infinite(series: list[float]) -> None:
    found = forecast(series, 30)
    assert (found.values >= 0).all()
    assert np.isfinite(found.values).all()
    assert (np.diff(found.total_deviations()) >= -1e-6).all()


def test_days_until_a_store_is_full() -> None:
    assert days_to_fill(10, [4, 4, 4]) == 2.5
    assert days_to_fill(10, [1]) == 10
    assert days_to_fill(10, [0, -5, 5, 2, 2]) == pytest.approx(5 + 6 / 0.8)
    assert days_to_fill(10, [0]) is None
    assert days_to_fill(10, [3, -9]) is None
    assert days_to_fill(1e9, [1e-9]) == 36_500
