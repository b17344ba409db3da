"""A clock for tests: its time changes only when the caller moves it."""

from datetime import datetime, timedelta

from traffic_storage.ports.clock import Clock


class ManualClock(Clock):
    """A clock that starts at `start` (a time with a zone); only `advance` moves its time."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._now = start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def advance(self, by: timedelta) -> None:
        """Move the clock forward by `by`.

        Raises:
            ValueError: `by` is negative.
        """
        if by < timedelta(0):
            raise ValueError("`by` must not be negative")
        self._now += by
