"""Clients that are slow, endless or gone, on real connections."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve
from dependency_injector.providers import Object
from fastapi import FastAPI

from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, problem, video
from tests.entrypoints.http.live import Connection, LiveServer, Reply
from tests.support.media import video_of
from tests.support.setups import config
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.adapters.spool.disk import DiskSpool
from traffic_storage.application import tasks
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.images import ImageInfo
from traffic_storage.ports.spool import Body

JPEG = IMAGE[1]
FORM = "multipart/form-data; boundary=x"
FILE_PART = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
DISCONNECTS = 500
AT_ONCE = 16


def form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart body with the boundary x."""
    head = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    return b"".join(head.format(name).encode() + data + b"\r\n" for name, data in parts) + b"--x--"


async def stored_nothing(live: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=live.url) as client:
        assert await counted(client) == (0, 0)


def named(reply: Reply, status: int, name: str) -> None:
    """The reply is this problem, whole, and ends the connection."""
    assert (reply.status, reply.whole) == (status, True), reply
    assert f"problem:{name}" in reply.body.decode()
    assert reply.headers["connection"] == "close"


class TestSlow:
    @pytest.fixture
    def settings(self, settings: StorageConfig) -> StorageConfig:
        """Impatient, but by far not as quick as the clients that are slow on purpose."""
        return evolve(settings, request_idle_timeout_seconds=2, min_upload_bytes_per_second=100_000)

    async def test_a_body_that_stalls_is_cut(self, live: LiveServer) -> None:
        async with await live.connect() as connection:
            head = connection.head(
                "POST", "/files/upload/image", Content_Type=FORM, Content_Length="100000"
            )
            await connection.send(head + FILE_PART)
            reply = await connection.reply()
            named(reply, 408, "slow-body")
            assert b"request_idle_timeout_seconds" in reply.body
        await stored_nothing(live)

    async def test_a_body_that_drips_is_cut(self, live: LiveServer) -> None:
        async with await live.connect() as connection:
            head = connection.head(
                "PUT", "/files/a/content", Content_Type="image/jpeg", Content_Length="100000"
            )
            await connection.send(head)
            dripping = asyncio.create_task(drip(connection))
            reply = await connection.reply()
            dripping.cancel()
            named(reply, 408, "slow-body")
            assert b"bytes per second" in reply.body
        await stored_nothing(live)

    async def test_a_slow_but_steady_body_is_taken(self, settings: StorageConfig) -> None:
        settings = evolve(settings, min_upload_bytes_per_second=0)
        app = create_storage_app(
            container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings)
        )
        async with LiveServer(app) as live, await live.connect() as connection:
            head = connection.head(
                "PUT", "/files/a/content", Content_Type="image/jpeg", Content_Length=str(len(JPEG))
            )
            await connection.send(head)
            # Longer than the time-out in all, but each pause is much shorter.
            step = len(JPEG) // 10 + 1
            for start in range(0, len(JPEG), step):
                await connection.send(JPEG[start : start + step])
                await asyncio.sleep(settings.request_idle_timeout_seconds / 8)
            assert (await connection.reply()).status == 201


async def drip(connection: Connection) -> None:
    """A byte now and then, never silent for long."""
    with contextlib.suppress(ConnectionError):
        while True:
            await connection.send(b"\xff")
            await asyncio.sleep(0.02)


