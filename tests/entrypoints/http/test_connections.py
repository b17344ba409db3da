"""Connections that stall, are too many, ask for another protocol or for too much at once."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from hashlib import sha256

import httpx
import pytest
from attrs import evolve
from starlette.types import Message, Receive, Scope, Send

from tests.entrypoints.http.evidence import IMAGE
from tests.entrypoints.http.live import Connection, LiveServer
from tests.support.media import video_of
from tests.support.waiting import until
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.http.connections import ConnectionLimits
from traffic_storage.entrypoints.http.errors import ClientGone
from traffic_storage.entrypoints.http.metrics import RequestMetrics
from traffic_storage.entrypoints.http.middleware import RequestContext
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace
from traffic_storage.entrypoints.http.responses import send_stream, send_whole
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

JPEG = IMAGE[1]
LIMITS = ConnectionLimits(most=8, head_bytes=4096, head_seconds=1, stall_seconds=1, ahead=3)
UPGRADES = {
    "of Java": {
        "Upgrade": "h2c",
        "Connection": "Upgrade, HTTP2-Settings",
        "HTTP2-Settings": "AAEA",
    },
    "websocket": {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Version": "13"},
    "of several names": {"Upgrade": "TLS/1.2, foo", "Connection": "keep-alive, Upgrade"},
}


@pytest.fixture
async def limited(settings: StorageConfig) -> AsyncIterator[LiveServer]:
    """The service with small limits, as its own server has them."""
    app = create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings))
    async with LiveServer(app, LIMITS) as server:
        yield server


async def healthy(live: LiveServer) -> bool:
    async with httpx.AsyncClient(base_url=live.url, timeout=30) as client:
        return (await client.get("/healthz")).status_code == 200


async def rest(connection: Connection) -> bytes:
    """What still comes until the server closes the connection."""
    came = b""
    with contextlib.suppress(ConnectionError):
        while piece := await connection.reader.read(65_536):
            came += piece
    return came


async def put(
    connection: Connection, file_id: str, upgrade: str, step: int, *, chunked: bool = False
) -> None:
    """Send an upload with a demand for another protocol, in pieces of `step` bytes."""
    framing = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": str(len(JPEG))}
    head = connection.head(
        "PUT",
        f"/files/{file_id}/content",
        Content_Type="image/jpeg",
        **framing,
        **{name.replace("-", "_"): value for name, value in UPGRADES[upgrade].items()},
    )
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(JPEG), JPEG) if chunked else JPEG
    message = head + body
    for start in range(0, len(message), step):
        await connection.send(message[start : start + step])


class TestUpgrade:
    @pytest.mark.parametrize("upgrade", UPGRADES)
    @pytest.mark.parametrize("step", [61, 2048, 10_000_000])
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_it_is_ignored_and_the_request_served(
        self, live: LiveServer, upgrade: str, step: int, chunked: bool
    ) -> None:
        async with await live.connect() as connection:
            for file_id in ("first", "second"):
                await put(connection, file_id, upgrade, step, chunked=chunked)
                reply = await connection.reply()
                assert (reply.status, reply.headers.get("connection")) == (201, None), reply
        async with httpx.AsyncClient(base_url=live.url) as client:
            for file_id in ("first", "second"):
                assert (await client.get(f"/files/{file_id}")).content == JPEG

    async def test_a_body_that_reads_as_a_request_is_a_body(self, live: LiveServer) -> None:
        smuggled = b"DELETE /files/kept HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with await live.connect() as connection:
            for step in (1, len(smuggled) + 500):
                head = connection.head(
                    "POST",
                    "/healthz",
                    Content_Length=str(len(smuggled)),
                    Connection="Upgrade",
                    Upgrade="h2c",
                )
                message = head + smuggled + connection.head("GET", "/healthz")
                for start in range(0, len(message), step):
                    await connection.send(message[start : start + step])
                first = await connection.reply()
                assert first.status == 405
                if first.headers.get("connection") == "close":
                    # Closed without an answer to anything in the body.
                    assert await rest(connection) == b""
                    break
                assert (await connection.reply()).status == 200

    async def test_both_framings_are_refused_with_an_upgrade_too(self, live: LiveServer) -> None:
        async with await live.connect() as connection:
            head = connection.head(
                "POST",
                "/files/upload/image",
                Content_Length="5",
                Transfer_Encoding="chunked",
                Connection="Upgrade",
                Upgrade="h2c",
            )
            await connection.send(
                head + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            assert (await rest(connection)).count(b"HTTP/1.1 400") == 1

    async def test_connect_is_refused(self, live: LiveServer) -> None:
        async with await live.connect() as connection:
            await connection.send(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await rest(connection)).startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))


class TestHeads:
    @pytest.mark.parametrize(
        "begun", [b"", b"\r\n", b"GET /heal", b"GET /healthz HTTP/1.1\r\nA: b"]
    )
    async def test_one_that_never_ends_is_cut(self, limited: LiveServer, begun: bytes) -> None:
        async with await limited.connect() as connection:
            await connection.send(begun)
            came = await rest(connection)
            assert came.startswith(b"HTTP/1.1 408 ") or len(begun) < 3

    async def test_one_that_drips_is_cut_after_earlier_requests(self, limited: LiveServer) -> None:
        async with await limited.connect() as connection:
            await connection.send(connection.head("GET", "/healthz"))
            assert (await connection.reply()).status == 200
            dripping = asyncio.create_task(drip(connection))
            assert b" 408 " in await rest(connection)
            dripping.cancel()

    @pytest.mark.parametrize("step", [1000, 100_000])
    @pytest.mark.parametrize(
        "endless",
        [b"GET /", b"GET / HTTP/1.1\r\nA: ", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nA"],
    )
    async def test_a_large_one_is_refused(
        self, limited: LiveServer, endless: bytes, step: int
    ) -> None:
        async with await limited.connect() as connection:
            piece = b"A: b\r\n" * 200 if endless.endswith(b"\n") else b"a" * step
            sent = 0
            with contextlib.suppress(ConnectionError):
                await connection.send(endless)
                while sent < 2_000_000 and not connection.reader.at_eof():
                    await connection.send(piece)
                    sent += len(piece)
                    await asyncio.sleep(0)
            # Who goes on sending is cut off, and loses the response.
            assert b" 431 " in (await rest(connection)) or sent > 65_536
            assert sent < 2_000_000
        assert await healthy(limited)

    async def test_one_of_nearly_the_limit_is_served(self, limited: LiveServer) -> None:
        async with await limited.connect() as connection:
            await connection.send(connection.head("GET", "/healthz", Cookie="c" * 3900))
            assert (await connection.reply()).status == 200

    async def test_one_just_above_the_limit_is_told(self, limited: LiveServer) -> None:
        async with await limited.connect() as connection:
            await connection.send(connection.head("GET", "/healthz", Cookie="c" * 4100))
            reply = await connection.reply()
            assert (reply.status, reply.whole) == (431, True)
            assert await connection.is_closed()

    @pytest.mark.parametrize("line", [b"t: " + b"a" * 3000, b"t: a\r\n" * 500])
    async def test_endless_trailers_are_cut(self, limited: LiveServer, line: bytes) -> None:
        async with await limited.connect() as connection:
            head = connection.head(
                "POST", "/files/upload/image", Content_Type="a/b", Transfer_Encoding="chunked"
            )
            await connection.send(head + b"0\r\n")
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 2_000_000:
                    await connection.send(line)
                    sent += len(line)
                    await asyncio.sleep(0)
            assert sent < 2_000_000
        assert await healthy(limited)


async def drip(connection: Connection) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in connection.head("GET", "/healthz", Padding="p" * 1000):
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.05)


class TestNumber:
    async def test_silent_ones_give_way(
        self, limited: LiveServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        silent = [await limited.connect() for _ in range(LIMITS.most * 3)]
        assert await healthy(limited)
        assert await silent[0].is_closed()
        told = [record for record in caplog.records if "most that this server" in record.message]
        assert [record.levelno for record in told] == [logging.WARNING]
        for connection in silent:
            await connection.close()

    async def test_requests_in_progress_stay(self, limited: LiveServer) -> None:
        busy = [await limited.connect() for _ in range(LIMITS.most // 2)]
        for connection in busy:
            head = connection.head(
                "PUT", "/files/a/content", Content_Type="image/jpeg", Content_Length=str(len(JPEG))
            )
            await connection.send(head + JPEG[:100])
        silent = [await limited.connect() for _ in range(LIMITS.most * 2)]
        for connection in busy:
            await connection.send(JPEG[100:])
            assert (await connection.reply()).status in {200, 201}
        for connection in (*busy, *silent):
            await connection.close()


class TestAhead:
    async def test_a_few_requests_are_taken_at_once(self, limited: LiveServer) -> None:
        async with await limited.connect() as connection:
            await connection.send(connection.head("GET", "/healthz") * LIMITS.ahead)
            for _ in range(LIMITS.ahead):
                assert (await connection.reply()).status == 200
            await connection.send(connection.head("GET", "/healthz"))
            assert (await connection.reply()).status == 200

    async def test_of_many_the_first_are_answered(self, limited: LiveServer) -> None:
        async with await limited.connect() as connection:
            await connection.send(connection.head("GET", "/healthz") * 1000)
            came = await rest(connection)
            assert came.count(b"HTTP/1.1 200") == LIMITS.ahead + 1
            assert came.count(b"connection: close") == 1

    async def test_what_cannot_be_read_comes_after_the_answer(self, limited: LiveServer) -> None:
        async with await limited.connect() as connection:
            await connection.send(connection.head("GET", "/healthz") + b"\0\0\0\r\n\r\n")
            came = await rest(connection)
            assert came.startswith(b"HTTP/1.1 200")
            assert came.count(b"HTTP/1.1") == 1


async def test_no_link_and_no_key_takes_all(settings: StorageConfig) -> None:
    keys = {name: f"ts_{name * 43}" for name in "ab"}
    settings = evolve(
        settings,
        max_concurrent_requests=8,
        api_keys=[f"{name}:{sha256(key.encode()).hexdigest()}" for name, key in keys.items()],
    )
    app = create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings))

    async def statuses(live: LiveServer, client: httpx.AsyncClient, most: int, path: str) -> None:
        """Take a path on `most` connections that read nothing; one more is refused."""
        held = [await live.connect() for _ in range(most)]
        for connection in held:
            connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
            authorization = client.headers["authorization"]
            await connection.send(connection.head("GET", path, Authorization=authorization))
        async with asyncio.timeout(60):
            while (answer := await client.head(path)).status_code != 503:
                pass
        assert answer.headers["retry-after"] == "1"
        stalled.extend(held)

    stalled: list[Connection] = []
    async with LiveServer(app) as live, AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=live.url, headers={"Authorization": f"Bearer {key}"}, timeout=60
                )
            )
            for key in keys.values()
        ]
        links = []
        for file_id in ("u", "v"):
            await one.put(
                f"/files/{file_id}/content",
                content=video_of(15_000_000) + file_id.encode(),
                headers={"Content-Type": "video/mp4"},
            )
            url = (await one.get(f"/files/{file_id}/url")).json()["url"]
            links.append(url[url.index("/access/") :])
        await statuses(live, one, 2, links[0])
        assert (await one.head(links[1])).status_code == 200
        await statuses(live, one, 2, links[1])
        await statuses(live, one, 4, "/files/u")
        assert (await other.get("/healthz")).status_code == 200
        for connection in stalled[-2:]:
            connection.abort()
        async with asyncio.timeout(60):
            while (await other.head("/files/u")).status_code != 200:
                pass
        for connection in stalled:
            connection.abort()


async def test_the_system_takes_little_of_a_response_that_its_client_does_not_take(
    live: LiveServer,
) -> None:
    """Else it would hear late, and seldom, that a slow client has taken something."""
    async with httpx.AsyncClient(base_url=live.url, timeout=30) as client:
        stored = await client.put(
            "/files/film/content",
            content=video_of(15_000_000),
            headers={"Content-Type": "video/mp4"},
        )
        assert stored.status_code == 201
    await live.quiet()
    async with await live.connect() as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.send(connection.head("GET", "/files/film"))
        await until(lambda: any(waiting for waiting, _ in live.queues()))
        ((_, queued),) = live.queues()
        assert queued < 2 * 128 * 1024


async def test_a_large_response_is_sent_in_pieces_that_are_taken_in_time() -> None:
    whole = bytes(range(256)) * 1024
    taken: list[bytes] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": whole})

    async def take(message: Message) -> None:
        taken.append(message.get("body", b""))
        if len(taken) == 4:
            await asyncio.Event().wait()

    async def never() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    context = RequestContext(app, metrics=RequestMetrics(), pace=Pace(idle_seconds=0.05))
    with pytest.raises(ClientGone):
        await context(scope, never, take)
    assert [len(piece) for piece in taken[1:]] == [65_536] * 3
    assert whole.startswith(b"".join(taken))


@pytest.mark.parametrize("streams", [False, True], ids=["one message", "a stream of chunks"])
async def test_a_client_that_goes_on_taking_may_take_long_for_a_large_response(
    monkeypatch: pytest.MonkeyPatch, streams: bool
) -> None:
    loop, pace, taken = asyncio.get_running_loop(), Pace(idle_seconds=600), 0
    begun, passed = loop.time(), 0.0
    monkeypatch.setattr(loop, "time", lambda: begun + passed)
    whole = bytes(16 * 65_536)

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield whole
        yield b"end"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        if streams:
            await send_stream(request, 200, [], chunks(), pace)
        else:
            await send_whole(request, 200, [], whole + b"end")

    async def take(message: Message) -> None:
        nonlocal passed, taken
        taken += len(message.get("body", b""))
        passed += 0.9 * pace.idle_seconds
        for _ in range(3):
            await asyncio.sleep(0)

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await RequestContext(app, metrics=RequestMetrics(), pace=pace)(scope, never, take)
    assert taken == len(whole) + 3


class Endless:
    """An application that sends much, as one message or as pieces, and notes who is gone."""

    def __init__(self, pieces: int, piece_bytes: int) -> None:
        self._pieces = pieces
        self._piece = b"x" * piece_bytes
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": f"{message['type']}.complete"})
            return
        await receive()
        await send({"type": "http.response.start", "status": 200})
        if self._pieces == 0:
            await receive()
            self.gone.set()
        for number in range(self._pieces):
            more = number + 1 < self._pieces
            body = {"type": "http.response.body", "body": self._piece, "more_body": more}
            await send(body)


@pytest.mark.parametrize(
    ("pieces", "piece_bytes"), [(1, 16_000_000), (1000, 65_536)], ids=["whole", "pieces"]
)
@pytest.mark.parametrize("requests", [1, 3])
async def test_a_response_that_is_not_taken_ends_the_connection(
    pieces: int, piece_bytes: int, requests: int
) -> None:
    app = Endless(pieces, piece_bytes)
    async with LiveServer(app, LIMITS, keep_alive=600) as live, await live.connect() as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.send(connection.head("GET", "/") * requests)
        await live.quiet()


async def test_a_request_hears_that_its_client_is_gone_though_another_waits() -> None:
    app = Endless(0, 0)
    async with LiveServer(app, LIMITS) as live:
        connection = await live.connect()
        await connection.send(connection.head("GET", "/") * 2)
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.abort()
        async with asyncio.timeout(60):
            await app.gone.wait()
