"""Times: parsing a time that a caller gives, converting it to UTC, checking capture times."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from zoneinfo import ZoneInfo

from attrs import frozen
from orjson import dumps, loads

from traffic_storage.domain.errors import FieldProblem, InvalidInput

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# `fromisoformat` also takes any run of digits, any character between date and time.
_ISO_8601 = re.compile(
    r"[0-9]{4}(?:-[0-9]{2}-[0-9]{2}|[0-9]{4})"
    r"(?:[Tt ][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]{1,9})?)?)?"
    r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?)?)?"
)
_DATE = re.compile(r"[0-9]{4}(?:-[0-9]{2}-[0-9]{2}|[0-9]{4})")
_isoformat = methodcaller("isoformat")
_REMEDY = "send ISO 8601, as 2025-11-01T10:00:00 or 2025-11-01T10:00:00+01:00"


@frozen
class Moment:
    """An instant in UTC. `zone_assumed` is the zone assumed for a time without one, else None."""

    at: datetime
    zone_assumed: str | None = None


def parse_time(value: object, field: str) -> datetime:
    """Return a datetime unchanged, or parse an ISO 8601 text. A time without an offset stays naive.

    A date without a time is read as midnight; digits beyond the microsecond are dropped.

    Raises:
        InvalidInput: `value` is neither a datetime nor an ISO 8601 text. The error names it by
            `field`.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise InvalidInput.of(field, f"is a {type(value).__name__}, not a time", _REMEDY)
    text = value.strip()
    try:
        if _ISO_8601.fullmatch(text):
            return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidInput.of(
            field, f"is a date or time that does not exist: {text}", _REMEDY
        ) from error
    raise InvalidInput.of(field, f"is not a time: {value!a:.60}", _REMEDY)


def is_date(text: str) -> bool:
    """Return whether a text that `parse_time` reads has the form of a date without a time."""
    return _DATE.fullmatch(text.strip()) is not None


def instant(timestamp: datetime, zone: ZoneInfo, field: str = "timestamp") -> Moment:
    """Convert a time to UTC; a time without an offset is interpreted in `zone`.

    A local time that occurs twice, when clocks are set back, is interpreted as the first; a local
    time that is skipped, when clocks are set forward, is moved by the length of the gap. This is
    PEP 495 with fold 0; `timestamp.fold` is ignored, so that equal times give equal instants. A
    caller that means the second occurrence must give the offset.

    Raises:
        InvalidInput: the time in UTC is outside the years 1 to 9999. The error names it by
            `field`.
    """
    try:
        if timestamp.tzinfo is None:
            return Moment(timestamp.replace(tzinfo=zone, fold=0).astimezone(UTC), zone.key)
        return Moment(timestamp.astimezone(UTC))
    except OverflowError as error:
        raise InvalidInput.of(
            field, f"{timestamp} is out of range: in UTC it is outside the years 1 to 9999", _REMEDY
        ) from error


def time_problem(
    field: str, at: datetime, *, now: datetime, max_ahead: timedelta
) -> FieldProblem | None:
    """Return why `at` can't be the capture time of a file, or None if it can.

    It must not be before 1970, nor more than `max_ahead` after `now`.
    """
    if at < EARLIEST:
        return FieldProblem(field, f"{at.isoformat()} is before 1970", "set the device's clock")
    if at > now + max_ahead:
        return FieldProblem(
            field,
            f"{at.isoformat()} is {in_words(at - now)} after the time of receipt",
            f"set the device's clock, or raise the setting max_clock_ahead"
            f" (now {in_words(max_ahead)})",
        )
    return None


def utc_text(at: datetime) -> str:
    """Return the `isoformat` of a time in UTC, in less than half of its time.

    A subclass of `datetime` is written by its own `isoformat`.
    """
    return dumps(at, default=_isoformat)[1:-1].decode()


def utc_texts(times: Sequence[datetime]) -> list[str]:
    """Return the `utc_text` of each time, all in one call of the writer: a page has hundreds."""
    return loads(dumps(times, default=_isoformat))  # type: ignore[no-any-return]


def in_words(span: timedelta) -> str:
    """Return a duration in words, with at most two parts, as `2 days 3 hours`."""
    seconds = int(span.total_seconds())
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    counts = []
    for name, length in units:
        count, seconds = divmod(seconds, length)
        if count:
            counts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(counts[:2]) or "less than a second"
