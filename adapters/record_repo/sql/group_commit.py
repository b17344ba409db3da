"""Group commit on PostgreSQL: the queued writes become one transaction with a known outcome.

If the connection is lost before COMMIT is sent, nothing has changed. If it is lost afterwards, the
outcome is unknown, and the group is run again on a new connection: its first statement waits until
the lost transaction has ended, and each write detects whether it had happened.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from asyncpg.exceptions import ForeignKeyViolationError, UniqueViolationError
from attrs import define

from traffic_storage.adapters.record_repo.sql.driver import (
    Refused,
    Step,
    Write,
    merged,
    recording,
)
from traffic_storage.adapters.record_repo.sql.pool import (
    DIALECT,
    Connection,
    Pool,
    seconds_until,
)
from traffic_storage.adapters.record_repo.sql.postgres_errors import (
    is_harmless,
    is_lost,
    is_passing,
    translated,
)
from traffic_storage.adapters.record_repo.sql.statement import Copied
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

MOST_WRITES = 64
COPY_FROM_ROWS = 64
_TRIES = 4
_PAUSE_SECONDS = 0.02
_LOOK_SECONDS = 1.0
"""The additional time for finding out whether a commit without an answer happened."""


@define(eq=False)
class _Job:
    """A queued write and the future for which its caller waits."""

    write: Write
    waiting: asyncio.Future[None]

    def succeed(self) -> None:
        if not self.waiting.done():
            self.waiting.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.waiting.done():
            self.waiting.set_exception(error)


class _RetryLimit:
    """The time limit and the number of tries of one group of writes.

    `outcome_unknown` is whether a COMMIT was sent whose outcome is unknown; `lost_connection` is
    whether the last try ended with its connection.
    """

    def __init__(self, seconds: float) -> None:
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.outcome_unknown = False
        self.lost_connection = False
        self.tries = 0

    def note_unknown_outcome(self) -> None:
        """Record that the outcome of a COMMIT is unknown, and extend the time for finding it out."""
        if not self.outcome_unknown:
            self.outcome_unknown = True
            now = asyncio.get_running_loop().time()
            self.deadline = max(self.deadline, now + _LOOK_SECONDS)

    async def again(self, error: Exception) -> bool:
        """Return whether the group may be run once more after this error; pause first if needed."""
        self.lost_connection = is_lost(error)
        if not self.lost_connection and not is_passing(error):
            return False
        self.tries += 1
        if not self.outcome_unknown and self.tries >= _TRIES:
            return False
        if self.outcome_unknown or is_passing(error):
            await asyncio.sleep(_PAUSE_SECONDS * min(self.tries, 5))
        return asyncio.get_running_loop().time() < self.deadline


class GroupCommit:
    """Runs queued writes in groups, each as one transaction, at most `writers` groups at a time.

    A task starts when a write is queued and ends when the queue is empty. The cancellation of a
    caller does not affect the group of its write.
    """

    def __init__(self, pool: Pool, *, writers: int, seconds: float, where: str) -> None:
        self._pool = pool
        self._writers = writers
        self._seconds = seconds
        self._where = where
        self._queue: deque[_Job] = deque()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self, write: Write) -> None:
        """Run a write in one transaction with other queued writes (see `Driver.write`)."""
        loop = asyncio.get_running_loop()
        job = _Job(write, loop.create_future())
        self._queue.append(job)
        free = next((n for n in range(self._writers) if n not in self._tasks), None)
        if free is not None:
            self._tasks[free] = loop.create_task(self._empty_queue(free))
        await job.waiting

    async def aclose(self) -> None:
        """Wait until all queued writes are done."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _empty_queue(self, writer: int) -> None:
        try:
            while group := self._next_group():
                await self._finish_group(group)
        finally:
            del self._tasks[writer]

    def _next_group(self) -> list[_Job]:
        group: list[_Job] = []
        while self._queue and len(group) < MOST_WRITES:
            job = self._queue.popleft()
            if not job.waiting.cancelled():
                group.append(job)
        return group

    async def _finish_group(self, group: Sequence[_Job]) -> None:
        limit = _RetryLimit(self._seconds)
        try:
            await self._commit_group(group, limit)
        except Exception as error:  # noqa: BLE001 - passed to the waiting caller
            failure = self._failure(error, limit)
            for job in group:
                job.fail(failure)
            if isinstance(failure, CatalogueUnavailable):
                self._fail_waiting(error)

    def _fail_waiting(self, error: Exception) -> None:
        """Fail all queued writes: they waited as long as the failed group, and none has happened."""
        waiting, self._queue = self._queue, deque()
        for job in waiting:
            job.fail(translated(error, self._where) or error)

    def _failure(self, error: Exception, limit: _RetryLimit) -> Exception:
        known = translated(error, self._where)
        if known is None:
            return error
        if limit.outcome_unknown and isinstance(known, CatalogueUnavailable):
            known = OutcomeUnknown(
                f"{known.message}; it is unknown whether the last commit happened",
                remedy="send the request again: it is recognised if the commit happened",
            )
        known.__cause__ = error
        return known

    async def _commit_group(self, group: Sequence[_Job], limit: _RetryLimit) -> None:
        """Run a group of writes. If a write makes it fail, halve the group until it is alone."""
        try:
            await self._run(group, limit)
        except Exception as error:
            if isinstance(error, Refused):
                error.repeated = limit.outcome_unknown
            elif translated(error, self._where) is not None:
                raise
            if len(group) == 1:
                group[0].fail(error)
                return
            middle = len(group) // 2
            await self._commit_group(group[:middle], limit)
            await self._commit_group(group[middle:], limit)
        else:
            for job in group:
                job.succeed()

    async def _run(self, group: Sequence[_Job], limit: _RetryLimit) -> None:
        writes = [job.write for job in group]
        steps = [*merged(writes), *recording(writes)]
        while True:
            try:
                async with self._pool.lease(limit.deadline, fresh=limit.lost_connection) as leased:
                    await _transact(leased, steps, limit)
                    return
            except Exception as error:
                if not await limit.again(error):
                    raise


