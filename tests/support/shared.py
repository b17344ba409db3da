"""One server of each kind for a whole test run, started by whoever needs it first."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from tests.support.postgres import Database, PostgresAddress, PostgresServer
from tests.support.redis import Flavour, RedisAddress, RedisServer, new_password
from tests.support.s3 import S3Address, S3Server

_Address = TypeVar("_Address", PostgresAddress, S3Address, RedisAddress)
_AddressT_co = TypeVar("_AddressT_co", covariant=True)


# Held to the end of this process: a process object that goes before its process does warns.
_STARTED_HERE: list[object] = []


class _Server(Protocol[_AddressT_co]):
    @property
    def address(self) -> _AddressT_co: ...

    def start(self) -> None: ...


class SharedServers:
    """Hands out the addresses of the servers in `folder`, to any number of processes.

    The first to ask starts the server, the others wait for it. The servers outlive the process
    that started them and end with the keeper that owns the folder. Tests must not stop or stall
    them, and keep apart by databases, buckets and database numbers of their own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def postgres(self) -> PostgresAddress:
        """A PostgreSQL without fsync: quick, and not for tests of crashes."""
        return self._once(
            "postgres", PostgresAddress, lambda: PostgresServer(self._folder, durable=False)
        )

    def catalogue_template(self, make_tables: Callable[[Database], None]) -> str:
        """The name of a database on `postgres` in which `make_tables` was called, to be copied."""
        postgres = self.postgres()
        state = self._folder / "catalogue-template"
        with _locked(self._folder / "catalogue-template.lock"):
            if not state.exists():
                database = postgres.create_database()
                make_tables(database)
                state.write_text(database.name)
            return state.read_text()

    def s3(self) -> S3Address:
        """An S3 server."""
        return self._once("s3", S3Address, lambda: S3Server(self._folder))

    def redis(self, flavour: Flavour = "valkey") -> RedisAddress:
        """A Valkey, or a Redis 6.2, with a password."""
        return self._once(
            flavour,
            RedisAddress,
            lambda: RedisServer(self._folder, password=new_password(), flavour=flavour),
        )

    def _once(
        self, name: str, address: type[_Address], make: Callable[[], _Server[_Address]]
    ) -> _Address:
        state = self._folder / f"{name}.json"
        with _locked(self._folder / f"{name}.lock"):
            if not state.exists():
                server = make()
                server.start()
                _STARTED_HERE.append(server)
                state.touch(mode=0o600)
                state.write_text(json.dumps(attrs.asdict(server.address)))
            return address(**json.loads(state.read_text()))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
