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
    counting,
    merged,
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
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

MOST_WRITES = 64
_TRIES = 4
_PAUSE_SECONDS = 0.02
_LOOK_SECONDS = 1.0
"""More time, when an outcome is open, to find it out."""


@define(eq=False)
class _Job:
    """A queued write and the future of its caller."""

    write: Write
    waiting: asyncio.Future[None]

    def succeed(self) -> None:
        if not self.waiting.done():
            self.waiting.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.waiting.done():
            self.waiting.set_exception(error)


class _Patience:
    """How long a group is tried. `open`: a COMMIT was sent and has had no answer."""

    def __init__(self, seconds: float) -> None:
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.open = False
        self.tries = 0

    def note_open(self) -> None:
        """Record that an outcome is unknown from now on, and extend the time for determining it."""
        if not self.open:
            self.open = True
            now = asyncio.get_running_loop().time()
            self.deadline = max(self.deadline, now + _LOOK_SECONDS)

    async def again(self, error: Exception) -> bool:
        """Return whether to run the group once more, after a pause."""
        self.tries += 1
        if not is_lost(error) and not is_passing(error):
            return False
        if not self.open and self.tries >= _TRIES:
            return False
        if self.open or is_passing(error):
            await asyncio.sleep(_PAUSE_SECONDS * min(self.tries, 5))
        return asyncio.get_running_loop().time() < self.deadline


class GroupCommit:
    """Runs writes in groups, at most `writers` of them at a time.

    A task starts when a write is queued and ends when the queue is empty. The cancellation of a
    caller does not affect its group.
    """

    def __init__(self, pool: Pool, *, writers: int, seconds: float, where: str) -> None:
        self._pool = pool
        self._writers = writers
        self._seconds = seconds
        self._where = where
        self._queue: deque[_Job] = deque()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self, write: Write) -> None:
        """Run a write in a group (see `Driver.write`)."""
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
                await self._settle_all(group)
        finally:
            del self._tasks[writer]

    def _next_group(self) -> list[_Job]:
        group: list[_Job] = []
        while self._queue and len(group) < MOST_WRITES:
            job = self._queue.popleft()
            if not job.waiting.cancelled():
                group.append(job)
        return group

    async def _settle_all(self, group: Sequence[_Job]) -> None:
        patience = _Patience(self._seconds)
        try:
            await self._commit_group(group, patience)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            failure = self._failure(error, patience)
            for job in group:
                job.fail(failure)
            if isinstance(failure, CatalogueUnavailable):
                self._fail_waiting(error)

    def _fail_waiting(self, error: Exception) -> None:
        """Fail the writes that were queued meanwhile: their time is up, and none of them has happened."""
        waiting, self._queue = self._queue, deque()
        for job in waiting:
            job.fail(translated(error, self._where) or error)

    def _failure(self, error: Exception, patience: _Patience) -> Exception:
        known = translated(error, self._where)
        if known is None:
            return error
        if patience.open and isinstance(known, CatalogueUnavailable):
            known = OutcomeUnknown(
                f"{known.message}, in the midst of a commit",
                remedy="a retry will find what became of it",
            )
        known.__cause__ = error
        return known

    async def _commit_group(self, group: Sequence[_Job], patience: _Patience) -> None:
        """Run a group. If a write makes it fail, halve the group until that write is alone."""
        try:
            await self._run(group, patience)
        except Exception as error:
            if isinstance(error, Refused):
                error.repeated = patience.open
            elif translated(error, self._where) is not None:
                raise
            if len(group) == 1:
                group[0].fail(error)
                return
            middle = len(group) // 2
            await self._commit_group(group[:middle], patience)
            await self._commit_group(group[middle:], patience)
        else:
            for job in group:
                job.succeed()

    async def _run(self, group: Sequence[_Job], patience: _Patience) -> None:
        writes = [job.write for job in group]
        steps = [*merged(writes), *counting(writes)]
        while True:
            try:
                async with self._pool.lease(patience.deadline, fresh=patience.tries > 0) as leased:
                    await _transact(leased, steps, patience)
                    return
            except Exception as error:
                if not await patience.again(error):
                    raise


async def _transact(connection: Connection, steps: Sequence[Step], patience: _Patience) -> None:
    if len(steps) == 1 and steps[0].expects is None:
        # Many executions of one statement are a transaction by themselves.
        await _committing(_step(connection, steps[0], patience), patience)
        return
    await connection.execute("BEGIN", timeout=seconds_until(patience.deadline))
    try:
        for step in steps:
            await _step(connection, step, patience)
    except Exception as error:
        if is_harmless(error):
            await connection.execute("ROLLBACK", timeout=seconds_until(patience.deadline))
        raise
    commit = connection.execute("COMMIT", timeout=seconds_until(patience.deadline))
    await _committing(commit, patience)


async def _committing(command: Coroutine[Any, Any, object], patience: _Patience) -> None:
    try:
        await command
    except Exception as error:
        if is_lost(error):
            patience.note_open()
        raise


async def _step(connection: Connection, step: Step, patience: _Patience) -> None:
    text = step.statement.text(DIALECT, counting=step.expects is not None)
    rows = text.all(step.rows)
    seconds = seconds_until(patience.deadline)
    try:
        if step.expects is None:
            await connection.executemany(text.sql, rows, timeout=seconds)
            return
        touched = await connection.fetchmany(text.sql, rows, timeout=seconds)
    except (UniqueViolationError, ForeignKeyViolationError) as error:
        dangling = isinstance(error, ForeignKeyViolationError)
        raise Refused(step.statement, dangling=dangling) from error
    if len(touched) != step.expects:
        raise Refused(step.statement)
