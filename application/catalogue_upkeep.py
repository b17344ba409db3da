"""Upkeep of the catalogue: connection check, migrations, id."""

from collections.abc import Sequence

from traffic_storage.domain.identifiers import CatalogueId
from traffic_storage.ports.record_repo import RecordRepo


class CatalogueUpkeep:
    """The catalogue operations of `db upgrade` and `doctor`. The service need not be started.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(self, *, repo: RecordRepo) -> None:
        self._repo = repo

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

    async def catalogue_id(self) -> CatalogueId:
        """Return the id that the catalogue (the database) was given at its creation."""
        return await self._repo.catalogue_id()
