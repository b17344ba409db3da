"""A connection to a pooler that may run each transaction in another session of the server's."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from traffic_storage.adapters.record_repo.sql.pool import Connection, seconds_until
from traffic_storage.adapters.record_repo.sql.rows import Row
from traffic_storage.adapters.record_repo.sql.statement import Args


class PooledConnection(Connection):
    """Runs every command in a transaction that begins with the settings it needs.

    For the settings of a session would be those of whoever has it next, and a statement could be
    prepared in one session and run in another. `settings` are the statements that make them.
    """

    def __init__(self, connection: Connection, settings: Sequence[str]) -> None:
        self._connection = connection
        self._settings = "; ".join(settings)

    async def execute(self, sql: str, *, timeout: float) -> str:  # noqa: ASYNC109
        if sql.startswith("BEGIN"):
            sql = f"{sql}; {self._settings}"
        return await self._connection.execute(sql, timeout=timeout)

    async def executemany(
        self,
        sql: str,
        rows: Iterable[Args],
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> None:
        async with self._transaction(timeout) as deadline:
            await self._connection.executemany(sql, rows, timeout=seconds_until(deadline))

    async def fetch(self, sql: str, *args: object, timeout: float) -> Sequence[Row]:  # noqa: ASYNC109
        async with self._transaction(timeout) as deadline:
            return await self._connection.fetch(sql, *args, timeout=seconds_until(deadline))

    async def fetchmany(
        self,
        sql: str,
        rows: Iterable[Args],
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> Sequence[Row]:
        async with self._transaction(timeout) as deadline:
            return await self._connection.fetchmany(sql, rows, timeout=seconds_until(deadline))

    async def copy_from_query(
        self,
        sql: str,
        *args: object,
        output: Callable[[bytes], Coroutine[Any, Any, None]],
        format: str,  # noqa: A002 - asyncpg's name
        timeout: float,  # noqa: ASYNC109
    ) -> str:
        return await self._connection.copy_from_query(
            sql, *args, output=output, format=format, timeout=timeout
        )

    async def copy_from_table(
        self,
        table_name: str,
        *,
        columns: Sequence[str],
        output: Callable[[bytes], Coroutine[Any, Any, None]],
        format: str,  # noqa: A002 - asyncpg's name
    ) -> str:
        return await self._connection.copy_from_table(
            table_name, columns=columns, output=output, format=format
        )

    async def copy_to_table(
        self,
        table_name: str,
        *,
        columns: Sequence[str],
        source: AsyncIterator[bytes],
        format: str,  # noqa: A002 - asyncpg's name
    ) -> str:
        return await self._connection.copy_to_table(
            table_name, columns=columns, source=source, format=format
        )

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Args],
        columns: Sequence[str],
        timeout: float,  # noqa: ASYNC109
    ) -> str:
        async with self._transaction(timeout) as deadline:
            return await self._connection.copy_records_to_table(
                table_name, records=records, columns=columns, timeout=seconds_until(deadline)
            )

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109
        await self._connection.close(timeout=timeout)

    def terminate(self) -> None:
        self._connection.terminate()

    def is_closed(self) -> bool:
        return self._connection.is_closed()

    def is_in_transaction(self) -> bool:
        return self._connection.is_in_transaction()

    def get_server_pid(self) -> int:
        return self._connection.get_server_pid()

    @asynccontextmanager
    async def _transaction(self, seconds: float) -> AsyncIterator[float]:
        """Return a context with the deadline of a command, in a transaction of its own or the open one."""
        deadline = asyncio.get_running_loop().time() + seconds
        if self._connection.is_in_transaction():
            yield deadline
            return
        await self.execute("BEGIN", timeout=seconds)
        yield deadline
        await self._connection.execute("COMMIT", timeout=seconds_until(deadline))


def local_settings(settings: Mapping[str, str]) -> list[str]:
    """Return the statements that make settings of the session hold for the open transaction."""
    return [
        f"SET LOCAL {name} = {value if name == 'search_path' else _quoted(value)}"
        for name, value in settings.items()
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
