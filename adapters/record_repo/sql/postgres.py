"""The driver for PostgreSQL: asyncpg connections, of which a few write in groups and others read.

Statements are texts that SQLAlchemy compiled once; they run directly on asyncpg connections. Every
command has a deadline, and a connection whose command did not end in time is closed. So the
catalogue is available again, without a restart, when the server is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import asyncpg
from asyncpg.exceptions import UndefinedTableError
from attrs import field, frozen
from sqlalchemy import Connection as MigrationConnection
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from traffic_storage.adapters.record_repo.sql import backup_statements, migrations
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
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.rows import Row
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.domain.database_backup import DatabaseForm, DatabaseKind, Loading
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.ports.database_backup import Write as WriteBytes

T = TypeVar("T")

_MIGRATION_SECONDS = 600.0
# The number is arbitrary; no other program may use it for an advisory lock in this database. The
# lock belongs to the session, because a migration may take several transactions. It is requested
# repeatedly instead of waited for, because CREATE INDEX CONCURRENTLY waits for every statement that
# began before it.
_LOCK_MIGRATION = "SELECT pg_try_advisory_lock(7203114061177451)"
_LOCK_PAUSE_SECONDS = 0.05

_MOMENT_SECONDS = 600.0
_LOAD_LOCK_MILLISECONDS = 5000
_BEGIN_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_MOST_STATEMENTS = 200
"""More than there are statements here, so that each is parsed only once per connection."""

PLANNER = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
"""The planner settings of each connection.

Every statement is answered from an index, whatever its arguments, so one plan for each is enough.
Without these settings, a plan that was made for empty tables could scan them when they are full.
"""

# So that a firewall does not forget an idle connection. On a Unix socket they have no effect.
_KEEP_ALIVE = {
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}

# A server may be set to acknowledge a commit before it is flushed to disk; here it must be flushed.
_DURABLE = """
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'
"""


@frozen
class PostgresSettings:
    """The address of the server, the credentials and the timeouts.

    `host` may be a folder with a Unix socket. `timeout_seconds` bounds each call, the wait for a
    connection included; only determining the outcome of a commit may take one second more.
    `pool_size` connections read, `writers` write. If `password` is a function, it is called
    for each new connection.
    """

    host: str
    database: str
    user: str
    password: str | Callable[[], str] | None = field(default=None, repr=False)
    port: int = 5432
    timeout_seconds: float = 2.0
    pool_size: int = 10
    writers: int = 2

    @property
    def where(self) -> str:
        """Return the database's address for messages, without secrets."""
        return f"the database {self.database} at {self.host}:{self.port}"


def postgres_repo(settings: PostgresSettings) -> SqlRecordRepo:
    """Return a catalogue in a PostgreSQL database. No connection is opened before the first use."""
    return SqlRecordRepo(PostgresDriver(settings))


class PostgresDriver(CsvDriver):
    """Runs statements on two pools of connections: one for reads, a small one for groups of writes."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
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
            connection = await self._open(
                seconds,
                statement_timeout="0",
                idle_in_transaction_session_timeout=milliseconds,
            )
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
            connection = await self._open(
                seconds,
                statement_timeout="0",
                idle_in_transaction_session_timeout="0",
                lock_timeout=str(_LOAD_LOCK_MILLISECONDS),
                synchronous_commit="on",
            )
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
                await asyncio.to_thread(lambda: asyncio.run(self._migrate()))

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
        milliseconds = str(max(1, int(self._settings.timeout_seconds * 1000)))
        return await self._open(
            seconds,
            # If the connection is lost, the server ends its statement and transaction in this time.
            statement_timeout=milliseconds,
            lock_timeout=milliseconds,
            idle_in_transaction_session_timeout=milliseconds,
        )

    async def _connect_to_write(self, seconds: float) -> Connection:
        connection = await self._connect(seconds)
        try:
            await connection.fetch(_DURABLE, timeout=seconds)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _open(self, seconds: float, **settings: str) -> Connection:
        given = self._settings
        connection = await asyncpg.connect(
            host=given.host,
            port=given.port,
            database=given.database,
            user=given.user,
            password=given.password,
            timeout=seconds,
            max_cached_statement_lifetime=0,
            statement_cache_size=_MOST_STATEMENTS,
            # Pages that merge many ranges are longer than asyncpg keeps by default.
            max_cacheable_statement_size=0,
            server_settings={
                "application_name": "traffic-storage",
                **PLANNER,
                **_KEEP_ALIVE,
                **settings,
            },
        )
        try:
            async with asyncio.timeout(seconds):
                await pass_uuids_as_bytes(connection)
        except BaseException:
            connection.terminate()
            raise
        return cast("Connection", connection)

    async def _version(self) -> str | None:
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        try:
            rows = await self._fetch(migrations.CURRENT, [()], deadline)
        except UndefinedTableError:
            return None
        return str(rows[0][0]) if rows else None

    async def _migrate(self) -> None:
        # Imported here because the import takes 0.2 s and is needed only for a migration.
        from sqlalchemy.ext.asyncio import create_async_engine
        from sqlalchemy.pool import NullPool

        async def connect() -> Connection:
            return await self._open(_MIGRATION_SECONDS)

        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=connect, poolclass=NullPool
        )
        try:
            async with engine.connect() as connection:
                while not (await connection.exec_driver_sql(_LOCK_MIGRATION)).scalar_one():
                    await connection.commit()
                    await asyncio.sleep(_LOCK_PAUSE_SECONDS)
                await connection.run_sync(_upgrade)
        except DBAPIError as error:
            # asyncpg's error was wrapped twice, by the engine and by its dialect.
            raise (error.orig and error.orig.__cause__) or error from error


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


async def pass_uuids_as_bytes(connection: asyncpg.Connection) -> None:
    """Make a connection take and return `uuid` values as 16 bytes, as the rows hold them."""
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )


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


def _upgrade(connection: MigrationConnection) -> None:
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError.of(
            "db_name",
            f"the database has the encoding {encoding}",
            "create it with ENCODING 'UTF8' TEMPLATE template0",
        )
    there = inspect(connection).has_table("alembic_version")
    found = connection.exec_driver_sql(migrations.CURRENT).scalar() if there else None
    # Alembic begins a transaction for each step, unless one is open already.
    connection.commit()
    migrations.upgrade(connection, found)
