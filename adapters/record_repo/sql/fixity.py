"""The verification of copies in a database: what is due, how current it is, its history."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from attrs import astuple, evolve

from traffic_storage.adapters.record_repo.sql import fixity_statements as statements
from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.driver import Driver, Step
from traffic_storage.adapters.record_repo.sql.sample_statements import LAST_FILE
from traffic_storage.adapters.record_repo.sql.samples import drawn_numbers
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.statements import USAGE
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.fixity import (
    MOST_COUNTED,
    DuePosition,
    FixityCounts,
    FixityDay,
    StoreCoverage,
    estimated_overdue,
)
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.ports.fixity import FixityRecords

_SAMPLED_FILES = 1000
"""The number of files whose copies SQLite samples."""
_SAMPLED_COPIES = 20_000
"""The same of copies on PostgreSQL: about 200 pages, as those of one page are of about one time."""
_EARLIEST = -(2**63)
_FIRST_UUID = bytes(16)
_DAY_0 = datetime(1970, 1, 1, tzinfo=UTC).date()


class SqlFixity(FixityRecords):
    """The verification of copies in the database of `driver`."""

    _driver: Driver

    async def due_replicas(
        self, store_id: StoreId, before: datetime, after: DuePosition | None, limit: int
    ) -> Sequence[StoredFile]:
        found: tuple[StoredFile, ...] = ()
        if after is None or after.verified_at is None:
            found = await self._copies(statements.NEVER_VERIFIED, store_id, before, after, limit)
            after = None
        if len(found) < limit:
            rest = limit - len(found)
            found += await self._copies(statements.VERIFIED_BEFORE, store_id, before, after, rest)
        return found

    async def doubtful_replicas(
        self, store_id: StoreId, after: StoredFile | None, limit: int
    ) -> Sequence[StoredFile]:
        file_id, replica_id = "", _FIRST_UUID
        if after is not None:
            file_id, replica_id = after.file_id, after.replicas[0].replica_id.bytes
        args = (store_id, None, None, file_id, replica_id, limit)
        return rows.single_copies_of(await self._driver.read(statements.DOUBTFUL, [args]))

    async def coverage(self, overdue_before: datetime) -> Sequence[StoreCoverage]:
        usage = rows.usage_of(await self._driver.read(USAGE, [()]))
        occupying: dict[StoreId, int] = {}
        for row in usage.stores:
            occupying[row.store_id] = occupying.get(row.store_id, 0) + row.replicas
        found = await self._driver.read(statements.COVERAGE, [(rows.micros(overdue_before),)])
        stores = [_coverage_of(row, occupying.get(StoreId(row[0]), 0)) for row in found]
        if any(store.overdue >= MOST_COUNTED for store in stores):
            sample = await self._sampled(overdue_before, sum(occupying.values()))
            stores = [_estimated(store, *sample.get(store.store_id, (0, 0))) for store in stores]
        return [store for store in stores if store.replicas]

    async def _sampled(self, before: datetime, copies: int) -> Mapping[StoreId, tuple[int, int]]:
        """Return the present and the overdue copies in a random sample, by store."""
        ((highest,),) = await self._driver.read(LAST_FILE, [()])
        percent = 100 * min(1.0, _SAMPLED_COPIES / max(1, copies))
        counts: dict[StoreId, tuple[int, int]] = {}
        for numbers in drawn_numbers(highest, _SAMPLED_FILES, 0):
            args = (rows.micros(before), percent, json.dumps(numbers))
            for store_id, present, overdue in await self._driver.read(
                statements.SAMPLED_COVERAGE, [args]
            ):
                known = counts.get(StoreId(store_id), (0, 0))
                counts[StoreId(store_id)] = known[0] + present, known[1] + overdue
        return counts

    async def fixity_days(self, first: date, last: date) -> Sequence[FixityDay]:
        between = rows.day_number(first), rows.day_number(last)
        found = await self._driver.read(statements.HISTORY, [between])
        return [
            FixityDay(_DAY_0 + timedelta(days=day), StoreId(store_id), FixityCounts(*counts))
            for day, store_id, *counts in found
        ]

    async def _copies(
        self,
        statement: Statement,
        store_id: StoreId,
        before: datetime,
        after: DuePosition | None,
        limit: int,
    ) -> tuple[StoredFile, ...]:
        verified_at, replica_id = _EARLIEST, _FIRST_UUID
        if after is not None:
            replica_id = after.replica_id.bytes
            if after.verified_at is not None:
                verified_at = rows.micros(after.verified_at)
        args = (store_id, rows.micros(before), verified_at, None, replica_id, limit)
        return rows.single_copies_of(await self._driver.read(statement, [args]))


def _estimated(store: StoreCoverage, sampled: int, overdue: int) -> StoreCoverage:
    if store.overdue < MOST_COUNTED:
        return store
    present = store.replicas - store.corrupt - store.missing
    estimate = estimated_overdue(store.overdue, present, sampled, overdue)
    return evolve(store, overdue=estimate, is_estimated=True)


def addition(day: date, store_id: StoreId, counts: FixityCounts) -> Step:
    """Return the step that adds results to the history of a day."""
    row = (rows.day_number(day), store_id, *astuple(counts))
    return Step(statements.ADD_RESULTS, (row,))


def _coverage_of(row: rows.Row, occupying: int) -> StoreCoverage:
    store_id, corrupt, missing, never, late, oldest = row
    return StoreCoverage(
        StoreId(store_id),
        # Corrupt copies occupy space, missing ones do not.
        replicas=occupying + missing,
        corrupt=corrupt,
        missing=missing,
        overdue=min(never + late, MOST_COUNTED),
        oldest_at=None if never or oldest is None else rows.moment(oldest),
    )