class TestTooMuch:
    async def test_an_announced_oversize_body_is_refused_unread(self, live: LiveServer) -> None:
        async with await live.connect() as connection:
            head = connection.head(
                "POST",
                "/files/upload/image",
                Content_Type=FORM,
                Content_Length=str(2**40),
                Expect="100-continue",
            )
            await connection.send(head)
            reply = await connection.reply()
            named(reply, 413, "too-large")
            assert b'"file"' in reply.body

    async def test_an_endless_body_is_cut_and_still_hears_why(self, live: LiveServer) -> None:
        async with await live.connect() as connection:
            head = connection.head(
                "POST", "/files/upload/image", Content_Type=FORM, Transfer_Encoding="chunked"
            )
            await connection.send(head + b"%x\r\n" % len(FILE_PART) + FILE_PART + b"\r\n")
            pouring = asyncio.create_task(pour(connection))
            named(await connection.reply(), 413, "too-large")
            assert await connection.is_closed()
            await pouring
        await stored_nothing(live)

    async def test_a_refused_client_that_goes_on_sending_hears_why(
        self, settings: StorageConfig
    ) -> None:
        app = create_storage_app(
            container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings)
        )
        async with LiveServer(app) as live, await live.connect() as connection:
            head = connection.head(
                "POST",
                "/files/upload/image",
                Content_Type=FORM,
                Transfer_Encoding="chunked",
                X_Forwarded_For="10.0.0.1",
            )
            await connection.send(head)
            pouring = asyncio.create_task(pour(connection))
            named(await connection.reply(), 403, "local-use-only")
            await pouring


@pytest.mark.parametrize(
    "trailer", ["X-Forwarded-For: 10.0.0.1", "Host: far.example", "Content-Digest: sha-256=:AAAA:"]
)
async def test_trailers_are_no_headers_however_they_come(live: LiveServer, trailer: str) -> None:
    async with await live.connect() as connection:
        for number in range(2):
            head = connection.head(
                "PUT",
                f"/files/image-{number}/content",
                Content_Type="image/jpeg",
                Transfer_Encoding="chunked",
            )
            body = b"%x\r\n" % len(JPEG) + JPEG + b"\r\n0\r\n"
            await connection.send(head + body + f"{trailer}\r\n\r\n".encode())
            assert (await connection.reply()).status == 201


async def pour(connection: Connection) -> None:
    """Chunks without end, until the server hangs up."""
    chunk = b"10000\r\n" + b"\xff" * 0x10000 + b"\r\n"
    with contextlib.suppress(ConnectionError):
        while True:
            await connection.send(chunk)


class TestGone:
    async def test_a_client_that_leaves_in_mid_upload_leaves_nothing(
        self, live: LiveServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG, "traffic_storage.http"):
            connection = await live.connect()
            head = connection.head(
                "POST", "/files/upload/image", Content_Type=FORM, Content_Length="1000"
            )
            await connection.send(head + FILE_PART + b"\xff\xd8")
            connection.abort()
            await live.quiet()
            await stored_nothing(live)
        assert any("disconnected" in record.getMessage() for record in caplog.records)
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class EndlessImages(PillowImages):
    """Says when an image is decoded, which has no end, and when that is given up."""

    def __init__(self) -> None:
        super().__init__(max_pixels=10_000, threads=1)
        self.asked, self.given_up = asyncio.Event(), asyncio.Event()

    async def inspect(self, body: Body) -> ImageInfo:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up.set()
        raise AssertionError


