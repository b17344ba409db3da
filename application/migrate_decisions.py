"""MigrateDecisions: legal holds and destruction certificates, brought to the target of a migration.

Both are brought as they are: with their ids, times and reasons. What the target has is left as it is,
but for a hold that was released at the source.
"""

from collections import defaultdict
from collections.abc import Sequence

from attrs import evolve

from traffic_storage.application.migration_reads import PurgedPage, purged_files
from traffic_storage.application.migration_sides import (
    Migrated,
    MigrationSource,
    MigrationTarget,
)
from traffic_storage.domain.deletion import leads
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.holds import Hold, PlaceHold, ReleaseHold, release_of
from traffic_storage.domain.identifiers import ViolationId
from traffic_storage.domain.migration import expects_certificate
from traffic_storage.domain.purged_rows import RestorePurged, restored_purge
from traffic_storage.domain.query import MAX_LIMIT, HoldsQuery
from traffic_storage.domain.snapshot_rows import event_of_deletion
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.concurrency import together


class MigrateDecisions:
    """Brings holds and certificates from `source` to `target`. Safe to repeat.

    Errors of all methods:
        CatalogueUnavailable: a database can't be reached.
    """

    def __init__(self, source: MigrationSource, target: MigrationTarget) -> None:
        self._source = source
        self._target = target

    async def bring_holds(self, found: Migrated) -> None:
        """Place the holds of the source at the target, and release there what is released here.

        All of them, whatever they cover: what one too few covered may be gone.
        """
        before = found.holds
        query: HoldsQuery | None = HoldsQuery(limit=MAX_LIMIT)
        while query is not None:
            page = await self._source.holds.holds(query)
            for hold in page.items:
                if change := await self._change_of(hold):
                    found.holds += await self._target.changes.apply(change)
            query = evolve(query, after=page.next) if page.next else None
        if found.holds > before:
            await self._target.journal.everywhere()

    async def _change_of(self, hold: Hold) -> PlaceHold | ReleaseHold | None:
        known = await self._target.holds.hold(hold.hold_id)
        if known is None:
            return PlaceHold(hold)
        return None if known.released_at else release_of(hold)

    async def bring_certificates(self, found: Migrated) -> None:
        """Bring what is left of the purged files of the range, with their destruction certificates.

        A file that the target has itself, because it came before it was purged at the source, stays
        there until the target's own retention ends.
        """
        before = found.certificates
        async for page in purged_files(self._source, found.migration):
            by_violation = defaultdict[ViolationId, list[RestorePurged]](list)
            for file, violation in await self._lacking(page, found):
                if change := await self._restoring(file, violation, found):
                    by_violation[violation.violation_id].append(change)
            # Those of one violation in turn: each enters itself into the row of its violation.
            await together(*(self._restore(changes, found) for changes in by_violation.values()))
        if found.certificates > before:
            await self._target.journal.everywhere()

    async def _lacking(self, page: PurgedPage, found: Migrated) -> PurgedPage:
        files = await self._target.rows.files_by_id([file.file_id for file, _ in page])
        names = {violation.violation_id for _, violation in page}
        violations = await self._target.rows.violations_by_id(names)
        lacking = []
        for file, violation in page:
            known = violations.get(violation.violation_id)
            if file.file_id in files or not expects_certificate(violation, known):
                continue
            if known is not None and known.record_sha256 != violation.record_sha256:
                found.fail(violation, file.file_id, "the target has another violation with its id")
                continue
            lacking.append((file, violation))
        return lacking

    async def _restoring(
        self, file: StoredFile, violation: StoredViolation, found: Migrated
    ) -> RestorePurged | None:
        deletions = await self._source.deletions.deletions([file.file_id])
        certificate = await self._source.deletions.certificate(file.file_id)
        led = violation if leads(file, violation) else None
        event = event_of_deletion(file, deletions.get(file.file_id), certificate, led)
        if event is None:
            found.fail(violation, file.file_id, "it is purged and has no destruction certificate")
            return None
        return restored_purge(event)

    async def _restore(self, changes: Sequence[RestorePurged], found: Migrated) -> None:
        for change in changes:
            is_applied = await self._target.changes.apply(change)
            found.certificates += is_applied
