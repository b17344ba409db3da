"""Queries and cursors: what may be asked, and where a page goes on."""

import base64
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.query import MAX_LIMIT, Cursor, FilesQuery, Page, ViolationQuery
from traffic_storage.entrypoints.testing import strategies as kit

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
NOON_NAIVE = NOON.replace(tzinfo=None)


@given(kit.cursors())
def test_a_cursor_is_a_text_for_urls_that_is_read_again(cursor: Cursor) -> None:
    text = cursor.to_text()
    assert text.replace("-", "").replace("_", "").isalnum()
    assert text.isascii()
    assert Cursor.from_text(text) == cursor


def encoded(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "!",
        "ä",
        "\ud800",
        "a" * 100_000,
        "QQ==",
        encoded(""),
        encoded("[" * 100_000),
        encoded("9" * 5000),
        encoded([]),
        encoded("null"),
        encoded("1"),
        encoded('"ab"'),
        encoded({"a": 1, "b": 2}),
        encoded([NOON.isoformat(), "V001"]),
        encoded({"at": NOON.isoformat()}),
        encoded({"at": NOON.isoformat(), "row_id": "V001", "more": 1}),
        encoded({"at": NOON_NAIVE.isoformat(), "row_id": "V001"}),
        encoded({"at": "yesterday", "row_id": "V001"}),
        encoded({"at": 1, "row_id": "V001"}),
        encoded({"at": NOON.isoformat(), "row_id": 1}),
        encoded({"at": NOON.isoformat(), "row_id": None}),
        encoded({"at": NOON.isoformat(), "row_id": ""}),
        encoded({"at": NOON.isoformat(), "row_id": "a\x00b"}),
        encoded({"at": NOON.isoformat(), "row_id": "\ud800"}),
        encoded({"at": NOON.isoformat(), "row_id": "a" * 201}),
        Cursor(NOON, "V001").to_text() + "\n",
        Cursor(NOON, "V001").to_text() + "AAAA",
        Cursor(NOON, "V001").to_text()[:-3],
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cursor: is not a cursor of this service"):
        Cursor.from_text(text)


@pytest.mark.parametrize(
    ("at", "row_id"), [(NOON_NAIVE, "V001"), (NOON, "\ud800"), (NOON, ["V001"]), (NOON, "")]
)
def test_a_cursor_has_a_time_with_a_zone_and_an_id(at: datetime, row_id: Any) -> None:
    with pytest.raises(InvalidInput, match="cursor: is not a cursor of this service"):
        Cursor(at, row_id)


@given(
    st.text()
    | st.text().map(lambda text: encoded(text.encode(errors="replace").decode()))
    | kit.json_values().map(encoded)
    | st.fixed_dictionaries(
        {"at": st.just(NOON.isoformat()) | kit.texts(), "row_id": kit.json_values()}
    ).map(encoded)
)
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        cursor = Cursor.from_text(text)
    except InvalidInput:
        return
    assert Cursor.from_text(cursor.to_text()) == cursor


@given(kit.queries())
def test_every_question_within_the_rules_may_be_asked(query: ViolationQuery) -> None:
    assert 1 <= query.limit <= MAX_LIMIT


def test_nothing_is_filtered_that_was_not_asked_for() -> None:
    query = ViolationQuery()
    assert query.limit == 100
    assert {getattr(query, name) for name in ("device_id", "start_time", "after")} == {None}


WRONG: dict[str, list[Any]] = {
    "device_id": ["", " ", "cam\n", 5, "c" * 129],
    "violation_type": ["", "\u202espeed"],
    "vehicle_class": ["\x00", []],
    "min_confidence": [-0.01, 1.01, math.nan, math.inf, "0.5", True, 10**5000],
    "max_confidence": [-1, 2, None.__class__],
    "start_time": [NOON_NAIVE, "2026-03-14", 0],
    "end_time": [NOON_NAIVE, NOON.date()],
    "limit": [0, -1, 1001, 10**5000, 1.0, True, "100", None],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}-{number}")
        for name, values in WRONG.items()
        for number, value in enumerate(values)
    ],
)
def test_a_filter_that_nothing_can_meet_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        ViolationQuery(**{name: value})
    (problem,) = caught.value.problems
    assert problem.field == name
    assert problem.remedy


@pytest.mark.parametrize(("lowest", "highest"), [(0.9, 0.1), (1, 0), (0.5000001, 0.5)])
def test_a_range_of_confidence_that_is_empty_is_refused_with_both_names(
    lowest: float, highest: float
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ViolationQuery(min_confidence=lowest, max_confidence=highest)
    (problem,) = caught.value.problems
    assert problem.field == "min_confidence"
    assert "max_confidence" in problem.message
    assert ViolationQuery(min_confidence=highest, max_confidence=highest).limit == 100


def test_a_time_that_ends_before_it_starts_is_refused() -> None:
    late, early = NOON, NOON - timedelta.resolution
    with pytest.raises(InvalidInput) as caught:
        ViolationQuery(start_time=late, end_time=early)
    (problem,) = caught.value.problems
    assert problem.field == "start_time"
    assert problem.remedy
    zone = timezone(timedelta(hours=2))
    ViolationQuery(start_time=early.astimezone(zone), end_time=late)
    ViolationQuery(start_time=late.astimezone(zone), end_time=late)
    with pytest.raises(InvalidInput, match="start_time"):
        ViolationQuery(start_time=late.astimezone(zone), end_time=early)


def test_times_of_the_hour_that_is_repeated_are_compared_as_instants() -> None:
    madrid = ZoneInfo("Europe/Madrid")
    first = datetime(2025, 10, 26, 2, 30, tzinfo=madrid)
    second = datetime(2025, 10, 26, 2, 10, tzinfo=madrid, fold=1)
    assert FilesQuery(start_time=first, end_time=second).end_time == second
    with pytest.raises(InvalidInput, match="start_time"):
        FilesQuery(start_time=second, end_time=first)


def test_numbers_of_numpy_are_numbers() -> None:
    query = ViolationQuery(min_confidence=np.float32(0.5), limit=np.int64(7))
    assert (query.min_confidence, query.limit) == (0.5, 7)
    assert (type(query.min_confidence), type(query.limit)) == (float, int)


def test_all_wrong_filters_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        ViolationQuery(**{name: values[0] for name, values in WRONG.items()})
    assert [problem.field for problem in caught.value.problems] == list(WRONG)


def test_a_page_is_the_last_unless_it_says_where_to_go_on() -> None:
    assert Page(("a",)).next is None


@given(kit.file_queries())
def test_any_set_of_good_filters_asks_for_files(query: FilesQuery) -> None:
    assert 1 <= query.limit <= MAX_LIMIT
    assert query.start_time is None or query.end_time is None or query.start_time <= query.end_time


def test_all_that_is_wrong_with_a_question_for_files_is_said_at_once() -> None:
    wrong: dict[str, Any] = {
        "kind": "image",
        "device_id": "",
        "violation_id": "V~1",
        "start_time": NOON_NAIVE,
        "end_time": "today",
        "state": "lost",
        "limit": MAX_LIMIT + 1,
    }
    with pytest.raises(InvalidInput) as raised:
        FilesQuery(**wrong)
    assert [problem.field for problem in raised.value.problems] == list(wrong)
    with pytest.raises(InvalidInput, match="start_time"):
        FilesQuery(start_time=NOON + timedelta(seconds=1), end_time=NOON)
