"""RecordRepo: everything that one database serves, and its opening and closing.

Use cases take the narrow protocol that they need: `IngestJournal`, `Changes`, `Catalogue` or
`StoreRegistry`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.store_registry import StoreRegistry


class RecordRepo(IngestJournal, Changes, Catalogue, StoreRegistry, Protocol):
    """All ports of one database. It opens at the first call; the container closes it."""

    @abstractmethod
    async def upgrade(self, *, slow: bool = False) -> None:
        """Apply pending migrations, under a lock. Safe to call by many at once.

        Migrations that take long on a large catalogue are applied only with `slow`; on a new one
        all are quick.

        Raises:
            ConfigurationError: the tables are newer than this version; or a slow migration is
                pending and `slow` is False. Nothing is changed then.
        """

    @abstractmethod
    async def pending(self) -> Sequence[str]:
        """The names of the migrations that `upgrade` would apply, oldest first.

        Changes nothing, and makes nothing where there is no catalogue yet.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Answer when the database does."""

    @abstractmethod
    async def aclose(self) -> None:
        """Free connections; running calls end first."""
