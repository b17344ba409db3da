"""Trends: the Mann-Kendall test, the Theil-Sen slope, and many tests at once."""

import numpy as np
import pytest

from traffic_storage.domain.trends import significant, trend_of

DAY = 86_400.0


def test_a_line_has_its_slope_whatever_the_outliers() -> None:
    values = [10 - 0.5 * day for day in range(20)]
    values[3], values[11] = 900, -900
    found = trend_of([DAY * day for day in range(20)], values)
    assert found is not None
    assert found.slope == pytest.approx(-0.5, abs=0.05)
    assert (found.points, found.days) == (20, 17)
    assert (found.first, found.last) == pytest.approx((10, 0.5), abs=0.6)
    assert found.p_value < 1e-4


def test_the_p_value_of_a_known_case() -> None:
    # 10 rising values: S = 45, variance = 10 * 9 * 25 / 18 = 125, z = 44 / 11.18 = 3.935.
    found = trend_of([DAY * day for day in range(10)], list(range(10)))
    assert found is not None
    assert found.p_value == pytest.approx(8.3e-5, rel=0.01)


def test_the_ends_are_observed_whatever_the_line() -> None:
    # Decays to near 0: a line through the medians ends below 0.
    values = [0.9**day for day in range(60)]
    found = trend_of([DAY * day for day in range(60)], values)
    assert found is not None
    assert (found.first, found.last) == pytest.approx((0.78, 0.0026), rel=0.05)
    assert found.p_value < 1e-9


def test_one_day_of_receipt_has_no_trend() -> None:
    """Images without a capture time have the time of receipt: those of a bulk load, one day."""
    assert trend_of([60.0 * minute for minute in range(500)], list(range(500))) is None
    late = [*(60.0 * minute for minute in range(500)), 900 * DAY]
    assert trend_of(late, list(range(501))) is None


def test_the_cost_of_many_values_is_bounded() -> None:
    times = [3600.0 * hour for hour in range(10_000)]
    found = trend_of(times, [hour % 7 - 0.001 * hour for hour in range(10_000)])
    assert found is not None
    assert found.slope == pytest.approx(-0.024, rel=0.05)
    assert found.points == 10_000


def test_noise_seldom_has_a_trend() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (200, 12))
    found = [trend_of([DAY * day for day in range(12)], row.tolist()) for row in noise]
    small = sum(one is not None and one.p_value < 0.05 for one in found)
    assert small < 20


def test_without_a_change_there_is_none() -> None:
    constant = trend_of([DAY * day for day in range(9)], [4.0] * 9)
    assert constant is not None
    assert (constant.slope, constant.p_value) == (0.0, 1.0)
    assert trend_of([0.0] * 9, list(range(9))) is None
    assert trend_of([0.0, DAY], [1, 2]) is None


def test_of_many_tests_few_false_ones_are_significant() -> None:
    # The example of Benjamini and Hochberg (1995): four of fifteen at a rate of 0.05.
    values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert significant(dict(enumerate(values)), 0.05) == {0, 1, 2, 3}
    assert significant({}, 0.05) == frozenset()
