"""What migrations and their reconciliations read page by page."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from attrs import evolve

from traffic_storage.application.migration_sides import MigrationSource
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import ViolationId
from traffic_storage.domain.migration import MigrationId
from traffic_storage.domain.query import MAX_LIMIT, FilesQuery, Page
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.catalogue import Catalogue

PurgedPage = Sequence[tuple[StoredFile, StoredViolation]]
"""Purged files, each with its violation."""


async def files_of_page(
    catalogue: Catalogue, violations: Sequence[StoredViolation]
) -> list[Sequence[StoredFile]]:
    """Return all files of each violation, whatever their state."""
    found = await catalogue.files_of_each([one.violation_id for one in violations])
    files = []
    for one in violations:
        some = found[one.violation_id]
        is_all = len(some) < MAX_LIMIT
        files.append(some if is_all else await _all_files(catalogue, one.violation_id))
    return files


MOST_LOOKED_AT = 200_000
"""So many files are looked at to count those without a violation."""


async def files_without_violation(
    catalogue: Catalogue, start: datetime, end: datetime, most: int = MOST_LOOKED_AT
) -> tuple[int, bool]:
    """Return how many available files without a violation were received in a range, and if it is all.

    Looks at the newest `most` files of the range, page by page; if there are more, it is not all.
    """
    found, is_all = 0, True
    query = FilesQuery(start_time=start, end_time=end)
    async for page in _pages(catalogue, query, most):
        found += sum(file.violation_id is None for file in page.items)
        is_all = page.next is None
    return found, is_all


async def files_to_undelete(
    source: MigrationSource, start: datetime, end: datetime, most: int = MOST_LOOKED_AT
) -> tuple[int, bool]:
    """Return how many deleted files of a range can still be undeleted, and if it is all.

    Those of a violation count by its time, others by their receipt. Looks at the newest `most`
    files in this state, page by page; if there are more, it is not all.
    """
    found, is_all = 0, True
    query = FilesQuery(state=FileState.TOMBSTONED)
    async for page in _pages(source.catalogue, query, most):
        violations = await _violations_of(source, page.items)
        for file in page.items:
            violation = _violation_of(file, violations)
            found += start <= (violation.occurred_at if violation else file.created_at) < end
        is_all = page.next is None
    return found, is_all


async def _pages(
    catalogue: Catalogue, query: FilesQuery, most: int
) -> AsyncIterator[Page[StoredFile]]:
    """Yield the pages of a query, until `most` files were looked at."""
    query = evolve(query, limit=min(most, MAX_LIMIT))
    looked_at = 0
    while True:
        page = await catalogue.files(query)
        yield page
        looked_at += len(page.items)
        if page.next is None or looked_at >= most:
            return
        query = evolve(query, after=page.next)


async def _all_files(catalogue: Catalogue, violation_id: ViolationId) -> Sequence[StoredFile]:
    found: list[StoredFile] = []
    for state in FileState:
        query: FilesQuery | None = FilesQuery(
            violation_id=violation_id, state=state, limit=MAX_LIMIT
        )
        while query is not None:
            page = await catalogue.files(query)
            found += page.items
            query = evolve(query, after=page.next) if page.next else None
    return found


async def purged_files(
    source: MigrationSource, migration: MigrationId
) -> AsyncIterator[PurgedPage]:
    """Yield the purged files of the violations in the range of a migration."""
    query: FilesQuery | None = FilesQuery(state=FileState.PURGED, limit=MAX_LIMIT)
    while query is not None:
        page = await source.catalogue.files(query)
        violations = await _violations_of(source, page.items)
        yield [
            (file, violation)
            for file in page.items
            if (violation := _violation_of(file, violations)) is not None
            and migration.start <= violation.occurred_at < migration.end
        ]
        query = evolve(query, after=page.next) if page.next else None


async def _violations_of(
    source: MigrationSource, files: Sequence[StoredFile]
) -> Mapping[ViolationId, StoredViolation]:
    names = {file.violation_id for file in files if file.violation_id is not None}
    return await source.rows.violations_by_id(names)


def _violation_of(
    file: StoredFile, violations: Mapping[ViolationId, StoredViolation]
) -> StoredViolation | None:
    return None if file.violation_id is None else violations.get(file.violation_id)
