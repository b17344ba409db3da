"""The application as a service: starting, degraded parts, ids, logs, headers, secrets."""

import asyncio
import logging
import re
import sys
from pathlib import Path

import httpx
import pytest
from attrs import evolve
from dependency_injector.providers import Object
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, problem, video
from tests.support.ports import lease_ports
from tests.support.setups import config
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql import sqlite
from traffic_storage.domain.errors import ConfigurationError, StorageFull
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import Page, ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.container import Container, running
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.http.security.access import public
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import NOON, in_memory_container
from traffic_storage.entrypoints.testing.faults.blob_store import FailingBlobStore
from traffic_storage.entrypoints.testing.faults.plans import Fault
from traffic_storage.ports.errors import CatalogueUnavailable

CANARY = "canary-5f1a9c-never-show-me-0123456789abcdef"


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost:8001", timeout=60
    )


class Away(InMemoryRecordRepo):
    """A catalogue that is away until it is switched on."""

    away = True
    upgrades = 0

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def upgrade(self, *, slow: bool = False) -> None:
        self.upgrades += 1
        await self.may_answer.wait()
        if self.away:
            raise CatalogueUnavailable("the database refuses connections", remedy="start it")
        await super().upgrade()

    async def ping(self) -> None:
        if self.away:
            raise CatalogueUnavailable("the database refuses connections", remedy="start it")


async def test_it_starts_without_its_database_and_recovers_without_a_restart(
    container: Container,
) -> None:
    repo = Away()
    container._record_repo.override(Object(repo))
    app = create_storage_app(container=container)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/healthz")).status_code == 200
        response = await client.get("/readyz")
        document = problem(response, 503, "unavailable")
        assert document["components"][0]["name"] == "catalogue"
        assert not document["ready"]
        assert "retry-after" in response.headers
        response = await client.post("/files/upload/image", files={"file": IMAGE})
        assert "start it" in problem(response, 503, "unavailable")["remedy"]
        repo.away = False
        response = await client.post("/files/upload/image", files={"file": IMAGE})
        assert response.status_code == 201
        assert (await client.get("/readyz")).json()["ready"]


class ConcurrencyLimit:
    """The application, and word of when so many requests are in it."""

    def __init__(self, app: ASGIApp, size: int) -> None:
        self._app = app
        self._missing = size
        self.complete = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._missing -= 1
        if not self._missing:
            self.complete.set()
        await self._app(scope, receive, send)


async def test_requests_that_wait_for_the_start_share_one_try(container: Container) -> None:
    repo = Away()
    container._record_repo.override(Object(repo))
    app = create_storage_app(container=container)
    crowd = ConcurrencyLimit(app, 20)
    async with app.router.lifespan_context(app), client_of(crowd) as client:
        before = repo.upgrades
        repo.may_answer.clear()
        requests = [asyncio.create_task(client.get("/storage/stats")) for _ in range(20)]
        await crowd.complete.wait()
        repo.may_answer.set()
        responses = await asyncio.gather(*requests)
        assert {response.status_code for response in responses} == {503}
        assert repo.upgrades - before == 1
        # The next one tries again.
        assert (await client.get("/storage/stats")).status_code == 503
        assert repo.upgrades - before == 2


async def test_it_works_where_no_lifespan_is_run(app: FastAPI, container: Container) -> None:
    async with client_of(app) as client:
        response = await client.post("/files/upload/image", files={"file": IMAGE})
        assert response.status_code == 201
    await container.runtime().aclose()


async def test_it_works_below_a_path_of_somebody_elses_application(tmp_path: Path) -> None:
    inner = create_storage_app(config(tmp_path, public_url="http://localhost:8001/evidence"))
    outer = FastAPI()
    outer.mount("/evidence", inner)
    async with client_of(outer) as client:
        assert (await client.get("/evidence/healthz")).status_code == 200
        assert (await client.get("/evidence/")).headers["location"] == "/evidence/docs"
        response = await client.post("/evidence/files/upload/image", files={"file": IMAGE})
        assert response.status_code == 201
        location = response.headers["location"]
        assert location.startswith("/evidence/files/")
        link = (await client.get(f"{location}/url")).json()["url"]
        assert (await client.get(link)).content == IMAGE[1]
        assert (await client.get(f"{link}x")).status_code == 403
        far = {"Host": "evidence.example.org"}
        assert (await client.get(location, headers=far)).status_code == 403
        assert (await client.get(link, headers=far)).status_code == 200
    async with inner.router.lifespan_context(inner):
        pass


