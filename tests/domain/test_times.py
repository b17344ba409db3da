"""Instants: gaps and folds of zones, naive and aware, the ends of time, clocks that are wrong."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.times import (
    EARLIEST,
    Moment,
    instant,
    parse_time,
    time_problem,
    utc_text,
    utc_texts,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2025-11-01T10:00:00", datetime(2025, 11, 1, 10)),
        (" 2025-11-01T10:00:00Z\n", utc(2025, 11, 1, 10)),
        ("2025-11-01T10:00:00.250+02:00", utc(2025, 11, 1, 8, 0, 0, 250_000)),
        ("2025-11-01", datetime(2025, 11, 1)),
        ("20251101T100000", datetime(2025, 11, 1, 10)),
        ("2025-11-01t10z", utc(2025, 11, 1, 10)),
        ("2025-11-01 10:00-0330", utc(2025, 11, 1, 13, 30)),
        ("2025-11-01T10:00:00,123456789", datetime(2025, 11, 1, 10, 0, 0, 123_456)),
    ],
)
def test_iso_8601_is_read(text: str, meant: datetime) -> None:
    assert parse_time(text, "timestamp") == meant


def test_a_datetime_is_taken_as_it_is() -> None:
    naive = datetime(2025, 11, 1, 10)
    assert parse_time(naive, "timestamp") is naive


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2025-13-01",
        "2025-02-30T00:00:00",
        "25:00",
        "\ud800",
        "1" * 5000,
        "1762000000",
        "20251101111111111",
        "2025-11-01x10:00",
        "2025-W01-1",
        "\u0662\u0660\u0662\u0665-11-01",
        None,
        1_762_000_000,
        1.5,
        True,
        b"2025-11-01",
        date(2025, 11, 1),
        ["2025-11-01"],
    ],
)
def test_what_is_no_time_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_time(value, "metadata.timestamp")
    (problem,) = caught.value.problems
    assert problem.field == "metadata.timestamp"
    assert "ISO 8601" in problem.remedy
    assert problem.message.isascii()
    assert len(problem.message) < 200


@given(st.datetimes(timezones=st.timezones()))
def test_an_aware_time_is_its_instant_and_assumes_nothing(timestamp: datetime) -> None:
    try:
        moment = instant(timestamp, BERLIN)
    except InvalidInput:
        assert timestamp.year in {1, 9999}
        return
    assert moment.zone_assumed is None
    assert moment.at.tzinfo is UTC
    assert moment.at == timestamp.astimezone(UTC)


@given(st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)), st.timezones())
def test_a_naive_time_is_read_in_the_zone_which_is_noted(
    timestamp: datetime, zone: ZoneInfo
) -> None:
    moment = instant(timestamp, zone)
    assert moment.zone_assumed == zone.key
    assert moment.at == timestamp.replace(tzinfo=zone, fold=0).astimezone(UTC)
    assert instant(timestamp.replace(fold=1), zone) == moment


@pytest.mark.parametrize(
    ("wall", "at"),
    [
        # 26 October 2025: 3:00 summer time becomes 2:00, so 2:30 comes twice; the first is meant.
        (datetime(2025, 10, 26, 1, 59, 59), utc(2025, 10, 25, 23, 59, 59)),
        (datetime(2025, 10, 26, 2, 30), utc(2025, 10, 26, 0, 30)),
        (datetime(2025, 10, 26, 2, 30, fold=1), utc(2025, 10, 26, 0, 30)),
        (datetime(2025, 10, 26, 3, 0), utc(2025, 10, 26, 2, 0)),
        # 30 March 2025: 2:00 becomes 3:00, so 2:30 never was; it counts as 3:30 summer time.
        (datetime(2025, 3, 30, 1, 59, 59), utc(2025, 3, 30, 0, 59, 59)),
        (datetime(2025, 3, 30, 2, 30), utc(2025, 3, 30, 1, 30)),
        (datetime(2025, 3, 30, 3, 30), utc(2025, 3, 30, 1, 30)),
    ],
)
def test_gaps_and_folds_of_summer_time(wall: datetime, at: datetime) -> None:
    assert instant(wall, BERLIN) == Moment(at, "Europe/Berlin")


def test_an_offset_tells_the_second_of_two_equal_hours() -> None:
    second = datetime(2025, 10, 26, 2, 30, tzinfo=timezone(timedelta(hours=1)))
    assert instant(second, BERLIN) == Moment(utc(2025, 10, 26, 1, 30))


@pytest.mark.parametrize(
    ("timestamp", "zone"),
    [
        (datetime.min, "Asia/Tokyo"),
        (datetime.max, "America/New_York"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "UTC"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), "UTC"),
    ],
)
def test_what_utc_cannot_express_is_refused(timestamp: datetime, zone: str) -> None:
    with pytest.raises(InvalidInput, match=r"captured_at: .* out of range"):
        instant(timestamp, ZoneInfo(zone), "captured_at")


def test_before_1970_no_camera_recorded() -> None:
    assert time_problem("timestamp", EARLIEST, now=NOW, max_ahead=DAY) is None
    problem = time_problem("timestamp", EARLIEST - timedelta.resolution, now=NOW, max_ahead=DAY)
    assert problem is not None
    assert problem.field == "timestamp"
    assert "before 1970" in problem.message
    assert "clock" in problem.remedy


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=366)))
def test_a_time_may_lie_ahead_as_far_as_the_setting_says(ahead: timedelta) -> None:
    assert time_problem("timestamp", NOW + ahead, now=NOW, max_ahead=ahead) is None
    beyond = NOW + ahead + timedelta.resolution
    problem = time_problem("timestamp", beyond, now=NOW, max_ahead=ahead)
    assert problem is not None
    assert "after the time of receipt" in problem.message
    assert "max_clock_ahead" in problem.remedy


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (timedelta(days=3263, hours=10, seconds=11, microseconds=812788), "3263 days 10 hours"),
        (timedelta(hours=1, microseconds=1), "1 hour"),
        (timedelta(microseconds=1), "less than a second"),
    ],
)
def test_how_far_ahead_a_time_lies_is_said_in_words(ahead: timedelta, words: str) -> None:
    problem = time_problem("timestamp", NOW + ahead, now=NOW, max_ahead=timedelta(0))
    assert problem is not None
    assert f" is {words} after " in problem.message


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=NOW.replace(tzinfo=None)))
def test_any_time_of_the_past_is_fine(at: datetime) -> None:
    assert time_problem("timestamp", at.replace(tzinfo=UTC), now=NOW, max_ahead=DAY) is None


@given(st.datetimes(timezones=st.just(UTC)))
@example(datetime.min.replace(tzinfo=UTC))
@example(datetime.max.replace(tzinfo=UTC))
@example(EARLIEST)
@example(datetime(999, 1, 1, microsecond=10, tzinfo=UTC))
def test_a_time_in_utc_has_the_text_of_isoformat(at: datetime) -> None:
    assert utc_text(at) == at.isoformat()
    assert utc_texts([at, EARLIEST]) == [at.isoformat(), EARLIEST.isoformat()]


def test_a_time_of_a_subclass_is_written_as_the_subclass_writes_it() -> None:
    class Nanoseconds(datetime):
        def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
            return super().isoformat(sep, timespec).replace("+", "789+")

    at = Nanoseconds(2025, 11, 1, 10, microsecond=123_456, tzinfo=UTC)
    assert at.isoformat() == "2025-11-01T10:00:00.123456789+00:00"
    assert utc_text(at) == at.isoformat()
    assert utc_texts((EARLIEST, at)) == [EARLIEST.isoformat(), at.isoformat()]
