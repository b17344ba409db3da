"""Cursors of migrations, and the seal, in the memory of this process."""

from abc import abstractmethod
from collections.abc import Iterable

from traffic_storage.domain.events import Event
from traffic_storage.domain.migration import MigrationCursor, MigrationId, SetMigrationCursor
from traffic_storage.domain.seal import (
    Seal,
    SealCatalogue,
    UnsealCatalogue,
    event_of_seal,
    event_of_unseal,
)
from traffic_storage.ports.migrations import Migrations


class InMemoryMigrations(Migrations):
    """Cursors and a seal, which exist as long as this object."""

    def __init__(self) -> None:
        self._migrations: dict[MigrationId, MigrationCursor] = {}
        self._seal: Seal | None = None

    @abstractmethod
    def record(self, events: Iterable[Event]) -> None:
        """Add events at the end of the outbox."""

    async def migration_cursor(self, migration: MigrationId) -> MigrationCursor | None:
        return self._migrations.get(migration)

    async def seal(self) -> Seal | None:
        return self._seal

    def set_migration_cursor(self, change: SetMigrationCursor) -> bool:
        """Apply `SetMigrationCursor`."""
        if change.cursor is None:
            return self._migrations.pop(change.migration, None) is not None
        self._migrations[change.migration] = change.cursor
        return True

    def seal_catalogue(self, change: SealCatalogue) -> bool:
        """Apply `SealCatalogue`."""
        if self._seal is not None:
            return False
        self._seal = change.seal
        self.record([event_of_seal(change)])
        return True

    def unseal_catalogue(self, change: UnsealCatalogue) -> bool:
        """Apply `UnsealCatalogue`."""
        if self._seal is None:
            return False
        self._seal = None
        self.record([event_of_unseal(change)])
        return True