async def test_a_setting_without_its_extra_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(tmp_path, image_formats=["jpeg", "heic"], validate_on_store="warn")
    app = create_storage_app(settings)
    async with app.router.lifespan_context(app):
        assert "pip install" not in caplog.text
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "av", None)
    app = create_storage_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.post("/files/upload/image", files={"file": IMAGE})).is_success
    for extra in ("heic", "video"):
        assert f"pip install 'traffic-storage[{extra}]'" in caplog.text


async def test_a_catalogue_that_can_only_be_read_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that an error has made read-only; a catalogue in PostgreSQL: the same."""
    app = create_storage_app(config(tmp_path))
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/readyz")).status_code == 200
        stored = await client.post("/files/upload/image", files={"file": IMAGE})
        with monkeypatch.context() as patched:
            patched.setattr(sqlite, "is_read_only", lambda path: True)
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert "read but not written" in answer.text
            assert (await client.get(f"/files/{stored.json()['file_id']}")).content == IMAGE[1]
        assert (await client.get("/readyz")).status_code == 200


async def test_a_full_store_is_507_and_takes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_storage_app(config(tmp_path, max_local_size_gb=0.0001))
    async with app.router.lifespan_context(app), client_of(app) as client:
        for _ in range(2):
            response = await client.post("/files/upload/image", files={"file": IMAGE})
            document = problem(response, 507, "storage-full")
            assert "limit" in document["detail"]
            assert "raise the limit" in document["remedy"]
            # The operator is told, each time.
            assert f"{document['detail']} ({document['remedy']})" in caplog.text
            caplog.clear()
        assert await counted(client) == (0, 0)
        # What is stored is still handed out.
        assert (await client.get("/readyz")).json()["ready"]


async def test_a02_a_disk_that_fills_up_is_507_and_keeps_what_it_had(
    settings: StorageConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full when the second file of a unit is written: no part of the unit stays."""
    store = InMemoryBlobStore(ManualClock(NOON), location="memory:/disk")
    disk = FailingBlobStore(store)
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings, local_store=disk)
    app = create_storage_app(container=container)
    async with app.router.lifespan_context(app), client_of(app) as client:
        first = await client.post("/files/upload/image", files={"file": IMAGE})
        blobs = dict(store._blobs)
        disk.plan(Fault("put", lambda: StorageFull("the disk is full"), nth=2, times=None))
        files = {"image_file": IMAGE, "video_file": video()}
        for _ in range(2):
            answer = await client.post("/violations", data=RECORD, files=files)
            document = problem(answer, 507, "storage-full")
            # The operator is told, each time.
            assert document["detail"] in caplog.text
            caplog.clear()
        assert await counted(client) == (1, 0)
        assert store._blobs == blobs
        kept = await client.get(f"/files/{first.json()['file_id']}")
        assert (kept.status_code, kept.content) == (200, IMAGE[1])
        disk.come_back()
        assert (await client.post("/violations", data=RECORD, files=files)).status_code == 201


