"""The catalogue in a database: each call of the catalogue port runs a few SQL statements."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from types import MappingProxyType

from attrs import frozen

from traffic_storage.adapters.record_repo.sql import (
    file_pages,
    migrations,
    rows,
    statements,
    violation_pages,
)
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.domain.changes import Change, CommitUnit, ObserveReplica
from traffic_storage.domain.files import (
    FileKind,
    Replica,
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
    Unit,
)
from traffic_storage.domain.query import Cursor, FilesQuery, Page, ViolationQuery
from traffic_storage.domain.usage import (
    CatalogueUsage,
    DailyUsage,
    counted_by_commit,
    counted_by_transition,
)
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.errors import AttemptCondemned, CatalogueUnavailable, IdsTaken
from traffic_storage.ports.record_repo import RecordRepo

MOST_FILES = 1000
_RACES = 20
_MOST_RANGES = 1000
_QUERIES_BETWEEN_COUNTS = 1000
_MOST_FOLDED = 5000
"""The number of recorded counter changes that one transaction adds to the totals."""


@frozen
class _Horizon:
    """A condition under which recorded changes of the counters can be added to the totals.

    Changes up to the id `newest` can be added when no transaction below `transaction` runs. Until
    then a change with a lower id may still become visible, and would be omitted.
    """

    newest: int
    transaction: int


class SqlRecordRepo(RecordRepo):
    """The catalogue in the database of `driver`, which is opened at the first use."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        # Range of confidence → a number of violations that it had, which is a lower bound.
        self._range_sizes: dict[tuple[float | None, float | None], int] = {}
        self._violations = 0
        self._queries_until_count = 0
        self._horizon: _Horizon | None = None

    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        # The existing rows are read while the attempt is being entered.
        _, files, violation = await asyncio.gather(
            self._enter(attempt), self._files(ids.files), self._violation(ids.violation)
        )
        return ExistingRows(MappingProxyType({file.file_id: file for file in files}), violation)

    async def apply(self, change: Change) -> bool:
        if isinstance(change, CommitUnit):
            return await self._commit(change.attempt, change.unit)
        return await self._observe(change)

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
        return next(iter(await self._files((file_id,))), None)

    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        found = await self._driver.read(statements.FILES_OF, [(violation_id, MOST_FILES)])
        return rows.files_of(found)

    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        return await self._violation(violation_id)

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
        await self._driver.read(statements.PING, [()])

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

    async def _commit(self, attempt: AttemptId, unit: Unit) -> bool:
        try:
            await self._driver.write(_commitment(attempt, unit))
        except Refused as refused:
            if refused.statement is statements.END_ATTEMPT:
                if await self._shows(unit):
                    return False
                raise AttemptCondemned(
                    f"the store operation {attempt} took too long and was cancelled before its commit"
                ) from refused
            if refused.statement is statements.INSERT_REPLICA:
                raise AttemptCondemned(
                    f"the store operation {attempt} names a store that is not registered, or restores "
                    "a file that no longer exists"
                ) from refused
            if refused.dangling:
                # The caller made a unit of a violation without its files, which is a defect.
                raise refused.__cause__ or refused from None
            raise IdsTaken(
                "another call was first to store one of these files or their violation: "
                f"{', '.join(unit.names.files)}"
            ) from refused
        return True

    async def _observe(self, change: ObserveReplica) -> bool:
        file = await self.file(change.file_id)
        found = change.expected_in(file)
        if file is None or found is None:
            return False
        try:
            await self._driver.write(_observation(file, found, change))
        except Refused as refused:
            becomes = found.become(change.state, verified_at=change.at)
            now = await self.file(change.file_id)
            return refused.repeated and now is not None and becomes in now.replicas
        return True

    async def _enter(self, attempt: Attempt) -> None:
        entry = Step(statements.INSERT_ATTEMPT, (rows.attempt_row(attempt),))
        # Refused: the attempt is in the journal already.
        with suppress(Refused):
            await self._driver.write(Write((entry,), grows=True))

    async def _files(self, file_ids: Sequence[FileId]) -> tuple[StoredFile, ...]:
        if not file_ids:
            return ()
        executions = [(file_id,) for file_id in file_ids]
        return rows.files_of(await self._driver.read(statements.FILE, executions))

    async def _violation(self, violation_id: ViolationId | None) -> StoredViolation | None:
        if violation_id is None:
            return None
        found = await self._driver.read(statements.VIOLATION, [(violation_id,)])
        return next(iter(rows.violations_of(found)), None)

    async def _shows(self, unit: Unit) -> bool:
        affected_ids = unit.affected_ids
        files = await self._files(affected_ids.files)
        violation = await self._violation(affected_ids.violation)
        return unit.is_shown_by(ExistingRows({file.file_id: file for file in files}, violation))

    async def _about_all_violations(self) -> int:
        """Return the number of all violations, as it was at one of the last 1,000 queries."""
        if self._queries_until_count == 0:
            self._violations = (await self.usage()).violations
            self._queries_until_count = _QUERIES_BETWEEN_COUNTS
        self._queries_until_count -= 1
        return self._violations


def _commitment(attempt: AttemptId, unit: Unit) -> Write:
    steps = [Step(statements.END_ATTEMPT, ((attempt,),), 1)]
    if unit.files:
        steps.append(
            Step(statements.INSERT_FILE, tuple(rows.file_row(file) for file in unit.files))
        )
    if copies := tuple(rows.replica_row(file.file_id, copy) for file, copy in unit.replicas):
        steps.append(Step(statements.INSERT_REPLICA, copies, len(copies)))
    if unit.violation:
        steps.append(Step(statements.INSERT_VIOLATION, (rows.violation_row(unit.violation),)))
    if unit.completes:
        image, video = unit.of_kind(FileKind.IMAGE), unit.of_kind(FileKind.VIDEO)
        row = (
            unit.completes,
            image.file_id if image else None,
            video.file_id if video else None,
        )
        steps.append(Step(statements.COMPLETE_VIOLATION, (row,), 1))
    return Write(
        tuple(steps),
        counters=counted_by_commit(unit),
        grows=True,
    )


def _observation(file: StoredFile, found: Replica, change: ObserveReplica) -> Write:
    states = found.state.value, change.state.value
    row = (found.replica_id.bytes, *states, rows.micros(change.at))
    return Write(
        (Step(statements.MARK_REPLICA, (row,), 1),),
        counters=counted_by_transition(file, found, change.state, change.at),
    )


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
            Step(statements.DELETE_FOLDED, folded),
        ),
        grows=True,
    )
