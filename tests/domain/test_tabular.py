"""Tables: columns, texts of cells, formulas, coordinates."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.tabular import (
    FORMULA_STARTS,
    VIOLATION_COLUMNS,
    CellType,
    Column,
    ExportFormat,
    TableForm,
    cell_texts,
    columns_named,
    coordinates,
    json_text,
    micros,
    neutral,
    number_text,
    parsed_json,
    time_in,
    time_text,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MADRID = ZoneInfo("Europe/Madrid")


def column(kind: CellType) -> Column:
    return Column("one", kind, lambda _: None)


@given(st.text())
def test_a_neutral_text_is_no_formula_and_keeps_what_it_says(text: str) -> None:
    written = neutral(text)
    assert not written.startswith(tuple(FORMULA_STARTS))
    assert written.removeprefix("'" if written != text else "") == text
    assert (written == text) is not text.startswith(tuple(FORMULA_STARTS))


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(".,"))
def test_a_number_is_read_back_equal(number: float, decimal: str) -> None:
    text = number_text(number, decimal)
    assert float(text.replace(",", ".")) == number
    assert not text.endswith(".0")


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.sampled_from([UTC, MADRID]))
def test_a_time_is_written_in_the_zone_and_read_back_equal(time: datetime, zone: Any) -> None:
    at = time.replace(tzinfo=UTC)
    form = TableForm(ZoneInfo("UTC") if zone is UTC else zone)
    (text,) = cell_texts(column(CellType.TIME), [micros(at)], form)
    assert text is not None
    written = datetime.fromisoformat(text)
    assert written == at == time_in(form.zone)(micros(at))
    assert written.utcoffset() == at.astimezone(zone).utcoffset()
    assert EPOCH + timedelta(microseconds=micros(at)) == at


def test_a_time_has_no_zeros_at_the_end_of_its_fraction() -> None:
    at = datetime(2025, 11, 1, 10, 0, 10, tzinfo=MADRID)
    assert time_text(at) == "2025-11-01T10:00:10+01:00"
    assert time_text(at.replace(microsecond=500_000)) == "2025-11-01T10:00:10.5+01:00"


def test_cells_are_written_by_their_type() -> None:
    plain = TableForm()
    assert cell_texts(column(CellType.FLAG), [True, False, None], plain) == ["true", "false", None]
    assert cell_texts(column(CellType.TEXT), ["=1", None], plain) == ["'=1", None]
    assert cell_texts(column(CellType.TEXT), ["=1"], TableForm(neutralise=False)) == ["=1"]
    assert cell_texts(column(CellType.JSON), ["[1.5]"], plain) == ["[1.5]"]
    assert cell_texts(column(CellType.NUMBER), [-1.5], TableForm(decimal=",")) == ["-1,5"]
    assert (plain.delimiter, TableForm(decimal=",").delimiter) == (",", ";")
    with pytest.raises(InvalidInput, match="decimal"):
        TableForm(decimal="'")  # type: ignore[arg-type]


def test_columns_are_chosen_by_name_in_the_given_order() -> None:
    assert columns_named(None) == VIOLATION_COLUMNS
    chosen = columns_named(["timestamp", "violation_id"])
    assert [one.name for one in chosen] == ["timestamp", "violation_id"]
    for wrong in ([], ["speed"], ["timestamp", "timestamp"]):
        with pytest.raises(InvalidInput, match="columns"):
            columns_named(wrong)


def test_each_format_has_a_media_type() -> None:
    assert all("/" in known.media_type for known in ExportFormat)


def test_json_keeps_integers_of_any_size() -> None:
    assert json_text({"b": [1, None], "a": 1.5}) == '{"a":1.5,"b":[1,null]}'
    assert json_text({"long": 2**70}) == f'{{"long":{2**70}}}'
    assert parsed_json('{"a":[1]}') == {"a": [1]}


@pytest.mark.parametrize(
    ("info", "found"),
    [
        ({"latitude": 40.4, "longitude": -3.7}, (-3.7, 40.4)),
        ({"lat": 40, "lon": -3}, (-3.0, 40.0)),
        ({"location": {"lat": -90, "lon": 180}}, (180.0, -90.0)),
        ({"location": "Main St"}, None),
        ({"latitude": 91, "longitude": 0}, None),
        ({"latitude": True, "longitude": 0}, None),
        ({"latitude": "40", "longitude": "3"}, None),
        ({"latitude": float("nan"), "longitude": 0}, None),
        ({}, None),
    ],
)
def test_coordinates_are_found_where_a_camera_gives_them(info: Any, found: Any) -> None:
    assert coordinates(info) == found


def test_equal_records_have_equal_rows() -> None:
    """A violation that was restored or migrated may have the keys of its JSON in another order."""
    assert json_text({"b": {"y": 1, "x": 2}, "a": 3}) == '{"a":3,"b":{"x":2,"y":1}}'