async def test_it_starts_without_s3_and_redis(tmp_path: Path, no_leaks: None) -> None:
    leases = lease_ports(2)
    settings = StorageConfig(
        local_base_path=tmp_path,
        local_reserve_gb=0.0,
        strategy=StorageStrategy.HYBRID,
        s3_endpoint=f"http://127.0.0.1:{leases[0].port}",
        s3_access_key="key",
        s3_secret_key=CANARY,
        s3_timeout_seconds=1,
        redis_host="127.0.0.1",
        redis_port=leases[1].port,
        redis_password=CANARY,
    )
    app = create_storage_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        response = await client.post("/files/upload/image", files={"file": IMAGE})
        assert response.status_code == 201
        assert response.json()["placement"]["decision"] == "local, then cloud"
        report = await client.get("/readyz")
        assert report.status_code == 200
        assert (report.json()["ready"], report.json()["degraded"]) == (True, True)
        states = {part["name"].split()[0]: part for part in report.json()["components"]}
        assert not states["cloud"]["healthy"]
        assert not states["cache"]["healthy"]
        assert states["cloud"]["detail"]
        assert CANARY not in report.text
    for lease in leases:
        lease.release()


async def test_several_applications_in_one_process_are_strangers(tmp_path: Path) -> None:
    apps = [create_storage_app(config(tmp_path / name)) for name in ("a", "b")]
    async with (
        apps[0].router.lifespan_context(apps[0]),
        apps[1].router.lifespan_context(apps[1]),
        client_of(apps[0]) as first,
        client_of(apps[1]) as second,
    ):
        stored = await first.post("/files/upload/image", files={"file": IMAGE})
        assert stored.status_code == 201
        assert await counted(first) == (1, 0)
        assert await counted(second) == (0, 0)
        link = (await first.get(f"/files/{stored.json()['file_id']}/url")).json()["url"]
        assert (await first.get(link)).status_code == 200
        assert (await second.get(link)).status_code == 403


def test_a_wrong_configuration_fails_when_the_application_is_made(tmp_path: Path) -> None:
    settings = StorageConfig(local_base_path=tmp_path, strategy=StorageStrategy.CLOUD_ONLY)
    with pytest.raises(ConfigurationError, match="s3_credentials"):
        create_storage_app(settings)
    with pytest.raises(ValueError, match="not both"):
        create_storage_app(settings, container=in_memory_container())


def test_without_arguments_the_settings_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_CONFIG", "/dev/null")
    monkeypatch.setenv("TRAFFIC_STORAGE_LOCAL_BASE_PATH", str(tmp_path))
    monkeypatch.setenv("TRAFFIC_STORAGE_PUBLIC_URL", "https://evidence.example.org")
    app = create_storage_app()
    assert app.openapi()["servers"] == [{"url": "https://evidence.example.org"}]


async def test_a_request_keeps_a_good_id_and_gets_one_else(client: httpx.AsyncClient) -> None:
    response = await client.get("/healthz", headers={"X-Request-Id": "cam-7.42_x"})
    assert response.headers["x-request-id"] == "cam-7.42_x"
    for given in ("", "a b", "x" * 65, "<script>"):
        response = await client.get("/nothing", headers={"X-Request-Id": given})
        own = response.headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", own)
        assert response.json()["request_id"] == own


async def test_every_answer_has_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/nothing", "/docs", "/storage/stats", "/access/x"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "cache-control" in headers


