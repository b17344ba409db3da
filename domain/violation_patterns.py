"""Violation patterns: when, where and which violations happen, from a random sample of them."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import exp, lgamma, log, log1p
from typing import TypeVar
from zoneinfo import ZoneInfo

from attrs import frozen

from traffic_storage.domain.proportions import Share, shares_of
from traffic_storage.domain.violation import StoredViolation

T = TypeVar("T", bound=Hashable)

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_HOURS = range(24)
_LEAST_SAMPLED = 30
_INSTANTS = 10_000
_LONGEST_PERIOD = timedelta(days=366)
_FALSE_SENTENCES = 0.05
"""The chance at most that anything is said of violations that are spread evenly."""


@frozen
class ViolationPatterns:
    """The shares of violations by hour and weekday (in a zone), device, type and vehicle class.

    Hours are 0 to 23. Devices, types and classes: the most frequent first.

    Attributes:
        violations: the number of available violations, exact.
        by_device_count: device → its number of available violations, exact.
        period: the period that was asked for, if it has a start. A share of hours or weekdays is
            compared with their share of this time.

    Of a period or device with very many violations, the numbers are estimates.
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
    period: tuple[datetime, datetime] | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """What happens surely more often than in an even spread, in words with its figures.

        The largest share of each group is compared with an even spread by the exact binomial test.
        The largest of many shares is large by chance, so the chance of 5 % is divided by the number
        of all shares of all groups (Bonferroni; Dunn 1961): of evenly spread violations, at most one
        sample in twenty says anything.
        """
        groups = self.by_hour, self.by_weekday, self.by_device, self.by_type
        level = _FALSE_SENTENCES / max(1, sum(len(one) for one in groups if len(one) > 1))
        hours, weekdays = _time_shares(self.period, self.zone)
        return (
            *_peak(
                self.by_hour,
                level,
                lambda hour: f"between {hour:02}:00 and {hour + 1:02}:00",
                hours,
            ),
            *_peak(self.by_weekday, level, lambda day: f"on {day}s", weekdays),
            *_peak(self.by_device, level, lambda device: f"at {device}"),
            *_peak(self.by_type, level, lambda kind: f"of the type {kind}"),
        )


def violation_patterns(
    sample: Sequence[StoredViolation],
    counts: Mapping[str, int],
    zone: ZoneInfo,
    measured_at: datetime,
    period: tuple[datetime, datetime] | None = None,
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
        period,
    )


def _peak(
    shares: Sequence[Share[T]],
    level: float,
    words: Callable[[T], str],
    expected: Mapping[T, float] | None = None,
) -> Iterable[str]:
    """Yield a sentence about the largest share, if its chance in an even spread is at most `level`.

    `expected` are the shares of an even spread, if not all are equal. Of fewer than 30 violations,
    nothing is said.
    """
    if len(shares) < 2:
        return

    def even(share: Share[T]) -> float:
        return 1 / len(shares) if expected is None else expected.get(share.value, 0.0)

    top = max(shares, key=lambda one: one.share - even(one))
    usual = even(top)
    if top.of < _LEAST_SAMPLED or not 0 < usual < 1:
        return
    if _chance_of(top.count, top.of, usual) > level:
        return
    low, high = top.interval
    yield (
        f"{top.share:.1%} of the violations are {words(top.value)} ({low:.1%} to {high:.1%}); an even "
        f"spread over {len(shares)} has {usual:.1%}"
    )


def _chance_of(count: int, of: int, share: float) -> float:
    """Return the chance that `count` or more of `of` have a value that `share` of all have."""
    terms = (
        lgamma(of + 1)
        - lgamma(more + 1)
        - lgamma(of - more + 1)
        + more * log(share)
        + (of - more) * log1p(-share)
        for more in range(count, of + 1)
    )
    return min(1.0, sum(map(exp, terms)))


def _time_shares(
    period: tuple[datetime, datetime] | None, zone: ZoneInfo
) -> tuple[Mapping[int, float] | None, Mapping[str, float] | None]:
    """Return the shares of hours and weekdays in the time of a period; None: about equal."""
    if period is None or not timedelta() < period[1] - period[0] <= _LONGEST_PERIOD:
        return None, None
    start, length = period[0], period[1] - period[0]
    instants = [
        (start + length * ((step + 0.5) / _INSTANTS)).astimezone(zone) for step in range(_INSTANTS)
    ]
    return (
        {one.value: one.share for one in shares_of(at.hour for at in instants)},
        {one.value: one.share for one in shares_of(WEEKDAYS[at.weekday()] for at in instants)},
    )
