"""Migrations: how far migrations into this catalogue have come, and whether it is sealed.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.migration import MigrationCursor, MigrationId
from traffic_storage.domain.seal import Seal


class Migrations(Protocol):
    """Reads what `SetMigrationCursor`, `SealCatalogue` and `UnsealCatalogue` write."""

    @abstractmethod
    async def migration_cursor(self, migration: MigrationId) -> MigrationCursor | None:
        """Return how far a migration has come; None if it was not begun, or is complete."""

    @abstractmethod
    async def seal(self) -> Seal | None:
        """Return the seal of this catalogue; None if it has none."""
