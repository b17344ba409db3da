"""Translates errors of PostgreSQL and asyncpg. No message contains a secret."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg.exceptions import (
    ClientConfigurationError,
    DataError,
    DuplicateTableError,
    IntegrityConstraintViolationError,
    InternalClientError,
    InvalidCachedStatementError,
    OperatorInterventionError,
    PostgresConnectionError,
    QueryCanceledError,
    TransactionRollbackError,
)

from traffic_storage.adapters.record_repo.sql.driver import Refused
from traffic_storage.domain.errors import ConfigurationError, StorageFull, TrafficStorageError
from traffic_storage.ports.errors import CatalogueReadOnly, CatalogueUnavailable

_READ_ONLY = "25006"

# SQLSTATE or its class → the cause in words, and the remedy.
_MEANINGS = {
    "08": (
        "the connection failed",
        "check the network, the server, and what it demands: TLS (db_ssl_mode), db_cert_file",
    ),
    _READ_ONLY: ("it is a read-only standby", "point db_host to the primary server"),
    "28": (
        "it refuses the login",
        "check db_user, and what pg_hba.conf demands: TLS (db_ssl_mode), a certificate (db_cert_file)",
    ),
    "28P01": ("it refuses the login", "check db_user and db_password"),
    "3D000": ("there is no such database", "create it, or check db_name"),
    "40": ("the transaction conflicted with others in each try", "try again"),
    "3F000": ("there is no schema for the tables", "set db_schema"),
    "42501": (
        "the user lacks a privilege",
        "make the user the owner of the database, or of the schema db_schema",
    ),
    "42P01": ("it has no tables yet", "run `traffic-storage db upgrade`"),
    "53": ("it lacks memory or another resource", "check the server's log and its limits"),
    "53300": ("it accepts no more connections", "raise max_connections, or lower db_pool_size"),
    "55": ("a lock was not released in time", "try again"),
    "57": ("it is shutting down, or ended this command", "try again when it runs"),
    "57014": ("it did not answer in time", "check the server's load"),
    "57P03": ("it is starting or recovering", "try again when it runs"),
    "58": ("the server's operating system reported an error", "check the server's log"),
    "XX": ("the server had an internal error", "check the server's log"),
}
_CERTIFICATE_REMEDY = (
    "name the authority's certificate by db_ca_file, and by db_host a name that is in the server's"
)
_DISK_FULL = "53100"
_IDLE_IN_TRANSACTION = "25P03"


def is_lost(error: BaseException) -> bool:
    """Return whether the error ended the connection, so that a new connection may succeed."""
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error)
    return (
        isinstance(
            error,
            OSError
            | TimeoutError
            | PostgresConnectionError
            | OperatorInterventionError
            | InternalClientError
            | InvalidCachedStatementError,
        )
        or getattr(error, "sqlstate", None) == _IDLE_IN_TRANSACTION
    )


def is_ended_early(error: BaseException) -> bool:
    """Return whether a command was cancelled, or not done in time; its connection may be good."""
    return isinstance(error, TimeoutError | QueryCanceledError | asyncio.CancelledError)


def is_harmless(error: BaseException) -> bool:
    """Return whether the connection can be used again once its transaction is rolled back."""
    return isinstance(
        error, Refused | DataError | IntegrityConstraintViolationError | TransactionRollbackError
    )


def is_passing(error: BaseException) -> bool:
    """Return whether the same transaction may succeed when it is run again (40001, 40P01)."""
    return isinstance(error, TransactionRollbackError)


def translated(error: BaseException, where: str) -> TrafficStorageError | None:
    """Return the catalogue port's error for a failure of the database at `where`.

    None if the error is caused by a defect of this library.
    """
    if isinstance(error, TrafficStorageError):
        return error
    if isinstance(error, TimeoutError):
        return _unavailable(where, "it did not answer in time", "check the server and the network")
    if isinstance(error, ClientConfigurationError):
        return ConfigurationError.of(
            "PG*",
            f"asyncpg refuses the environment: {error}",
            "correct the environment variables PG*",
        )
    if isinstance(error, DuplicateTableError):
        return ConfigurationError.of(
            "db_name",
            f"the database has tables of another application: {error}",
            "set db_schema to a schema of its own, or name another database",
        )
    if isinstance(error, OSError):
        return _of_network(error, where)
    if isinstance(error, asyncpg.PostgresError):
        return _of_state(str(error.sqlstate), where, str(error))
    if is_lost(error):
        return _unavailable(where, f"the connection failed: {error}", "check the server")
    return None


def _of_network(error: OSError, where: str) -> TrafficStorageError:
    if isinstance(error, ssl.SSLCertVerificationError):
        cause = f"its certificate is not trusted: {error.verify_message}"
        return _unavailable(where, cause, _CERTIFICATE_REMEDY)
    if isinstance(error, ssl.SSLError):
        cause = f"TLS fails: {error.reason or error}"
        return _unavailable(where, cause, "check db_ssl_mode, db_cert_file and the server's log")
    if type(error) is ConnectionError:
        # asyncpg's words for a server that answers the request for TLS with no.
        cause = f"the server does not speak TLS: {error}"
        return _unavailable(
            where, cause, "turn TLS on at the server, or set db_ssl_mode to disable"
        )
    return _unavailable(where, f"it can't be reached: {error}", "check db_host and db_port")


def _of_state(state: str, where: str, words: str) -> TrafficStorageError | None:
    if state == _DISK_FULL:
        return StorageFull(f"the disk of {where} is full", remedy="free space on the server")
    meaning = _MEANINGS.get(state) or _MEANINGS.get(state[:2])
    if meaning is None:
        return None
    cause, remedy = meaning
    if state == _READ_ONLY:
        return CatalogueReadOnly(f"{where}: {cause}: {words}", remedy=remedy)
    return _unavailable(where, f"{cause}: {words}", remedy)


def _unavailable(where: str, cause: str, remedy: str) -> CatalogueUnavailable:
    return CatalogueUnavailable(f"{where}: {cause}", remedy=remedy)


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Return a context that raises asyncpg's errors as errors of the catalogue port.

    An error caused by a defect of this library is raised unchanged.
    """
    try:
        yield
    except Exception as error:
        known = translated(error, where)
        if known is None or known is error:
            raise
        raise known from error
