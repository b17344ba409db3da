"""ReconcileMigration: compares what a source has with what the target of a migration has of it.

`CountRange` counts and digests what one service has, to compare it with a report later.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from attrs import define, evolve, field, frozen

from traffic_storage.application.migration_reads import PurgedPage, files_of_page, purged_files
from traffic_storage.application.migration_sides import (
    MigrationSource,
    MigrationTarget,
    Report,
)
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.migration import (
    MOST_EXAMPLES,
    DayFold,
    DayTotals,
    Difference,
    MigrationId,
    Reconciliation,
    expects_certificate,
    file_problem,
    reconciled_days,
    record_problem,
)
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.concurrency import together

_PAGE = 200
_PARALLEL = 8


@define
class _Found:
    source: DayFold = field(factory=DayFold)
    target: DayFold = field(factory=DayFold)
    records: int = 0
    bytes: int = 0
    different: int = 0
    differences: list[Difference] = field(factory=list)

    def note(self, violation: StoredViolation, file_id: FileId | None, problem: str) -> None:
        self.different += 1
        if len(self.differences) < MOST_EXAMPLES:
            self.differences.append(Difference(violation.violation_id, file_id, problem))


class ReconcileMigration:
    """Compares the available violations of a range, with their available files, one by one.

    Destruction certificates of the range are compared too. What the target has besides is not looked
    at. With `reread`, the bytes of every copy at the
    target are read at its store and hashed, past every cache; a bad one is recorded as corrupt or
    missing, with an incident, and is a difference.
    """

    def __init__(self, source: MigrationSource, target: MigrationTarget) -> None:
        self._source = source
        self._target = target
        self._slots = asyncio.Semaphore(_PARALLEL)

    async def __call__(
        self, migration: MigrationId, report: Report, *, reread: bool
    ) -> Reconciliation:
        """Compare; nothing is changed but what is recorded about bad copies.

        Raises:
            StorageUnavailable: a store of the target can't be reached.
            CatalogueUnavailable: a database can't be reached.
        """
        found, after = _Found(), None
        while True:
            page = await self._source.catalogue.violations(_query(migration, after))
            await self._page(page.items, found, reread=reread)
            report(Progress(found.records, bytes=found.bytes, message="reconciled"))
            if page.next is None:
                break
            after = page.next
        async for purged in purged_files(self._source, migration):
            await self._certificates(purged, found, reread=reread)
        return Reconciliation(
            migration,
            await self._target.registry.catalogue_id(),
            self._target.clock.now(),
            reread,
            reconciled_days(found.source, found.target),
            found.different,
            tuple(found.differences),
        )

    async def _page(
        self, violations: Sequence[StoredViolation], found: _Found, *, reread: bool
    ) -> None:
        files = await files_of_page(self._source.catalogue, violations)
        known = await self._target.rows.violations_by_id([one.violation_id for one in violations])
        rows = await self._target.rows.files_by_id([file.file_id for of in files for file in of])
        await together(
            *(
                self._compare(one, _available(of), known.get(one.violation_id), rows, found, reread)
                for one, of in zip(violations, files, strict=True)
            )
        )

    async def _compare(
        self,
        violation: StoredViolation,
        files: Sequence[StoredFile],
        known: StoredViolation | None,
        rows: Mapping[FileId, StoredFile],
        found: _Found,
        reread: bool,
    ) -> None:
        found.records += 1
        found.source.add(violation, files)
        if problem := record_problem(violation, known):
            found.note(violation, None, problem)
        there = []
        for file in files:
            row = rows.get(file.file_id)
            problem = file_problem(file, row)
            if row is not None and not problem and reread:
                problem = await self._reread(row)
                found.bytes += row.stored.size_bytes
            if problem:
                found.note(violation, file.file_id, problem)
            if row is not None and not problem:
                there.append(row)
        if known is not None:
            found.target.add(known, there)

    async def _certificates(self, page: PurgedPage, found: _Found, *, reread: bool) -> None:
        """Compare the destruction certificates of purged files; with `reread`, also what they say."""
        files = await self._target.rows.files_by_id([file.file_id for file, _ in page])
        names = {violation.violation_id for _, violation in page}
        violations = await self._target.rows.violations_by_id(names)
        for file, violation in page:
            known = files.get(file.file_id)
            if known is None and expects_certificate(
                violation, violations.get(violation.violation_id)
            ):
                found.note(violation, file.file_id, "has no destruction certificate")
            elif reread and known is not None and await self._has_other_certificate(known):
                found.note(violation, file.file_id, "has another destruction certificate")

    async def _has_other_certificate(self, known: StoredFile) -> bool:
        if known.state is not FileState.PURGED:
            return False
        ours = await self._source.deletions.certificate(known.file_id)
        theirs = await self._target.deletions.certificate(known.file_id)
        if ours is None or theirs is None:
            return True
        # A file that each side has purged itself has two certificates.
        return ours.at == theirs.at and ours != theirs

    async def _reread(self, file: StoredFile) -> str:
        async with self._slots:
            return await _damage(self._target, file)


@frozen
class RangeCount:
    """What a service has of a range: the totals of each day, and the damaged files that were found."""

    days: Mapping[date, DayTotals]
    damaged: tuple[FileId, ...]


class CountRange:
    """Counts and digests the available violations of a range, as a reconciliation does."""

    def __init__(self, service: MigrationTarget) -> None:
        self._service = service
        self._slots = asyncio.Semaphore(_PARALLEL)

    async def __call__(
        self, start: datetime, end: datetime, report: Report, *, reread: bool
    ) -> RangeCount:
        """Count; with `reread`, read all bytes.

        A file with a damaged copy, or without a present one, is left out of its day, and named.

        Raises:
            StorageUnavailable: a store can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        fold, damaged, records = DayFold(), list[FileId](), 0
        query = ViolationQuery(start_time=start, end_time=end, limit=_PAGE)
        while True:
            page = await self._service.catalogue.violations(query)
            files = await files_of_page(self._service.catalogue, page.items)
            found = await together(*(self._files(_available(of), reread=reread) for of in files))
            for violation, (good, bad) in zip(page.items, found, strict=True):
                fold.add(violation, good)
                damaged += bad
            records += len(page.items)
            report(Progress(records, message="violations"))
            if page.next is None:
                return RangeCount({day: fold.totals(day) for day in fold}, tuple(damaged))
            query = evolve(query, after=page.next)

    async def _files(
        self, files: Sequence[StoredFile], *, reread: bool
    ) -> tuple[list[StoredFile], list[FileId]]:
        async with self._slots:
            bad = [
                file.file_id
                for file in files
                if not file.readable or (reread and await _damage(self._service, file))
            ]
        return [file for file in files if file.file_id not in bad], bad


async def _damage(service: MigrationTarget, file: StoredFile) -> str:
    """Read all present copies of a file at a service; return what is wrong."""
    for copy in file.readable:
        if not await service.replicas.verify(file, copy):
            return f"has a damaged copy in {copy.store_id}"
    return ""


def _available(files: Sequence[StoredFile]) -> list[StoredFile]:
    return [file for file in files if file.state is FileState.AVAILABLE]


def _query(migration: MigrationId, after: Cursor | None) -> ViolationQuery:
    return ViolationQuery(
        start_time=migration.start, end_time=migration.end, limit=_PAGE, after=after
    )
