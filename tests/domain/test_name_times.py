"""Times in file names: patterns, and what they do not read."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.name_times import NamePattern

NOON = datetime(2026, 11, 1, 12, 0, 5)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("%Y%m%d_%H%M%S.jpg", "20261101_120005.jpg", NOON),
        ("cam*_%Y%m%d_%H%M%S*", "cam-north_20261101_120005_3.jpeg", NOON),
        ("*%Y-%m-%dT%H-%M-%S*", "gate 2026-11-01T12-00-05 (1).mp4", NOON),
        ("*_%Y%m%d%H%M%S%f.*", "a_20261101120005250.jpg", NOON.replace(microsecond=250_000)),
        ("%d.%m.%Y %H?%M?%S.ts", "01.11.2026 12h00m05.ts", NOON),
        ("%Y%m%d*", "20261101.png", NOON.replace(hour=0, second=0)),
        ("100%%_%Y%m%d", "100%_20261101", NOON.replace(hour=0, second=0)),
        ("x[%Y%m%d](.+)", "x[20261101](.+)", NOON.replace(hour=0, second=0)),
        ("ev_%s.mkv", "ev_1793534405.mkv", datetime(2026, 11, 1, 12, 0, 5, tzinfo=UTC)),
        ("%Y%m%dT%H%M%S%z", "20261101T120005Z", NOON.replace(tzinfo=UTC)),
        (
            "%Y%m%dT%H%M%S%z.jpg",
            "20261101T120005-03:30.jpg",
            NOON.replace(tzinfo=timezone(-timedelta(hours=3, minutes=30))),
        ),
    ],
)
def test_a_time_is_read(pattern: str, name: str, expected: datetime) -> None:
    found = NamePattern(pattern).time_in(name)
    assert found == expected
    assert found.utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    ("pattern", "name", "said"),
    [
        ("cam_%Y%m%d.jpg", "cam_2026110.jpg", "does not match"),
        ("cam_%Y%m%d.jpg", "xcam_20261101.jpg", "does not match"),
        ("cam_%Y%m%d.jpg", "cam_20261301.jpg", "does not match"),
        ("%Y%m%d_%H%M%S", "20261101_250000", "does not match"),
        ("%Y%m%d", "20260230", "does not exist"),
        ("*%Y%m%d*", "2026110120261102", "matches in several ways"),
        ("*%s*", "12345", "matches in several ways"),
    ],
)
def test_a_name_that_gives_no_time_is_refused(pattern: str, name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        NamePattern(pattern).time_in(name)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "has neither"),
        ("cam_%Y%m.jpg", "has neither"),
        ("%H%M%S", "has neither"),
        ("%Y%m%d_%Q", "unknown code '%Q'"),
        ("%Y%m%d%", "unknown code '%'"),
        ("%Y%m%d_%Y", "the code %Y twice"),
        ("*a*b*c*%Y%m%d", "more than 3 stars"),
        ("%Y%m%d" + "x" * 300, "more than 255"),
    ],
)
def test_a_pattern_that_reads_no_date_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        NamePattern(pattern)


def test_a_hostile_name_takes_no_time() -> None:
    pattern = NamePattern("*a*a*%Y%m%d")
    start = time.process_time()
    with pytest.raises(InvalidInput, match="does not match"):
        pattern.time_in("a" * 10_000)
    assert time.process_time() - start < 3
