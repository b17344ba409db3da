"""Deadlines of attempts by one clock, that of the database, where processes run on several hosts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import evolve

from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.record_repo import RecordRepo

_MOST_SECONDS = 60.0
"""How long a reading of the database's clock is carried on by the monotonic clock of this host."""


class DatabaseClockJournal(IngestJournal):
    """A journal whose times are those of the database's clock.

    Callers give, and get, times of their own host's clock. Clocks of two hosts may differ by more
    than an attempt lasts; then each would condemn the running attempts of the other.
    """

    def __init__(self, repo: RecordRepo, clock: Clock) -> None:
        self._repo = repo
        self._clock = clock
        self._reading: tuple[datetime, float] | None = None

    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        ahead = await self._ahead()
        return await self._repo.begin(_moved(attempt, ahead), ids)

    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        ahead = await self._ahead()
        found = await self._repo.condemn(_later(now, ahead), limit)
        return [_moved(attempt, -ahead) for attempt in found]

    async def forget(self, attempt: AttemptId) -> None:
        await self._repo.forget(attempt)

    async def _ahead(self) -> timedelta:
        """Return how far the database's clock is ahead of this host's.

        Carried on by the monotonic clock, so that a clock that is set meanwhile counts at once.
        """
        before = self._clock.monotonic()
        if self._reading is None or before - self._reading[1] > _MOST_SECONDS:
            there = await self._repo.database_time()
            self._reading = there, (before + self._clock.monotonic()) / 2
        there, then = self._reading
        return there + timedelta(seconds=self._clock.monotonic() - then) - self._clock.now()


def _moved(attempt: Attempt, by: timedelta) -> Attempt:
    return evolve(attempt, deadline=_later(attempt.deadline, by))


def _later(time: datetime, by: timedelta) -> datetime:
    """Return a time moved by `by`; a time that means never remains what it is."""
    try:
        return time + by
    except OverflowError:
        return time
