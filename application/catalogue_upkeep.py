"""Upkeep of the catalogue itself: whether it answers, its migrations, its id."""

from collections.abc import Sequence

from traffic_storage.domain.identifiers import CatalogueId
from traffic_storage.ports.record_repo import RecordRepo


class CatalogueUpkeep:
    """What `db upgrade` and `doctor` need of the catalogue; works before the service is started.

    Errors of all methods:
        CatalogueUnavailable: the database is away.
    """

    def __init__(self, *, repo: RecordRepo) -> None:
        self._repo = repo

    async def ping(self) -> None:
        """Return when the database has answered."""
        await self._repo.ping()

    async def pending(self) -> Sequence[str]:
        """The migrations that `upgrade` would apply, oldest first; changes nothing.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """
        return await self._repo.pending()

    async def upgrade(self) -> None:
        """Apply all pending migrations, under a lock.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """
        await self._repo.upgrade(slow=True)

    async def catalogue_id(self) -> CatalogueId:
        """The id of the catalogue."""
        return await self._repo.catalogue_id()
