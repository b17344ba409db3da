"""The readings of metrics and health in a database (`readings_statements`)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from traffic_storage.adapters.record_repo.sql import readings_statements as statements
from traffic_storage.adapters.record_repo.sql.driver import Driver
from traffic_storage.adapters.record_repo.sql.rows import micros, moment
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind
from traffic_storage.domain.pressure import PressureLevel, RecordedPressure
from traffic_storage.domain.readings import DueRetention, WaitingJobs
from traffic_storage.ports.readings import Readings


class SqlReadings(Readings):
    """The readings of the database of `driver`."""

    _driver: Driver

    async def waiting_jobs(self, kinds: Sequence[JobKind]) -> Sequence[WaitingJobs]:
        running = await self._by_kind(statements.RUNNING_JOBS)
        dead = await self._by_kind(statements.DEAD_JOBS)
        ready = await self._driver.read(statements.READY_JOBS, [(kind,) for kind in kinds])
        return [
            WaitingJobs(
                kind,
                count,
                running.get(kind, 0),
                dead.get(kind, 0),
                None if oldest is None else moment(oldest),
            )
            for kind, (count, oldest) in zip(kinds, ready, strict=True)
        ]

    async def due_retention(self, as_of: datetime) -> DueRetention:
        ((files, size),) = await self._driver.read(statements.DUE_RETENTION, [(micros(as_of),)])
        return DueRetention(files, int(size))

    async def recorded_pressures(self) -> Mapping[StoreId, RecordedPressure]:
        found = await self._driver.read(statements.PRESSURES, [()])
        return {
            StoreId(store_id): RecordedPressure(PressureLevel(level), is_raised=bool(raised))
            for store_id, level, raised in found
        }

    async def _by_kind(self, statement: Statement) -> Mapping[JobKind, int]:
        return {JobKind(kind): count for kind, count in await self._driver.read(statement, [()])}
