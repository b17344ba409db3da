"""Schemathesis over the published document: no failure of ours, and every answer as promised."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.entrypoints.http.evidence import IMAGE, RECORD, video
from tests.entrypoints.http.live import LiveServer
from tests.support.jobs import do_jobs
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.incidents import Incident, IncidentKind, OpenIncident
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.testing.containers import NOON, in_memory_container

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 8
# A busy machine answers late; how fast it answers is no matter here.
PATIENCE_SECONDS = 60
Case: TypeAlias = "schemathesis.Case[Any]"

# What no schema can say, filled in so that good answers are seen, too.
PLAUSIBLE: dict[str, object] = {
    "file": IMAGE[1],
    "image_file": IMAGE[1],
    "video_file": video()[1],
    "metadata": '{"lane": 2}',
    "vehicle_bbox": "[100,100,200,200]",
    "camera_info": '{"location": "Main St"}',
    "model_versions": '{"detector": "yolov8"}',
    "timestamp": "2025-11-01T10:00:00",
    # Names are printable Unicode, which no short pattern tells from other texts.
    "device_id": "cam_001",
    "violation_type": "speed",
    "vehicle_class": "car",
    "duration_seconds": 1,
    "violation_ids": ["V001"],
    "profile": "example-es-speed",
}
OPAQUE = ("sha256", "image_sha256", "video_sha256", "Content-Digest", "cursor")


# What only other settings allow; `test_migrations.py` sees its good answers.
NOT_HERE = frozenset({"/migrations"})

# An incident for each operation on one.
INCIDENTS = {
    path: UUID(int=number)
    for number, path in enumerate(("/incidents/{incident_id}", "/incidents/{incident_id}/close"), 1)
}

# A job for each operation on one.
JOBS = {
    path: UUID(int=number)
    for number, path in enumerate(
        ("/jobs/{job_id}", "/jobs/{job_id}/cancel", "/jobs/{job_id}/retry"), start=1
    )
}


# What the operations that end something are made with: a file or violation for each.
ENDING = {
    ("/files/{file_id}", "DELETE"): {"file_id": "doomed"},
    ("/files/{file_id}/undelete", "POST"): {"file_id": "deleted"},
    ("/files/{file_id}/certificate", "GET"): {"file_id": "erased"},
    ("/violations/{violation_id}", "DELETE"): {"violation_id": "V-doomed"},
    ("/violations/{violation_id}/undelete", "POST"): {"violation_id": "V-deleted"},
    ("/violations/{violation_id}/certificate", "GET"): {"violation_id": "V-erased"},
}
HOLD: dict[str, Any] = {
    "case_reference": "2025/7",
    "reason": "objection",
    "file_id": "V001~image",
}
DELETION = {"reason": "a test", "override": "1"}


DOCUMENT = create_storage_app(container=in_memory_container()).openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


def cases() -> Iterator[tuple[str, str, GenerationMode]]:
    """Every operation (HEAD answers as GET does) with good input and, where some input can be
    wrong, with wrong one.
    """
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if method == "head":
                continue
            yield path, method, GenerationMode.POSITIVE
            free = {"type", "minLength", "title", "description", "examples"}
            bound = any(set(given["schema"]) - free for given in operation.get("parameters", ()))
            if bound or "requestBody" in operation:
                yield path, method, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where a service runs, in a thread of its own, with a violation V001 and its image.

    There are files and violations that are deleted or erased too, and a hold.
    """
    container = in_memory_container()
    server = LiveServer(create_storage_app(container=container))
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(_serve(server, container, stop, ready),))
    thread.start()
    try:
        ready.wait()
        yield server.url
    finally:
        stop.set()
        thread.join()


async def _serve(
    server: LiveServer, container: Container, stop: threading.Event, ready: threading.Event
) -> None:
    try:
        repo = container._record_repo()
        for incident_id in INCIDENTS.values():
            file_id = FileId(f"file-{incident_id}")
            kind = IncidentKind.BLOCKED_EVIDENCE
            opened = Incident(incident_id, kind, NOON, file_id, "no copy could be verified")
            await repo.apply(OpenIncident(opened))
        async with server:
            transport = httpx.AsyncHTTPTransport(retries=5)
            async with httpx.AsyncClient(base_url=server.url, transport=transport) as client:
                await _store_some(client, container)
            # Last, so that nothing has done them.
            await repo.enqueue([NewJob(job_id, JobKind("sweep")) for job_id in JOBS.values()])
            await repo.cancel_job(JOBS["/jobs/{job_id}/retry"])
            ready.set()
            await asyncio.to_thread(stop.wait)
    finally:
        ready.set()


