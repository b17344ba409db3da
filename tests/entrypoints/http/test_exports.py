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
from tests.support.jobs import do_jobs
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.export_target.memory import InMemoryKeptExports
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.sweep import SWEEP
from traffic_storage.domain.jobs import NewJob
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


ASYNC = {"Prefer": "respond-async"}


async def test_a_job_makes_the_file_that_is_fetched_later(
    client: httpx.AsyncClient, container: Container
) -> None:
    await fill(container)
    query = {"format": "ndjson", "columns": "timestamp,violation_id", "zone": "Europe/Madrid"}
    query |= {"start_date": "2025-11-01T01:00:00Z"}
    asked = await client.get("/exports/violations", params=query, headers=ASYNC)
    assert (asked.status_code, asked.headers["preference-applied"]) == (202, "respond-async")
    place = asked.headers["location"]
    assert place == f"/exports/{asked.json()['job_id']}"
    waiting = await client.get(place)
    assert (waiting.status_code, waiting.json()["state"]) == (202, "ready")
    assert int(waiting.headers["retry-after"]) > 0
    await do_jobs(container)
    file = await client.get(place)
    assert file.content == (await client.get("/exports/violations", params=query)).content
    assert len(file.content.splitlines()) == 2
    assert file.headers["content-type"] == "application/x-ndjson"
    assert file.headers["content-disposition"] == 'attachment; filename="violations.ndjson"'
    digest = hashlib.sha256(file.content).hexdigest()
    assert file.headers["etag"] == f'"{digest}"'
    head = await client.head(place)
    assert int(head.headers["content-length"]) == len(file.content)
    job = (await client.get(place.replace("exports", "jobs"))).json()
    assert job["result"]["location"] == f"memory:/exports/{job['job_id']}.ndjson"
    assert {name: job["result"][name] for name in ("rows", "bytes", "sha256")} == {
        "rows": 2,
        "bytes": len(file.content),
        "sha256": digest,
    }
    assert job["progress"]["done"] == 2
    problem(await client.get("/exports/violations?zone=x", headers=ASYNC), 422, "invalid-input")
    unknown = await client.get("/exports/0199a0c4-5d00-7000-8000-000000000000")
    problem(unknown, 404, "not-found")


async def test_a_job_makes_a_package_or_says_why_not(
    client: httpx.AsyncClient, container: Container
) -> None:
    await fill(container)
    body = {"violation_ids": ["V0", "V1"]}
    asked = await client.post("/exports/package", json=body, headers=ASYNC)
    assert asked.status_code == 202
    again = await client.post("/exports/package", json={"violation_ids": ["V2"]}, headers=ASYNC)
    unknown = await client.post("/exports/package", json={"violation_ids": ["V9"]}, headers=ASYNC)
    problem(unknown, 404, "not-found")
    reason = {"reason": "a test", "override": "1"}
    assert (await client.delete("/violations/V2", params=reason)).status_code == 200
    await do_jobs(container)
    file = await client.get(asked.headers["location"])
    with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
        manifest = archive.read("manifest.json")
    assert file.headers["manifest-sha256"] == hashlib.sha256(manifest).hexdigest()
    failed = await client.get(again.headers["location"])
    assert "V2" in problem(failed, 409, "wrong-state")["detail"]


async def test_a_file_of_a_job_is_removed_after_its_time_and_never_sent_altered(
    client: httpx.AsyncClient, container: Container
) -> None:
    await fill(container)
    kept, clock = container.kept_exports(), container.clock()
    assert isinstance(kept, InMemoryKeptExports)
    assert isinstance(clock, ManualClock)
    asked = await client.get("/exports/violations", headers=ASYNC)
    await do_jobs(container)
    name = f"{asked.json()['job_id']}.csv"
    intact, kept.files[name] = kept.files[name], b"altered"
    problem(await client.get(asked.headers["location"]), 503, "unavailable")
    kept.files[name] = intact
    for days, status in ((6, 200), (2, 404)):
        clock.advance(timedelta(days=days))
        job = NewJob(container.ids().uuid7(), SWEEP)
        await container._record_repo().enqueue([job])
        await do_jobs(container)
        assert (await client.get(asked.headers["location"])).status_code == status


async def test_a_key_gets_the_files_that_it_may_see(settings: StorageConfig) -> None:
    lines = (
        key_line("north", Scope.EVIDENCE_READ, devices=("cam-1",)),
        key_line("south", Scope.EVIDENCE_READ, devices=("cam-0",)),
        key_line("office", Scope.EVIDENCE_READ),
        key_line("camera", Scope.EVIDENCE_WRITE),
    )
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, evolve(settings, api_keys=lines))
    app = create_storage_app(container=container)
    await fill(container)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        asked = await client.get("/exports/violations", headers=with_key("north") | ASYNC)
        place = asked.headers["location"]
        whole = await client.get("/exports/violations", headers=with_key("office") | ASYNC)
        other = await client.post(
            "/exports/package", json={"violation_ids": ["V0"]}, headers=with_key("north") | ASYNC
        )
        problem(other, 404, "not-found")
        await do_jobs(container)
        for key, status in (("north", 200), ("office", 200), ("south", 404), ("camera", 403)):
            assert (await client.get(place, headers=with_key(key))).status_code == status
        own = (await client.get(place, headers=with_key("north"))).text
        assert [row["violation_id"] for row in csv.DictReader(io.StringIO(own))] == ["V1"]
        refused = await client.get(whole.headers["location"], headers=with_key("north"))
        assert refused.status_code == 404
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