async def test_the_log_has_a_line_for_each_request_and_no_secret(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.post("/files/upload/image", files={"file": IMAGE}, data={"file_id": "a"})
    link = (await client.get("/files/a/url")).json()["url"]
    token = link.rpartition("/")[2]
    with caplog.at_level(logging.INFO, "traffic_storage.http"):
        await client.get(link)
        await client.get(f"/access/{token}x")
        await client.get(f"/violations?device_id={CANARY}")
        await client.get("/files/%0aforged", headers={"Authorization": f"Bearer {CANARY}"})
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert all("local at 127.0.0.1" in line or "no principal at" in line for line in lines)
    assert f"200, {len(IMAGE[1])} bytes" in lines[0]
    assert "/access/{token}" in lines[0]
    routes = [record.__dict__["fields"]["route"] for record in caplog.records]
    assert routes == ["/access/{token}", "/access/{token}", "/violations", "/files/{file_id}"]
    for line in lines:
        assert token[:20] not in line
        assert CANARY not in line
        assert "\n" not in line


async def test_large_json_is_compressed_for_those_who_accept_it(client: httpx.AsyncClient) -> None:
    for number in range(40):
        record = {**RECORD, "violation_id": f"V{number:03}"}
        assert (await client.post("/violations", json=record)).status_code == 201
    plain = await client.get("/violations", headers={"Accept-Encoding": "identity"})
    packed = await client.get("/violations", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) // 3
    assert packed.json() == plain.json()
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    small = await client.get("/violations?limit=1", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers
    head = await client.head("/violations", headers={"Accept-Encoding": "gzip"})
    assert (head.status_code, head.content) == (200, b"")


async def test_a_route_of_an_embedder_is_left_as_it_is(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    @app.get("/own")
    @public
    def own() -> list[str]:
        return ["the same again"] * 5000

    answer = await client.get("/own", headers={"Accept-Encoding": "gzip"})
    assert len(answer.json()) == 5000
    assert "content-encoding" not in answer.headers


async def test_a_failure_inside_is_logged_and_not_shown(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(InMemoryRecordRepo):
        async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
            raise RuntimeError(f"bug near {CANARY}")

    container._record_repo.override(Object(Broken()))
    app = create_storage_app(container=container)
    async with app.router.lifespan_context(app), client_of(app) as client:
        response = await client.get("/violations")
    document = problem(response, 500, "internal-error")
    assert CANARY not in response.text
    assert "RuntimeError" not in response.text
    assert any(
        record.exc_info and document["request_id"] in record.getMessage()
        for record in caplog.records
    )


async def test_no_secret_is_in_any_answer(
    settings: StorageConfig, caplog: pytest.LogCaptureFixture
) -> None:
    key = "ts_" + CANARY
    settings = evolve(settings, url_signing_key=CANARY * 2, api_keys=("camera:" + "ab" * 32,))
    app = create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, settings))
    with caplog.at_level(logging.DEBUG):
        async with app.router.lifespan_context(app), client_of(app) as client:
            answers = [
                await client.request(
                    method.upper(), path, headers={"Authorization": f"Bearer {key}"}
                )
                for path, methods in app.openapi()["paths"].items()
                for method in methods
            ]
            answers += [await client.get("/docs"), await client.get("/openapi.json")]
    said = [answer.text + str(answer.headers) for answer in answers]
    said += [record.getMessage() for record in caplog.records]
    for text in said:
        assert CANARY not in text
        assert "ab" * 32 not in text


async def test_an_application_serves_again_in_a_further_lifespan(
    tmp_path: Path, no_leaks: None
) -> None:
    app = create_storage_app(config(tmp_path))

    @app.get("/mine")
    @public
    async def mine() -> str:
        return "an embedder's own"

    for number in range(3):
        async with app.router.lifespan_context(app), client_of(app) as client:
            path = f"/files/still-{number}/content"
            stored = await client.put(path, content=IMAGE[1])
            assert stored.status_code == 201
            assert (await client.get("/files/still-0")).content == IMAGE[1]
            assert (await client.get("/readyz")).json()["ready"]
            assert (await client.get("/mine")).json() == "an embedder's own"


async def test_an_application_leaves_a_container_open_that_it_was_given(
    container: Container,
) -> None:
    async with running(container):
        app = create_storage_app(container=container)
        for number in range(2):
            async with app.router.lifespan_context(app), client_of(app) as client:
                path = f"/files/still-{number}/content"
                assert (await client.put(path, content=IMAGE[1])).status_code == 201
        assert (await container.read_files().whole("still-0"))[0] == IMAGE[1]


async def test_references_keep_the_path_of_public_url(tmp_path: Path) -> None:
    app = create_storage_app(config(tmp_path, public_url="https://host.example/evidence"))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await client.post("/violations", data=RECORD, files={"image_file": IMAGE})
        other = {**RECORD, "violation_id": "V2"}
        stored = await client.post("/violations", data=other, files={"image_file": IMAGE})
        page = await client.get("/violations?limit=1")
        docs = await client.get("/")
    assert stored.headers["location"] == "/evidence/violations/V2"
    assert page.links["next"]["url"].startswith("/evidence/violations?limit=1&")
    assert docs.headers["location"] == "/evidence/docs"
