"""Who may come in."""

import hashlib
import logging
import re
from collections.abc import AsyncIterator, Iterable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from attrs import evolve
from fastapi import FastAPI

from tests.entrypoints.http.evidence import IMAGE, problem
from tests.entrypoints.http.live import LiveServer
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.http.errors import NotAdmitted
from traffic_storage.entrypoints.http.security.authentication import (
    ANYONE,
    LOCAL,
    AccessPolicy,
)
from traffic_storage.entrypoints.http.security.keys import KeyRing
from traffic_storage.entrypoints.http.security.local_only import is_local_host, is_loopback
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import NOON, in_memory_container

LOCALHOST = (b"host", b"localhost:8001")
KEY = "ts_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
FORWARDING = [
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Anything",
    "X-Real-IP",
    "Via",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
    "X-Forwarded",
    "X-ForwardedFor",
    "CF-Ray",
    "CDN-Loop",
    "Fastly-FF",
    "X-Amz-Cf-Id",
    "X-Envoy-External-Address",
    "X-Azure-ClientIP",
]


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}"


def policy(keys: Iterable[str] = (), *, open_access: bool = False) -> AccessPolicy:
    return AccessPolicy(KeyRing(keys, None, ManualClock(NOON).now), open_access=open_access)


def application(settings: StorageConfig) -> FastAPI:
    return create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings))


