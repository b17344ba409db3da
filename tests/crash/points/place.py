"""A place: the folder, database and bucket of one service, and what was told about its files."""

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import asyncpg
from attrs import Factory, define

from tests.crash.audit import findings, gather, look_up, remains
from tests.crash.later import put_forward
from tests.support.jobs import do_jobs
from tests.support.setups import on_bucket, on_database, on_redis
from tests.support.shared import SharedServers
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.entrypoints.container import Container, build, running
from traffic_storage.ports.record_repo import RecordRepo

Setup = Literal["embedded", "full"]
SETUPS: tuple[Setup, ...] = ("embedded", "full")

AN_HOUR = timedelta(hours=1)
_HOUR = 3_600_000_000
_REWIND = f"UPDATE job SET leased_until = leased_until - {_HOUR}, run_at = run_at - {_HOUR}"
_LIVE = "SELECT kind, error FROM job WHERE state IN ('ready', 'running')"
_ROUNDS = 8


def fresh(setup: Setup, servers: SharedServers, folder: Path) -> "Place":
    """A place of which nothing was used yet."""
    settings: dict[str, Any] = {
        "local_base_path": str(folder),
        "local_reserve_gb": 0.0,
        "workers": 0,
        # Nothing happens by itself meanwhile.
        "sweep_interval_seconds": 3600.0,
        "attempt_timeout_seconds": 30.0,
        "accept_unknown_video": True,
        "db_timeout_seconds": 30.0,
        **on_bucket(servers.s3().create_bucket()),
    }
    if setup == "full":
        settings |= on_database(servers.postgres().create_database())
        settings |= on_redis(servers.redis().new_database())
    return Place(setup, servers, settings)


@define
class Place:
    """Where a service keeps its files, and what must hold of them.

    Attributes:
        acknowledged: the SHA-256 that was told for each file.
        deletable: the files of these that may be deleted.
        notes: what the processes must know of each other.
    """

    setup: Setup
    servers: SharedServers
    settings: dict[str, Any]
    acknowledged: dict[str, str] = Factory(dict)
    deletable: set[str] = Factory(set)
    notes: dict[str, Any] = Factory(dict)

    def acknowledge(self, *views: Mapping[str, Any]) -> None:
        """Note what a service told of files."""
        self.acknowledged |= {view["file_id"]: view["sha256"] for view in views}

    @asynccontextmanager
    async def opened(
        self,
        strategy: StorageStrategy,
        later: timedelta = timedelta(),
        **settings: Any,
    ) -> AsyncIterator[tuple[Container, StorageService]]:
        """Start a service in this process."""
        container = build(self.config(**settings), strategy)
        put_forward(container, later)
        async with running(container):
            yield container, StorageService(container=container)

    def config(self, **settings: Any) -> StorageConfig:
        """The settings of a service."""
        return StorageConfig(**self.settings | settings)

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement past our own code; its rows."""
        return await query(self.settings, sql)

    def lose_catalogue(self) -> None:
        """Go on with an empty catalogue."""
        if self.setup == "full":
            self.settings |= on_database(self.servers.postgres().create_database())
            return
        for path in Path(self.settings["local_base_path"]).glob("catalogue.sqlite3*"):
            path.unlink()

    async def resume(self, container: Container) -> list[str]:
        """Do all jobs to their end, however long they are to wait; what does not end."""
        return await resume(self.settings, container)

    async def audit(self, container: Container, *, is_over: bool = True) -> list[str]:
        """Every break of an invariant; once it is over, no bytes are left either."""
        config = self.config()
        broken = await look_up(
            StorageService(container=container), config, self.acknowledged, self.deletable
        )
        return [*broken, *(remains(await gather(config)) if is_over else [])]

    async def found(self) -> list[str]:
        """Every break of an invariant, without a service."""
        return findings(await gather(self.config()), self.acknowledged, self.deletable)


def repo_of(container: Container) -> RecordRepo:
    """The catalogue of a service."""
    return container._record_repo()


async def query(settings: Mapping[str, Any], sql: str) -> list[tuple[Any, ...]]:
    """Run a statement in a service's database, past our own code; its rows."""
    if "db_host" not in settings:
        path = Path(settings["local_base_path"]) / "catalogue.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(sql).fetchall()
            connection.commit()
        return rows
    names = {"host": "db_host", "port": "db_port", "database": "db_name"}
    names |= {"user": "db_user", "password": "db_password"}
    server = await asyncpg.connect(**{name: settings[setting] for name, setting in names.items()})
    try:
        return [tuple(row) for row in await server.fetch(sql)]
    finally:
        await server.close()


async def rewind(settings: Mapping[str, Any]) -> None:
    """Let the leases and the pauses of all jobs pass."""
    await query(settings, _REWIND)


async def resume(settings: Mapping[str, Any], container: Container, *, slots: int = 1) -> list[str]:
    """Do all jobs to their end, however long they are to wait; what does not end."""
    live: list[tuple[Any, ...]] = []
    for _ in range(_ROUNDS):
        await rewind(settings)
        await do_jobs(container, slots=slots)
        live = await query(settings, _LIVE)
        if not live:
            break
    return [f"the job {kind} does not end: {error}" for kind, error in live]
