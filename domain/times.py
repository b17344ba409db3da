"""Instants: the interpretation of a caller's time, and the check of capture times."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from attrs import frozen

from traffic_storage.domain.errors import FieldProblem, InvalidInput

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# `fromisoformat` also takes any run of digits, any character between date and time.
_ISO_8601 = re.compile(
    r"[0-9]{4}(?:-[0-9]{2}-[0-9]{2}|[0-9]{4})"
    r"(?:[Tt ][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]{1,9})?)?)?"
    r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?)?)?"
)
_REMEDY = "send ISO 8601, as 2025-11-01T10:00:00 or 2025-11-01T10:00:00+01:00"


@frozen
class Moment:
    """An instant in UTC and, where the caller named no zone, the zone that was assumed."""

    at: datetime
    zone_assumed: str | None = None


def parse_time(value: object, field: str) -> datetime:
    """The time of ISO 8601 text or of a datetime. A naive time stays naive.

    A date alone is its midnight; digits beyond the microsecond are dropped.

    Raises:
        InvalidInput: it is neither.
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
        raise InvalidInput.of(field, f"is no time that exists: {text}", _REMEDY) from error
    raise InvalidInput.of(field, f"is not a time: {value!a:.60}", _REMEDY)


def instant(timestamp: datetime, zone: ZoneInfo, field: str = "timestamp") -> Moment:
    """The instant that `timestamp` means; a naive one is read in `zone`. `field` names it in errors.

    A wall-clock time that the zone has twice is read as the first; one that it skips is moved
    by the length of the gap (PEP 495 with fold 0, whatever `timestamp.fold` says: equal times
    mean one instant). A caller who means the second gives the offset.

    Raises:
        InvalidInput: it lies outside the years that UTC can express.
    """
    try:
        if timestamp.tzinfo is None:
            return Moment(timestamp.replace(tzinfo=zone, fold=0).astimezone(UTC), zone.key)
        return Moment(timestamp.astimezone(UTC))
    except OverflowError as error:
        raise InvalidInput.of(field, f"{timestamp} is out of range", _REMEDY) from error


def time_problem(
    field: str, at: datetime, *, now: datetime, max_ahead: timedelta
) -> FieldProblem | None:
    """Why an instant can't be a capture time, or None."""
    if at < EARLIEST:
        return FieldProblem(field, f"{at.isoformat()} is before 1970", "set the device's clock")
    if at > now + max_ahead:
        return FieldProblem(
            field,
            f"{at.isoformat()} lies {in_words(at - now)} after its receipt",
            f"set the device's clock, or raise the setting max_clock_ahead"
            f" (now {in_words(max_ahead)})",
        )
    return None


def in_words(span: timedelta) -> str:
    """A length of time in words: its two largest units."""
    seconds = int(span.total_seconds())
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    counts = []
    for name, length in units:
        count, seconds = divmod(seconds, length)
        if count:
            counts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(counts[:2]) or "less than a second"