@asynccontextmanager
async def asking(
    app: FastAPI, *, peer: str = "127.0.0.1", host: str = "localhost:8001"
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=(peer, 50_000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client,
    ):
        yield client


def operations(app: FastAPI) -> Iterable[tuple[str, str]]:
    """Every method and path that the OpenAPI document publishes, with the variables filled in."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), re.sub(r"{\w+}", "x", path)


def is_exempt(path: str) -> bool:
    return path in {"/healthz", "/readyz"} or path.startswith("/access/")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost", False),
        ("testclient", False),
        ("", False),
    ],
)
def test_loopback_addresses_are_told_from_others(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST:8001", True),
        ("127.0.0.1", True),
        ("127.1.2.3:80", True),
        ("[::1]", True),
        ("[::1]:8001", True),
        ("[::ffff:127.0.0.1]:8001", True),
        ("localhost.example.org", False),
        ("localhost@example.org", False),
        ("example.org", False),
        ("192.168.0.1:8001", False),
        ("0.0.0.0:8001", False),
        ("[::]:8001", False),
        ("2130706433", False),
        ("127.1", False),
        ("localhost:port", False),
        ("localhost:8001:1", False),
        ("localhost ", False),
        ("", False),
    ],
)
def test_host_names_of_this_machine_are_told_from_others(host: str, expected: bool) -> None:
    assert is_local_host(host) is expected


def test_without_keys_local_use_is_admitted() -> None:
    assert policy().identify("127.0.0.1", [LOCALHOST]) == LOCAL
    assert policy().identify("::1", [(b"host", b"[::1]:8001")]) == LOCAL


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.0.0.7", [LOCALHOST]),
        (None, [LOCALHOST]),
        ("127.0.0.1", []),
        ("127.0.0.1", [LOCALHOST, LOCALHOST]),
        ("127.0.0.1", [(b"host", b"evidence.example.org")]),
        ("127.0.0.1", [LOCALHOST, (b"origin", b"https://evil.example.org")]),
        ("127.0.0.1", [LOCALHOST, (b"origin", b"null")]),
        ("127.0.0.1", [LOCALHOST, (b"origin", b"http://[broken")]),
        *(("127.0.0.1", [LOCALHOST, (name.lower().encode(), b"1")]) for name in FORWARDING),
    ],
)
def test_without_keys_all_else_is_refused_with_the_remedy(
    peer: str | None, headers: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(NotAdmitted) as caught:
        policy().identify(peer, headers)
    assert "api_keys" in caught.value.remedy
    assert "open_access" in caught.value.remedy


@pytest.mark.parametrize(
    ("http_version", "target"),
    [
        ("1.0", "/storage/stats"),
        ("0.9", "/storage/stats"),
        ("1.1", "http://evidence.example.org/storage/stats"),
        ("1.1", "http://localhost@evidence.example.org/storage/stats"),
        ("1.1", "http:///storage/stats"),
        ("1.1", "evidence.example.org:443"),
        ("1.1", "http://[broken/"),
    ],
)
def test_without_keys_what_seems_to_come_through_a_proxy_is_refused(
    http_version: str, target: str
) -> None:
    request: dict[str, Any] = {"http_version": http_version, "target": target}
    with pytest.raises(NotAdmitted) as caught:
        policy().identify("127.0.0.1", [LOCALHOST], **request)
    assert "api_keys" in caught.value.remedy
    assert policy(open_access=True).identify("127.0.0.1", [LOCALHOST], **request) == ANYONE
    held = (b"authorization", f"Bearer {KEY}".encode())
    keyed = policy([line("camera", KEY)])
    assert keyed.identify("127.0.0.1", [LOCALHOST, held], **request).name == "camera"


@pytest.mark.parametrize(
    ("http_version", "target"),
    [("1.1", "/"), ("2", "/x"), ("1.1", "*"), ("1.1", "http://localhost:8001/storage/stats")],
)
def test_without_keys_what_asks_this_machine_itself_is_admitted(
    http_version: str, target: str
) -> None:
    admission = policy()
    request: dict[str, Any] = {"http_version": http_version, "target": target}
    assert admission.identify("127.0.0.1", [LOCALHOST], **request) == LOCAL


async def test_a_proxy_that_adds_no_header_and_speaks_http_1_0_is_refused(
    live: LiveServer,
) -> None:
    statuses = []
    for path in ("/storage/stats", "/violations", "/healthz", "/access/x"):
        async with await live.connect() as connection:
            head = f"GET {path} HTTP/1.0\r\nHost: localhost:8001\r\nConnection: close\r\n\r\n"
            await connection.send(head.encode())
            statuses.append((await connection.reply()).status)
    assert statuses == [403, 403, 200, 403]


def test_a_page_of_this_machine_may_ask() -> None:
    headers = [LOCALHOST, (b"origin", b"http://localhost:3000")]
    assert policy().identify("127.0.0.1", headers) == LOCAL


def test_open_access_admits_everybody() -> None:
    headers = [(b"host", b"evidence.example.org"), (b"x-forwarded-for", b"10.0.0.1")]
    assert policy(open_access=True).identify("10.0.0.7", headers) == ANYONE


def test_a_key_admits_by_name_from_anywhere() -> None:
    admission = policy([line("camera", KEY), line("office", "other")])
    headers = [(b"host", b"evidence.example.org"), (b"authorization", f"Bearer {KEY}".encode())]
    assert admission.identify("10.0.0.7", headers).name == "camera"
    assert admission.identify(None, [(b"authorization", b"bearer   other ")]).name == "office"


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"Bearer"],
        [b"Bearer "],
        [f"Bearer {KEY[:-1]}".encode()],
        [f"Bearer {KEY}x".encode()],
        [f"Bearer {KEY} {KEY}".encode()],
        [f"Basic {KEY}".encode()],
        [KEY.encode()],
        [f"Bearer {KEY}".encode(), f"Bearer {KEY}".encode()],
        [f"Bearer {hashlib.sha256(KEY.encode()).hexdigest()}".encode()],
        [b"Bearer " + b"x" * 100_000],
        [b"Bearer \xff\xfe"],
    ],
)
def test_with_keys_a_missing_or_wrong_key_is_refused(values: list[bytes]) -> None:
    admission = policy([line("camera", KEY)])
    with pytest.raises(NotAdmitted) as caught:
        admission.identify("127.0.0.1", [LOCALHOST, *((b"authorization", v) for v in values)])
    assert "Bearer" in caught.value.remedy
    assert caught.value.key_given is bool(values)


@pytest.mark.parametrize("peer", ["10.0.0.7", "::ffff:192.0.2.1"])
async def test_every_route_refuses_another_peer(settings: StorageConfig, peer: str) -> None:
    app = application(settings)
    async with asking(app, peer=peer) as client:
        await assert_closed(app, client, {})


async def test_every_route_refuses_another_host(settings: StorageConfig) -> None:
    app = application(settings)
    async with asking(app, host="evidence.example.org") as client:
        await assert_closed(app, client, {})


async def test_every_route_refuses_what_was_forwarded(
    settings: StorageConfig, subtests: pytest.Subtests
) -> None:
    app = application(settings)
    async with asking(app) as client:
        for header in FORWARDING:
            with subtests.test(header):
                await assert_closed(app, client, {header: "127.0.0.1"})


async def assert_closed(app: FastAPI, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    walked = 0
    for method, path in operations(app):
        response = await client.request(method, path, headers=headers)
        if is_exempt(path):
            assert "local-use-only" not in response.text, (method, path)
            continue
        walked += 1
        assert response.status_code == 403, (method, path)
        # Where there are no keys, no credential would help, so none is asked for.
        assert "www-authenticate" not in response.headers
        if method != "HEAD":
            assert "api_keys" in problem(response, 403, "local-use-only")["remedy"]
    assert walked > 10


async def test_every_route_refuses_a_missing_wrong_or_truncated_key(
    settings: StorageConfig, subtests: pytest.Subtests
) -> None:
    app = application(evolve(settings, api_keys=(line("camera", KEY),)))
    async with asking(app) as client:
        for given in ("", "Bearer", "Bearer wrong", f"Bearer {KEY[:-1]}"):
            with subtests.test(given):
                for method, path in operations(app):
                    headers = {"Authorization": given} if given else {}
                    response = await client.request(method, path, headers=headers)
                    assert (response.status_code == 401) is not is_exempt(path), (method, path)


async def test_a_key_opens_the_routes_and_its_removal_closes_them(
    settings: StorageConfig,
) -> None:
    held = {"Authorization": f"Bearer {KEY}"}
    with_key = application(evolve(settings, api_keys=(line("camera", KEY), line("b", "b"))))
    async with asking(with_key, peer="10.0.0.7", host="evidence.example.org") as client:
        response = await client.post("/files/upload/image", files={"file": IMAGE}, headers=held)
        assert response.status_code == 201
        assert (await client.get("/storage/stats", headers=held)).status_code == 200
    removed = application(evolve(settings, api_keys=(line("b", "b"),)))
    async with asking(removed) as client:
        refused = await client.get("/storage/stats", headers=held)
        problem(refused, 401, "not-admitted")
        assert refused.headers["www-authenticate"].startswith("Bearer ")


async def test_the_documentation_needs_no_key(settings: StorageConfig) -> None:
    app = application(evolve(settings, api_keys=(line("camera", KEY),)))
    async with asking(app, peer="10.0.0.7") as client:
        page = await client.get("/docs")
        assert page.status_code == 200
        document = (await client.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    assert hashlib.sha256(KEY.encode()).hexdigest() not in str(document)


async def test_paths_that_only_look_exempt_are_not(settings: StorageConfig) -> None:
    app = application(settings)
    async with asking(app, peer="10.0.0.7") as client:
        for path in ("/access", "/healthz/", "/healthz/../storage/stats", "/docs/", "//access/x"):
            assert (await client.get(path)).status_code in {403, 404}, path
        for path in ("/access/../storage/stats", "/access/%2e%2e/storage/stats"):
            assert (await client.get(path)).status_code in {403, 404}, path


@pytest.mark.parametrize(
    ("keys", "open_access", "level", "words"),
    [
        ((), False, logging.WARNING, "only requests from its own machine"),
        ((), True, logging.WARNING, "need no credential"),
        ((line("camera", KEY),), False, logging.INFO, "need an API key"),
    ],
)
async def test_start_up_says_who_may_come_in(
    settings: StorageConfig,
    caplog: pytest.LogCaptureFixture,
    keys: tuple[str, ...],
    open_access: bool,
    level: int,
    words: str,
) -> None:
    app = application(evolve(settings, api_keys=keys, open_access=open_access))
    with caplog.at_level(logging.INFO, "traffic_storage.http"):
        async with app.router.lifespan_context(app):
            pass
    said = [record for record in caplog.records if words in record.getMessage()]
    assert [record.levelno for record in said] == [level]


async def test_a_websocket_from_elsewhere_is_closed(settings: StorageConfig) -> None:
    app = application(settings)
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    scope = {
        "type": "websocket",
        "path": "/files/x",
        "raw_path": b"/files/x",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"evidence.example.org")],
        "client": ("10.0.0.7", 1),
        "subprotocols": [],
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
