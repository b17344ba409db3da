"""What a migration reads and writes at its source and its target; its limits and its result."""

import logging
from collections.abc import Callable
from typing import TypeAlias

from attrs import define, field, frozen

from traffic_storage.application.export_journal import ExportJournal
from traffic_storage.application.replica_reader import ReplicaReader
from traffic_storage.application.sealing import Sealing
from traffic_storage.application.store_unit import StoreUnit
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.application.verified_bodies import VerifiedBodies
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.migration import MOST_EXAMPLES, Failure, MigrationId
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.deletions import Deletions
from traffic_storage.ports.holds import Holds
from traffic_storage.ports.migrations import Migrations
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.store_registry import StoreRegistry

logger = logging.getLogger("traffic_storage.migration")

Report: TypeAlias = Callable[[Progress], None]


@frozen
class MigrationSource:
    """What a migration reads at its source."""

    registry: StoreRegistry
    catalogue: Catalogue
    rows: Reconciliation
    holds: Holds
    deletions: Deletions
    bodies: VerifiedBodies
    compressor: Compressor
    sealing: Sealing


@frozen
class MigrationTarget:
    """What a migration reads and writes at its target."""

    registry: StoreRegistry
    catalogue: Catalogue
    rows: Reconciliation
    holds: Holds
    deletions: Deletions
    migrations: Migrations
    changes: Changes
    store_unit: StoreUnit
    journal: ExportJournal
    replicas: ReplicaReader
    tasks: OwnedTasks
    clock: Clock


@frozen
class MigrationLimits:
    """How fast a migration goes.

    Attributes:
        parallel: how many violations are brought at once.
        bytes_per_second, files_per_second: the most on average; 0: no limit.

    Raises:
        InvalidInput: one of them is too small.
    """

    parallel: int = 8
    bytes_per_second: int = 0
    files_per_second: int = 0

    def __attrs_post_init__(self) -> None:
        for name, least in (("parallel", 1), ("bytes_per_second", 0), ("files_per_second", 0)):
            if (value := getattr(self, name)) < least:
                raise InvalidInput.of(name, f"is {value}", f"give a whole number from {least}")


NO_LIMITS = MigrationLimits()


@define
class Migrated:
    """What one call of a migration has brought.

    Attributes:
        records, files, bytes: violations that the target had not, and files; bytes as stored.
        skipped: violations that the target had already, with all their files.
        deleted: files that are deleted at the source, and not brought.
        holds: legal holds that were placed or released at the target.
        certificates: destruction certificates that the target had not.
        resumed: how many violations earlier, interrupted calls had brought.
        without_violation: how many files without a violation were received in the range: they are not
            brought. At least so many if `without_violation_at_least`.
        can_be_undeleted: how many deleted files of the range can still be undeleted: they are not
            brought. At least so many if `can_be_undeleted_at_least`.
        failed: how many violations and files were not brought; `failures` names the first
            `MOST_EXAMPLES` of them.
    """

    migration: MigrationId
    dry_run: bool
    records: int = 0
    files: int = 0
    bytes: int = 0
    skipped: int = 0
    deleted: int = 0
    holds: int = 0
    certificates: int = 0
    resumed: int = 0
    without_violation: int = 0
    without_violation_at_least: bool = False
    can_be_undeleted: int = 0
    can_be_undeleted_at_least: bool = False
    failed: int = 0
    failures: list[Failure] = field(factory=list)

    def fail(self, violation: StoredViolation, file_id: FileId | None, reason: str) -> None:
        """Note a violation, or a file of it, that was not brought."""
        self.failed += 1
        if len(self.failures) < MOST_EXAMPLES:
            self.failures.append(Failure(violation.violation_id, file_id, reason))
        logger.error(
            "%s of %s was not migrated: %s", file_id or "the record", violation.violation_id, reason
        )

    def add(self, later: "Migrated") -> None:
        """Add what a later call has brought."""
        self.records += later.records
        self.files += later.files
        self.bytes += later.bytes
        self.holds += later.holds
        self.certificates += later.certificates
        self.failed += later.failed
        self.failures += later.failures

    def progress(self) -> Progress:
        """Return how far the migration has come, in violations."""
        done = self.resumed + self.records + self.skipped
        return Progress(done, bytes=self.bytes, message="violations")
