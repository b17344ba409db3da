"""MigrateAndProve: a migration, its reconciliation and, if asked for, the seal of the source."""

import logging
from datetime import datetime

from attrs import define

from traffic_storage.application.migrate import Migrate
from traffic_storage.application.migrate_decisions import MigrateDecisions
from traffic_storage.application.migration_sides import (
    NO_LIMITS,
    Migrated,
    MigrationLimits,
    MigrationSource,
    MigrationTarget,
    Report,
)
from traffic_storage.application.reconcile_migration import ReconcileMigration
from traffic_storage.domain.migration import Reconciliation
from traffic_storage.domain.seal import Seal

logger = logging.getLogger("traffic_storage.migration")


@define
class ProvenMigration:
    """The result of a migration.

    Attributes:
        reconciliation: None after a dry run.
        seal: the seal of the source; None if it is not sealed.
    """

    migrated: Migrated
    reconciliation: Reconciliation | None = None
    seal: Seal | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the target has everything, unaltered."""
        return self.reconciliation is not None and self.reconciliation.is_equal


class MigrateAndProve:
    """Brings violations to another service, compares both, and seals the source."""

    def __init__(self, source: MigrationSource, target: MigrationTarget) -> None:
        self._source = source
        self._migrate = Migrate(source, target)
        self._decisions = MigrateDecisions(source, target)
        self._reconcile = ReconcileMigration(source, target)

    async def __call__(
        self,
        start: datetime,
        end: datetime,
        report: Report,
        *,
        limits: MigrationLimits = NO_LIMITS,
        dry_run: bool = False,
        reread: bool = False,
        seal_as: str | None = None,
    ) -> ProvenMigration:
        """Bring what the source has of a range, and reconcile (see `Migrate` for errors).

        With `reread`, the reconciliation reads all bytes at the target. `seal_as` asks for the seal,
        in this name: the bytes are read, and the source is sealed only if the target has everything,
        unaltered. What was stored until the seal took effect is brought and compared then; if that
        fails, the seal is lifted.
        """
        done = ProvenMigration(
            await self._migrate(start, end, report, limits=limits, dry_run=dry_run)
        )
        if dry_run:
            return done
        reread = reread or seal_as is not None
        done.reconciliation = await self._compare(done, report, reread=reread)
        if seal_as is not None and done.is_complete:
            await self._seal(done, report, limits, seal_as)
        return done

    async def _compare(
        self, done: ProvenMigration, report: Report, *, reread: bool
    ) -> Reconciliation:
        return await self._reconcile(done.migrated.migration, report, reread=reread)

    async def _seal(
        self, done: ProvenMigration, report: Report, limits: MigrationLimits, by: str
    ) -> None:
        if left := done.migrated.without_violation:
            logger.warning(
                "the source is sealed although %d files without a violation, received in the range, "
                "are not brought",
                left,
            )
        if left := done.migrated.can_be_undeleted:
            logger.warning(
                "the source is sealed although %d deleted files of the range, which could still be "
                "undeleted, are not brought",
                left,
            )
        was = await self._source.sealing.current()
        migration, first = done.migrated.migration, done.reconciliation
        seal = await self._source.sealing.seal(
            "its violations were migrated to another service", by
        )
        try:
            # What covers a file here must cover it there, before nobody looks here any more.
            await self._decisions.bring_holds(done.migrated)
            now = await self._compare(done, report, reread=False)
            if first is None or not now.has_same_source(first):
                rest = await self._migrate(migration.start, migration.end, report, limits=limits)
                done.migrated.add(rest)
                done.reconciliation = await self._compare(done, report, reread=True)
        except BaseException:
            await self._lift(was, by)
            raise
        if done.is_complete:
            done.seal = seal
        else:
            await self._lift(was, by)

    async def _lift(self, was: Seal | None, by: str) -> None:
        if was is None:
            await self._source.sealing.unseal("the target does not have everything", by)
