"""Backups of a catalogue in memory: this process keeps the copied tables, the bytes name them."""

from collections.abc import AsyncIterator

from attrs import evolve

from traffic_storage.adapters.record_repo.memory.copied_tables import FORM, found
from traffic_storage.adapters.record_repo.memory.snapshots import InMemorySnapshots
from traffic_storage.domain.database_backup import DatabaseForm, EndLoad, Loaded, Loading
from traffic_storage.domain.identifiers import AttemptId, StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Attempt
from traffic_storage.domain.rebuild import RebuildCursor
from traffic_storage.ports.database_backup import DatabaseBackup, NotBlank, UnusableBackup

_MOST_BYTES = 1024


class InMemoryDatabaseBackup(InMemorySnapshots, DatabaseBackup):
    """Loads copies that were made in this process."""

    _attempts: dict[AttemptId, Attempt]
    _condemned: set[AttemptId]
    _stores: dict[StoreId, RegisteredStore]
    _cursors: dict[StoreId, RebuildCursor]
    _loaded: Loaded | None

    def __init__(self) -> None:
        InMemorySnapshots.__init__(self)
        self._loaded = None

    @property
    def form(self) -> DatabaseForm:
        return FORM

    async def is_blank(self) -> bool:
        return not (self._files or self._violations or self._holds or self._attempts)

    async def load_database(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        data = b""
        async for chunk in chunks:
            data = (data + chunk)[:_MOST_BYTES]
        if not await self.is_blank():
            raise NotBlank("the catalogue in memory")
        if (tables := found(data)) is None:
            raise UnusableBackup("this process has not made it")
        vars(self).update(tables)
        self._attempts.clear()
        self._condemned.clear()
        self._cursors.clear()
        for store_id, store in self._stores.items():
            if store.incarnation or store.intended:
                self._stores[store_id] = evolve(
                    store, incarnation=loading.incarnation, intended=None
                )
        self._loaded = Loaded(loading.backup_at, loading.loaded_at)

    async def loaded(self) -> Loaded | None:
        return self._loaded

    def end_load(self, _change: EndLoad) -> bool:
        """Apply `EndLoad`."""
        self._loaded = None
        return True
