"""Pressure: how close a store is to being full, by its free space and by what it receives a day.

The levels are a ladder; a higher level includes what is done at the lower ones. At no level is
evidence removed that is held, unexpired, or present in one store only.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum

from attrs import evolve, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import StoreStatus

MEASURED_DAYS = 7
"""The number of last days, today included, from which the ingest rate is measured."""

CLEARED_BELOW = 5.0
"""How many percentage points below `alert_percent` the usage falls before the alert is cleared."""

_CALM_SHARE = 1.1


class PressureLevel(IntEnum):
    """How much pressure a store is under, and what is done about it."""

    NONE = 0
    FORECAST = 1
    """The store will be full within the warning time: operators are told."""
    MOVE_OUT = 2
    """The store will soon be full: copies that are proven good elsewhere leave it early."""
    EVIDENCE_ONLY = 3
    """Only the space that is kept for evidence is left: other new files are refused."""
    FULL = 4
    """Nothing more can be stored; reads and deletions still work."""

    @property
    def word(self) -> str:
        """The name of the level in views and messages."""
        return self.name.lower()


@frozen
class PressureRules:
    """When the pressure on a store rises.

    Attributes:
        warn_within: operators are told when the store will be full within this time.
        move_within: copies leave the store when it will be full within this time.
        evidence_share: the share of the store's capacity that only evidence of violations may use.
        alert_percent: the usage alert is raised when so many percent of the capacity are used.
    """

    warn_within: timedelta = timedelta(days=14)
    move_within: timedelta = timedelta(days=2)
    evidence_share: float = 0.02
    alert_percent: float = 90.0


@frozen
class Pressure:
    """The pressure on a store.

    Attributes:
        room_bytes: how many more bytes can be stored; None if that is unknown or unbounded.
        bytes_per_day: the bytes that the store has received a day, on average of the last days.
        full_in: the time until the store is full at this rate; None if it does not fill.
        reason: why the pressure has this level, in words; empty at the level NONE.
        used_percent: how much of what the store can hold is used, 0–100; None if that is unbounded.
    """

    level: PressureLevel
    room_bytes: int | None
    bytes_per_day: float
    full_in: timedelta | None
    reason: str = ""
    used_percent: float | None = None


@frozen
class RecordedPressure:
    """The pressure on a store as it was noted last: its level, and whether its usage alert is raised."""

    level: PressureLevel = PressureLevel.NONE
    is_raised: bool = False


UNPRESSED = RecordedPressure()
"""What is recorded of a new store."""


@frozen
class NotePressure:
    """Record that the pressure on a store has another level than recorded, with its event.

    Without effect if the recorded level is the same; a new store has the level NONE. With
    `only_lowers`, it has an effect only if the recorded level is a higher one.
    """

    store_id: StoreId
    pressure: Pressure
    at: datetime
    only_lowers: bool = False

    def noted_over(self, known: RecordedPressure) -> RecordedPressure:
        """Return what is recorded after this change."""
        level = self.pressure.level
        return known if self.only_lowers and known.level < level else evolve(known, level=level)

    @property
    def event(self) -> Event:
        """The event that is recorded with the change."""
        here = self.pressure
        details: dict[str, Json] = {
            "store_id": self.store_id,
            "level": here.level.word,
            "reason": here.reason,
            "room_bytes": here.room_bytes,
            "bytes_per_day": round(here.bytes_per_day),
        }
        return Event(EventKind.PRESSURE, self.at, details=details)


@frozen
class NoteUsageAlert:
    """Record that the usage alert of a store is raised or cleared, with its event.

    Without effect if that is recorded already; the alert of a new store is not raised.
    """

    store_id: StoreId
    pressure: Pressure
    is_raised: bool
    at: datetime

    def noted_over(self, known: RecordedPressure) -> RecordedPressure:
        """Return what is recorded after this change."""
        return evolve(known, is_raised=self.is_raised)

    @property
    def event(self) -> Event:
        """The event that is recorded with the change."""
        details: dict[str, Json] = {
            "store_id": self.store_id,
            "raised": self.is_raised,
            "used_percent": self.pressure.used_percent,
            "room_bytes": self.pressure.room_bytes,
        }
        return Event(EventKind.USAGE_ALERT, self.at, details=details)


_LONGEST = timedelta(days=36_500)


def pressure(status: StoreStatus, bytes_per_day: float, rules: PressureRules) -> Pressure:
    """Return the pressure on a store that receives `bytes_per_day`. More room, less pressure.

    `status.evidence_bytes` is the space that is kept for evidence.
    """
    room = room_bytes(status)
    days = None if room is None else days_to_fill(room, (bytes_per_day,))
    full_in = None if days is None else timedelta(days=days)
    used = used_percent(status, room)
    here = Pressure(PressureLevel.NONE, room, bytes_per_day, full_in, used_percent=used)
    if status.full or room == 0 or status.shortage(1):
        return evolve(here, level=PressureLevel.FULL, reason=status.full or status.shortage(1))
    if room is not None and room <= status.evidence_bytes:
        return evolve(
            here,
            level=PressureLevel.EVIDENCE_ONLY,
            reason=f"only {room} bytes are left, which are kept for evidence of violations",
        )
    if full_in is not None and full_in <= rules.warn_within:
        level = PressureLevel.MOVE_OUT if full_in <= rules.move_within else PressureLevel.FORECAST
        reason = (
            f"{room} bytes are left and {bytes_per_day:.0f} are received a day, so the store is full "
            f"in {full_in / timedelta(days=1):.1f} days"
        )
        return evolve(here, level=level, reason=reason)
    return here


def change_of_level(
    store_id: StoreId, here: Pressure, rules: PressureRules, at: datetime
) -> NotePressure:
    """Return the change that records a pressure.

    The level FORECAST ends only when the time until the store is full exceeds the warning time by a
    tenth, so that a rate that varies a little does not raise it again and again.
    """
    if here.level is not PressureLevel.NONE or here.full_in is None:
        return NotePressure(store_id, here, at)
    if here.full_in > rules.warn_within * _CALM_SHARE:
        return NotePressure(store_id, here, at)
    reason = f"the store is full in {here.full_in / timedelta(days=1):.1f} days"
    near = evolve(here, level=PressureLevel.FORECAST, reason=reason)
    return NotePressure(store_id, near, at, only_lowers=True)


def change_of_alert(
    store_id: StoreId, here: Pressure, rules: PressureRules, at: datetime
) -> NoteUsageAlert | None:
    """Return the change that raises or clears the usage alert; None between the two thresholds."""
    used = here.used_percent
    if used is None or rules.alert_percent - CLEARED_BELOW <= used < rules.alert_percent:
        return None
    return NoteUsageAlert(store_id, here, used >= rules.alert_percent, at)


def alerts_of(recorded: RecordedPressure) -> str:
    """Return the alerts that are raised for a store, in words; empty if there are none."""
    alerts = []
    if recorded.level is not PressureLevel.NONE:
        alerts.append(f"the store fills up (pressure: {recorded.level.word})")
    if recorded.is_raised:
        alerts.append("more is used than alert_usage_percent allows")
    return "; ".join(alerts)


def used_percent(status: StoreStatus, room: int | None) -> float | None:
    """Return how much of what a store can hold is used, 0–100; None if it is unbounded.

    A store can hold what it holds and its room: less than its limit if others fill the disk.
    """
    if room is None:
        return None
    capacity = status.used_bytes + room
    return round(100.0 * status.used_bytes / capacity, 2) if capacity else 100.0


def of_limit(status: StoreStatus) -> StoreStatus:
    """Return a status in which only the configured limit bounds the store, not its disk."""
    return evolve(status, full="", free_bytes=None, free_inodes=None)


def room_bytes(status: StoreStatus) -> int | None:
    """Return how many more bytes can be stored, at least 0; None if unknown or unbounded."""
    bounds = []
    if status.limit_bytes is not None:
        bounds.append(status.limit_bytes - status.used_bytes)
    if status.free_bytes is not None:
        bounds.append(status.free_bytes - status.reserve_bytes)
    return max(0, min(bounds)) if bounds else None


def evidence_bytes(status: StoreStatus, share: float) -> int:
    """Return the space that is kept for evidence: a share of what the store can hold in all."""
    room = room_bytes(status)
    return 0 if room is None else int(share * (status.used_bytes + room))


def bytes_per_day(received: int, elapsed: timedelta) -> float:
    """Return the mean of the bytes that were received in a time, per day; at least one day counts."""
    return max(0.0, received / max(1.0, elapsed / timedelta(days=1)))


def days_to_fill(room: float, bytes_per_day: Sequence[float]) -> float | None:
    """Return after how many days `room` bytes are used up; None if that never happens.

    `bytes_per_day` are the changes of the next days, at least one; afterwards each day changes as
    much as the mean of the last seven of them. At most 36,500 days are returned.
    """
    for day, size in enumerate(bytes_per_day):
        if size > 0 and room <= size:
            return day + room / size
        room -= size
    last = bytes_per_day[-7:]
    rate = sum(last) / len(last)
    if rate <= 0:
        return None
    return min(len(bytes_per_day) + room / rate, _LONGEST / timedelta(days=1))
