"""Migrate: brings violations with their files from one service to another.

The source is only read. Each violation becomes visible at the target whole, or without the files
that could not be read, by the only write path (`StoreUnit`): bytes are verified while they are read
at the source, put under a new key that the target's journal names, and read back and hashed there
before the commit.

1. The holds of the source come first, so that nothing that they cover can be deleted at the target.
2. Violations come newest first, page by page. What the target has already is skipped by its rows.
3. Behind each page the target records a cursor. A repeated call goes on there.
4. The destruction certificates follow, and last the holds that were placed or released meanwhile;
   the cursor is forgotten.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from attrs import frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.migrate_decisions import MigrateDecisions
from traffic_storage.application.migration_reads import (
    files_of_page,
    files_to_undelete,
    files_without_violation,
)
from traffic_storage.application.migration_sides import (
    NO_LIMITS,
    Migrated,
    MigrationLimits,
    MigrationSource,
    MigrationTarget,
    Report,
)
from traffic_storage.application.pace import Pace
from traffic_storage.application.read_back import CopyRefuted
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    NoGoodReplica,
    NotFound,
)
from traffic_storage.domain.files import Coding, FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.migration import (
    MigrationCursor,
    MigrationId,
    SetMigrationCursor,
    document_of,
    has_good_copy,
    migrated_violation,
)
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import BlobCorrupt
from traffic_storage.ports.spool import Body, MemoryBody

logger = logging.getLogger("traffic_storage.migration")

PAGE = 200
"""So many violations are between two cursors."""

_UNREADABLE = (NoGoodReplica, NotFound, BlobCorrupt)
_REFUSED = (Conflict, NoGoodReplica, CopyRefuted, DigestMismatch)


@frozen
class _Known:
    """What the target has of some violations and their files."""

    violations: Mapping[ViolationId, StoredViolation]
    files: Mapping[FileId, StoredFile]


class Migrate:
    """Brings violations from `source` to `target`. Safe to repeat, and to interrupt at any time."""

    def __init__(self, source: MigrationSource, target: MigrationTarget) -> None:
        self._source = source
        self._target = target
        self._decisions = MigrateDecisions(source, target)

    async def __call__(
        self,
        start: datetime,
        end: datetime,
        report: Report,
        *,
        limits: MigrationLimits = NO_LIMITS,
        dry_run: bool = False,
    ) -> Migrated:
        """Bring the violations with `start ≤ occurred_at < end`; with `dry_run`, only count them.

        A file that has no good copy, or that the target refuses, is noted as failed, and its
        violation is brought without it. A later call tries it again.

        Raises:
            InvalidInput: the range is empty, or source and target have one catalogue.
            StorageUnavailable, StorageFull: a store of the source can't be reached, or those of the
                target accept nothing now. A repeated call goes on.
            CatalogueUnavailable: a database can't be reached. A repeated call goes on.
        """
        migration = MigrationId(await self._source.registry.catalogue_id(), start, end)
        if migration.source == await self._target.registry.catalogue_id():
            raise InvalidInput.of("target", "has the catalogue of the source", "name another one")
        found = Migrated(migration, dry_run)
        left, is_all = await files_without_violation(self._source.catalogue, start, end)
        found.without_violation, found.without_violation_at_least = left, not is_all
        left, is_all = await files_to_undelete(self._source, start, end)
        found.can_be_undeleted, found.can_be_undeleted_at_least = left, not is_all
        cursor = None
        if not dry_run:
            cursor = await self._target.migrations.migration_cursor(migration)
            found.resumed = cursor.records if cursor else 0
            await self._decisions.bring_holds(found)
        await _Run(self._source, self._target, limits, found, report, cursor)()
        if not dry_run:
            await self._decisions.bring_certificates(found)
            await self._decisions.bring_holds(found)
            await self._target.changes.apply(SetMigrationCursor(migration, None))
        return found


class _Run:
    """One walk of a migration over the violations of the source."""

    def __init__(
        self,
        source: MigrationSource,
        target: MigrationTarget,
        limits: MigrationLimits,
        found: Migrated,
        report: Report,
        cursor: MigrationCursor | None,
    ) -> None:
        self._source = source
        self._target = target
        self._found = found
        self._report = report
        self._cursor = cursor
        self._slots = asyncio.Semaphore(limits.parallel)
        self._bytes = Pace(limits.bytes_per_second, target.clock)
        self._files = Pace(limits.files_per_second, target.clock)

    async def __call__(self) -> None:
        """Bring all pages; while the last violations of one are brought, the next is begun."""
        after = self._cursor.after if self._cursor else None
        try:
            async with asyncio.TaskGroup() as group:
                begun: tuple[asyncio.Task[Counter[str]], Cursor | None] | None = None
                while True:
                    page = await self._source.catalogue.violations(self._query(after))
                    task = group.create_task(self._page(page.items))
                    if begun:
                        await self._end(*begun)
                    begun = task, page.next
                    if page.next is None:
                        break
                    after = page.next
                await self._end(*begun)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _query(self, after: Cursor | None) -> ViolationQuery:
        migration = self._found.migration
        return ViolationQuery(
            start_time=migration.start, end_time=migration.end, limit=PAGE, after=after
        )

    async def _end(self, page: "asyncio.Task[Counter[str]]", after: Cursor | None) -> None:
        """Wait for a page, and record that everything up to its end is done."""
        brought = await page
        if after is None or self._found.dry_run:
            return
        was = self._cursor
        self._cursor = MigrationCursor(
            self._found.migration,
            after,
            brought["records"] + (was.records if was else 0),
            brought["files"] + (was.files if was else 0),
            brought["bytes"] + (was.bytes if was else 0),
        )
        change = SetMigrationCursor(self._found.migration, self._cursor)
        await self._target.changes.apply(change)

    async def _page(self, violations: Sequence[StoredViolation]) -> "Counter[str]":
        """Bring the violations of a page; return what was brought."""
        files = await files_of_page(self._source.catalogue, violations)
        known = _Known(
            await self._target.rows.violations_by_id([one.violation_id for one in violations]),
            await self._target.rows.files_by_id([file.file_id for of in files for file in of]),
        )
        brought: Counter[str] = Counter()
        await together(
            *(
                self._bring(violation, of, known, brought)
                for violation, of in zip(violations, files, strict=True)
            )
        )
        return brought

    async def _bring(
        self,
        violation: StoredViolation,
        files: Sequence[StoredFile],
        known: _Known,
        brought: "Counter[str]",
    ) -> None:
        async with self._slots:
            available = [file for file in files if file.state is FileState.AVAILABLE]
            self._found.deleted += len(files) - len(available)
            lacking = [
                file for file in available if not has_good_copy(known.files.get(file.file_id), file)
            ]
            is_new = violation.violation_id not in known.violations
            if not lacking and not is_new:
                self._found.skipped += 1
            elif self._found.dry_run:
                self._count(lacking, brought, is_new=is_new)
            else:
                await self._store(violation, lacking, brought, is_new=is_new)
            self._report(self._found.progress())

    async def _store(
        self,
        violation: StoredViolation,
        files: Sequence[StoredFile],
        brought: "Counter[str]",
        *,
        is_new: bool,
    ) -> None:
        """Store a violation with its own files, and then the others that name it."""
        own = [file for file in files if file.file_id in _own(violation)]
        async with AsyncExitStack() as bodies:
            drafts = await self._drafts(violation, own, bodies)
            if is_new and violation.metadata_file_id not in {one.file_id for one in drafts}:
                self._found.fail(violation, None, "its metadata file can't be read")
                return
            if drafts:
                await self._try(violation, drafts, brought, is_new=is_new)
        for file in files:
            if file not in own:
                async with AsyncExitStack() as bodies:
                    if drafts := await self._drafts(violation, [file], bodies):
                        await self._try(violation, drafts, brought, is_new=False, alone=True)

    async def _drafts(
        self, violation: StoredViolation, files: Sequence[StoredFile], bodies: AsyncExitStack
    ) -> list[Draft]:
        """Read files at the source; those that can't be read are noted, and left out."""
        read = await together(*(self._body(violation, file, bodies) for file in files))
        return [
            Draft.migrated(file, body)
            for file, body in zip(files, read, strict=True)
            if body is not None
        ]

    async def _body(
        self, violation: StoredViolation, file: StoredFile, bodies: AsyncExitStack
    ) -> Body | None:
        await self._files.take(1)
        await self._bytes.take(file.stored.size_bytes)
        try:
            return await bodies.enter_async_context(self._source.bodies.of(file))
        except _UNREADABLE as error:
            body = await self._remade(violation, file)
            if body is None:
                self._found.fail(violation, file.file_id, str(error))
            return body

    async def _remade(self, violation: StoredViolation, file: StoredFile) -> Body | None:
        """Make a metadata file that can't be read anew from the rows; None if its bytes differ.

        Without it, the violation can't be stored.
        """
        if file.file_id != violation.metadata_file_id:
            return None
        files = await self._source.catalogue.files_of(violation.violation_id)
        found = document_of(violation, files)
        if found is None:
            return None
        body = MemoryBody(found, digests_of(found))
        if file.coding is Coding.ZSTD:
            body = await self._source.compressor.compress(found)
        if body.digests != file.stored:
            return None
        logger.warning("%s was made anew: its bytes have the recorded digest", file.file_id)
        return body

    async def _try(
        self,
        violation: StoredViolation,
        drafts: Sequence[Draft],
        brought: "Counter[str]",
        *,
        is_new: bool,
        alone: bool = False,
    ) -> None:
        """Store one unit; what the target refuses is noted."""
        unit = DraftUnit(tuple(drafts), None if alone else migrated_violation(violation))
        try:
            await self._target.tasks.run(self._target.store_unit(unit))
        except _REFUSED as error:
            named = drafts[0].file_id if alone else None
            self._found.fail(violation, named, str(error))
        else:
            self._count([one.origin for one in drafts if one.origin], brought, is_new=is_new)

    def _count(self, files: Sequence[StoredFile], brought: "Counter[str]", *, is_new: bool) -> None:
        size = sum(file.stored.size_bytes for file in files)
        brought.update(records=int(is_new), files=len(files), bytes=size)
        self._found.records += is_new
        self._found.files += len(files)
        self._found.bytes += size


def _own(violation: StoredViolation) -> set[FileId | None]:
    return {violation.metadata_file_id, violation.image_file_id, violation.video_file_id}