@pytest.mark.parametrize("form_of_it", [True, False])
async def test_a_sender_who_is_gone_ends_the_decoding_of_his_image(
    container: Container, form_of_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PATIENT_SECONDS", 0)
    images = EndlessImages()
    container.images.override(Object(images))
    async with LiveServer(create_storage_app(container=container)) as live:
        connection = await live.connect()
        body, path, kind = form(("file", JPEG)), "/files/upload/image", FORM
        method = "POST" if form_of_it else "PUT"
        if not form_of_it:
            body, path, kind = JPEG, "/files/a/content", "image/jpeg"
        head = connection.head(method, path, Content_Type=kind, Content_Length=str(len(body)))
        await connection.send(head + body)
        await images.asked.wait()
        connection.abort()
        await images.given_up.wait()
        await live.quiet()
        await stored_nothing(live)


class SlowStore(InMemoryBlobStore):
    """Says when it is asked to write, and writes when it is told to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, tier=Tier.LOCAL, location="memory:/slow")
        self.asked = asyncio.Event()
        self.told = asyncio.Event()

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        self.asked.set()
        await self.told.wait()
        await super().put(key, body, manifest, deadline=deadline)


class TestCancelled:
    """A server that is stopped cancels the requests that it is serving."""

    async def test_what_is_being_stored_is_stored(self, container: Container) -> None:
        store = SlowStore(container.clock())
        container.local_store.override(Object(store))
        app = create_storage_app(container=container)
        async with app.router.lifespan_context(app):
            request = asyncio.create_task(call(app, form(("file_id", b"a"), ("file", JPEG))))
            await store.asked.wait()
            request.cancel()
            await asyncio.wait([request])
            assert request.cancelled()
            store.told.set()
        await container.runtime().aclose()
        assert (await container.read_files().whole("a"))[0] == JPEG

    async def test_what_is_still_coming_is_forgotten(
        self, settings: StorageConfig, no_leaks: None
    ) -> None:
        settings = evolve(settings, max_image_bytes=8 * 1024 * 1024)
        container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings)
        spool = DiskSpool(settings.local_base_path / "spool", memory_bytes=1024)
        container.spool.override(Object(spool))
        app = create_storage_app(container=container)
        halted = asyncio.Event()
        async with app.router.lifespan_context(app):
            whole = form(("file", JPEG), ("device_id", b"cam_001"))
            request = asyncio.create_task(call(app, whole[:-20], halted))
            await halted.wait()
            held = len(spool._held)
            request.cancel()
            await asyncio.wait([request])
            assert request.cancelled()
            assert (held, len(spool._held)) == (1, 0)
        await container.runtime().aclose()


async def call(app: FastAPI, body: bytes, halted: asyncio.Event | None = None) -> None:
    """Ask for an upload of this body; with `halted`, say when it came and let nothing follow."""
    messages = [{"type": "http.request", "body": body, "more_body": halted is not None}]

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop()
        if halted is not None:
            halted.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        raise AssertionError(f"nobody is there for {message}")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/files/upload/image",
        "raw_path": b"/files/upload/image",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", FORM.encode())],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)


@pytest.fixture(params=["embedded", "servers"])
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    """The embedded default, or PostgreSQL, S3 and Redis; without a worker, which would copy."""
    if request.param == "embedded":
        return config(tmp_path, workers=0)
    return config(
        tmp_path,
        database=request.getfixturevalue("catalogue_database"),
        bucket=request.getfixturevalue("s3_bucket"),
        redis=request.getfixturevalue("redis_database"),
        workers=0,
    )


@asynccontextmanager
async def served(settings: StorageConfig) -> AsyncIterator[tuple[LiveServer, httpx.AsyncClient]]:
    """A service, and a client of it that holds no connection open."""
    settings = evolve(settings, request_idle_timeout_seconds=5)
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        LiveServer(create_storage_app(settings)) as live,
        httpx.AsyncClient(base_url=live.url, limits=limits, timeout=60) as client,
    ):
        yield live, client


async def storm(live: LiveServer, count: int, act: Callable[[int], AsyncIterator[bytes]]) -> None:
    """Many clients that send what `act` gives and then drop the connection."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            connection = await live.connect()
            with contextlib.suppress(ConnectionError):
                async for data in act(number):
                    await connection.send(data)
            if number % 2:
                connection.abort()
            else:
                await connection.close()

    async with asyncio.TaskGroup() as clients:
        for number in range(count):
            clients.create_task(one(number))
    await live.quiet()


async def test_clients_that_vanish_while_they_send_leave_whole_items_or_none(
    setup: StorageConfig, no_leaks: None
) -> None:
    chance = random.Random(500)
    body = form(
        *((name, text.encode()) for name, text in RECORD.items() if name != "violation_id"),
        ("image_file", JPEG),
        ("video_file", video()[1]),
    )

    async def act(number: int) -> AsyncIterator[bytes]:
        whole = form(("violation_id", f"V{number:03}".encode()))[:-5] + body
        head = (
            f"POST /violations HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
            f"Content-Length: {len(whole)}\r\n\r\n"
        ).encode()
        # Every tenth is cut behind the last byte: it may be stored, or not.
        cut = len(whole) if number % 10 == 0 else chance.randrange(len(whole))
        yield head
        for start in range(0, cut, 40_000):
            yield whole[start : min(start + 40_000, cut)]

    async with served(setup) as (live, _):
        await storm(live, DISCONNECTS // 2, act)
    # What had begun to be stored was brought to its end before the service closed.
    found = []
    async with served(setup) as (_, client):
        answer = (await client.get("/violations?limit=1000")).json()
        for violation in answer["violations"]:
            found.append(violation["violation_id"])
            assert not violation["incomplete"]
            detail = (await client.get(f"/violations/{found[-1]}")).json()
            assert len(detail["files"]) == 3
            for kind, data in (("image", JPEG), ("video", video()[1])):
                assert (await client.get(f"/files/{found[-1]}~{kind}")).content == data
        assert await counted(client) == (3 * len(found), len(found))
    assert found
    assert set(found) <= {f"V{number:03}" for number in range(0, DISCONNECTS, 10)}
    assert not staged(setup)
    assert await stored_blobs(setup) == 3 * len(found)


async def test_clients_that_vanish_while_they_receive_harm_nobody(
    setup: StorageConfig, no_leaks: None
) -> None:
    large = video_of(5 * 1024 * 1024)
    files = {"/files/small": (JPEG, "image/jpeg"), "/files/large": (large, "video/mp4")}
    async with served(setup) as (live, client):
        for path, (data, kind) in files.items():
            response = await client.put(
                f"{path}/content", content=data, headers={"Content-Type": kind}
            )
            assert response.status_code == 201
        chance = random.Random(501)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            path = "/files/large" if number % 3 == 0 else "/files/small"
            data = files[path][0]
            first = chance.randrange(len(data)) if number % 2 else 0
            span = {"Range": f"bytes={first}-"} if number % 2 else {}
            async with gate:
                connection = await live.connect()
                await connection.send(connection.head("GET", path, **span))
                await connection.reader.readuntil(b"\r\n\r\n")
                wanted = chance.randrange(len(data) - first)
                came = await connection.reader.readexactly(wanted)
                assert came == data[first : first + wanted]
                connection.abort()

        async with asyncio.TaskGroup() as clients:
            for number in range(DISCONNECTS // 2):
                clients.create_task(one(number))
        await live.quiet()
        for path, (data, _) in files.items():
            assert (await client.get(path)).content == data
    assert not staged(setup)
    assert await stored_blobs(setup) == 2


def staged(settings: StorageConfig) -> list[Path]:
    """Files of the spool: none when nobody sends."""
    return [path for path in (settings.local_base_path / "spool").rglob("*") if path.is_file()]


async def stored_blobs(settings: StorageConfig) -> int:
    """How many blobs lie on disk and in the bucket, looked up there."""
    container = build(settings)
    count = 0
    for store in [container.local_store(), *(store for store, _ in container.cloud_stores())]:
        count += len([entry async for entry in store.list()])
        await store.aclose()
    return count


async def test_more_than_the_limit_at_once_are_told_to_come_back(settings: StorageConfig) -> None:
    settings = evolve(settings, max_concurrent_requests=2)
    app = create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings))
    async with LiveServer(app) as live, httpx.AsyncClient(base_url=live.url) as client:
        connections = [await live.connect() for _ in range(2)]
        for connection in connections:
            head = connection.head(
                "POST", "/files/upload/image", Content_Type=FORM, Content_Length="1000"
            )
            await connection.send(head + FILE_PART)
        response = await client.get("/storage/stats")
        while response.status_code == 200:
            response = await client.get("/storage/stats")
        assert "max_concurrent_requests" in problem(response, 503, "crowded")["remedy"]
        assert response.headers["retry-after"] == "1"
        assert (await client.get("/healthz")).status_code == 200
        for connection in connections:
            connection.abort()
        while response.status_code != 200:
            response = await client.get("/storage/stats")
