"""Each fault of the proxies does what it says, to real servers and real clients."""

import asyncio
import socket
import time

import asyncpg
import obstore
import pytest
import redis
from obstore.store import S3Store

from tests.support import s3_stub
from tests.support.s3_stub import Fault, S3Stub
from tests.support.servers import Bucket, Database, RedisAddress
from tests.support.stall import StallProxy

_BODY = bytes(range(256)) * 400


@pytest.fixture
def direct(s3_bucket: Bucket) -> S3Store:
    return s3_bucket.client()


@pytest.fixture
def proxied(s3_bucket: Bucket, s3_faults: S3Stub) -> S3Store:
    return s3_bucket.at(s3_faults.endpoint).client()


@pytest.fixture
def impatient(s3_bucket: Bucket, s3_faults: S3Stub) -> S3Store:
    return s3_bucket.at(s3_faults.endpoint).client("1s")


async def _body(store: S3Store, key: str) -> bytes:
    return bytes(await (await obstore.get_async(store, key)).bytes_async())


async def _exists(store: S3Store, key: str) -> bool:
    try:
        await obstore.head_async(store, key)
    except FileNotFoundError:
        return False
    return True


class TestS3Stub:
    async def test_passes_signed_requests_through(
        self, proxied: S3Store, direct: S3Store, s3_faults: S3Stub
    ) -> None:
        await obstore.put_async(proxied, "a/b c~", _BODY, attributes={"kind": "image"})
        assert await _body(proxied, "a/b c~") == await _body(direct, "a/b c~") == _BODY
        assert [item["path"] for item in await obstore.list(proxied).collect_async()] == ["a/b c~"]
        await obstore.delete_async(proxied, "a/b c~")
        assert not await _exists(proxied, "a/b c~")
        assert s3_faults.count(method="PUT", key="a/*") == 1
        assert s3_faults.count() == 5

    async def test_passes_multipart_uploads_through(
        self, proxied: S3Store, direct: S3Store, s3_faults: S3Stub
    ) -> None:
        body = _BODY * 120
        await obstore.put_async(proxied, "large", body, use_multipart=True)
        assert await _body(direct, "large") == body
        assert s3_faults.count(method="PUT", query="partNumber=*") >= 2

    @pytest.mark.parametrize(
        ("fault", "is_applied", "message"),
        [
            pytest.param(s3_stub.error(), False, "500", id="error"),
            pytest.param(s3_stub.slow_down(), False, "503", id="slow down"),
            pytest.param(s3_stub.slow_down(429), False, "429", id="slow down 429"),
            pytest.param(s3_stub.conflict(), False, "409", id="conflict"),
            pytest.param(
                s3_stub.reset_before_applying(),
                False,
                "error sending request",
                id="reset before applying",
            ),
            pytest.param(
                s3_stub.reset_in_upload(), False, "error sending request", id="reset in upload"
            ),
            pytest.param(s3_stub.error_after_applying(), True, "500", id="error after applying"),
            pytest.param(
                s3_stub.reset_after_applying(),
                True,
                "error sending request",
                id="reset after applying",
            ),
        ],
    )
    async def test_fails_a_put(
        self,
        proxied: S3Store,
        direct: S3Store,
        s3_faults: S3Stub,
        fault: Fault,
        is_applied: bool,
        message: str,
    ) -> None:
        s3_faults.on(fault, method="PUT")
        with pytest.raises(obstore.exceptions.BaseError, match=message):
            await obstore.put_async(proxied, "key", _BODY)
        assert await _exists(direct, "key") == is_applied
        assert [seen.is_faulted for seen in s3_faults.requests] == [True]
        await obstore.put_async(proxied, "other", _BODY)
        assert await _body(direct, "other") == _BODY

    async def test_never_answers_a_put(self, impatient: S3Store, s3_faults: S3Stub) -> None:
        s3_faults.on(s3_stub.hang(), method="PUT")
        with pytest.raises(obstore.exceptions.BaseError, match="Timeout"):
            await obstore.put_async(impatient, "key", _BODY)
        assert s3_faults.requests[0].real_status is None

    async def test_applies_a_put_and_never_answers(
        self, impatient: S3Store, direct: S3Store, s3_faults: S3Stub
    ) -> None:
        s3_faults.on(s3_stub.hang_after_applying(), method="PUT")
        with pytest.raises(obstore.exceptions.BaseError, match="Timeout"):
            await obstore.put_async(impatient, "key", _BODY)
        assert (await s3_faults.until(is_applied=True)).real_status == 200
        assert await _body(direct, "key") == _BODY

    async def test_stops_in_the_middle_of_a_get(
        self, impatient: S3Store, direct: S3Store, s3_faults: S3Stub
    ) -> None:
        await obstore.put_async(direct, "key", _BODY)
        s3_faults.on(s3_stub.hang_in_download(), method="GET")
        with pytest.raises(obstore.exceptions.BaseError):
            await _body(impatient, "key")
        assert s3_faults.requests[0].real_status == 200

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(s3_stub.reset_in_download(), id="reset"),
            pytest.param(s3_stub.cut_off(), id="cut off"),
        ],
    )
    async def test_breaks_a_get_so_that_the_client_sees_it(
        self, proxied: S3Store, s3_faults: S3Stub, fault: Fault
    ) -> None:
        await obstore.put_async(proxied, "key", _BODY)
        s3_faults.on(fault, method="GET")
        with pytest.raises(obstore.exceptions.BaseError):
            await _body(proxied, "key")
        assert await _body(proxied, "key") == _BODY

    async def test_changes_a_get_so_that_the_client_does_not_see_it(
        self, proxied: S3Store, s3_faults: S3Stub
    ) -> None:
        await obstore.put_async(proxied, "key", _BODY)
        s3_faults.on(s3_stub.truncate(), method="GET")
        s3_faults.on(s3_stub.flip_bit(), method="GET", nth=2)
        assert await _body(proxied, "key") == _BODY[: len(_BODY) // 2]
        flipped = await _body(proxied, "key")
        assert [a ^ b for a, b in zip(flipped, _BODY, strict=True) if a != b] == [1]

    async def test_delays(self, proxied: S3Store, s3_faults: S3Stub) -> None:
        s3_faults.on(s3_stub.delay(0.3), method="PUT")
        began = time.monotonic()
        await obstore.put_async(proxied, "key", _BODY)
        assert time.monotonic() - began >= 0.3

    async def test_takes_the_nth_match_and_as_many_as_told(
        self, proxied: S3Store, s3_faults: S3Stub
    ) -> None:
        s3_faults.on(s3_stub.error(), method="PUT", key="image/*", nth=2, times=2)
        outcomes = []
        for key in ("image/1", "video/1", "image/2", "image/3", "image/4"):
            try:
                await obstore.put_async(proxied, key, b"x")
                outcomes.append("ok")
            except obstore.exceptions.BaseError:
                outcomes.append("failed")
        assert outcomes == ["ok", "ok", "failed", "failed", "ok"]

    async def test_tells_of_a_fault_that_no_request_met(
        self, proxied: S3Store, s3_faults: S3Stub
    ) -> None:
        s3_faults.on(s3_stub.error(), method="PUT", nth=2)
        await obstore.put_async(proxied, "first", b"x")
        for look in (s3_faults.check, s3_faults.clear):
            with pytest.raises(AssertionError, match="faulted nothing"):
                look()
        with pytest.raises(obstore.exceptions.BaseError):
            await obstore.put_async(proxied, "second", b"x")
        s3_faults.check()

    async def test_tells_when_a_request_has_been_applied(
        self, proxied: S3Store, direct: S3Store, s3_faults: S3Stub
    ) -> None:
        s3_faults.on(s3_stub.hang_after_applying(), method="PUT")
        put = asyncio.ensure_future(obstore.put_async(proxied, "key", _BODY))
        seen = await s3_faults.until(method="PUT", is_applied=True)
        assert (seen.key, seen.real_status) == ("key", 200)
        assert await _exists(direct, "key")
        put.cancel()
        await asyncio.gather(put, return_exceptions=True)


class TestStallProxy:
    def test_forwards_and_stalls_and_goes_on(
        self, redis_database: RedisAddress, redis_proxy: StallProxy
    ) -> None:
        with redis_database.at(redis_proxy.port).client(timeout_seconds=0.5) as client:
            client.set("key", "value")
            redis_proxy.stall()
            with pytest.raises(redis.TimeoutError):
                client.get("key")
            redis_proxy.forward()
            assert client.get("key") == b"value"

    def test_drops_connections_and_takes_new_ones(self, redis_proxy: StallProxy) -> None:
        with socket.create_connection((redis_proxy.host, redis_proxy.port)) as old:
            old.sendall(b"ECHO before\r\n")
            assert old.recv(100)
            redis_proxy.drop()
            with pytest.raises(ConnectionResetError):
                old.recv(100)
        with socket.create_connection((redis_proxy.host, redis_proxy.port)) as new:
            new.sendall(b"ECHO after\r\n")
            assert new.recv(100)

    def test_refuses_and_comes_back(
        self, redis_database: RedisAddress, redis_proxy: StallProxy
    ) -> None:
        with redis_database.at(redis_proxy.port).client() as client:
            client.ping()
            redis_proxy.refuse()
            with pytest.raises(redis.ConnectionError, match="refused"):
                client.ping()
            redis_proxy.forward()
            assert client.ping()

    def test_delays(self, redis_database: RedisAddress, redis_proxy: StallProxy) -> None:
        with redis_database.at(redis_proxy.port).client() as client:
            client.ping()
            redis_proxy.delay(0.1)
            began = time.monotonic()
            client.ping()
            assert time.monotonic() - began >= 0.2

    async def test_stands_in_front_of_postgres_too(
        self, postgres_database: Database, postgres_proxy: StallProxy
    ) -> None:
        connection = await asyncpg.connect(postgres_database.at(postgres_proxy.port).dsn)
        assert await connection.fetchval("SELECT 7") == 7
        postgres_proxy.stall()
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT 7", timeout=0.2)
        postgres_proxy.drop()
        with pytest.raises(asyncpg.InterfaceError, match="closed"):
            await connection.fetchval("SELECT 7")
