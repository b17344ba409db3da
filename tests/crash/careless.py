"""Controls of the power cuts: our own parts without some of their flushes. They must lose."""

from pathlib import Path
from sqlite3 import Connection

from dependency_injector.providers import Object

from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.adapters.files.blobs import BlobFolder
from traffic_storage.adapters.record_repo.sql import sqlite
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings
from traffic_storage.entrypoints.container import Container

FROZEN_SECONDS = 600.0
"""While a disk is copied it stands still, and is no disk that hangs."""


class CarelessDiskBlobStore(LocalDiskBlobStore):
    """Our store, flushing nothing."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, SystemClock(), timeout_seconds=FROZEN_SECONDS)
        self._folder = BlobFolder(self.root, durable=False)


def _careless_blobs(container: Container) -> None:
    folder = container.settings().local_base_path / "blobs"
    container.local_store.override(Object(CarelessDiskBlobStore(folder)))


def _careless_catalogue(_container: Container) -> None:
    """Flush checkpoints, but no commit: all is consistent, and the last of it is lost."""
    carefully = sqlite._open

    def carelessly(settings: SqliteSettings) -> Connection:
        connection = carefully(settings)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    sqlite._open = carelessly


CARELESS = {"blobs": _careless_blobs, "catalogue": _careless_catalogue}
"""What makes a part of a container's service careless, by the part's name."""
