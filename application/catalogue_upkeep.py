"""Upkeep of the catalogue: connection check, migrations, id, clock."""

from collections.abc import Sequence
from datetime import timedelta

from traffic_storage.domain.identifiers import CatalogueId
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.record_repo import RecordRepo


class CatalogueUpkeep:
    """The catalogue operations of `db upgrade` and `doctor`. The service need not be started.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(self, *, repo: RecordRepo, clock: Clock) -> None:
        self._repo = repo
        self._clock = clock

    async def ping(self) -> None:
        """Wait until the database answers; raise `CatalogueUnavailable` if it does not."""
        await self._repo.ping()

    async def pending(self) -> Sequence[str]:
        """Return the names of the pending migrations, oldest first. Changes nothing.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """
        return await self._repo.pending()

    async def upgrade(self) -> None:
        """Apply all pending migrations, slow ones included, under a lock.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """
        await self._repo.upgrade(slow=True)

    async def clock_skew(self) -> timedelta:
        """Return how far the database's clock is ahead of the clock of this machine.

        Accurate to half of the time that the database takes to answer.
        """
        before = self._clock.now()
        there = await self._repo.database_time()
        after = self._clock.now()
        return there - (before + (after - before) / 2)

    async def catalogue_id(self) -> CatalogueId:
        """Return the id that the catalogue (the database) was given at its creation."""
        return await self._repo.catalogue_id()
