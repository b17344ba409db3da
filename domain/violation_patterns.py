"""Violation patterns: when, where and which violations happen, from a random sample of them."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from attrs import frozen

from traffic_storage.domain.proportions import Share, shares_of
from traffic_storage.domain.violation import StoredViolation

T = TypeVar("T", bound=Hashable)

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HOURS = range(24)
_LEAST_SAMPLED = 30


@frozen
class ViolationPatterns:
    """The shares of violations by hour and weekday (in a zone), device, type and vehicle class.

    Hours are 0 to 23. Devices, types and classes: the most frequent first.

    Attributes:
        violations: the number of available violations, exact.
        by_device_count: device → its number of available violations, exact.
    """

    measured_at: datetime
    zone: ZoneInfo
    violations: int
    sampled: int
    by_hour: tuple[Share[int], ...]
    by_weekday: tuple[Share[str], ...]
    by_device: tuple[Share[str], ...]
    by_type: tuple[Share[str], ...]
    by_vehicle_class: tuple[Share[str], ...]
    by_device_count: Mapping[str, int]

    @property
    def findings(self) -> tuple[str, ...]:
        """What happens surely more often than in an even spread, in words with its figures."""
        return (
            *_peak(self.by_hour, lambda hour: f"between {hour:02}:00 and {hour + 1:02}:00"),
            *_peak(self.by_weekday, lambda day: f"on {day}s"),
            *_peak(self.by_device, lambda device: f"at {device}"),
            *_peak(self.by_type, lambda kind: f"of the type {kind}"),
        )


def violation_patterns(
    sample: Sequence[StoredViolation],
    counts: Mapping[str, int],
    zone: ZoneInfo,
    measured_at: datetime,
) -> ViolationPatterns:
    """Return the patterns of a sample; `counts` are the violations of all devices."""
    times = [one.occurred_at.astimezone(zone) for one in sample]
    return ViolationPatterns(
        measured_at,
        zone,
        sum(counts.values()),
        len(sample),
        shares_of((time.hour for time in times), _HOURS),
        shares_of((WEEKDAYS[time.weekday()] for time in times), WEEKDAYS),
        shares_of(one.record.device_id for one in sample),
        shares_of(one.record.violation_type for one in sample),
        shares_of(one.record.vehicle_class for one in sample),
        counts,
    )


def _peak(shares: Sequence[Share[T]], words: Callable[[T], str]) -> Iterable[str]:
    """Yield a sentence about the largest share, if its interval is above that of an even spread.

    The largest of many shares of a small sample is large by chance, so 30 violations are needed.
    """
    top = max(shares, key=lambda one: one.count, default=None)
    if top is None or top.of < _LEAST_SAMPLED or top.interval[0] <= 1 / len(shares):
        return
    low, high = top.interval
    yield (
        f"{top.share:.1%} of the violations are {words(top.value)} ({low:.1%} to {high:.1%}); an even "
        f"spread over {len(shares)} has {1 / len(shares):.1%}"
    )
