"""`/exports/…`: files of violations, streamed; problems before the first byte, cuts behind it."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from attrs import evolve

from tests.entrypoints.http.conftest import BASE_URL
from tests.entrypoints.http.evidence import problem
from tests.entrypoints.http.live import LiveServer
from tests.entrypoints.http.test_scopes import key_line, with_key
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.principal import Scope
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.tabular import Batch, Column
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container
from traffic_storage.ports.errors import CatalogueUnavailable

START = datetime(2025, 11, 1, tzinfo=UTC)


async def fill(container: Container, count: int = 3) -> None:
    await container.runtime().start()
    for number in range(count):
        record = ViolationRecord(
            violation_id=f"V{number}",
            device_id=f"cam-{number % 2}",
            violation_type="speed",
            timestamp=START + timedelta(hours=number),
            vehicle_bbox=[1, 2, 3, 4],
            vehicle_class="car",
            confidence=0.5,
        )
        await container.store_evidence()(record, None, None, historic=True)


async def test_violations_are_sent_as_a_file(
    client: httpx.AsyncClient, container: Container
) -> None:
    await fill(container)
    answer = await client.get("/exports/violations")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="violations.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["violation_id"] for row in rows] == ["V2", "V1", "V0"]
    query = {
        "format": "ndjson",
        "device_id": "cam-0",
        "end_date": "2025-11-01T02:00:00Z",
        "columns": "timestamp,violation_id",
        "zone": "Europe/Madrid",
    }
    some = await client.get("/exports/violations", params=query)
    assert some.text == '{"timestamp":"2025-11-01T01:00:00+01:00","violation_id":"V0"}\n'
    head = await client.head("/exports/violations", params={"format": "xlsx"})
    assert head.headers["content-disposition"] == 'attachment; filename="violations.xlsx"'
    for name, start in (("parquet", b"PAR1"), ("xlsx", b"PK"), ("geojson", b'{"type"')):
        other = await client.get("/exports/violations", params={"format": name})
        assert other.status_code == 200
        assert other.content.startswith(start)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "pdf"}, "format"),
        ({"columns": "speed"}, "columns"),
        ({"zone": "Nowhere"}, "zone"),
        ({"decimal": "x"}, "decimal"),
        ({"start_date": "2025-11-02", "end_date": "2025-11-01"}, "start_date"),
        ({"format": "geojson", "columns": "violation_id"}, "columns"),
    ],
)
async def test_wrong_queries_are_problems(
    client: httpx.AsyncClient, query: dict[str, str], field: str
) -> None:
    answer = await client.get("/exports/violations", params=query)
    found = problem(answer, 422, "invalid-input")
    assert [one["field"] for one in found["errors"]] == [field]


async def test_a_key_exports_only_violations_of_its_devices(settings: StorageConfig) -> None:
    line = key_line("camera", Scope.EVIDENCE_READ, devices=("cam-1",))
    keyed = evolve(settings, api_keys=(line,))
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, keyed)
    app = create_storage_app(container=container)
    await fill(container)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url=BASE_URL, headers=with_key("camera")
    ) as client:
        rows = list(csv.DictReader(io.StringIO((await client.get("/exports/violations")).text)))
        assert [row["violation_id"] for row in rows] == ["V1"]
        other = await client.get("/exports/violations", params={"device_id": "cam-0"})
        assert other.status_code == 422
    await container.runtime().aclose()


class Breaking(InMemoryRecordRepo):
    """A database that fails at a page of the table of violations."""

    def __init__(self, good_pages: int, **more: Any) -> None:
        super().__init__(**more)
        self.good_pages = good_pages

    async def table_page(
        self, query: ViolationQuery, columns: Sequence[Column], rows: int
    ) -> Batch:
        if not self.good_pages:
            raise CatalogueUnavailable("the database is gone")
        self.good_pages -= 1
        return await super().table_page(query, columns, 2)


@pytest.mark.parametrize("good_pages", [0, 1])
async def test_a_failure_is_a_problem_or_cuts_the_connection(
    settings: StorageConfig, good_pages: int
) -> None:
    repo = Breaking(good_pages)
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings, record_repo=repo)
    await fill(container)
    async with (
        LiveServer(create_storage_app(container=container)) as live,
        httpx.AsyncClient(base_url=live.url) as client,
    ):
        if good_pages:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/exports/violations")
        else:
            problem(await client.get("/exports/violations"), 503, "unavailable")
    await container.runtime().aclose()


async def test_a_package_is_sent_with_the_digest_of_its_manifest(
    client: httpx.AsyncClient, container: Container
) -> None:
    await fill(container)
    answer = await client.post("/exports/package", json={"violation_ids": ["V0", "V1"]})
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="evidence.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        manifest = archive.read("manifest.json")
    assert answer.headers["manifest-sha256"] == hashlib.sha256(manifest).hexdigest()
    assert json.loads(manifest)["violations"] == ["V0", "V1"]
    unknown = await client.post("/exports/package", json={"violation_ids": ["V0", "V9"]})
    problem(unknown, 404, "not-found")
    bodies: list[dict[str, Any]] = [{}, *({"violation_ids": ids} for ids in ([], "V0", [1]))]
    for wrong in bodies:
        problem(await client.post("/exports/package", json=wrong), 422, "invalid-input")
    form = await client.post("/exports/package", data={"violation_ids": "V0"})
    problem(form, 415, "unsupported-body")


async def test_incomplete_evidence_is_a_problem_unless_it_is_asked_for(
    client: httpx.AsyncClient, container: Container
) -> None:
    await fill(container)
    asked: dict[str, Any] = {"violation_ids": ["V0"], "profile": "example-es-speed"}
    told = problem(await client.post("/exports/package", json=asked), 409, "incomplete-evidence")
    assert "V0.camera_info.certificate" in [one["field"] for one in told["errors"]]
    answer = await client.post("/exports/package", json={**asked, "allow_incomplete": True})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        found = json.loads(archive.read("manifest.json"))["completeness"]
    assert found["complete"] is False
    wrong = {**asked, "profile": "nowhere-speed"}
    problem(await client.post("/exports/package", json=wrong), 422, "invalid-input")
