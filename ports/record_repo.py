"""RecordRepo: all ports of one database, its migrations and its closing.

A use case depends on the narrow protocol that it needs: `IngestJournal`, `Changes`, `Catalogue`,
`StoreRegistry`, `Copies`, `JobQueue`, `JobSource`, `Reconciliation`, `Holds`, `Deletions`, `Outbox`,
`FixityRecords`, `Incidents`, `RetentionRecords`, `Readings`, `Samples`, `Migrations`,
`ViolationTable`, `SnapshotRecords`, `KeyedUploads` or `DatabaseBackup`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.copies import Copies
from traffic_storage.ports.database_backup import DatabaseBackup
from traffic_storage.ports.deletions import Deletions
from traffic_storage.ports.fixity import FixityRecords
from traffic_storage.ports.holds import Holds
from traffic_storage.ports.incidents import Incidents
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.jobs import JobQueue, JobSource
from traffic_storage.ports.keyed_uploads import KeyedUploads
from traffic_storage.ports.migrations import Migrations
from traffic_storage.ports.outbox import Outbox
from traffic_storage.ports.readings import Readings
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.retention import RetentionRecords
from traffic_storage.ports.samples import Samples
from traffic_storage.ports.snapshots import SnapshotRecords
from traffic_storage.ports.store_registry import StoreRegistry
from traffic_storage.ports.violation_table import ViolationTable


class RecordRepo(
    IngestJournal,
    Changes,
    Catalogue,
    StoreRegistry,
    Copies,
    JobQueue,
    JobSource,
    Reconciliation,
    Holds,
    Deletions,
    Outbox,
    FixityRecords,
    Incidents,
    RetentionRecords,
    Readings,
    Samples,
    Migrations,
    ViolationTable,
    SnapshotRecords,
    KeyedUploads,
    DatabaseBackup,
    Protocol,
):
    """All ports of one database. The first call opens it; the container closes it."""

    @abstractmethod
    async def upgrade(self, *, slow: bool = False) -> None:
        """Apply pending migrations, under a lock. Safe to call concurrently.

        Migrations that take long on a large catalogue are applied only with `slow`. On a new
        catalogue every migration is quick.

        Raises:
            ConfigurationError: the tables are newer than this version, or a slow migration is
                pending and `slow` is False; nothing was changed.
        """

    @abstractmethod
    async def pending(self) -> Sequence[str]:
        """Return the names of the migrations that `upgrade` would apply, oldest first.

        Changes nothing, and creates no catalogue if none exists.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """

    @abstractmethod
    async def fold_counters(self) -> None:
        """Add recorded changes of the counters to the totals, and delete their rows.

        The results of `usage` and `daily_usage` stay the same. Each change is added once, even if
        several processes call this. A change that was recorded while another transaction was
        running may be added only by the next call.

        Raises:
            CatalogueUnavailable: the database can't be reached or did not answer in time.
            OutcomeUnknown: the outcome could not be looked up; a later call continues.
            StorageFull: the database has no space to write.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Wait until the database answers that it can be written.

        Raises:
            CatalogueReadOnly: it can be read, not written.
            CatalogueUnavailable: the database can't be reached or did not answer in time.
        """

    @abstractmethod
    async def database_time(self) -> datetime:
        """Return the time of the database's clock, UTC.

        Raises:
            CatalogueUnavailable: the database can't be reached or did not answer in time.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Wait until running calls end, then close the connections."""
