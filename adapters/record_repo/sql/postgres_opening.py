"""Opens connections to PostgreSQL: which host, with what TLS, directly or through a pooler.

Behind a pooler such as PgBouncer, a session of the server's is not that of the client: the number
of the server's process is another one than the client was told. Then each transaction begins with
the settings that it needs (see `PooledConnection`), and statements have no names.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import asyncpg
from asyncpg.exceptions import InvalidAuthorizationSpecificationError, ProtocolViolationError
from attrs import field, frozen

from traffic_storage.adapters.record_repo.sql.pool import Connection, seconds_until
from traffic_storage.adapters.record_repo.sql.postgres_address import (
    Address,
    addresses,
    is_this_machine,
)
from traffic_storage.adapters.record_repo.sql.postgres_pooled import (
    PooledConnection,
    local_settings,
)
from traffic_storage.adapters.record_repo.sql.postgres_tls import SslMode, Tls, TlsSettings
from traffic_storage.ports.errors import CatalogueUnavailable

_MOST_STATEMENTS: Final = 200
"""More than there are statements here, so that each is parsed only once per connection."""

PLANNER: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
"""The planner settings of each connection.

Every statement is answered from an index, whatever its arguments, so one plan for each is enough.
Without these settings, a plan that was made for empty tables could scan them when they are full.
"""

# So that a firewall does not forget an idle connection. On a Unix socket they have no effect.
_KEEP_ALIVE: Final = {
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}
# A server may be set to acknowledge a commit before it is flushed to disk; here it must be flushed.
_DURABLE: Final = """
    SELECT set_config('synchronous_commit', 'on', {})
    WHERE current_setting('synchronous_commit') = 'off'
"""
_NAME: Final = {"application_name": "traffic-storage"}

# Their results are read from the tag of the command: a query with a result would be prepared, which
# a pooler may do in another session than that in which it is run.
_IS_SESSION: Final = "SELECT 1 WHERE pg_backend_pid() = {}"
_IS_PRIMARY: Final = (
    "SELECT 1 WHERE NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
)
_ONE: Final = "SELECT 1"

log = logging.getLogger("traffic_storage.catalogue")


@frozen
class PostgresSettings:
    """The address of the server, the credentials and the timeouts.

    `host` may be a folder with a Unix socket, or a list of hosts with commas, each with a port of
    its own if it differs (`db1,db2:5433`): then the one that is the primary is used.
    `timeout_seconds` bounds each call, the wait for a connection included; only determining the
    outcome of a commit may take one second more. `pool_size` connections read, `writers` write. If
    `password` is a function, it is called for each new connection. `schema` is where the tables
    are; None: the first schema of the user's search path.
    """

    host: str
    database: str
    user: str
    password: str | Callable[[], str] | None = field(default=None, repr=False)
    port: int = 5432
    timeout_seconds: float = 2.0
    pool_size: int = 10
    writers: int = 2
    tls: TlsSettings = field(factory=TlsSettings)
    schema: str | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The hosts and their ports."""
        return addresses(self.host, self.port)

    @property
    def where(self) -> str:
        """Return the database's address for messages, without secrets."""
        hosts = ", ".join(f"{host}:{port}" for host, port in self.addresses)
        return f"the database {self.database} at {hosts}"


@frozen
class Opened:
    """A connection of asyncpg, and whether it leads to a pooler."""

    connection: asyncpg.Connection
    is_pooled: bool
    local_settings: Sequence[str]


