"""Scopes, devices and expiry of keys; keys of a file that changes; routes without a declaration."""

import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from attrs import evolve
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, fields_of, problem
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.principal import ApiKey, Principal, Scope
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app, public, requires
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import NOON, in_memory_container


def key_line(
    name: str, *scopes: Scope, devices: tuple[str, ...] = (), days: int | None = None
) -> str:
    """The line of a key that is its own name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    expires = None if days is None else (NOON + timedelta(days=days)).date()
    return ApiKey(digest, Principal(name, frozenset(scopes), devices), expires).to_line()


def with_key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


READER = key_line("reader", Scope.EVIDENCE_READ)
WRITER = key_line("writer", Scope.EVIDENCE_WRITE)
ADMIN = key_line("admin", Scope.ADMIN)
USUAL = key_line("usual", Scope.EVIDENCE_READ, Scope.EVIDENCE_WRITE)
CAMERA = key_line("camera", Scope.EVIDENCE_READ, Scope.EVIDENCE_WRITE, devices=("cam_0*",))
GATE = key_line("gate", Scope.EVIDENCE_READ, devices=("gate",))


@asynccontextmanager
async def serving(
    settings: StorageConfig, *keys: str, container: Container | None = None
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    chosen = evolve(settings, api_keys=keys)
    parts = container or in_memory_container(StorageStrategy.LOCAL_ONLY, chosen)
    app = create_storage_app(container=parts)
    transport = httpx.ASGITransport(app, client=("10.0.0.7", 50_000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://evidence.example.org") as client,
    ):
        yield app, client


async def upload(client: httpx.AsyncClient, key: str, **texts: str) -> httpx.Response:
    return await client.post(
        "/files/upload/image", files={"file": IMAGE}, data=texts, headers=with_key(key)
    )


async def test_a_scope_opens_its_operations_and_no_other(settings: StorageConfig) -> None:
    async with serving(settings, READER, WRITER, ADMIN) as (_, client):
        refused = await upload(client, "reader", file_id="a")
        problem(refused, 403, "missing-scope")
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert 'scope="evidence:write"' in refused.headers["www-authenticate"]
        assert (await upload(client, "writer", file_id="a")).status_code == 201
        problem(await client.get("/files/a", headers=with_key("writer")), 403, "missing-scope")
        for name in ("reader", "admin"):
            assert (await client.get("/files/a", headers=with_key(name))).content == IMAGE[1]


async def test_a_key_is_valid_until_it_expires(settings: StorageConfig) -> None:
    line = key_line("soon", Scope.EVIDENCE_READ, days=1)
    chosen = evolve(settings, api_keys=(line,))
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, chosen)
    async with serving(settings, line, container=container) as (_, client):
        assert (await client.get("/violations", headers=with_key("soon"))).status_code == 200
        clock = container.clock()
        assert isinstance(clock, ManualClock)
        clock.advance(timedelta(days=2))
        problem(await client.get("/violations", headers=with_key("soon")), 401, "not-admitted")


class TestDevices:
    async def test_a_key_writes_only_files_of_its_devices(self, settings: StorageConfig) -> None:
        async with serving(settings, CAMERA, USUAL) as (_, client):
            for texts in (
                {},
                {"device_id": "cam_10"},
                {"metadata": '{"device_id": "cam_10"}'},
            ):
                problem(await upload(client, "camera", **texts), 403, "device-not-allowed")
            response = await client.put(
                "/files/raw/content?device_id=gate", content=IMAGE[1], headers=with_key("camera")
            )
            problem(response, 403, "device-not-allowed")
            response = await client.post(
                "/violations",
                files={"image_file": IMAGE},
                data={**RECORD, "device_id": "gate"},
                headers=with_key("camera"),
            )
            problem(response, 403, "device-not-allowed")
            stored = await upload(client, "camera", device_id="cam_07")
            assert stored.status_code == 201
            assert (await upload(client, "camera", metadata='{"device_id": "cam_07"}')).is_success

    async def test_a_key_takes_no_file_by_adding_its_device(self, settings: StorageConfig) -> None:
        async with serving(settings, CAMERA, USUAL) as (_, client):
            assert (await upload(client, "usual", file_id="F1")).status_code == 201
            taking = await upload(client, "camera", file_id="F1", device_id="cam_07")
            document = problem(taking, 409, "conflict")
            assert "not told which" in document["detail"]
            shown = await client.get("/files/F1/metadata", headers=with_key("usual"))
            assert shown.json()["device_id"] is None
            own = {"file_id": "F2", "device_id": "cam_07"}
            await upload(client, "camera", **own)
            added = await upload(client, "camera", **own, violation_id="V001")
            assert added.json()["labels_added"] == ["violation_id"]

    async def test_a_key_reads_only_files_of_its_devices(self, settings: StorageConfig) -> None:
        async with serving(settings, CAMERA, USUAL) as (_, client):
            for file_id, device in (("mine", "cam_07"), ("other", "gate")):
                await upload(client, "usual", file_id=file_id, device_id=device)
            await upload(client, "usual", file_id="nobodys")
            bound = with_key("camera")
            for suffix in ("", "/url"):
                assert (await client.get(f"/files/mine{suffix}", headers=bound)).is_success
                for file_id in ("other", "nobodys", "unknown"):
                    response = await client.get(f"/files/{file_id}{suffix}", headers=bound)
                    problem(response, 404, "not-found")
            # The same bytes under an id of another device tell nothing about that file.
            response = await upload(client, "camera", file_id="other", device_id="cam_07")
            assert "gate" not in response.text
            problem(response, 409, "conflict")

    async def test_a_key_takes_no_id_of_another_device(self, settings: StorageConfig) -> None:
        async with serving(settings, CAMERA, USUAL) as (_, client):
            theirs = {**RECORD, "device_id": "gate"}
            stored = await client.post(
                "/violations", data=theirs, files={"image_file": IMAGE}, headers=with_key("usual")
            )
            assert stored.status_code == 201
            name = RECORD["violation_id"]
            mine = {**RECORD, "device_id": "cam_07"}
            answer = await client.post(
                "/violations", data=mine, files={"image_file": IMAGE}, headers=with_key("camera")
            )
            problem(answer, 409, "conflict")
            assert "gate" not in answer.text
            for role in ("image", "video", "metadata"):
                answer = await upload(
                    client, "camera", file_id=f"{name}~{role}", device_id="cam_07"
                )
                problem(answer, 422, "invalid-input")
            seen = await client.get(f"/violations/{name}", headers=with_key("usual"))
            assert seen.json()["violation"]["device_id"] == "gate"

    async def test_a_key_finds_only_violations_of_its_devices(
        self, settings: StorageConfig
    ) -> None:
        async with serving(settings, CAMERA, GATE, USUAL) as (_, client):
            for number, device in enumerate(("cam_07", "gate", "other")):
                data = {**RECORD, "violation_id": f"V{number}", "device_id": device}
                form = {"files": {"image_file": IMAGE}, "data": data}
                await client.post("/violations", **form, headers=with_key("usual"))  # type: ignore[arg-type]

            async def found(key: str, **query: str) -> list[str]:
                answer = await client.get("/violations", params=query, headers=with_key(key))
                return [violation["device_id"] for violation in answer.json()["violations"]]

            assert await found("gate") == ["gate"]
            assert await found("camera", device_id="cam_07") == ["cam_07"]
            assert len(await found("usual")) == 3
            for query in ({}, {"device_id": "gate"}):
                response = await client.get("/violations", params=query, headers=with_key("camera"))
                assert fields_of(problem(response, 422, "invalid-input")) == ["device_id"]
            assert (await client.get("/violations/V0", headers=with_key("camera"))).is_success
            for violation_id in ("V1", "V2", "V3"):
                response = await client.get(
                    f"/violations/{violation_id}", headers=with_key("camera")
                )
                problem(response, 404, "not-found")

    async def test_files_of_other_devices_that_name_the_violation_are_left_out(
        self, settings: StorageConfig
    ) -> None:
        async with serving(settings, CAMERA, USUAL) as (_, client):
            data = {**RECORD, "device_id": "cam_07"}
            await client.post(
                "/violations", files={"image_file": IMAGE}, data=data, headers=with_key("usual")
            )
            await upload(client, "usual", violation_id="V001", device_id="gate")
            for key, count in (("usual", 3), ("camera", 2)):
                answer = await client.get("/violations/V001", headers=with_key(key))
                assert len(answer.json()["files"]) == count


class TestKeysFile:
    async def test_keys_come_and_go_without_a_restart(
        self, settings: StorageConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "keys"
        file.write_text(f"# cameras\n\n{READER}\n")
        async with serving(evolve(settings, api_keys_file=file)) as (_, client):

            async def status(key: str) -> int:
                return (await client.get("/violations", headers=with_key(key))).status_code

            assert (await status("reader"), await status("usual")) == (200, 401)
            file.write_text(f"{USUAL}\n")
            assert (await status("reader"), await status("usual")) == (401, 200)
            with caplog.at_level(logging.ERROR, "traffic_storage.http"):
                file.write_text(f"{USUAL}\nnonsense\n{READER}\n")
                assert (await status("reader"), await status("usual")) == (200, 200)
                assert "line 2: does not begin with a name, a colon and a SHA-256" in caplog.text
                file.unlink()
                assert (await status("reader"), await status("usual")) == (401, 401)
                assert "no key of the keys file" in caplog.text
            file.write_text(f"\N{BYTE ORDER MARK}{USUAL}\n", "utf-8")
            assert await status("usual") == 200

    async def test_an_empty_file_does_not_open_the_service(
        self, settings: StorageConfig, tmp_path: Path
    ) -> None:
        file = tmp_path / "keys"
        file.write_text("")
        chosen = evolve(settings, api_keys_file=file)
        app = create_storage_app(container=in_memory_container(StorageStrategy.LOCAL_ONLY, chosen))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            problem(await client.get("/violations"), 401, "not-admitted")

    def test_a_wrong_file_fails_when_the_application_is_made(
        self, settings: StorageConfig, tmp_path: Path
    ) -> None:
        file = tmp_path / "keys"
        chosen = evolve(settings, api_keys_file=file)
        container = in_memory_container(StorageStrategy.LOCAL_ONLY, chosen)
        with pytest.raises(ConfigurationError, match="can't be read"):
            create_storage_app(container=container)
        file.write_text(f"x\n{READER}?\n{READER}\n{READER}\n")
        with pytest.raises(ConfigurationError) as caught:
            create_storage_app(container=container)
        assert "line 1" in str(caught.value)
        assert "two keys with the same digest" in str(caught.value)


class TestReadiness:
    async def test_components_are_shown_to_a_principal_alone(self, settings: StorageConfig) -> None:
        async with serving(settings, READER) as (_, client):
            for headers in ({}, with_key("wrong")):
                response = await client.get("/readyz", headers=headers)
                assert (response.status_code, response.json()) == (200, {"ready": True})
            assert (await client.get("/readyz", headers=with_key("reader"))).json()["components"]
        async with serving(settings) as (_, client):
            assert (await client.get("/readyz")).json() == {"ready": True}


class TestEmbedders:
    """Routes that an embedder adds."""

    async def test_a_route_without_a_declaration_serves_nobody(
        self, settings: StorageConfig
    ) -> None:
        async with serving(settings, ADMIN) as (app, client):

            @app.get("/own")
            async def own() -> str:
                return "open"

            @app.get("/access/all")
            async def access() -> str:
                return "open"

            router = APIRouter(prefix="/more")

            @router.get("/own")
            async def more() -> str:
                return "open"

            app.include_router(router)
            app.mount("/mounted", PlainTextResponse("open"))
            for path in ("/own", "/more/own", "/mounted/x"):
                problem(await client.get(path), 401, "not-admitted")
                refused = problem(
                    await client.get(path, headers=with_key("admin")), 403, "undeclared-access"
                )
                assert "@requires" in refused["remedy"]

    async def test_a_route_below_access_is_not_open_for_that(self, settings: StorageConfig) -> None:
        async with serving(settings, ADMIN) as (app, client):

            @requires(Scope.MAINTENANCE)
            async def report() -> str:
                return "done"

            app.add_api_route("/access/reports/today", report)
            problem(await client.get("/access/reports/today"), 401, "not-admitted")
            answer = await client.get("/access/reports/today", headers=with_key("admin"))
            assert answer.json() == "done"

    async def test_declared_routes_are_served(self, settings: StorageConfig) -> None:
        async with serving(settings, READER) as (app, client):
            router = APIRouter(prefix="/more")

            @router.get("/open")
            @public
            async def open_() -> str:
                return "open"

            @router.get("/closed")
            @requires(Scope.METRICS)
            async def closed() -> str:
                return "closed"

            app.include_router(router)

            async def plain(scope: AsgiScope, receive: Receive, send: Send) -> None:
                await PlainTextResponse("mounted")(scope, receive, send)

            app.router.routes.append(Mount("/mounted", requires(Scope.EVIDENCE_READ)(plain)))
            assert (await client.get("/more/open")).json() == "open"
            problem(
                await client.get("/more/closed", headers=with_key("reader")), 403, "missing-scope"
            )
            assert (await client.get("/mounted/x")).status_code == 401
            assert (await client.get("/mounted/x", headers=with_key("reader"))).text == "mounted"
            document = app.openapi()["paths"]
            assert document["/more/open"]["get"]["security"] == []
            assert document["/more/closed"]["get"]["security"] == [{"api_key": ["metrics"]}]

    async def test_a_websocket_without_a_declaration_is_closed(
        self, settings: StorageConfig
    ) -> None:
        async with serving(settings, ADMIN) as (app, _):

            @app.websocket("/feed")
            async def feed(websocket: WebSocket) -> None:
                await websocket.accept()

            sent: list[dict[str, object]] = []

            async def receive() -> dict[str, object]:
                return {"type": "websocket.connect"}

            async def send(message: dict[str, object]) -> None:
                sent.append(message)

            scope = {
                "type": "websocket",
                "path": "/feed",
                "raw_path": b"/feed",
                "root_path": "",
                "query_string": b"",
                "headers": [(b"authorization", b"Bearer admin")],
                "client": ("10.0.0.7", 1),
                "subprotocols": [],
            }
            await app(scope, receive, send)  # type: ignore[arg-type]
            assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_idempotency_key_of_one_principal_is_not_anothers(
    settings: StorageConfig,
) -> None:
    async with serving(settings, WRITER, USUAL) as (_, client):
        ids = set()
        for name in ("writer", "usual"):
            response = await client.post(
                "/files/upload/image",
                files={"file": IMAGE},
                headers={**with_key(name), "Idempotency-Key": "1"},
            )
            ids.add(response.json()["file_id"])
        assert len(ids) == 2
        stats = httpx.Headers(with_key("usual"))
        client.headers.update(stats)
        assert await counted(client) == (2, 0)
