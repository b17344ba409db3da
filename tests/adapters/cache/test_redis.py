"""What is peculiar to Redis as a cache: it may stall, die, lie and come back."""

import asyncio
import contextlib
import logging
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import attrs
import pytest
import redis
from redis.crc import key_slot

from tests.support.adapter_settings import redis_settings
from tests.support.servers import RedisAddress, RedisCluster, RedisServer, new_password
from tests.support.stall import StallProxy
from tests.support.waiting import until
from traffic_storage.adapters.cache.redis import RedisCache

HOUR = timedelta(hours=1)
SLOW = 1.0
"""Seconds that a call on a busy machine may take, and far less than any client's own timeout."""


@asynccontextmanager
async def opened(address: RedisAddress, **changes: Any) -> AsyncIterator[RedisCache]:
    """A cache that is connected if that is possible."""
    cache = RedisCache(redis_settings(address, **changes))
    try:
        await cache.get("is it there?")
        yield cache
    finally:
        await cache.aclose()


async def until_used(cache: RedisCache) -> None:
    await until(lambda: cache.health().healthy)


async def until_away(cache: RedisCache) -> None:
    await until(lambda: not cache.health().healthy)


async def kept(cache: RedisCache, key: str, data: bytes) -> None:
    """Put until it is there: on a busy machine a call may be late."""
    async with asyncio.timeout(30):
        while await cache.get(key) != data:
            await asyncio.sleep(0.005)
            await cache.put(key, data, HOUR)


async def found(cache: RedisCache, key: str, data: bytes) -> None:
    """Get until it is there: on a busy machine a call may be late."""
    async with asyncio.timeout(30):
        while await cache.get(key) != data:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


class Scripted:
    """A server that answers each command by a script; None leaves it unanswered."""

    def __init__(self, script: Callable[[list[bytes]], bytes | None]) -> None:
        self.connections = 0
        self.most_at_once = 0
        self._open = 0
        self._script = script

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[RedisAddress]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        host, port = server.sockets[0].getsockname()
        async with server:
            yield RedisAddress(host, port)

    @asynccontextmanager
    async def running_at(self, path: Path) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._serve, path):
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            while header := await reader.readline():
                words = [await self._word(reader) for _ in range(int(header[1:]))]
                if (answer := self._script(words)) is not None:
                    writer.write(answer)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._open -= 1
            writer.close()

    async def _word(self, reader: asyncio.StreamReader) -> bytes:
        length = int((await reader.readline())[1:])
        return (await reader.readexactly(length + 2))[:-2]