class Opener:
    """Opens connections, first to the host to which the last one led.

    Of several hosts each gets an equal share of the time that is left, and one that is no primary
    is passed over.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._tls = Tls(settings.tls)
        self._hosts = list(settings.addresses)
        self._poolers: set[Address] = set()
        self._plain: set[Address] = set()
        self._has_warned = False

    async def connection(
        self, seconds: float, settings: Mapping[str, str], *, durable: bool = False
    ) -> Connection:
        """Open a connection whose transactions have `settings`, and with `durable` are flushed."""
        deadline = asyncio.get_running_loop().time() + seconds
        opened = await self.open(seconds, settings)
        connection = cast("Connection", opened.connection)
        try:
            await pass_uuids_as_bytes(opened.connection)
            if opened.is_pooled:
                more = [_DURABLE.format("true")] if durable else []
                return PooledConnection(connection, [*opened.local_settings, *more])
            if durable:
                await connection.execute(_DURABLE.format("false"), timeout=seconds_until(deadline))
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def open(self, seconds: float, settings: Mapping[str, str]) -> Opened:
        """Open a connection to the first host that can be used, with `settings` in its session.

        Behind a pooler they are not: there each transaction must begin with `local_settings`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        failure: Exception | None = None
        for place, address in enumerate(tuple(self._hosts)):
            share = seconds_until(deadline) / (len(self._hosts) - place)
            try:
                opened = await self._open_at(address, share, settings)
            except Exception as error:
                if len(self._hosts) == 1:
                    raise
                # That a standby is none tells less than why the others can't be used.
                failure = error if failure is None or isinstance(failure, _NoPrimary) else failure
            else:
                self._hosts.remove(address)
                self._hosts.insert(0, address)
                return opened
        raise failure or TimeoutError

    async def _open_at(
        self, address: Address, seconds: float, settings: Mapping[str, str]
    ) -> Opened:
        deadline = asyncio.get_running_loop().time() + seconds
        own = {**PLANNER, **self._search_path(), **settings}
        connection = None
        if address not in self._poolers:
            connection = await self._open_directly(address, deadline, own)
        is_pooled = connection is None
        if connection is None:
            self._note_pooler(address)
            connection = await self._login(address, deadline, _NAME, 0)
        if len(self._hosts) > 1 and not await _is_so(connection, _IS_PRIMARY, deadline):
            connection.terminate()
            raise _NoPrimary(self._settings.where)
        return Opened(connection, is_pooled, local_settings(own))

    async def _open_directly(
        self, address: Address, deadline: float, settings: Mapping[str, str]
    ) -> asyncpg.Connection | None:
        """Return a connection with a session of its own; None: the address is that of a pooler."""
        session = {**_NAME, **_KEEP_ALIVE, **settings}
        try:
            connection = await self._login(address, deadline, session, _MOST_STATEMENTS)
        except ProtocolViolationError as error:
            # PgBouncer refuses settings of a session that it does not know.
            if "startup parameter" in str(error):
                return None
            raise
        if await _is_so(connection, _IS_SESSION.format(connection.get_server_pid()), deadline):
            return connection
        connection.terminate()
        return None

    async def _login(
        self, address: Address, deadline: float, settings: Mapping[str, str], statements: int
    ) -> asyncpg.Connection:
        context = self._tls.context()
        options = {
            "host": address[0],
            "port": address[1],
            "server_settings": dict(settings),
            "statement_cache_size": statements,
        }
        if context is None or address[0].startswith("/") or address in self._plain:
            return await self._connect(options, deadline, ssl=False)
        try:
            return await self._connect(options, deadline, ssl=context)
        except TimeoutError:
            raise
        except (OSError, InvalidAuthorizationSpecificationError) as error:
            if self._tls.mode is not SslMode.PREFER or not _may_want_plain_text(error):
                raise
            connection = await self._connect(options, deadline, ssl=False)
            self._plain.add(address)
            self._warn(address[0])
            return connection

    async def _connect(
        self,
        options: Mapping[str, Any],
        deadline: float,
        **more: object,
    ) -> asyncpg.Connection:
        given = self._settings
        return await asyncpg.connect(
            **options,
            **more,
            database=given.database,
            user=given.user,
            password=given.password,
            timeout=seconds_until(deadline),
            target_session_attrs="any",
            max_cached_statement_lifetime=0,
            # Pages that merge many ranges are longer than asyncpg keeps by default.
            max_cacheable_statement_size=0,
        )

    def _search_path(self) -> Mapping[str, str]:
        schema = self._settings.schema
        return {} if schema is None else {"search_path": f'"{schema}"'}

    def _note_pooler(self, address: Address) -> None:
        if address not in self._poolers:
            self._poolers.add(address)
            log.info(
                "at %s:%d is a pooler of connections: each transaction brings its settings along",
                *address,
            )

    def _warn(self, host: str) -> None:
        if self._tls.is_chosen or self._has_warned or is_this_machine(host):
            return
        self._has_warned = True
        log.warning(
            "the connection to %s is not encrypted, for the server has no TLS: set db_ssl_mode "
            "to verify-full, or to disable if this is meant",
            self._settings.where,
        )


class _NoPrimary(CatalogueUnavailable):
    """None of several hosts is the primary server."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where}: none of these hosts is a primary server, which can be written",
            remedy="promote one of them, or add the primary to db_host",
        )


async def pass_uuids_as_bytes(connection: asyncpg.Connection) -> None:
    """Make a connection take and return `uuid` values as 16 bytes, as the rows hold them."""
    await connection.set_type_codec(
        "uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary"
    )


async def _is_so(connection: asyncpg.Connection, query: str, deadline: float) -> bool:
    """Return whether a query has a row. If it fails, the connection is closed."""
    try:
        tag: str = await connection.execute(query, timeout=seconds_until(deadline))
    except BaseException:
        connection.terminate()
        raise
    return tag == _ONE


def _may_want_plain_text(error: Exception) -> bool:
    """Return whether a server may accept without TLS what it refused with it."""
    # asyncpg raises the first for an answer to the request for TLS that is not yes. The classes below
    # them mean something else: the port is closed, or the password is wrong.
    return isinstance(error, ssl.SSLError) or type(error) in {
        ConnectionError,
        InvalidAuthorizationSpecificationError,
    }
