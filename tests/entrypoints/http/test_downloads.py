"""Files go out: whole, in part, or not at all; never a wrong byte."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest
from attrs import evolve
from dependency_injector.providers import Object
from fastapi import FastAPI

from tests.entrypoints.http.evidence import IMAGE, RECORD, problem
from tests.entrypoints.http.live import LiveServer
from tests.support.media import video_of
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.domain.digests import SEGMENT_BYTES, WHOLE_READ_BYTES, Digests
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

JPEG = IMAGE[1]
ETAG = f'"{hashlib.sha256(JPEG).hexdigest()}"'
REPR_DIGEST = f"sha-256=:{base64.b64encode(hashlib.sha256(JPEG).digest()).decode()}:"


@pytest.fixture
async def file_url(client: httpx.AsyncClient) -> str:
    """A stored image of 112 KB."""
    response = await client.post(
        "/files/upload/image", files={"file": IMAGE}, data={"file_id": "detection:1"}
    )
    assert response.status_code == 201
    return "/files/detection:1"


async def test_the_whole_file_comes_with_its_digest(
    client: httpx.AsyncClient, file_url: str
) -> None:
    response = await client.get(file_url)
    assert (response.status_code, response.content) == (200, JPEG)
    headers = response.headers
    assert headers["etag"] == ETAG
    assert headers["repr-digest"] == headers["content-digest"] == REPR_DIGEST
    assert headers["content-type"] == "image/jpeg"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == 'inline; filename="detection_1.jpg"'
    assert headers["cache-control"] == "private, max-age=86400, immutable"
    assert headers["x-content-type-options"] == "nosniff"
    # With a sandbox, the browser's player could not load a video.
    assert "sandbox" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none';")


async def test_a_head_has_the_same_headers_and_no_content(
    client: httpx.AsyncClient, file_url: str
) -> None:
    whole, head = await client.get(file_url), await client.head(file_url)
    assert head.content == b""
    assert head.headers["repr-digest"] == whole.headers["repr-digest"]
    assert "content-digest" in whole.headers
    assert "content-digest" not in head.headers
    different = {"x-request-id", "content-digest"}
    assert {k: v for k, v in head.headers.items() if k not in different} == {
        k: v for k, v in whole.headers.items() if k not in different
    }


async def test_a_client_that_has_it_gets_304(client: httpx.AsyncClient, file_url: str) -> None:
    response = await client.get(file_url, headers={"If-None-Match": f'"x", {ETAG}'})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == ETAG
    response = await client.get(file_url, headers={"If-Match": '"x"'})
    assert ETAG in problem(response, 412, "precondition-failed")["detail"]


@pytest.mark.parametrize(
    ("field", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=100-", 100, len(JPEG)), ("bytes=-7", -7, len(JPEG))],
)
async def test_a_range(
    client: httpx.AsyncClient, file_url: str, field: str, start: int, stop: int
) -> None:
    response = await client.get(file_url, headers={"Range": field, "If-Range": ETAG})
    assert response.status_code == 206
    assert response.content == JPEG[start:stop]
    first = start % len(JPEG)
    assert response.headers["content-range"] == f"bytes {first}-{stop - 1}/{len(JPEG)}"
    assert response.headers["repr-digest"] == REPR_DIGEST
    assert "content-digest" not in response.headers


async def test_a_range_without_a_byte(client: httpx.AsyncClient, file_url: str) -> None:
    response = await client.get(file_url, headers={"Range": f"bytes={len(JPEG)}-"})
    problem(response, 416, "range-not-satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(JPEG)}"


@pytest.mark.parametrize("field", ["bytes=0-1,4-5", "lines=1-2", "bytes=9-1"])
async def test_what_is_no_single_range_gets_all(
    client: httpx.AsyncClient, file_url: str, field: str
) -> None:
    response = await client.get(file_url, headers={"Range": field})
    assert (response.status_code, response.content) == (200, JPEG)
    response = await client.get(file_url, headers={"Range": "bytes=0-1", "If-Range": '"old"'})
    assert (response.status_code, response.content) == (200, JPEG)


async def test_a_json_file_is_shown_and_named(client: httpx.AsyncClient) -> None:
    await client.post("/violations", files={"image_file": IMAGE}, data=RECORD)
    response = await client.get("/files/V001~metadata")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-disposition"] == 'inline; filename="V001~metadata.json"'


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/files/unknown", 404, "not-found"),
        ("/files/V404~image", 404, "not-found"),
        ("/files/V404~thumbnail", 422, "invalid-input"),
        ("/files/%00", 422, "invalid-input"),
        ("/files/..%00", 422, "invalid-input"),
        ("/files/%2e%2e%2e", 422, "invalid-input"),
        ("/files/%e2%80%ae", 422, "invalid-input"),
        ("/files/%ff%fe", 422, "invalid-input"),
        ("/files/" + "x" * 10_000, 422, "invalid-input"),
        ("/files/a%2fb", 404, "no-such-resource"),
        ("/violations/unknown", 404, "not-found"),
        ("/violations/V1~image", 422, "invalid-input"),
        ("/files/unknown/url", 404, "not-found"),
    ],
)
async def test_what_is_not_there_or_can_not_be(
    client: httpx.AsyncClient, path: str, status: int, name: str
) -> None:
    assert problem(await client.get(path), status, name)["remedy"]


async def put_large(url: str, size: int = 6 * 1024 * 1024 + 12_345) -> bytes:
    data = video_of(size)
    async with httpx.AsyncClient() as client:
        response = await client.put(
            f"{url}/files/large/content", content=data, headers={"Content-Type": "video/mp4"}
        )
    assert response.status_code == 201, response.text
    return data


async def test_a_large_file_is_streamed_and_cut_anywhere(live: LiveServer) -> None:
    data = await put_large(live.url)
    assert len(data) > WHOLE_READ_BYTES
    async with httpx.AsyncClient(base_url=live.url) as client:
        whole = await client.get("/files/large")
        assert hashlib.sha256(whole.content).hexdigest() == whole.headers["etag"].strip('"')
        assert whole.headers["content-length"] == str(len(data))
        edge = SEGMENT_BYTES
        for first, last in ((0, 0), (edge - 1, edge), (edge, 5 * edge), (1, len(data) - 1)):
            part = await client.get("/files/large", headers={"Range": f"bytes={first}-{last}"})
            assert part.status_code == 206
            assert part.content == data[first : last + 1]


class Breaking(InMemoryBlobStore):
    """Gives good bytes until a position, then is gone."""

    break_at: int | None = None

    def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        return self._broken(super().open(key, digests, span), span.start)

    async def _broken(self, chunks: AsyncIterator[bytes], position: int) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            if self.break_at is not None and position >= self.break_at:
                raise StorageUnavailable("the disk fell off")
            position += len(chunk)
            yield chunk


@pytest.fixture
def breaking(container: Container) -> Breaking:
    """A store that breaks on command in the middle of a stream; behind it nothing is left."""
    store = Breaking(container.clock(), tier=Tier.LOCAL, location="memory:/breaking")
    container.local_store.override(Object(store))
    return store


async def test_a_failure_in_mid_stream_cuts_the_connection(
    breaking: Breaking, app: FastAPI
) -> None:
    async with LiveServer(app) as server:
        data = await put_large(server.url)
        breaking.break_at = 3 * SEGMENT_BYTES
        async with await server.connect() as connection:
            await connection.send(connection.head("GET", "/files/large"))
            reply = await connection.reply()
            assert reply.status == 200
            assert not reply.whole
            assert reply.headers["content-length"] == str(len(data))
            assert 0 < len(reply.body) < len(data)
            assert data.startswith(reply.body)


async def test_a_failure_before_the_first_byte_is_a_problem(
    breaking: Breaking, app: FastAPI
) -> None:
    async with LiveServer(app) as server:
        await put_large(server.url)
        breaking.break_at = 0
        async with httpx.AsyncClient(base_url=server.url) as client:
            response = await client.get("/files/large")
        assert "the disk fell off" in problem(response, 503, "unavailable")["detail"]
        assert int(response.headers["retry-after"]) > 0


async def test_a_client_that_stops_reading_is_let_go(settings: StorageConfig) -> None:
    settings = evolve(settings, max_concurrent_requests=1, request_idle_timeout_seconds=2)
    app = create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings))
    async with LiveServer(app) as server, await server.connect() as stalled:
        # More than the buffers between server and client ever hold.
        await put_large(server.url, 15 * 1024 * 1024)
        reading = stalled.writer.transport
        assert isinstance(reading, asyncio.Transport)
        reading.pause_reading()
        await stalled.send(stalled.head("GET", "/files/large"))
        async with httpx.AsyncClient(base_url=server.url) as client:
            async with asyncio.timeout(60):
                # Held up by the download, and no longer when that was given up.
                for expected in (503, 200):
                    while (await client.get("/storage/stats")).status_code != expected:
                        pass
        stalled.abort()


async def test_it_tells_when_it_was_received(client: httpx.AsyncClient, file_url: str) -> None:
    created = (await client.get(f"{file_url}/metadata")).json()["created_at"]
    received = datetime.fromisoformat(created).replace(microsecond=0)
    for path in (file_url, (await client.get(f"{file_url}/url")).json()["url"]):
        for method in ("GET", "HEAD"):
            date = (await client.request(method, path)).headers["last-modified"]
            assert parsedate_to_datetime(date) == received
            same = await client.request(method, path, headers={"If-Modified-Since": date})
            assert (same.status_code, same.content) == (304, b"")
            assert same.headers["last-modified"] == date
            part = {"Range": "bytes=0-9", "If-Range": date}
            assert (await client.get(path, headers=part)).status_code == 206


async def test_a_head_has_no_digest_of_content(client: httpx.AsyncClient, file_url: str) -> None:
    headers = (await client.head(file_url)).headers
    assert headers["repr-digest"] == REPR_DIGEST
    assert "content-digest" not in headers


async def test_a_stored_file_is_never_compressed(client: httpx.AsyncClient) -> None:
    document = {"text": ["the same again"] * 5000}
    stored = await client.post("/files/upload/metadata?file_id=M", json=document)
    link = (await client.get("/files/M/url")).json()["url"]
    for path in ("/files/M", link):
        answer = await client.get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers
        assert int(answer.headers["content-length"]) == stored.json()["size_bytes"]
