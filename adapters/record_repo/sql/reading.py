"""Reads of single rows, which pages and changes share."""

from asyncio import gather
from collections.abc import AsyncIterator, Sequence

from traffic_storage.adapters.record_repo.sql import reconciliation_statements, rows, statements
from traffic_storage.adapters.record_repo.sql.driver import Driver
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows
from traffic_storage.domain.violation import StoredViolation

_PAGE = 1000


class CatalogueReader:
    """Reads files and violations by their ids."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def file(self, file_id: FileId) -> StoredFile | None:
        """Return a file with its replicas; None if there is no such row."""
        return next(iter(await self.files((file_id,))), None)

    async def files(self, file_ids: Sequence[FileId]) -> tuple[StoredFile, ...]:
        """Return the files of these ids that exist."""
        if not file_ids:
            return ()
        executions = [(file_id,) for file_id in file_ids]
        return rows.files_of(await self._driver.read(statements.FILE, executions))

    async def violation(self, violation_id: ViolationId | None) -> StoredViolation | None:
        """Return a violation; None if there is no such row, or no id."""
        if violation_id is None:
            return None
        found = await self._driver.read(statements.VIOLATION, [(violation_id,)])
        return next(iter(rows.violations_of(found)), None)

    async def existing(self, ids: ClaimedIds) -> ExistingRows:
        """Return the rows that exist under these ids."""
        files, violation = await gather(self.files(ids.files), self.violation(ids.violation))
        return ExistingRows({file.file_id: file for file in files}, violation)


async def attempts(driver: Driver) -> AsyncIterator[Attempt]:
    """Yield the entries of the ingest journal, page by page, ascending by id."""
    after = ""
    while found := await driver.read(reconciliation_statements.ATTEMPTS, [(after, _PAGE)]):
        for row in found:
            attempt = rows.attempt_of(row)
            yield attempt
            after = attempt.attempt_id
