"""Fixtures: real servers shared by the whole run, servers of one's own, and a watch for leaks.

A server starts when a test first asks for it. A server that can't start is an error of the test
that wanted it, never a skip.
"""

import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.support.catalogues import CatalogueDatabases, make_tables
from tests.support.distribution import pytest_xdist_make_scheduler
from tests.support.keeper import process_keeper
from tests.support.leaks import leaks_since, open_descriptors, tasks_besides_ours
from tests.support.privileged import (
    pytest_collection_modifyitems,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from tests.support.s3_stub import S3Stub
from tests.support.servers import (
    Bucket,
    Database,
    Keeper,
    PostgresAddress,
    PostgresServer,
    RedisAddress,
    RedisCluster,
    RedisServer,
    S3Address,
    SharedServers,
)
from tests.support.stall import StallProxy

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_terminal_summary",
    "pytest_testnodedown",
    "pytest_xdist_make_scheduler",
]

# How long an example takes says something about the machine, which others may be using.
# CI tries the same examples each time, so that a red run is the change's doing, and fewer of them;
# runs by hand search on.
_IS_CI = os.environ.get("CI") == "true"
settings.register_profile(
    "patient",
    max_examples=20 if _IS_CI else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=_IS_CI,
)
settings.load_profile("patient")

_KEEPER = pytest.StashKey[Keeper]()
_FOLDER = pytest.StashKey[Path]()
_WORKER_INPUT = "server_folder"


class _WorkerNode(Protocol):
    """What pytest-xdist gives the controller for each worker."""

    config: pytest.Config
    workerinput: dict[str, object]


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the run's servers, or learn from the controller where it is."""
    _hear_interrupts()
    given = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
    if given is None:
        config.stash[_KEEPER] = Keeper()
        config.stash[_FOLDER] = config.stash[_KEEPER].folder
    else:
        config.stash[_FOLDER] = Path(given)


def _hear_interrupts() -> None:
    """Let programs that tests start be interrupted."""
    # A shell starts what it puts behind `&` with SIGINT ignored, and programs inherit that: those
    # that tests interrupt would go on.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what lives as long as the run: modules and collected tests.

    The watch for leaks collects after each test, which else takes longer than most tests.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _WorkerNode) -> None:
    """Tell a worker where the run's servers are."""
    node.workerinput[_WORKER_INPUT] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run's servers."""
    keeper = config.stash.get(_KEEPER, None)
    if keeper is not None:
        keeper.close()


@pytest.fixture(scope="session")
def shared_servers(pytestconfig: pytest.Config) -> SharedServers:
    """The servers that all tests of the run share: never stop or stall them."""
    return SharedServers(pytestconfig.stash[_FOLDER])


@pytest.fixture(scope="session")
def postgres(shared_servers: SharedServers) -> PostgresAddress:
    """The run's PostgreSQL 18 (without fsync)."""
    return shared_servers.postgres()


@pytest.fixture
def postgres_database(postgres: PostgresAddress) -> Iterator[Database]:
    """An empty database of the test's own on the run's PostgreSQL."""
    with postgres.temporary_database() as database:
        yield database


@pytest.fixture(scope="session")
def sqlite_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no row, to be copied: quicker than making the tables."""
    place = tmp_path_factory.mktemp("catalogue") / "catalogue.sqlite3"
    make_tables(place)
    return place


@pytest.fixture(scope="session")
def catalogue_databases(
    shared_servers: SharedServers, postgres: PostgresAddress
) -> CatalogueDatabases:
    """The databases that `catalogue_database` lends."""
    return CatalogueDatabases(postgres, shared_servers.catalogue_template(make_tables))


@pytest.fixture
def catalogue_database(catalogue_databases: CatalogueDatabases) -> Iterator[Database]:
    """A database with all tables and no row, for this test alone: quicker than making the tables."""
    with catalogue_databases.one() as database:
        yield database


@pytest.fixture(scope="session")
def s3(shared_servers: SharedServers) -> S3Address:
    """The run's S3 server."""
    return shared_servers.s3()


@pytest.fixture
def s3_bucket(s3: S3Address) -> Iterator[Bucket]:
    """An empty bucket of the test's own on the run's S3 server."""
    with s3.temporary_bucket() as bucket:
        yield bucket


@pytest.fixture(scope="session")
def redis_server(shared_servers: SharedServers) -> RedisAddress:
    """The run's Valkey (with a password); database 0 is not for tests."""
    return shared_servers.redis()


@pytest.fixture
def redis_database(redis_server: RedisAddress) -> RedisAddress:
    """An empty database number of the test's own on the run's Valkey."""
    return redis_server.new_database()


@pytest.fixture
def redis6_database(shared_servers: SharedServers) -> RedisAddress:
    """An empty database number of the test's own on the run's Redis 6.2, Redis proper."""
    return shared_servers.redis("redis").new_database()


@pytest.fixture(scope="session")
def _worker_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(_worker_cluster: RedisCluster) -> RedisAddress:
    """The way into an empty cluster of three nodes; one a worker, so never stop or stall it."""
    _worker_cluster.flush()
    return _worker_cluster.address


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A running, durable PostgreSQL that the test may stop, kill and stall."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A running Valkey without password that the test may stop, kill and stall."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis_cluster() -> Iterator[RedisCluster]:
    """A running cluster of three nodes that the test may stop, kill and stall."""
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def s3_faults(s3: S3Address) -> Iterator[S3Stub]:
    """A fault proxy in front of the run's S3 server; reach a bucket by `bucket.at(endpoint)`.

    A fault that was scripted and reached no request fails the test.
    """
    with S3Stub(s3.endpoint) as stub:
        yield stub
        stub.check()


@pytest.fixture
def redis_proxy(redis_server: RedisAddress) -> Iterator[StallProxy]:
    """A stall proxy in front of the run's Valkey; reach a database by `address.at(port)`."""
    with StallProxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def postgres_proxy(postgres: PostgresAddress) -> Iterator[StallProxy]:
    """A stall proxy in front of the run's PostgreSQL; reach a database by `database.at(port)`."""
    with StallProxy(postgres.host, postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def no_leaks() -> AsyncIterator[None]:
    """Fail the test when it leaves files or sockets open, or asyncio tasks running.

    Name it first among the test's fixtures, so that it looks after all others have closed.
    """
    # The process keeps a pipe to the guard of its servers from the first server on: not a leak.
    process_keeper()
    descriptors, tasks = open_descriptors(), tasks_besides_ours()
    yield
    still_open, still_running = await leaks_since(descriptors, tasks)
    assert not still_open, f"left open: {dict(still_open)}"
    assert not still_running, f"left running: {still_running}"
