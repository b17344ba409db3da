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
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.addresses import is_loopback
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.http.errors import (
    ForeignHost,
    ForeignPage,
    LocalUseOnly,
    NotAdmitted,
)
from traffic_storage.entrypoints.http.security.authentication import (
    ANYONE,
    LOCAL,
    AccessPolicy,
)
from traffic_storage.entrypoints.http.security.hosts import Hosts
from traffic_storage.entrypoints.http.security.keys import KeyRing
from traffic_storage.entrypoints.http.security.local_only import is_forwarding
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


def policy(keys: Iterable[str] = (), *, open_access: bool = False, **more: Any) -> AccessPolicy:
    ring = KeyRing(keys, None, ManualClock(NOON).now)
    return AccessPolicy(ring, open_access=open_access, **more)


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
    given = [(b"host", host.encode())]
    assert (Hosts(any_address=False).refusal(given) == "") is expected


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


# Names that real proxies, tunnels and networks give; no list of them would be complete.
ADDED_BY_PROXIES = [
    *FORWARDING,
    *("X-ForwardedHost", "Z-Forwarded-For", "X-Forward-For", "Forwarded-For", "Max-Forwards"),
    *("X-RealIP", "Real-IP", "X-True-Client-IP", "DO-Connecting-IP", "X-Remote-IP", "X-Source-IP"),
    *("X-Remote-Addr", "Remote-Addr", "X-Remote-Port", "Remote-User", "X-Remote-User", "X-IP"),
    *(
        "Remote-Groups",
        "X-User-IP",
        "X-Peer-Addr",
        "X-Client-Cert",
        "X-SSL-Client-DN",
        "Ssl-Cipher",
    ),
    *("X-Scheme", "X-Url-Scheme", "X-Proto", "X-SSL", "X-HTTPS", "Front-End-Https", "X-Port"),
    *("X-Host", "X-HTTP-Host", "X-Server-Name", "X-Server-Port", "X-Script-Name", "X-Prefix"),
    *("X-Original-Host", "X-Original-URI", "X-Original-Method", "X-Rewrite-URL", "Disguised-Host"),
    *("X-Request-Start", "X-Queue-Start", "X-Auth-Request-User", "X-Authenticated-Userid"),
    *("X-Consumer-Username", "X-Credential-Identifier", "X-Kong-Request-Id", "X-Traefik-Router"),
    *(
        "Tailscale-User-Login",
        "Ngrok-Trace-Id",
        "X-Pomerium-Claim-Email",
        "X-Goog-IAP-JWT-Assertion",
    ),
    *("X-Goog-Authenticated-User-Id", "X-Amzn-Trace-Id", "X-Waws-Unencoded-Url", "l5d-dst-service"),
    *("X-Istio-Attributes", "X-HAProxy-Server-State", "X-Nginx-Proxy", "Fly-Region", "Rndr-Id"),
    *(
        "X-Vercel-Id",
        "X-Nf-Request-Id",
        "X-Sucuri-Country",
        "X-Akamai-Config-Log-Detail",
        "X-Cache",
    ),
    *("Akamai-Origin-Hop", "Incap-Client-IP", "Ali-Cdn-Real-IP", "Cloudfront-Viewer-Address"),
    *("Proxy-Connection", "X-Varnish", "X-Squid-Error", "Surrogate-Capability", "X-Tyk-Api-Key"),
]
SENT_BY_CLIENTS = [
    *("Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Baggage", "Cache-Control"),
    *("Connection", "Content-Digest", "Content-Length", "Content-Type", "Cookie", "DNT", "Date"),
    *("Expect", "Host", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Keep-Alive"),
    *("Origin", "Pragma", "Prefer", "Priority", "Range", "Referer", "Repr-Digest", "Sec-CH-UA"),
    *("Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-GPC", "TE"),
    *("Sec-WebSocket-Protocol", "Sentry-Trace", "Traceparent", "Tracestate", "Transfer-Encoding"),
    *("Uber-Trace-Id", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "Want-Repr-Digest"),
    *("X-Api-Key", "X-B3-TraceId", "X-CSRF-Token", "X-Client-Version", "X-Correlation-ID"),
    *(
        "X-Datadog-Trace-Id",
        "X-HTTP-Method-Override",
        "X-Request-ID",
        "X-Requested-With",
        "X-Trace",
    ),
    *("X-Upload-Content-Length", "X-User-Agent", "X-Device-Id", "X-Zip", "X-Description", "Link"),
]


@pytest.mark.parametrize("name", ADDED_BY_PROXIES)
def test_a_header_that_proxies_add_is_recognised(name: str) -> None:
    assert is_forwarding(name.lower().encode())


@pytest.mark.parametrize("name", SENT_BY_CLIENTS)
def test_a_header_of_a_client_is_none_of_a_proxy(name: str) -> None:
    assert not is_forwarding(name.lower().encode())


def page(
    host: str, origin: str | None = None, site: str | None = None
) -> list[tuple[bytes, bytes]]:
    """The headers of a browser's request that tell where it goes and which page sent it."""
    told = {"host": host, "origin": origin, "sec-fetch-site": site}
    return [(name.encode(), value.encode()) for name, value in told.items() if value is not None]


OWN = "evidence.example.org"
MODES = {
    "keys": (policy([line("camera", KEY)], public_url=f"https://{OWN}"), "127.0.0.1:8001"),
    "local": (policy(), "localhost:8001"),
    "open": (policy(open_access=True, public_url=f"https://{OWN}"), OWN),
}
HELD = (b"authorization", f"Bearer {KEY}".encode())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://evil.example.org", None),
        ("https://evil.example.org", "cross-site"),
        ("http://localhost:3000", "same-site"),
        ("http://127.0.0.1:9999", "cross-site"),
        ("null", None),
        ("null", "same-origin"),
        ("", None),
        ("file://", "none"),
        ("http://[broken", None),
        ("chrome-extension://abcdefgh", None),
        ("https://evidence.example.org.evil.example", None),
        ("https://evidence.example.org@evil.example", None),
        ("http://localhost:8001.evil.example", None),
        (None, "cross-site"),
        (None, "same-site"),
        (None, "unknown"),
        (None, ""),
        ("https://evidence.example.org:444", None),
        ("http://evidence.example.org:8001", None),
    ],
)
def test_a_page_of_another_origin_is_refused(
    mode: str, origin: str | None, site: str | None
) -> None:
    admission, host = MODES[mode]
    with pytest.raises(ForeignPage) as caught:
        admission.identify("127.0.0.1", [*page(host, origin, site), HELD])
    assert "cors_origins" in caught.value.remedy


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("site", [None, "same-origin", "none"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_page_of_the_service_is_admitted(
    mode: str, site: str | None, scheme: str, is_told: bool
) -> None:
    admission, host = MODES[mode]
    origin = f"{scheme}://{host}" if is_told else None
    admitted = admission.identify("127.0.0.1", [*page(host, origin, site), HELD]).name
    assert admitted == {"keys": "camera", "local": "local", "open": "anyone"}[mode]
    if mode != "local" and is_told:
        # Behind a proxy that changes the Host.
        headers = [*page("127.0.0.1:8001", f"https://{OWN}", site), HELD]
        assert admission.identify("127.0.0.1", headers).name == admitted


def test_a_page_of_a_public_address_came_through_a_proxy() -> None:
    admission = policy(public_url=f"https://{OWN}")
    with pytest.raises(ForeignPage):
        admission.identify("127.0.0.1", page("127.0.0.1:8001", f"https://{OWN}", "same-origin"))


def test_two_origins_are_none_that_may_ask() -> None:
    headers = [
        *page("localhost:8001", "http://localhost:8001"),
        (b"origin", b"https://evil.example"),
    ]
    with pytest.raises(ForeignPage):
        policy().identify("127.0.0.1", headers)


@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
def test_a_page_of_a_listed_origin_may_ask(site: str | None) -> None:
    viewer = "https://viewer.example:8443"
    for admission, host in (
        (policy(cors_origins=[viewer]), "localhost:8001"),
        (policy(open_access=True, cors_origins=[viewer]), "10.0.0.7:8001"),
    ):
        assert admission.identify("127.0.0.1", page(host, viewer, site)).has_scope(Scope.ADMIN)
        with pytest.raises(ForeignPage):
            admission.identify("127.0.0.1", page(host, viewer + "1", site))


@pytest.mark.parametrize(
    "host",
    ["10.0.0.7", "10.0.0.7:8001", "[fd00::7]:8001", "localhost", "127.0.0.1", OWN, "Store:80"],
)
def test_open_access_admits_everybody_who_names_the_service(host: str) -> None:
    headers = [*page(host), (b"x-forwarded-for", b"10.0.0.1")]
    admission = policy(open_access=True, public_url=f"https://{OWN}/store", hosts=["store"])
    assert admission.identify("10.0.0.7", headers) == ANYONE


@pytest.mark.parametrize(
    "hosts", [[], ["evil.example"], [OWN, OWN], [OWN + ".evil.example"], ["2130706433"], ["a b"]]
)
def test_a_name_that_others_let_lead_here_is_refused(hosts: list[str]) -> None:
    """A page of that name would be of the same origin as the service (DNS rebinding)."""
    admission = policy(open_access=True, public_url=f"https://{OWN}")
    headers = [(b"host", host.encode()) for host in hosts]
    with pytest.raises(ForeignHost) as caught:
        admission.identify("10.0.0.7", headers)
    assert "allowed_hosts" in caught.value.remedy
    with pytest.raises(LocalUseOnly):
        policy(public_url=f"https://{OWN}").identify("127.0.0.1", headers)


def test_without_keys_a_listed_name_of_this_machine_is_admitted() -> None:
    assert policy(hosts=["store.local"]).identify("127.0.0.1", page("store.local:80")) == LOCAL


def test_by_a_private_socket_a_proxy_may_pass_requests_on() -> None:
    forwarded = [*page(OWN, f"https://{OWN}", "same-origin"), (b"x-forwarded-for", b"10.0.0.1")]
    admission = policy(public_url=f"https://{OWN}")
    assert admission.identify(None, forwarded, is_private_socket=True) == LOCAL
    with pytest.raises(LocalUseOnly):
        admission.identify(None, forwarded)
    with pytest.raises(ForeignHost):
        admission.identify(None, page("evil.example"), is_private_socket=True)
    with pytest.raises(ForeignPage):
        admission.identify(None, page(OWN, "https://evil.example"), is_private_socket=True)
    with pytest.raises(NotAdmitted):
        policy([line("camera", KEY)]).identify(None, page(OWN), is_private_socket=True)


@pytest.mark.parametrize("mode", ["keys", "local", "open"])
async def test_every_route_refuses_pages_of_other_origins(
    settings: StorageConfig, mode: str, subtests: pytest.Subtests
) -> None:
    own: dict[str, Any] = {
        "keys": {"api_keys": (line("camera", KEY),)},
        "local": {},
        "open": {"open_access": True},
    }
    app = application(evolve(settings, **own[mode]))
    sent = [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ]
    async with asking(app) as client:
        for headers in sent:
            with subtests.test(str(headers)):
                held = {**headers, "Authorization": f"Bearer {KEY}"}
                for method, path in operations(app):
                    response = await client.request(method, path, headers=held)
                    if not is_exempt(path):
                        assert response.status_code == 403, (method, path)
                        assert method == "HEAD" or "cors_origins" in response.json()["remedy"]
                for path in ("/docs", "/openapi.json", "/healthz", "/readyz"):
                    assert (await client.get(path, headers=headers)).status_code == 200, path
        stored = await client.get("/violations", headers={"Authorization": f"Bearer {KEY}"})
        assert stored.json()["violations"] == []


async def test_a_listed_page_reads_the_responses(settings: StorageConfig) -> None:
    viewer = "https://viewer.example"
    app = application(evolve(settings, api_keys=(line("camera", KEY),), cors_origins=(viewer,)))
    held = {"Authorization": f"Bearer {KEY}", "Sec-Fetch-Site": "cross-site"}
    async with asking(app, peer="10.0.0.7") as client:
        wanted = {
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        asked = await client.options("/files/a/content", headers={"Origin": viewer, **wanted})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == viewer
        assert "PUT" in asked.headers["access-control-allow-methods"]
        assert "authorization" in asked.headers["access-control-allow-headers"].lower()
        other = await client.options(
            "/files/a/content", headers={"Origin": "https://evil.example", **wanted}
        )
        assert "access-control-allow-origin" not in other.headers

        for path, status in (("/violations", 200), ("/files/none", 404)):
            told = await client.get(path, headers={"Origin": viewer, **held})
            assert told.status_code == status
            assert told.headers["access-control-allow-origin"] == viewer
            assert "ETag" in told.headers["access-control-expose-headers"]
            assert told.headers["vary"] == "Origin"
        refused = await client.get(
            "/violations", headers={"Origin": "https://evil.example", **held}
        )
        problem(refused, 403, "foreign-page")
        assert "access-control-allow-origin" not in refused.headers


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
