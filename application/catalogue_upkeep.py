"""Upkeep of the catalogue itself: whether it answers, its migrations, where it places stores."""

from collections.abc import Sequence

from traffic_storage.application.whereabouts import placed_elsewhere
from traffic_storage.domain.identifiers import CatalogueId, StoreId
from traffic_storage.ports.blob_store import BlobStore
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
        await self._repo.upgrade()

    async def catalogue_id(self) -> CatalogueId:
        """The id of the catalogue."""
        return await self._repo.catalogue_id()

    async def elsewhere(self, store: BlobStore, store_id: StoreId) -> str:
        """Why `store` may not be the one that the catalogue means by this id; empty: it may.

        Raises:
            StorageUnavailable: the store can't be reached.
        """
        return await placed_elsewhere(self._repo, store, store_id)
