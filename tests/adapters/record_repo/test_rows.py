"""Values survive their way into a row and back, to the last digit."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from traffic_storage.adapters.record_repo.sql.rows import _json, _moments, micros, moment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_2106 = 2**32 * 1_000_000
_EARLIEST, _LATEST = (
    micros(datetime.min.replace(tzinfo=UTC)),
    micros(datetime.max.replace(tzinfo=UTC)),
)


@given(st.integers(_EARLIEST, _LATEST))
@example(-1)
@example(0)
@example(_YEAR_2106 - 1)
@example(_YEAR_2106)
def test_an_instant_keeps_its_microsecond(value: int) -> None:
    assert moment(value) == _EPOCH + timedelta(microseconds=value)
    assert micros(moment(value)) == value


@given(st.lists(st.integers(_EARLIEST, _LATEST), min_size=1, max_size=4))
def test_a_column_of_instants_is_read_as_each_of_them(values: list[int]) -> None:
    assert _moments(values) == [*map(moment, values)]


@pytest.mark.parametrize("around", [_YEAR_2106, 2**31 * 1_000_000, 1_764_000_000_000_000])
def test_so_does_each_of_many_neighbours(around: int) -> None:
    """Where doubles are sparsest, and now."""
    for value in range(around - 20_000, around):
        assert moment(value) == _EPOCH + timedelta(microseconds=value)


def test_equal_json_values_are_equal_texts() -> None:
    """So exports that the database renders are equal before and after a restore."""
    assert _json({"b": {"d": 1, "c": 2}, "a": 3}) == _json({"a": 3, "b": {"c": 2, "d": 1}})
