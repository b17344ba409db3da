"""Signed links: what is signed opens, and nothing else does."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest
from attrs import evolve
from fastapi import FastAPI

from tests.entrypoints.http.conftest import BASE_URL
from tests.entrypoints.http.evidence import IMAGE, fields_of, problem
from tests.entrypoints.http.live import LiveServer
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.application.access_urls import AccessUrls
from traffic_storage.domain.errors import AccessDenied
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container, running
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.http.downloads import _raw_token
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

JPEG = IMAGE[1]
MUTATIONS = 10_000
OVER_THE_WIRE = 3_000
# What may stand in a request target without ending it (RFC 9112, section 3.2).
TARGET_BYTES = [byte for byte in range(0x21, 0x7F) if byte not in b"#"]


@pytest.fixture
async def token(client: httpx.AsyncClient) -> str:
    """A link to a stored image, valid for an hour: the part behind /access/."""
    await client.post("/files/upload/image", files={"file": IMAGE}, data={"file_id": "a"})
    url: str = (await client.get("/files/a/url")).json()["url"]
    prefix = "http://localhost:8001/access/"
    assert url.startswith(prefix)
    return url.removeprefix(prefix)


async def test_a_link_opens_the_file_without_a_credential(
    app: FastAPI, client: httpx.AsyncClient, token: str
) -> None:
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://far.example.org") as far:
        assert (await far.get("/files/a")).status_code == 403
        response = await far.get(f"/access/{token}", headers={"X-Forwarded-For": "10.0.0.1"})
        assert (response.status_code, response.content) == (200, JPEG)
        assert response.headers["cache-control"] == "private, no-store"
        assert (await far.head(f"/access/{token}")).status_code == 200
        part = await far.get(f"/access/{token}", headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, JPEG[5:10])


async def test_a21_a_link_that_was_issued_before_a_move_still_opens_the_file(
    client: httpx.AsyncClient, container: Container, settings: StorageConfig, token: str
) -> None:
    """A link names the file, not a place; another process moves the file while the link is valid."""
    mover = in_memory_container(
        StorageStrategy.LOCAL_THEN_CLOUD,
        evolve(settings, high_water=0.0, low_water=0.0),
        clock=container.clock(),
        record_repo=container._record_repo(),
        local_store=container.local_store(),
    )
    async with running(mover):
        assert (await mover.sync_backends()()).moved == 1
        app = create_storage_app(container=mover)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as other:
            shown = (await other.get("/files/a/metadata")).json()["replicas"]
            assert {copy["tier"]: copy["state"] for copy in shown} == {
                "local": "gone",
                "cloud": "present",
            }
            opened = await other.get(f"/access/{token}")
            assert (opened.status_code, opened.content) == (200, JPEG)
            part = await other.get(f"/access/{token}", headers={"Range": "bytes=5-9"})
            assert (part.status_code, part.content) == (206, JPEG[5:10])


async def test_a_link_says_when_it_ends_and_ends_then(
    client: httpx.AsyncClient, token: str, container: Container
) -> None:
    answer = (await client.get("/files/a/url?expires_in=60")).json()
    assert answer["expires_at"] == "2026-03-14T12:01:00+00:00"
    clock = container.clock()
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(seconds=59))
    assert (await client.get(answer["url"])).status_code == 200
    clock.advance(timedelta(seconds=1))
    document = problem(await client.get(answer["url"]), 403, "access-denied")
    assert "expired" in document["detail"]
    assert document["remedy"]


@pytest.mark.parametrize("expires_in", ["0", "-1", "1e99", "604801", "soon", "nan", ""])
async def test_an_expiry_out_of_bounds_is_refused(
    client: httpx.AsyncClient, token: str, expires_in: str
) -> None:
    response = await client.get("/files/a/url", params={"expires_in": expires_in})
    assert fields_of(problem(response, 422, "invalid-input")) == ["expires_in"]


@pytest.mark.parametrize("query", ["a", "a=1", "expires_in=9999", "?", "&", "v1", "%00"])
async def test_a_query_is_refused(client: httpx.AsyncClient, token: str, query: str) -> None:
    problem(await client.get(f"/access/{token}?{query}"), 403, "access-denied")


def mutations(target: bytes, count: int) -> Iterator[bytes]:
    """Request targets that differ from a signed one: bytes changed, dropped, added, swapped,
    re-encoded, other case, something added; in path, prefix and query.
    """
    chance = random.Random(20260314)
    while count:
        mutated = bytearray(target)
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            chance.choice(CHANGES)(mutated, chance.randrange(1, len(mutated)), chance)
        # A lone "?" at the end is the same resource, and ASGI does not tell it apart.
        if bytes(mutated).removesuffix(b"?") != target:
            count -= 1
            yield bytes(mutated)


def _change(target: bytearray, at: int, chance: random.Random) -> None:
    target[at] = chance.choice(TARGET_BYTES)


def _drop(target: bytearray, at: int, _chance: random.Random) -> None:
    del target[at]


def _add(target: bytearray, at: int, chance: random.Random) -> None:
    target.insert(at, chance.choice(TARGET_BYTES))


def _swap(target: bytearray, at: int, chance: random.Random) -> None:
    other = chance.randrange(1, len(target))
    target[at], target[other] = target[other], target[at]


def _encode(target: bytearray, at: int, _chance: random.Random) -> None:
    target[at : at + 1] = b"%%%02x" % target[at]


def _other_case(target: bytearray, at: int, _chance: random.Random) -> None:
    target[at:] = target[at:].swapcase()


def _append(target: bytearray, _at: int, chance: random.Random) -> None:
    target += chance.choice([b"?x", b"?a=b", b"/", b"=", b".", b"%20", b"?%00"])


CHANGES: list[Callable[[bytearray, int, random.Random], None]] = [
    _change,
    _drop,
    _add,
    _swap,
    _encode,
    _other_case,
    _append,
]


def test_no_mutation_of_a_signed_link_opens_anything(container: Container) -> None:
    urls: AccessUrls = container.signer()
    accepted = 0
    for round_ in range(10):
        url = urls.url(f"detection_{round_:03}").url
        target = url.removeprefix("http://localhost:8001").encode()
        for mutated in mutations(target, MUTATIONS // 10):
            path, _, query = mutated.partition(b"?")
            scope = {"raw_path": path, "query_string": query, "root_path": ""}
            try:
                urls.open(_raw_token(scope))
                accepted += 1
            except AccessDenied:
                pass
    assert accepted == 0


async def test_no_mutation_opens_anything_over_the_wire(
    live: LiveServer, container: Container
) -> None:
    async with httpx.AsyncClient(base_url=live.url) as client:
        await client.post("/files/upload/image", files={"file": IMAGE}, data={"file_id": "a"})
        url: str = (await client.get("/files/a/url")).json()["url"]
    target = url.removeprefix("http://localhost:8001").encode()
    statuses = set()
    async with await live.connect() as connection:
        await connection.send(connection.head("GET", target.decode()))
        reply = await connection.reply()
        assert (reply.status, reply.body) == (200, JPEG)
        for mutated in mutations(target, OVER_THE_WIRE):
            if not mutated.startswith(b"/"):
                continue
            await connection.send(connection.head("GET", mutated.decode("latin-1")))
            reply = await connection.reply()
            assert JPEG not in reply.body, mutated
            statuses.add(reply.status)
    assert statuses <= {403, 404}


async def test_a_link_of_another_key_is_refused(client: httpx.AsyncClient) -> None:
    from traffic_storage.domain.access import sign
    from traffic_storage.domain.identifiers import FileId
    from traffic_storage.entrypoints.testing.containers import NOON

    forged = sign(FileId("a"), NOON + timedelta(hours=1), b"f" * 32)
    problem(await client.get(f"/access/{forged}"), 403, "access-denied")
