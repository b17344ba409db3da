"""Deadlines of attempts by one clock, that of the database, where processes run on several hosts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import evolve, frozen

from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.record_repo import RecordRepo

_MOST_SECONDS = 60.0
"""How long a reading of the database's clock is carried on by the monotonic clock of this host."""
_MOST_APART = timedelta(seconds=1)
"""By how much this host's clock and its monotonic one may differ in progress since the reading.

They do if the clock was set, or if the host was suspended: the monotonic clock stands still then.
"""


class DatabaseClockJournal(IngestJournal):
    """A journal whose times are those of the database's clock.

    Callers give, and get, times of their own host's clock. Clocks of two hosts may differ by more
    than an attempt lasts; then each would condemn the running attempts of the other.
    """

    def __init__(self, repo: RecordRepo, clock: Clock) -> None:
        self._repo = repo
        self._clock = clock
        self._reading: _Reading | None = None

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
        """Return how far the database's clock is ahead of this host's."""
        if self._reading is None or not self._reading.holds(self._clock):
            self._reading = await self._read()
        return self._reading.ahead

    async def _read(self) -> "_Reading":
        before = self._clock.monotonic()
        there = await self._repo.database_time()
        # Taken in the middle of the call; the host's clock is read at its end.
        end, here = self._clock.monotonic(), self._clock.now()
        return _Reading(there + timedelta(seconds=(end - before) / 2) - here, here, end)


@frozen
class _Reading:
    """How far the database's clock was ahead, and when by both clocks of this host."""

    ahead: timedelta
    here: datetime
    monotonic: float

    def holds(self, clock: Clock) -> bool:
        """Return whether the clocks have gone on evenly since, for not too long."""
        passed = clock.monotonic() - self.monotonic
        apart = clock.now() - self.here - timedelta(seconds=passed)
        return passed <= _MOST_SECONDS and abs(apart) <= _MOST_APART


def _moved(attempt: Attempt, by: timedelta) -> Attempt:
    return evolve(attempt, deadline=_later(attempt.deadline, by))


def _later(time: datetime, by: timedelta) -> datetime:
    """Return a time moved by `by`; a time that means never remains what it is."""
    try:
        return time + by
    except OverflowError:
        return time
