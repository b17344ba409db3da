"""The driver for PostgreSQL: asyncpg connections, of which a few write in groups and others read.

Statements are texts that SQLAlchemy compiled once; they run directly on asyncpg connections. Every
command has a deadline, and a connection whose command did not end in time is closed. So the
catalogue is available again, without a restart, when the server is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

from traffic_storage.adapters.record_repo.sql import (
    backup_statements,
    migrations,
    postgres_tables,
)
from traffic_storage.adapters.record_repo.sql.driver import CsvDriver, MomentReader, Write
from traffic_storage.adapters.record_repo.sql.group_commit import GroupCommit
from traffic_storage.adapters.record_repo.sql.pool import (
    DIALECT,
    Connection,
    Pool,
    seconds_until,
)
from traffic_storage.adapters.record_repo.sql.postgres_backup import run_script, write_script
from traffic_storage.adapters.record_repo.sql.postgres_errors import (
    is_ended_early,
    is_lost,
    translating,
)
from traffic_storage.adapters.record_repo.sql.postgres_opening import (
    Opened,
    Opener,
    PostgresSettings,
)
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.rows import Row
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.domain.database_backup import DatabaseForm, DatabaseKind, Loading
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.ports.database_backup import Write as WriteBytes

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["PostgresDriver", "PostgresSettings", "postgres_repo"]

T = TypeVar("T")

_MIGRATION_SECONDS = 600.0
# The number is arbitrary; no other program may use it for an advisory lock in this database. The
# lock belongs to the session, because a migration may take several transactions. It is requested
# repeatedly instead of waited for, because CREATE INDEX CONCURRENTLY waits for every statement that
# began before it.
_LOCK_SESSION = "SELECT pg_try_advisory_lock(7203114061177451)"
# Behind a pooler there is no session to which a lock could belong.
_LOCK_TRANSACTION = "SELECT pg_try_advisory_xact_lock(7203114061177451)"
_LOCK_PAUSE_SECONDS = 0.05

_MOMENT_SECONDS = 600.0
_LOAD_LOCK_MILLISECONDS = 5000
_BEGIN_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def postgres_repo(settings: PostgresSettings) -> SqlRecordRepo:
    """Return a catalogue in a PostgreSQL database. No connection is opened before the first use."""
    return SqlRecordRepo(PostgresDriver(settings))


class PostgresDriver(CsvDriver):
    """Runs statements on two pools of connections: one for reads, a small one for groups of writes."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._opener = Opener(settings)
        self._readers = Pool(
            self._connect,
            settings.pool_size,
            seconds=settings.timeout_seconds,
            keeps_cancelled=True,
        )
        self._writers = Pool(
            self._connect_to_write, settings.writers, seconds=settings.timeout_seconds
        )
        self._commits = GroupCommit(
            self._writers,
            writers=settings.writers,
            seconds=settings.timeout_seconds,
            where=settings.where,
        )

    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        """Run a query (see `Driver.read`) in one round trip, whatever the number of executions."""
        text = statement.text(DIALECT)
        args = text.all(executions)
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        with translating(self._settings.where):
            try:
                return await self._fetch(text.sql, args, deadline)
            except Exception as error:
                # What took too long once is not asked again: that would only add to the load.
                if is_ended_early(error) or not is_lost(error):
                    raise
                # The server may have restarted since the connection was used last.
                return await self._fetch(text.sql, args, deadline, fresh=True)

    async def csv(self, statement: Statement, args: Args, zone: str) -> tuple[bytes, int]:
        """Run a query by COPY (see `CsvDriver.csv`)."""
        text = statement.text(DIALECT)
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        with translating(self._settings.where):
            async with self._readers.lease(deadline) as connection:
                return await _copied(connection, text.sql, text.arrange(args), zone, deadline)

    @asynccontextmanager
    async def at_one_moment(self) -> AsyncIterator[MomentReader]:
        where, seconds = self._settings.where, self._settings.timeout_seconds
        with translating(where):
            # The rows are written elsewhere between two queries, which may take some time.
            milliseconds = str(int(_MOMENT_SECONDS * 1000))
            limits = {
                "statement_timeout": "0",
                "idle_in_transaction_session_timeout": milliseconds,
            }
            connection = await self._opener.connection(seconds, limits)
        try:
            with translating(where):
                await connection.execute(_BEGIN_MOMENT, timeout=seconds)
            yield _Moment(connection, self._settings)
        finally:
            connection.terminate()

    @property
    def form(self) -> DatabaseForm:
        return DatabaseForm(DatabaseKind.POSTGRESQL, migrations.HEAD)

    async def is_blank(self) -> bool:
        if await self.version() is None:
            return True
        return not await self.read(backup_statements.IS_USED, [()])

    async def load(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        await self.upgrade(slow=True)
        where, seconds = self._settings.where, self._settings.timeout_seconds
        with translating(where):
            limits = {
                "statement_timeout": "0",
                "idle_in_transaction_session_timeout": "0",
                "lock_timeout": str(_LOAD_LOCK_MILLISECONDS),
                "synchronous_commit": "on",
            }
            connection = await self._opener.connection(seconds, limits)
        try:
            with translating(where):
                await run_script(connection, chunks, loading, where)
        finally:
            connection.terminate()

    async def write(self, write: Write) -> None:
        await self._commits.run(write)

    async def upgrade(self, *, slow: bool) -> None:
        """Apply pending migrations under an advisory lock."""
        with translating(self._settings.where):
            found = await self._version()
            migrations.refuse_newer(found)
            if not slow:
                migrations.refuse_slow(found)
            if found != migrations.HEAD:
                # A migration runs in a thread and event loop of its own: it waits for another
                # migration of the process, as alembic has global state, and must not block ours.
                await asyncio.to_thread(lambda: asyncio.run(self._migrate(found)))

    async def version(self) -> str | None:
        with translating(self._settings.where):
            return await self._version()

    async def aclose(self) -> None:
        await self._commits.aclose()
        await self._readers.aclose()
        await self._writers.aclose()

    async def _fetch(
        self, sql: str, args: Sequence[Args], deadline: float, *, fresh: bool = False
    ) -> Sequence[Row]:
        async with self._readers.lease(deadline, fresh=fresh) as connection:
            seconds = seconds_until(deadline)
            if len(args) == 1:
                return await connection.fetch(sql, *args[0], timeout=seconds)
            return await connection.fetchmany(sql, args, timeout=seconds)

    async def _connect(self, seconds: float) -> Connection:
        return await self._opener.connection(seconds, self._limits())

    async def _connect_to_write(self, seconds: float) -> Connection:
        return await self._opener.connection(seconds, self._limits(), durable=True)

    def _limits(self) -> dict[str, str]:
        """If the connection is lost, the server ends its statement and transaction in this time."""
        milliseconds = str(max(1, int(self._settings.timeout_seconds * 1000)))
        return {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
        }

    async def _version(self) -> str | None:
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        (found,) = await self._fetch(postgres_tables.FOUND, [()], deadline)
        if not postgres_tables.has_version(*found):
            return None
        rows = await self._fetch(migrations.CURRENT, [()], deadline)
        return str(rows[0][0]) if rows else None

    async def _migrate(self, found: str | None) -> None:
        # Imported here because the import takes 0.2 s and is needed only for a migration.
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        opened = await self._opener.open(_MIGRATION_SECONDS, {})
        if opened.is_pooled and (slow := migrations.slow_pending(found)):
            # Such a step commits midway, and would lose its lock and its settings there.
            opened.connection.terminate()
            raise ConfigurationError.of(
                "db_host",
                f"it leads to a pooler, through which the migration {slow[0]} can't be done",
                "run `traffic-storage db upgrade` once with db_host and db_port of the server itself",
            )

        async def connection_of_engine(**_: object) -> object:
            return opened.connection

        engine = create_async_engine(
            "postgresql+asyncpg://",
            poolclass=NullPool,
            connect_args={
                "async_creator_fn": connection_of_engine,
                "prepared_statement_cache_size": 0,
                # Without a name, as a pooler needs it.
                **({"prepared_statement_name_func": str} if opened.is_pooled else {}),
            },
        )
        try:
            async with engine.connect() as connection:
                await _lock_migration(connection, opened)
                await connection.run_sync(
                    postgres_tables.upgrade, self._settings.schema, one_transaction=opened.is_pooled
                )
                await connection.commit()
        except DBAPIError as error:
            # asyncpg's error was wrapped twice, by the engine and by its dialect.
            raise (error.orig and error.orig.__cause__) or error from error


async def _lock_migration(connection: "AsyncConnection", opened: Opened) -> None:
    """Wait until no other process migrates. Behind a pooler, the transaction remains open."""
    lock = _LOCK_TRANSACTION if opened.is_pooled else _LOCK_SESSION
    while True:
        for setting in opened.local_settings if opened.is_pooled else ():
            await connection.exec_driver_sql(setting)
        if (await connection.exec_driver_sql(lock)).scalar_one():
            return
        await connection.rollback()
        await asyncio.sleep(_LOCK_PAUSE_SECONDS)


class _Moment(MomentReader):
    """Reads on a connection that has one transaction."""

    def __init__(self, connection: Connection, settings: PostgresSettings) -> None:
        self._connection = connection
        self._settings = settings

    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        text, seconds = statement.text(DIALECT), self._settings.timeout_seconds
        args = text.all(executions)
        with translating(self._settings.where):
            if len(args) == 1:
                return await self._connection.fetch(text.sql, *args[0], timeout=seconds)
            return await self._connection.fetchmany(text.sql, args, timeout=seconds)

    async def copy_database(self, write: WriteBytes) -> DatabaseForm:
        with translating(self._settings.where):
            await write_script(self._connection, write)
        return DatabaseForm(DatabaseKind.POSTGRESQL, migrations.HEAD)


async def _copied(
    connection: Connection, sql: str, args: Args, zone: str, deadline: float
) -> tuple[bytes, int]:
    """Return the rows of a query as CSV, and their number. `zone` is in force for it alone."""
    parts: list[bytes] = []

    async def take(data: bytes) -> None:
        parts.append(data)

    begin = f"BEGIN READ ONLY; SET LOCAL DateStyle = 'ISO'; SET LOCAL TimeZone = '{zone}'"
    await connection.execute(begin, timeout=seconds_until(deadline))
    status = await connection.copy_from_query(
        sql, *args, output=take, format="csv", timeout=seconds_until(deadline)
    )
    await connection.execute("COMMIT", timeout=seconds_until(deadline))
    return b"".join(parts), int(status.removeprefix("COPY "))
