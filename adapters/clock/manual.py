"""A clock that stands still until it is told otherwise."""

from datetime import datetime, timedelta

from traffic_storage.ports.clock import Clock


class ManualClock(Clock):
    """Shows `start` (aware) at first; both its times move by `advance` alone."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._now = start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def advance(self, by: timedelta) -> None:
        """Let `by` (not negative) pass."""
        if by < timedelta(0):
            raise ValueError("time does not go back")
        self._now += by