class TestInUse:
    async def test_entries_carry_prefix_and_expiry(
        self, redis_database: RedisAddress, no_leaks: None
    ) -> None:
        async with opened(redis_database, prefix="ours:") as cache:
            await kept(cache, "a", b"1")
        with redis_database.client() as client:
            assert client.keys() == [b"ours:a"]
            assert client.get("ours:a") == b"1"
            assert 3_590_000 < client.pttl("ours:a") <= 3_600_000

    async def test_two_prefixes_do_not_meet(
        self, redis_database: RedisAddress, no_leaks: None
    ) -> None:
        async with opened(redis_database) as one, opened(redis_database, prefix="b:") as other:
            await kept(one, "a", b"1")
            assert await other.get("a") is None

    async def test_all_requests_share_one_connection(
        self, own_redis: RedisServer, no_leaks: None
    ) -> None:
        async with opened(own_redis.address, timeout_seconds=30.0) as cache:
            for _ in range(5):
                await asyncio.gather(*(cache.get(f"{number}") for number in range(100)))
            with own_redis.address.client() as client:
                assert client.info("clients")["connected_clients"] == 2

    async def test_requests_that_go_away_cost_no_connection(
        self, own_redis: RedisServer, no_leaks: None
    ) -> None:
        async with opened(own_redis.address) as cache:
            await kept(cache, "a", b"1")
            with own_redis.address.client() as client:
                before = client.info("stats")["total_connections_received"]
                for turns in range(30):
                    leaving = asyncio.ensure_future(cache.put("b", bytes(100_000), HOUR))
                    for _ in range(turns % 4):
                        await asyncio.sleep(0)
                    leaving.cancel()
                await kept(cache, "a", b"1")
                assert client.info("stats")["total_connections_received"] == before

    async def test_too_much_at_once_is_a_miss_not_a_queue(
        self, redis_database: RedisAddress, no_leaks: None
    ) -> None:
        async with opened(redis_database, timeout_seconds=60.0) as cache:
            await kept(cache, "a", b"1")
            found = await asyncio.gather(*(cache.get("a") for _ in range(1000)))
            assert {*found} == {b"1", None}
            assert found.count(b"1") >= 256
            assert await cache.get("a") == b"1"
            assert cache.health().healthy

    async def test_nothing_connects_before_the_first_call(
        self, redis_proxy: StallProxy, redis_database: RedisAddress, no_leaks: None
    ) -> None:
        cache = RedisCache(redis_settings(redis_database.at(redis_proxy.port)))
        assert cache.health().healthy
        assert redis_proxy.connections == 0
        await cache.aclose()

    def test_it_can_be_made_outside_a_loop(self, redis_database: RedisAddress) -> None:
        cache = RedisCache(redis_settings(redis_database, timeout_seconds=60.0))

        async def use() -> bytes | None:
            await cache.put("a", b"1", HOUR)
            found = await cache.get("a")
            await cache.aclose()
            return found

        assert asyncio.run(use()) == b"1"


class TestWaysIn:
    """TLS, a Unix socket, an ACL user."""

    def script(self, words: list[bytes]) -> bytes:
        """A server with one key, for the ACL user `camera` alone."""
        if words[0] == b"AUTH":
            self.is_known = words[1:] == [b"camera", b"secret"]
            return b"+OK\r\n" if self.is_known else b"-WRONGPASS invalid username or password\r\n"
        if not self.is_known:
            return b"-NOAUTH Authentication required.\r\n"
        return b"+PONG\r\n" if words == [b"PING"] else b"$1\r\n1\r\n"

    is_known = False
    LOGIN: ClassVar[dict[str, str]] = {"username": "camera", "password": "secret"}

    async def test_an_acl_user(self, no_leaks: None) -> None:
        async with (
            Scripted(self.script).running() as address,
            opened(address, **self.LOGIN) as cache,
        ):
            await found(cache, "a", b"1")

    async def test_a_unix_socket(self, no_leaks: None) -> None:
        # Not below tmp_path: the path of a socket has at most 107 bytes.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "redis.sock")
            async with (
                Scripted(self.script).running_at(path),
                opened(RedisAddress("unused", 1), socket=path, **self.LOGIN) as cache,
            ):
                await found(cache, "a", b"1")
                assert str(path) in cache.health().detail
            async with opened(RedisAddress("unused", 1), socket=path) as cache:
                await until_away(cache)
                assert str(path) in cache.health().detail

    @pytest.mark.parametrize("name", ["127.0.0.1", "another.example"])
    async def test_tls_checks_who_answers(self, no_leaks: None, tmp_path: Path, name: str) -> None:
        import trustme

        authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(tls)
        async with Scripted(self.script).running(tls) as address:
            trusting = opened(address, tls=True, ca_file=ca_file, **self.LOGIN)
            async with trusting as cache:
                if name == address.host:
                    await found(cache, "a", b"1")
                else:
                    await until(lambda: "CERTIFICATE_VERIFY" in cache.health().detail)
            async with opened(address, tls=True, **self.LOGIN) as cache:
                await until(lambda: "CERTIFICATE_VERIFY" in cache.health().detail)


