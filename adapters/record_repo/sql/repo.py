"""The catalogue in a database: each call of the catalogue port runs a few SQL statements."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime

from attrs import evolve, frozen

from traffic_storage.adapters.record_repo.sql import (
    file_pages,
    migrations,
    rows,
    statements,
    violation_pages,
)
from traffic_storage.adapters.record_repo.sql.changes import WRITERS
from traffic_storage.adapters.record_repo.sql.copies import SqlCopies
from traffic_storage.adapters.record_repo.sql.database_backup import SqlDatabaseBackup
from traffic_storage.adapters.record_repo.sql.deletions import SqlDeletions, SqlHolds
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.fixity import SqlFixity
from traffic_storage.adapters.record_repo.sql.incidents import SqlIncidents
from traffic_storage.adapters.record_repo.sql.jobs import SqlJobs, ending, has_ended
from traffic_storage.adapters.record_repo.sql.keyed_uploads import SqlKeyedUploads
from traffic_storage.adapters.record_repo.sql.migrating import SqlMigrations
from traffic_storage.adapters.record_repo.sql.outbox import SqlOutbox
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.readings import SqlReadings
from traffic_storage.adapters.record_repo.sql.reconciliation import SqlReconciliation
from traffic_storage.adapters.record_repo.sql.retention import SqlRetention
from traffic_storage.adapters.record_repo.sql.samples import SqlSamples
from traffic_storage.adapters.record_repo.sql.snapshots import SqlSnapshots
from traffic_storage.adapters.record_repo.sql.violation_table import SqlViolationTable
from traffic_storage.domain.changes import Change
from traffic_storage.domain.database_backup import DatabaseKind
from traffic_storage.domain.files import (
    StoredFile,
    Tier,
)
from traffic_storage.domain.identifiers import (
    AttemptId,
    CatalogueId,
    DeviceId,
    FileId,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import (
    Attempt,
    ClaimedIds,
    ExistingRows,
)
from traffic_storage.domain.jobs import Run, RunEnd
from traffic_storage.domain.query import Cursor, FilesQuery, Page, ViolationQuery
from traffic_storage.domain.usage import (
    CatalogueUsage,
    DailyUsage,
)
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.errors import CatalogueReadOnly, CatalogueUnavailable, LeaseLost
from traffic_storage.ports.record_repo import RecordRepo

MOST_FILES = 1000
_RACES = 20
_MOST_RANGES = 1000
_NO_IDS = ClaimedIds(())
_QUERIES_BETWEEN_COUNTS = 1000
_MOST_FOLDED = 5000
# Why a database that can be read can't be written, and the remedy.
_OF_READ_ONLY = {
    DatabaseKind.SQLITE: (
        "its disk is mounted read-only, or this user may not write its file and folder",
        "mount its disk writable, and give this user the right to write the file and its folder",
    ),
    DatabaseKind.POSTGRESQL: (
        "it is a standby, or is set to read-only",
        "point db_host to the primary server",
    ),
}
"""The number of recorded counter changes that one transaction adds to the totals."""


@frozen
class _Horizon:
    """A condition under which recorded changes of the counters can be added to the totals.

    Changes up to the id `newest` can be added when no transaction below `transaction` runs. Until
    then a change with a lower id may still become visible, and would be omitted.
    """

    newest: int
    transaction: int


class SqlRecordRepo(
    SqlCopies,
    SqlJobs,
    SqlReconciliation,
    SqlHolds,
    SqlDeletions,
    SqlOutbox,
    SqlFixity,
    SqlIncidents,
    SqlRetention,
    SqlReadings,
    SqlSamples,
    SqlMigrations,
    SqlViolationTable,
    SqlSnapshots,
    SqlKeyedUploads,
    SqlDatabaseBackup,
    RecordRepo,
):
    """The catalogue in the database of `driver`, which is opened at the first use."""

    def __init__(self, driver: Driver) -> None:
        SqlJobs.__init__(self, driver)
        SqlOutbox.__init__(self)
        self._read = CatalogueReader(driver)
        # Range of confidence → a number of violations that it had, which is a lower bound.
        self._range_sizes: dict[tuple[float | None, float | None], int] = {}
        self._violations = 0
        self._queries_until_count = 0
        self._horizon: _Horizon | None = None

    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        if ids == _NO_IDS:
            await self._enter(attempt)
            return ExistingRows()
        # The existing rows are read while the attempt is being entered.
        _, existing = await asyncio.gather(self._enter(attempt), self._read.existing(ids))
        return existing

    async def apply(self, change: Change) -> bool:
        return await self._apply(change)

    async def finish(self, run: Run, end: RunEnd, effect: Change | None = None) -> None:
        also = ending(run, end)
        try:
            if effect is None or not await self._apply(effect, also):
                await self._driver.write(Write((also,)))
        except Refused as refused:
            if not refused.repeated or not has_ended(await self.job(run.job_id), run, end):
                raise LeaseLost(
                    f"the job {run.job_id} was taken from this worker, or has ended"
                ) from refused

    async def _apply(self, change: Change, *also: Step) -> bool:
        """Apply a change; `also` are further steps of its transaction.

        If the result is False, nothing was changed, and the further steps were not run.

        Raises:
            Refused: a further step was refused.
        """
        writer = WRITERS[type(change)](self._driver, self._read)
        write = await writer.write(change)
        if write is None:
            return False
        try:
            await self._driver.write(evolve(write, steps=(*write.steps, *also)))
        except Refused as refused:
            if any(refused.statement is step.statement for step in also):
                raise
            return await writer.refused(change, refused)
        self._tell_workers(write)
        return True

    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        late = await self._driver.read(statements.LATE, [(rows.micros(now), limit)])
        if late:
            named = tuple((attempt_id,) for (attempt_id,) in late)
            await self._driver.write(Write((Step(statements.CONDEMN, named),)))
        found = await self._driver.read(statements.CONDEMNED, [(limit,)])
        return [rows.attempt_of(row) for row in found]

    async def forget(self, attempt: AttemptId) -> None:
        await self._driver.write(Write((Step(statements.FORGET_ATTEMPT, ((attempt,),)),)))

    async def file(self, file_id: FileId) -> StoredFile | None:
        return await self._read.file(file_id)

    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        found = await self._driver.read(statements.FILES_OF, [(violation_id, MOST_FILES)])
        return rows.files_of(found)

    async def files_of_each(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, Sequence[StoredFile]]:
        if not violation_ids:
            return {}
        executions = [(violation_id, MOST_FILES) for violation_id in violation_ids]
        each = dict[ViolationId, list[StoredFile]]((one, []) for one in violation_ids)
        for file in rows.files_of(await self._driver.read(statements.FILES_OF, executions)):
            if file.violation_id is not None:
                each[file.violation_id].append(file)
        return each

    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        return await self._read.violation(violation_id)

    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        # One row more than requested is read; it shows whether there is a next page.
        statement, args = violation_pages.page(query, is_rare=await self.is_rare(query))
        found = rows.violations_of(await self._driver.read(statement, [args]))
        if len(found) <= query.limit:
            return Page(found)
        last = found[query.limit - 1]
        return Page(found[: query.limit], Cursor(last.occurred_at, last.violation_id))

    async def is_rare(self, query: ViolationQuery) -> bool:
        """Return whether few violations lie in the range of confidence (see `violation_pages`)."""
        if not violation_pages.has_range(query):
            return False
        most = violation_pages.most_rare(query.limit, await self._about_all_violations())
        known = query.min_confidence, query.max_confidence
        if self._range_sizes.get(known, 0) > most:
            return False
        args = violation_pages.range_size_args(query, most + 1)
        ((size,),) = await self._driver.read(violation_pages.RANGE_SIZE, [args])
        # Ranges hardly ever lose violations, so a size stays a lower bound.
        if len(self._range_sizes) < _MOST_RANGES:
            self._range_sizes[known] = size
        return bool(size <= most)

    async def files(self, query: FilesQuery) -> Page[StoredFile]:
        found = rows.files_of(await self._driver.read(*file_pages.page(query)))
        if len(found) <= query.limit:
            return Page(found)
        last = found[query.limit - 1]
        return Page(found[: query.limit], Cursor(last.created_at, last.file_id))

    async def usage(self) -> CatalogueUsage:
        return rows.usage_of(await self._driver.read(statements.USAGE, [()]))

    async def daily_usage(
        self, first: date, last: date, device_id: DeviceId | None = None
    ) -> Sequence[DailyUsage]:
        between = rows.day_number(first), rows.day_number(last)
        if device_id is None:
            return rows.days_of(await self._driver.read(statements.DAYS, [between]))
        found = await self._driver.read(statements.DEVICE_DAYS, [(*between, device_id)])
        return rows.days_of(found)

    async def fold_counters(self) -> None:
        known, self._horizon = self._horizon, await self._read_horizon()
        for horizon in (known, self._horizon):
            if horizon is not None and await self._is_settled(horizon):
                await self._fold(horizon.newest)

    async def catalogue_id(self) -> CatalogueId:
        found = await self._driver.read(statements.CATALOGUE_ID, [()])
        return CatalogueId(found[0][0])

    async def register(self, store: RegisteredStore) -> None:
        for _ in range(_RACES):
            # Refused: this store is registered already, or another store got the same number.
            with suppress(Refused):
                await self._driver.write(_registration(store))
                return
            if await self.registered(store.store_id) is not None:
                return
        raise CatalogueUnavailable(
            f"the store {store.store_id} could not be registered, because other stores are being "
            "registered at the same time",
            remedy="try again",
        )

    async def registered(self, store_id: StoreId) -> RegisteredStore | None:
        found = await self._driver.read(statements.STORE, [(store_id,)])
        return rows.store_of(found[0]) if found else None

    async def registered_at(self, tier: Tier, location: str) -> Sequence[RegisteredStore]:
        found = await self._driver.read(statements.STORES_AT, [(tier.value, location)])
        return [rows.store_of(row) for row in found]

    async def exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> bool:
        step = Step(statements.EXCHANGE_STORE, (rows.exchange_row(was, becomes),), 1)
        try:
            await self._driver.write(Write((step,)))
        except Refused:
            now = await self.registered(was.store_id)
            return now is not None and now.agrees_with(becomes)
        return True

    async def upgrade(self, *, slow: bool = False) -> None:
        await self._driver.upgrade(slow=slow)

    async def pending(self) -> Sequence[str]:
        return migrations.pending(await self._driver.version())

    async def ping(self) -> None:
        ((is_read_only,),) = await self._driver.read(statements.IS_READ_ONLY, [()])
        if is_read_only:
            cause, remedy = _OF_READ_ONLY[self._driver.form.kind]
            raise CatalogueReadOnly(
                f"the database can be read but not written: {cause}", remedy=remedy
            )

    async def aclose(self) -> None:
        await self._driver.aclose()

    async def _read_horizon(self) -> _Horizon:
        ((newest, transaction),) = await self._driver.read(statements.HORIZON, [()])
        return _Horizon(newest, transaction)

    async def _is_settled(self, horizon: _Horizon) -> bool:
        ((oldest,),) = await self._driver.read(statements.OLDEST_RUNNING, [()])
        return bool(oldest >= horizon.transaction)

    async def _fold(self, newest: int) -> None:
        ((watermark,),) = await self._driver.read(statements.WATERMARK, [()])
        # Refused: another process, or an earlier run of this write with an unknown outcome, has
        # already added these changes. The next call adds the rest.
        with suppress(Refused):
            while watermark < newest:
                upto = min(watermark + _MOST_FOLDED, newest)
                await self._driver.write(folding(watermark, upto))
                watermark = upto

    async def _enter(self, attempt: Attempt) -> None:
        entry = Step(statements.INSERT_ATTEMPT, (rows.attempt_row(attempt),))
        # Refused: the attempt is in the journal already.
        with suppress(Refused):
            await self._driver.write(Write((entry,), grows=True))

    async def _about_all_violations(self) -> int:
        """Return the number of all violations, as it was at one of the last 1,000 queries."""
        if self._queries_until_count == 0:
            self._violations = (await self.usage()).violations
            self._queries_until_count = _QUERIES_BETWEEN_COUNTS
        self._queries_until_count -= 1
        return self._violations


def _registration(store: RegisteredStore) -> Write:
    return Write((Step(statements.INSERT_STORE, (rows.store_row(store),)),), grows=True)


def folding(watermark: int, upto: int) -> Write:
    folded = ((watermark, upto),)
    return Write(
        (
            Step(statements.CLAIM_FOLD, folded, 1),
            Step(statements.FOLD_TOTALS, folded),
            Step(statements.FOLD_DAYS, folded),
            Step(statements.FOLD_DEVICE_DAYS, folded),
            Step(statements.FOLD_RECEIVED, folded),
            Step(statements.FOLD_DEVICES, folded),
            Step(statements.DELETE_FOLDED, folded),
        ),
        grows=True,
    )
