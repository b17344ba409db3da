r"""Backups of a PostgreSQL catalogue: a script of COPY commands, as `pg_dump --data-only` writes.

```
-- traffic-storage/postgresql/1
COPY "catalogue" ("one", "catalogue_id") FROM stdin;
…rows in the text format…
\.
…each table, what others refer to first…
SELECT setval('event_sequence_seq', 7, true);
-- {"catalogue": 1, …}          how many rows each table has; without this line the script is cut
```

`psql` can run it in a database whose tables `traffic-storage db upgrade` has made and that were emptied.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Final

from sqlalchemy import Table

from traffic_storage.adapters.record_repo.sql import backup_statements as statements
from traffic_storage.adapters.record_repo.sql.pool import DIALECT, Connection
from traffic_storage.adapters.record_repo.sql.tables import metadata
from traffic_storage.domain.database_backup import Loading
from traffic_storage.ports.database_backup import NotBlank, UnusableBackup, Write

PATIENCE_SECONDS = 60.0
"""The longest time during which the server may send, or take, nothing."""

_TABLES: Final = tuple(metadata.sorted_tables)
_SEQUENCES: Final = ("event_sequence_seq", "usage_delta_delta_id_seq")
_FIRST: Final = b"-- traffic-storage/postgresql/1\n"
_END: Final = b"\\.\n"
_MOST_LINE_BYTES: Final = 64 * 1024
_SEQUENCE: Final = re.compile(rb"SELECT setval\('(\w+)', (\d+), (true|false)\);\n")


async def write_script(connection: Connection, write: Write) -> None:
    """Pass the script of all tables to `write`, as the transaction of `connection` sees them."""
    rows: dict[str, int] = {}
    await write(_FIRST)
    for table in _TABLES:
        await write(_header(table))
        rows[table.name] = await _copied(connection, table, write)
        await write(_END)
    for name in _SEQUENCES:
        # Not of this moment, but never lower.
        found = await connection.fetch(
            f"SELECT last_value, is_called FROM {name}",  # noqa: S608 - a name of ours
            timeout=PATIENCE_SECONDS,
        )
        last, is_called = found[0]
        await write(f"SELECT setval('{name}', {last}, {str(is_called).lower()});\n".encode())
    await write(f"-- {json.dumps(rows)}\n".encode())


async def run_script(
    connection: Connection, chunks: AsyncIterator[bytes], loading: Loading, where: str
) -> None:
    """Replace all rows by those of a script, in one transaction.

    Raises:
        NotBlank: there are files, violations, holds or unfinished store operations.
        UnusableBackup: the script is not whole, or of other tables.
    """
    names = ", ".join(f'"{table.name}"' for table in _TABLES)
    script = _Script(chunks)
    await connection.execute("BEGIN", timeout=PATIENCE_SECONDS)
    await connection.execute(
        f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE", timeout=PATIENCE_SECONDS
    )
    if await connection.fetch(statements.IS_USED.text(DIALECT).sql, timeout=PATIENCE_SECONDS):
        raise NotBlank(where)
    await connection.execute(f"TRUNCATE {names}", timeout=PATIENCE_SECONDS)
    await script.expect(_FIRST)
    rows = {table.name: await _filled(connection, table, script) for table in _TABLES}
    for name in _SEQUENCES:
        await _set_sequence(connection, name, await script.line())
    _check_counts(rows, await script.line())
    for statement, args in statements.of_loading(loading):
        text = statement.text(DIALECT)
        await connection.fetch(text.sql, *text.arrange(args), timeout=PATIENCE_SECONDS)
    await connection.execute("COMMIT", timeout=10 * PATIENCE_SECONDS)


async def _copied(connection: Connection, table: Table, write: Write) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS) as limit:

        async def take(data: bytes) -> None:
            # The time that the reader takes is not the server's.
            limit.reschedule(None)
            await write(data)
            limit.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)

        status = await connection.copy_from_table(
            table.name, columns=[*table.c.keys()], output=take, format="text"
        )
    return int(status.removeprefix("COPY "))


async def _filled(connection: Connection, table: Table, script: "_Script") -> int:
    await script.expect(_header(table))
    async with asyncio.timeout(PATIENCE_SECONDS) as limit:

        async def rows() -> AsyncIterator[bytes]:
            async for data in script.rows():
                yield data
                limit.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
            # Foreign keys are checked at the end, which may take long.
            limit.reschedule(None)

        status = await connection.copy_to_table(
            table.name, columns=[*table.c.keys()], source=rows(), format="text"
        )
    return int(status.removeprefix("COPY "))


async def _set_sequence(connection: Connection, name: str, line: bytes) -> None:
    match = _SEQUENCE.fullmatch(line)
    if match is None or match[1].decode() != name:
        raise UnusableBackup(f"it does not have the sequence {name}")
    await connection.fetch(
        "SELECT setval($1::text::regclass, $2::bigint, $3::boolean)",
        *(name, int(match[2]), match[3] == b"true"),
        timeout=PATIENCE_SECONDS,
    )


def _check_counts(rows: Mapping[str, int], line: bytes) -> None:
    try:
        told = json.loads(line.removeprefix(b"-- "))
    except ValueError as error:
        raise UnusableBackup("it does not say how many rows it has") from error
    if told != rows:
        raise UnusableBackup("it has other rows than it says")


def _header(table: Table) -> bytes:
    columns = ", ".join(f'"{name}"' for name in table.c.keys())  # noqa: SIM118 - names, not columns
    return f'COPY "{table.name}" ({columns}) FROM stdin;\n'.encode()


class _Script:
    """Reads a script as it arrives: its lines, and the rows of a table."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""

    async def line(self) -> bytes:
        """Return the next line, with its end."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > _MOST_LINE_BYTES:
                raise UnusableBackup("it has a line that is too long")
            await self._more()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    async def expect(self, line: bytes) -> None:
        """Read the next line, which must be this one."""
        if await self.line() != line:
            raise UnusableBackup(f"it does not have the line {line[:80]!r} where it must be")

    async def rows(self) -> AsyncIterator[bytes]:
        """Yield the rows of a table up to the end mark, which is read too."""
        last = b"\n"
        while (end := (last + self._buffer).find(b"\n" + _END)) < 0:
            # The last bytes may be the beginning of the mark.
            data, self._buffer = self._buffer[: -len(_END)], self._buffer[-len(_END) :]
            if data:
                last = data[-1:]
                yield data
            await self._more()
        data, self._buffer = self._buffer[:end], self._buffer[end + len(_END) :]
        if data:
            yield data

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._chunks)
        except StopAsyncIteration as error:
            raise UnusableBackup("it is cut off") from error