class TestMessages:
    """A message names the code of Redis and the remedy."""

    @pytest.mark.parametrize(
        ("answer", "code", "remedy"),
        [
            (b"-MOVED 1234 10.0.0.9:6379\r\n", "MOVED", "redis_cluster"),
            (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OOM", "allkeys-lru"),
            (
                b"-READONLY You can't write against a read only replica.\r\n",
                "READONLY",
                "the address of the primary",
            ),
            (b"-NOPERM no permissions to run the 'set' command\r\n", "NOPERM", "+get +set +del"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    async def test_what_redis_refuses(
        self, no_leaks: None, answer: bytes, code: str, remedy: str
    ) -> None:
        def script(words: list[bytes]) -> bytes:
            return b"+PONG\r\n" if words == [b"PING"] else answer

        async with Scripted(script).running() as address, opened(address) as cache:
            async with asyncio.timeout(30):
                while cache.health().healthy:
                    await cache.put("a", b"1", HOUR)
            assert code in cache.health().detail
            assert remedy in cache.health().detail

    @pytest.mark.parametrize(
        "answer",
        [
            b"-NOAUTH Authentication required.\r\n",
            b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        ],
    )
    async def test_who_is_not_let_in(self, no_leaks: None, answer: bytes) -> None:
        async with Scripted(lambda _: answer).running() as address, opened(address) as cache:
            await until(lambda: answer.decode().split()[0][1:] in cache.health().detail)
            assert "redis_password" in cache.health().detail


class TestOutages:
    @pytest.fixture
    async def cache(self, own_redis: RedisServer, no_leaks: None) -> AsyncIterator[RedisCache]:
        async with opened(own_redis.address) as cache:
            await until_used(cache)
            await kept(cache, "a", b"1")
            yield cache

    async def test_a_stalled_server_costs_one_short_wait_and_then_nothing(
        self, own_redis: RedisServer, cache: RedisCache
    ) -> None:
        own_redis.stall()
        start = time.perf_counter()
        assert await asyncio.gather(*(cache.get("a") for _ in range(50))) == [None] * 50
        await cache.put("b", b"2", HOUR)
        await cache.drop("b")
        assert time.perf_counter() - start < SLOW
        await until_away(cache)
        start = time.perf_counter()
        for _ in range(1000):
            assert await cache.get("a") is None
        assert time.perf_counter() - start < SLOW, "a thousand, where one wait takes 25 ms"
        assert "does not answer" in cache.health().detail
        own_redis.resume()

    async def test_a_call_that_was_missed_is_told_at_once(self, no_leaks: None) -> None:
        """Who asks for the health after a call is told of that call, not of the connection."""
        answers = [b"$-1\r\n"]

        def script(command: list[bytes]) -> bytes | None:
            if command[0] == b"GET":
                return answers[-1] or None
            return b"+PONG\r\n" if command[0] == b"PING" else b"+OK\r\n"

        async with Scripted(script).running() as address, opened(address) as cache:
            await until_used(cache)
            answers.append(b"")
            assert await cache.get("a") is None
            health = cache.health()
            assert not health.healthy
            assert "does not answer" in health.detail

    async def test_a_rotated_password_is_used_at_the_next_connection(
        self, own_redis: RedisServer
    ) -> None:
        passwords = ["first"]
        address = own_redis.address
        with redis.Redis(address.host, address.port) as admin:
            admin.config_set("requirepass", "first")
            async with opened(address, password=lambda: passwords[-1]) as cache:
                await kept(cache, "a", b"1")
                admin.config_set("requirepass", "second")
                admin.client_kill_filter(_type="normal", skipme=True)
                await until_away(cache)
                passwords.append("second")
                await found(cache, "a", b"1")

    async def test_it_comes_back_by_itself(self, own_redis: RedisServer, cache: RedisCache) -> None:
        for _ in range(3):
            own_redis.stall()
            await cache.get("a")
            await until_away(cache)
            own_redis.resume()
            await until_used(cache)
            await kept(cache, "a", b"1")

    async def test_a_stall_is_noticed_without_a_request(
        self, own_redis: RedisServer, cache: RedisCache
    ) -> None:
        own_redis.stall()
        await until_away(cache)
        own_redis.resume()
        await until_used(cache)

    async def test_a_killed_server_is_away_at_once_and_used_when_it_is_back(
        self, own_redis: RedisServer, cache: RedisCache
    ) -> None:
        own_redis.kill()
        await until_away(cache)
        assert await cache.get("a") is None
        assert str(own_redis.address.port) in cache.health().detail
        own_redis.start()
        await until_used(cache)
        assert await cache.get("a") is None
        await kept(cache, "a", b"2")

    async def test_each_outage_is_logged_once(
        self, own_redis: RedisServer, cache: RedisCache, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "traffic_storage.cache")
        own_redis.kill()
        await until_away(cache)
        for _ in range(100):
            await cache.get("a")
        own_redis.start()
        await until_used(cache)
        levels = [record.levelno for record in caplog.records]
        assert levels == [logging.WARNING, logging.INFO]

    async def test_it_ends_while_the_server_is_stalled(
        self, own_redis: RedisServer, cache: RedisCache
    ) -> None:
        own_redis.stall()
        writing = [
            asyncio.ensure_future(cache.put(f"{number}", bytes(500_000), HOUR))
            for number in range(40)
        ]
        await asyncio.sleep(0)
        start = time.perf_counter()
        await cache.aclose()
        await asyncio.gather(*writing)
        assert time.perf_counter() - start < SLOW
        own_redis.resume()


class TestOnTheWay:
    """Between us and the server."""

    @pytest.fixture
    async def cache(
        self, redis_proxy: StallProxy, redis_database: RedisAddress, no_leaks: None
    ) -> AsyncIterator[RedisCache]:
        async with opened(redis_database.at(redis_proxy.port)) as cache:
            await until_used(cache)
            await kept(cache, "a", b"1")
            yield cache

    async def test_a_reset_connection_is_made_again(
        self, redis_proxy: StallProxy, cache: RedisCache
    ) -> None:
        for _ in range(3):
            redis_proxy.drop()
            await kept(cache, "a", b"1")
        await until_used(cache)

    async def test_a_refused_port(self, redis_proxy: StallProxy, cache: RedisCache) -> None:
        redis_proxy.refuse()
        await until_away(cache)
        start = time.perf_counter()
        for _ in range(1000):
            assert await cache.get("a") is None
        assert time.perf_counter() - start < SLOW
        redis_proxy.forward()
        await until_used(cache)
        await kept(cache, "a", b"1")

    async def test_answers_that_are_always_late(
        self, redis_proxy: StallProxy, cache: RedisCache
    ) -> None:
        redis_proxy.delay(0.2)
        for _ in range(3):
            assert await cache.get("a") is None
        await until_away(cache)
        assert "within 25 ms" in cache.health().detail
        redis_proxy.forward()
        await until_used(cache)

    async def test_a_server_that_is_busy_sending_is_not_away(
        self, redis_proxy: StallProxy, redis_database: RedisAddress, no_leaks: None
    ) -> None:
        """16 look-ups of 512 KiB, which together take several times as long as one may wait."""
        data, keys, call_seconds = bytes(512 * 1024), [f"{n}" for n in range(16)], 0.2
        address = redis_database.at(redis_proxy.port)
        async with opened(address, timeout_seconds=2 * call_seconds) as cache:
            await until_used(cache)
            for key in keys:
                await kept(cache, key, data)
            redis_proxy.throttle(len(keys) * len(data) / (4 * call_seconds))
            hits = 0
            for _ in range(3):
                start = time.perf_counter()
                hits += (await asyncio.gather(*map(cache.get, keys))).count(data)
                assert time.perf_counter() - start > 2 * call_seconds
                assert cache.health().healthy
            assert hits >= 0.9 * 3 * len(keys)

    async def test_bytes_that_trickle_do_not_hold_a_request(self, no_leaks: None) -> None:
        """The wait for an answer that keeps arriving ends too."""
        answers = [b"+PONG\r\n"]

        async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answers[0] + b"$1000000\r\n")
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.005)

        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        async with server, opened(RedisAddress(*server.sockets[0].getsockname())) as cache:
            await until_used(cache)
            start = time.perf_counter()
            assert await cache.get("a") is None
            assert time.perf_counter() - start < SLOW


class TestOddServers:
    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\x00" * 100,
            b"$-5\r\n",
            b"*1000\r\n",
            b"$99999999999\r\n" + b"x" * 1000,
            b"+PONG\r\n+PONG\r\n+PONG\r\n",
            b"+NOT PONG\r\n",
            b":1\r\n",
            b"*-1\r\n",
            b"*2\r\n+PONG\r\n-ERR what\r\n",
            b">2\r\n+push\r\n+message\r\n" * 2000,
            b"-MOVED rubbish\r\n",
            b"-LOADING Redis is loading the dataset in memory\r\n",
            b"-MASTERDOWN Link with MASTER is down\r\n",
            b"-ERR max number of clients reached\r\n",
            b"-NOAUTH Authentication required.\r\n",
            b"",
            None,
        ],
        ids=lambda answer: ascii(answer)[:30],
    )
    async def test_whatever_it_answers_it_is_only_away(
        self, no_leaks: None, answer: bytes | None
    ) -> None:
        async with Scripted(lambda _: answer).running() as address, opened(address) as cache:
            start = time.perf_counter()
            for _ in range(20):
                assert await cache.get("a") is None
                await cache.put("a", b"1", HOUR)
                await cache.drop("a")
            assert time.perf_counter() - start < 2 * SLOW
            await until_away(cache)
            assert cache.health().detail

    async def test_it_can_be_ended_at_any_moment(self, no_leaks: None) -> None:
        async with Scripted(lambda _: b"-ERR no\r\n").running() as address:
            for turns in range(60):
                cache = RedisCache(redis_settings(address))
                asking = asyncio.ensure_future(cache.get("a"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                async with asyncio.timeout(20):
                    await cache.aclose()
                    assert await asking is None

    async def test_a_server_that_has_loaded_is_used(self, no_leaks: None) -> None:
        loading = True

        def script(words: list[bytes]) -> bytes:
            if loading:
                return b"-LOADING Redis is loading the dataset in memory\r\n"
            return b"+PONG\r\n" if words == [b"PING"] else b"$1\r\nx\r\n"

        async with Scripted(script).running() as address, opened(address) as cache:
            await until_away(cache)
            assert "loading" in cache.health().detail
            loading = False
            await until_used(cache)

    async def test_a_black_hole_sees_no_stampede(self, no_leaks: None) -> None:
        silent = False
        server = Scripted(lambda _: None if silent else b"+PONG\r\n")
        async with server.running() as address, opened(address) as cache:
            await until_used(cache)
            silent = True
            for _ in range(40):
                await asyncio.gather(*(cache.get("a") for _ in range(50)))
                await asyncio.sleep(0.02)
            # The one that it has given up may still be closing.
            assert server.most_at_once <= 2

    async def test_attempts_are_spaced(self, no_leaks: None) -> None:
        server = Scripted(lambda _: b"-ERR no\r\n")
        async with server.running() as address, opened(address) as cache:
            await until(lambda: server.connections >= 4)
            start, before = time.perf_counter(), server.connections
            while time.perf_counter() - start < 1.0:
                await cache.get("a")
                await asyncio.sleep(0)
            assert server.connections - before <= 5

    async def test_a_server_that_is_full_is_still_read(
        self, own_redis: RedisServer, no_leaks: None
    ) -> None:
        async with opened(own_redis.address) as cache:
            await kept(cache, "a", b"1")
            with own_redis.address.client() as client:
                client.config_set("maxmemory-policy", "noeviction")
                client.config_set("maxmemory", "1")
                await cache.put("b", b"2", HOUR)
                await until_away(cache)
                assert "maxmemory" in cache.health().detail
                await until(lambda: "refuses" in cache.health().detail)
                await found(cache, "a", b"1")
                client.config_set("maxmemory", "0")
            await kept(cache, "b", b"2")
            assert cache.health().healthy

    async def test_the_password_opens_and_never_shows(
        self, redis_database: RedisAddress, no_leaks: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        canary = new_password()
        for password, words in ((canary, "WRONGPASS|invalid"), (None, "Authentication required")):
            async with opened(redis_database, password=password) as cache:
                await until_away(cache)
                detail = cache.health().detail
                assert any(word in detail for word in words.split("|")), detail
                assert canary not in detail
        settings = redis_settings(redis_database, password=canary)
        assert canary not in repr(settings) + caplog.text
        assert (redis_database.password or "?") not in caplog.text

    async def test_a_database_that_is_not_there(
        self, redis_database: RedisAddress, no_leaks: None
    ) -> None:
        async with opened(attrs.evolve(redis_database, db=100_000)) as cache:
            await until_away(cache)
            assert await cache.get("a") is None

    async def test_a_cluster_that_is_none(
        self, redis_database: RedisAddress, no_leaks: None
    ) -> None:
        async with opened(redis_database, cluster=True, db=0) as cache:
            await until(lambda: "cluster support disabled" in cache.health().detail)
            assert not cache.health().healthy

    @pytest.mark.parametrize(
        "slots",
        [
            b"*0\r\n",
            b"*1\r\n:7\r\n",
            b"*1\r\n*3\r\n:0\r\n:999999999999\r\n*2\r\n$4\r\nhost\r\n:1\r\n",
            b"*1\r\n*3\r\n$1\r\nx\r\n:5\r\n*2\r\n$4\r\nhost\r\n:1\r\n",
            b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n*0\r\n:1\r\n",
            b"+OK\r\n",
        ],
    )
    async def test_a_map_that_makes_no_sense(self, no_leaks: None, slots: bytes) -> None:
        def script(words: list[bytes]) -> bytes:
            return b"+PONG\r\n" if words == [b"PING"] else slots

        async with Scripted(script).running() as address, opened(address, cluster=True) as cache:
            await until_away(cache)
            assert await cache.get("a") is None

    async def test_a_map_of_too_many_nodes_is_read_again(self, no_leaks: None) -> None:
        """The cluster shrinks while the cache is open: the cache is used again."""
        maps = 0

        def script(words: list[bytes]) -> bytes:
            nonlocal maps
            if words != [b"CLUSTER", b"SLOTS"]:
                return b"+PONG\r\n" if words == [b"PING"] else b"+OK\r\n"
            maps += 1
            if maps > 1:
                return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n" % address.port
            node = b"*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n"
            return b"*1100\r\n" + b"".join(node % (n, n, n + 1) for n in range(1100))

        async with Scripted(script).running() as address:  # noqa: SIM117 - used in the script
            async with opened(address, cluster=True) as cache:
                await until_used(cache)
                assert maps > 1

    async def test_a_storm_of_redirections(self, no_leaks: None) -> None:
        def script(words: list[bytes]) -> bytes:
            if words == [b"PING"]:
                return b"+PONG\r\n"
            if words == [b"CLUSTER", b"SLOTS"]:
                return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n" % address.port
            return b"-MOVED %d :%d\r\n" % (key_slot(words[1]), address.port)

        async with Scripted(script).running() as address:  # noqa: SIM117 - used in the script
            async with opened(address, cluster=True) as cache:
                await until_used(cache)
                start = time.perf_counter()
                for number in range(200):
                    assert await cache.get(f"{number}") is None
                assert time.perf_counter() - start < 2 * SLOW


class TestCluster:
    KEYS = tuple(f"key {number}" for number in range(60))

    @pytest.fixture
    async def cache(
        self, own_redis_cluster: RedisCluster, no_leaks: None
    ) -> AsyncIterator[RedisCache]:
        async with opened(own_redis_cluster.address, cluster=True) as cache:
            await until_used(cache)
            for key in self.KEYS:
                await kept(cache, key, key.encode())
            yield cache

    async def known(self, cache: RedisCache) -> set[str]:
        return {key for key in self.KEYS if await cache.get(key) == key.encode()}

    async def test_the_keys_lie_on_all_nodes(
        self, own_redis_cluster: RedisCluster, cache: RedisCache
    ) -> None:
        sizes = []
        for node in own_redis_cluster.nodes:
            with node.address.client() as client:
                sizes.append(client.dbsize())
        assert sum(sizes) >= len(self.KEYS)
        assert all(sizes)

    @pytest.mark.parametrize("place", [0, 1], ids=["seed", "other"])
    async def test_a_stalled_node_costs_its_own_keys_only(
        self, own_redis_cluster: RedisCluster, cache: RedisCache, place: int
    ) -> None:
        node = own_redis_cluster.nodes[place]
        node.stall()
        await until_away(cache)
        async with asyncio.timeout(30):
            # On a busy machine another node may be late, too; the last one that was late is told.
            while str(node.address.port) not in cache.health().detail:
                await self.known(cache)
        start = time.perf_counter()
        known = await self.known(cache)
        assert time.perf_counter() - start < SLOW
        assert 0 < len(known) < len(self.KEYS)
        node.resume()
        await until_used(cache)
        for key in self.KEYS:
            await found(cache, key, key.encode())

    async def test_a_killed_node_is_used_again_when_it_is_back(
        self, own_redis_cluster: RedisCluster, cache: RedisCache
    ) -> None:
        node = own_redis_cluster.nodes[0]
        node.kill()
        await until_away(cache)
        assert 0 < len(await self.known(cache)) < len(self.KEYS)
        node.start()
        await until_used(cache)
        for key in self.KEYS:
            await kept(cache, key, key.encode())

    async def test_keys_are_followed_to_where_they_have_moved(
        self, own_redis_cluster: RedisCluster, cache: RedisCache
    ) -> None:
        key = self.KEYS[0]
        name = f"traffic-storage:{key}".encode()
        with Resharding(own_redis_cluster, key_slot(name)) as moving:
            moving.begin()
            await kept(cache, key, b"still here")
            moving.move(name)
            # ASK: the slot belongs to the old node, the key lies on the new one.
            await kept(cache, key, b"still here")
            await cache.drop(key)
            assert await cache.get(key) is None
            await kept(cache, key, b"again")
            moving.finish()
            # MOVED: the slot belongs to the new node.
            await kept(cache, key, b"again")
        assert cache.health().healthy

    async def test_a_node_that_is_not_there_yet(self, no_leaks: None) -> None:
        cluster = RedisCluster()
        try:
            async with opened(cluster.address, cluster=True) as cache:
                assert await cache.get("a") is None
                await until_away(cache)
                await asyncio.to_thread(cluster.start)
                await until_used(cache)
                await kept(cache, "a", b"1")
        finally:
            cluster.close()


class Resharding:
    """Moves one slot from the node that has it to another, step by step."""

    def __init__(self, cluster: RedisCluster, slot: int) -> None:
        share = -(-16_384 // 3)
        self._slot = slot
        self._clients = [node.address.client() for node in cluster.nodes]
        self._addresses = [node.address for node in cluster.nodes]
        self._from = slot // share
        self._to = (self._from + 1) % 3
        self._ids = [_order(client, "CLUSTER", "MYID") for client in self._clients]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()

    def begin(self) -> None:
        self._say(self._to, "IMPORTING", self._ids[self._from])
        self._say(self._from, "MIGRATING", self._ids[self._to])

    def move(self, name: bytes) -> None:
        target = self._addresses[self._to]
        self._clients[self._from].migrate(target.host, target.port, [name], 0, 5000)

    def finish(self) -> None:
        for place in (self._to, self._from, 3 - self._from - self._to):
            self._say(place, "NODE", self._ids[self._to])

    def _say(self, place: int, verb: str, node_id: bytes) -> None:
        _order(self._clients[place], "CLUSTER", "SETSLOT", self._slot, verb, node_id)


def _order(client: redis.Redis, *words: str | int | bytes) -> bytes:
    answer: bytes = client.execute_command(*words)  # type: ignore[no-untyped-call]
    return answer
