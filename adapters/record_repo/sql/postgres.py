"""The driver for PostgreSQL: asyncpg connections, of which a few write in groups and others read.

Statements are texts that SQLAlchemy compiled once; they run directly on asyncpg connections. Every
command has a deadline, and a connection whose command did not end in time is closed. So the
catalogue is available again, without a restart, when the server is.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import asyncpg
from asyncpg.exceptions import UndefinedTableError
from attrs import field, frozen
from sqlalchemy import Connection as MigrationConnection
from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError

from traffic_storage.adapters.record_repo.sql import migrations
from traffic_storage.adapters.record_repo.sql.driver import Driver, Write
from traffic_storage.adapters.record_repo.sql.group_commit import GroupCommit
from traffic_storage.adapters.record_repo.sql.pool import (
    DIALECT,
    Connection,
    Pool,
    seconds_until,
)
from traffic_storage.adapters.record_repo.sql.postgres_errors import is_lost, translating
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.rows import Row
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.domain.errors import ConfigurationError

T = TypeVar("T")

_MIGRATION_SECONDS = 600.0
# Any number on which nobody else takes an advisory lock in this database. A lock of the session,
# because a migration may take several transactions; tried again and again instead of waited for,
# because CREATE INDEX CONCURRENTLY waits for every statement that began before it.
_LOCK_MIGRATION = "SELECT pg_try_advisory_lock(7203114061177451)"
_LOCK_PAUSE_SECONDS = 0.05

_MOST_STATEMENTS = 200
"""More than there are, so that each is parsed once a connection."""

PLANNER = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
"""Settings of each connection. One plan of a statement is enough, because an index answers it whatever
its arguments; a plan that was made when the tables were empty must not be a scan."""

# A server may acknowledge before it has flushed; what is stored here must have been.
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


class PostgresDriver(Driver):
    """A pool of connections for reading, and a small one for writing in groups."""

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._readers = Pool(self._connect, settings.pool_size)
        self._writers = Pool(self._connect_to_write, settings.writers)
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
                if not is_lost(error):
                    raise
                # The server may have restarted since the connection was used last.
                return await self._fetch(text.sql, args, deadline, fresh=True)

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
                # In a thread and loop of its own: alembic's state is the process's, so one
                # migration waits for another there, and must not hold up the service's loop.
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
            # Should we be cut off, nothing of ours stays behind on the server for long.
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
            server_settings={"application_name": "traffic-storage", **PLANNER, **settings},
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
        # The asynchronous engine takes 0.2 s to import, and mostly there is nothing for it to do.
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
            # Wrapped twice, by the engine and by its dialect.
            raise (error.orig and error.orig.__cause__) or error from error


async def pass_uuids_as_bytes(connection: asyncpg.Connection) -> None:
    """Make a connection take and return `uuid` values as 16 bytes, as the rows hold them."""
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )


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
