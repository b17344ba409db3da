"""A bounded pool of connections to PostgreSQL, opened when needed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from typing import Any, Protocol, TypeAlias

from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine.interfaces import Dialect

from traffic_storage.adapters.record_repo.sql.postgres_errors import is_ended_early, is_harmless
from traffic_storage.adapters.record_repo.sql.rows import Row
from traffic_storage.adapters.record_repo.sql.statement import Args

DIALECT: Dialect = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
_CLOSE_SECONDS = 1.0


class Connection(Protocol):
    """The methods of an asyncpg connection that are used here. A timeout is seconds per command."""

    async def execute(self, sql: str, *, timeout: float) -> str: ...  # noqa: ASYNC109

    async def executemany(
        self,
        sql: str,
        rows: Iterable[Args],
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> None: ...

    async def fetch(self, sql: str, *args: object, timeout: float) -> Sequence[Row]: ...  # noqa: ASYNC109

    async def fetchmany(
        self,
        sql: str,
        rows: Iterable[Args],
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> Sequence[Row]: ...

    async def copy_from_query(
        self,
        sql: str,
        *args: object,
        output: Callable[[bytes], Coroutine[Any, Any, None]],
        format: str,  # noqa: A002 - asyncpg's name
        timeout: float,  # noqa: ASYNC109
    ) -> str: ...

    async def copy_from_table(
        self,
        table_name: str,
        *,
        columns: Sequence[str],
        output: Callable[[bytes], Coroutine[Any, Any, None]],
        format: str,  # noqa: A002 - asyncpg's name
    ) -> str: ...

    async def copy_to_table(
        self,
        table_name: str,
        *,
        columns: Sequence[str],
        source: AsyncIterator[bytes],
        format: str,  # noqa: A002 - asyncpg's name
    ) -> str: ...

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Args],
        columns: Sequence[str],
        timeout: float,  # noqa: ASYNC109
    ) -> str: ...

    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109

    def terminate(self) -> None: ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...

    def get_server_pid(self) -> int: ...


Connect: TypeAlias = Callable[[float], Coroutine[Any, Any, Connection]]
"""A function that opens a connection within the given number of seconds."""


_PATIENCE_SHARE = 0.25
_ANSWER_SECONDS = 0.25
# Whether the server runs a command of a connection, or has just answered it. Rows of other users'
# connections have no state.
_AT_WORK = """
    SELECT pid, state IS DISTINCT FROM 'idle'
        OR state_change > clock_timestamp() - make_interval(secs => $2)
    FROM pg_stat_activity WHERE pid = ANY ($1::int[])
"""


class Pool:
    """Keeps at most `size` connections open, and lends the one that was used last.

    A firewall may have forgotten an idle connection; then a command on it gets no answer. If one
    gets none for a quarter of `seconds`, the longest time of a call, the server is asked by another
    connection whether it runs that command. If it does not, the connection is closed, and time is
    left to repeat the command.

    With `keeps_cancelled`, a connection whose command was cancelled or timed out is lent again, as
    soon as the server has ended the command.
    """

    def __init__(
        self, connect: Connect, size: int, *, seconds: float, keeps_cancelled: bool = False
    ) -> None:
        self._connect = connect
        self._size = size
        self._patience = seconds * _PATIENCE_SHARE
        self._keeps_cancelled = keeps_cancelled
        self._places = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._unanswered: set[Connection] = set()
        self._asking: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, deadline: float, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """Return a context with a connection that no other caller uses meanwhile.

        With `fresh`, it is a new one. `deadline` is a time of the event loop's clock. If a command
        in the context fails, only this connection is closed, unless it can certainly be used again.

        Raises:
            TimeoutError: no connection was free or could be opened before `deadline`.
        """
        async with asyncio.timeout_at(deadline):
            await self._places.acquire()
        timer: asyncio.TimerHandle | None = None
        is_ending = False
        try:
            connection = None if fresh else self._usable()
            if connection is None:
                connection = await self._connect(seconds_until(deadline))
            else:
                loop = asyncio.get_running_loop()
                timer = loop.call_later(self._patience, self._doubt, connection)
            try:
                yield connection
            except BaseException as error:
                if is_harmless(error) and not connection.is_in_transaction():
                    self._idle.append(connection)
                elif self._keeps_cancelled and is_ended_early(error) and not connection.is_closed():
                    is_ending = True
                    self._end_command(connection)
                else:
                    connection.terminate()
                raise
            finally:
                if timer is not None:
                    timer.cancel()
                    self._unanswered.discard(connection)
            self._idle.append(connection)
        finally:
            if not is_ending:
                self._places.release()

    async def aclose(self) -> None:
        """Wait until no connection is in use, then close all connections."""
        for _ in range(self._size):
            await self._places.acquire()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        idle, self._idle = self._idle, []
        for connection in idle:
            # asyncpg terminates a connection that does not answer in time.
            with suppress(Exception):
                await connection.close(timeout=_CLOSE_SECONDS)
        for _ in range(self._size):
            self._places.release()

    def _usable(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _end_command(self, connection: Connection) -> None:
        """Keep a connection, and its place in the pool, until the server has ended its command."""

        async def ended() -> None:
            kept = False
            try:
                # asyncpg first waits until the command is cancelled.
                with suppress(Exception):
                    await connection.fetch("SELECT 1", timeout=_CLOSE_SECONDS)
                    kept = not connection.is_in_transaction()
            finally:
                if kept:
                    self._idle.append(connection)
                else:
                    connection.terminate()
                self._places.release()

        task = asyncio.create_task(ended(), context=Context())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _doubt(self, connection: Connection) -> None:
        self._unanswered.add(connection)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        """Close the connections without an answer on which the server runs no command."""
        # What fails here has no caller: the callers' own time limits end their commands.
        with suppress(Exception):
            asking = await self._connect(self._patience)
            try:
                while doubted := {one.get_server_pid(): one for one in self._unanswered}:
                    self._unanswered.clear()
                    own = asking.get_server_pid()
                    answer = await asking.fetch(
                        _AT_WORK, [own, *doubted], _ANSWER_SECONDS, timeout=self._patience
                    )
                    at_work = {int(pid): bool(works) for pid, works in answer}
                    # Behind a pooler such as PgBouncer these are no numbers of the server's.
                    if own in at_work:
                        for number, connection in doubted.items():
                            if not at_work.get(number, False):
                                connection.terminate()
            finally:
                asking.terminate()


def seconds_until(deadline: float) -> float:
    """Return the seconds until `deadline`, a time of the event loop's clock.

    Raises:
        TimeoutError: the deadline has passed.
    """
    remaining = deadline - asyncio.get_running_loop().time()
    if remaining <= 0:
        raise TimeoutError
    return remaining