async def _transact(connection: Connection, steps: Sequence[Step], limit: _RetryLimit) -> None:
    if len(steps) == 1 and steps[0].expects is None:
        # The server runs all executions of a single statement as one transaction.
        await _committing(_step(connection, steps[0], limit), limit)
        return
    await connection.execute("BEGIN", timeout=seconds_until(limit.deadline))
    try:
        for step in steps:
            await _step(connection, step, limit)
    except Exception as error:
        if is_harmless(error):
            await connection.execute("ROLLBACK", timeout=seconds_until(limit.deadline))
        raise
    commit = connection.execute("COMMIT", timeout=seconds_until(limit.deadline))
    await _committing(commit, limit)


async def _committing(command: Coroutine[Any, Any, object], limit: _RetryLimit) -> None:
    try:
        await command
    except Exception as error:
        if is_lost(error):
            limit.note_unknown_outcome()
        raise


async def _step(connection: Connection, step: Step, limit: _RetryLimit) -> None:
    copied = step.statement.copied
    try:
        if copied is not None and len(step.rows) >= COPY_FROM_ROWS:
            await _copy(connection, step, copied, limit)
        else:
            await _execute(connection, step, limit)
    except (UniqueViolationError, ForeignKeyViolationError) as error:
        dangling = isinstance(error, ForeignKeyViolationError)
        raise Refused(step.statement, dangling=dangling) from error


async def _execute(connection: Connection, step: Step, limit: _RetryLimit) -> None:
    text = step.statement.text(DIALECT, counting=step.expects is not None)
    rows = text.all(step.rows)
    seconds = seconds_until(limit.deadline)
    if step.expects is None:
        await connection.executemany(text.sql, rows, timeout=seconds)
        return
    touched = await connection.fetchmany(text.sql, rows, timeout=seconds)
    if len(touched) != step.expects:
        raise Refused(step.statement)


async def _copy(connection: Connection, step: Step, copied: Copied, limit: _RetryLimit) -> None:
    """Insert many rows by COPY, which takes half of the time."""
    rows = step.rows
    if (place := copied.looked_up) is not None:
        found = {}
        for args in {row[place.start : place.stop] for row in rows}:
            text = place.by.text(DIALECT)
            seconds = seconds_until(limit.deadline)
            values = await connection.fetch(text.sql, *text.arrange(args), timeout=seconds)
            if not values:
                raise Refused(step.statement)
            found[args] = values[0][0]
        rows = tuple(
            (*row[: place.start], found[row[place.start : place.stop]], *row[place.stop :])
            for row in rows
        )
    await connection.copy_records_to_table(
        copied.table,
        records=rows,
        columns=copied.columns,
        timeout=seconds_until(limit.deadline),
    )
