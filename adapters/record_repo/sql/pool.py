"""A bounded pool of connections to PostgreSQL, opened when needed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeAlias

from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine.interfaces import Dialect

from traffic_storage.adapters.record_repo.sql.postgres_errors import is_harmless
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

    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109

    def terminate(self) -> None: ...

    def is_closed(self) -> bool: ...

    def is_in_transaction(self) -> bool: ...


Connect: TypeAlias = Callable[[float], Coroutine[Any, Any, Connection]]
"""A function that opens a connection within the given number of seconds."""


class Pool:
    """Keeps at most `size` connections open, and lends the one that was used last."""

    def __init__(self, connect: Connect, size: int) -> None:
        self._connect = connect
        self._size = size
        self._places = asyncio.Semaphore(size)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def lease(self, deadline: float, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """Return a context with a connection that no other caller uses meanwhile.

        With `fresh`, all idle connections are closed and a new one is opened. `deadline` is a time
        of the event loop's clock. If a command in the context fails or is cancelled, the connection
        is closed, unless it can certainly be used again.

        Raises:
            TimeoutError: no connection was free or could be opened before `deadline`.
        """
        async with asyncio.timeout_at(deadline):
            await self._places.acquire()
        try:
            if fresh:
                self._close_idle()
            connection = self._usable() or await self._connect(seconds_until(deadline))
            kept = False
            try:
                yield connection
                kept = True
            except Exception as error:
                kept = is_harmless(error) and not connection.is_in_transaction()
                raise
            finally:
                if kept:
                    self._idle.append(connection)
                else:
                    connection.terminate()
        finally:
            self._places.release()

    async def aclose(self) -> None:
        """Wait until no connection is in use, then close all connections."""
        for _ in range(self._size):
            await self._places.acquire()
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

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()


def seconds_until(deadline: float) -> float:
    """Return the seconds until `deadline`, a time of the event loop's clock.

    Raises:
        TimeoutError: the deadline has passed.
    """
    remaining = deadline - asyncio.get_running_loop().time()
    if remaining <= 0:
        raise TimeoutError
    return remaining