async def _store_some(client: httpx.AsyncClient, container: Container) -> None:
    for name in ("V001", "V-doomed", "V-deleted", "V-erased"):
        record = {**RECORD, "violation_id": name}
        response = await client.post("/violations", files={"image_file": IMAGE}, data=record)
        assert response.status_code == 201
    for name in ("doomed", "deleted", "erased"):
        form = {"file_id": name}
        await client.post("/files/upload/image", files={"file": IMAGE}, data=form)
    for address in ("/files/erased", "/violations/V-erased"):
        assert (await client.delete(address, params=DELETION)).status_code == 200
    clock = container.clock()
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(days=8))
    await container.purge().due()
    for address in ("/files/deleted", "/violations/V-deleted"):
        await client.delete(address, params=DELETION)
    asked = await client.get("/exports/violations", headers={"Prefer": "respond-async"})
    ENDING["/exports/{job_id}", "GET"] = {"job_id": asked.json()["job_id"]}
    await do_jobs(container)
    for name in ("S-1", "S-doomed"):
        made = await client.post("/lifecycle/snapshot", json={"name": name})
        assert made.status_code == 201
    placed = await client.post("/holds", json={**HOLD, "file_id": "V001~metadata"})
    ENDING["/holds/{hold_id}/release", "POST"] = {"hold_id": placed.json()["hold_id"]}


@pytest.mark.parametrize(("path", "method", "mode"), list(cases()))
def test_every_answer_is_as_published(
    url: str, path: str, method: str, mode: GenerationMode
) -> None:
    def check(case: Case) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=PATIENCE_SECONDS)

    explore(path, method, mode, check)


@pytest.mark.parametrize(
    ("path", "method"),
    [(p, m) for p, m, mode in cases() if mode is GenerationMode.POSITIVE and p not in NOT_HERE],
)
def test_every_good_answer_is_as_published(url: str, path: str, method: str) -> None:
    statuses: set[int] = set()
    token = (
        httpx.get(f"{url}/files/V001~image/url", timeout=PATIENCE_SECONDS)
        .json()["url"]
        .rpartition("/")[2]
    )

    def check(case: Case) -> None:
        make_plausible(case, path, token)
        if "{change_id}" in path:
            # A change can be entered once, and only while no other was.
            staged = httpx.put(f"{url}/retention/rules", json={}, timeout=PATIENCE_SECONDS).json()
            case.path_parameters = {"change_id": staged["change_id"]}
        statuses.add(
            case.call_and_validate(
                base_url=url, checks=CHECKS, timeout=PATIENCE_SECONDS
            ).status_code
        )

    explore(path, method, GenerationMode.POSITIVE, check)
    assert statuses & {200, 201, 202}, statuses


def explore(path: str, method: str, mode: GenerationMode, check: Callable[[Case], None]) -> None:
    """Run `check` on many cases of one operation."""
    operation = SCHEMA[path][method.upper()]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        check(case)

    run()


def make_plausible(case: Case, path: str, token: str) -> None:
    """Replace what a schema can't describe: files, JSON in texts, digests, ids of what is there."""
    if path == "/holds" and case.operation.body:
        case.body = HOLD
    elif isinstance(case.body, dict):
        body = plausible(case.body)
        case.multipart_content_types = {"file": "image/jpeg"}
        if path == "/files/upload/video":
            body["file"] = video()[1]
            case.multipart_content_types = {"file": "video/mp4"}
        if path == "/lifecycle/snapshot":
            # Another test of this module may have made one with the drawn name.
            body["name"] = f"S-{uuid4()}"
        case.body = body
    elif case.operation.body:
        case.body, case.media_type = IMAGE[1], "image/jpeg"
    case.query = plausible(case.query or {})
    for name in OPAQUE:
        case.headers.pop(name, None)
    name_what_is_there(case, path, token)


def name_what_is_there(case: Case, path: str, token: str) -> None:
    """Replace the ids in the path."""
    if (ending := ENDING.get((path, case.method))) is not None:
        case.path_parameters = dict(ending)
        if case.method == "DELETE":
            case.query = dict(DELETION)
    elif path.startswith("/files/{file_id}") and not case.operation.body:
        case.path_parameters = {"file_id": "V001~image"}
    elif path == "/violations/{violation_id}":
        case.path_parameters = {"violation_id": "V001"}
    elif path in INCIDENTS:
        case.path_parameters = {"incident_id": str(INCIDENTS[path])}
        if isinstance(case.body, dict):
            case.body = {"resolution": "the copy was restored"}
    elif path in JOBS:
        case.path_parameters = {"job_id": str(JOBS[path])}
    elif path.startswith("/lifecycle/snapshots/{name}"):
        case.path_parameters = {"name": "S-doomed" if case.method == "DELETE" else "S-1"}
    elif path == "/access/{token}":
        case.path_parameters = {"token": token}


def plausible(given: dict[str, Any]) -> dict[str, Any]:
    """These fields with what passes every check."""
    kept = {name: value for name, value in given.items() if name not in OPAQUE}
    return {name: PLAUSIBLE.get(name, value) for name, value in kept.items()}
