"""Schemathesis over the published document: no failure of ours, and every answer as promised."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from uuid import UUID

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
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.testing.containers import in_memory_container

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 30
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
    "duration_seconds": 10,
}
OPAQUE = ("sha256", "image_sha256", "video_sha256", "Content-Digest", "cursor")


# A job for each operation on one.
JOBS = {
    path: UUID(int=number)
    for number, path in enumerate(
        ("/jobs/{job_id}", "/jobs/{job_id}/cancel", "/jobs/{job_id}/retry"), start=1
    )
}


DOCUMENT = create_storage_app(container=in_memory_container()).openapi()


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
    """Where a service runs, in a thread of its own, with a violation V001 and its image."""
    container = in_memory_container()
    server = LiveServer(create_storage_app(container=container))
    stop = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(_serve(server, container, stop),))
    thread.start()
    try:
        _store_some(server.url)
        yield server.url
    finally:
        stop.set()
        thread.join()


def _store_some(url: str) -> None:
    with httpx.Client(base_url=url, transport=httpx.HTTPTransport(retries=5)) as client:
        response = client.post("/violations", files={"image_file": IMAGE}, data=RECORD)
        assert response.status_code == 201


async def _serve(server: LiveServer, container: Container, stop: threading.Event) -> None:
    repo = container._record_repo()
    await repo.enqueue([NewJob(job_id, JobKind("sweep")) for job_id in JOBS.values()])
    await repo.cancel_job(JOBS["/jobs/{job_id}/retry"])
    async with server:
        await asyncio.to_thread(stop.wait)


@pytest.mark.parametrize(("path", "method", "mode"), list(cases()))
def test_every_answer_is_as_published(
    url: str, path: str, method: str, mode: GenerationMode
) -> None:
    def check(case: Case) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS)

    explore(path, method, mode, check)


@pytest.mark.parametrize(
    ("path", "method"), [(p, m) for p, m, mode in cases() if mode is GenerationMode.POSITIVE]
)
def test_every_good_answer_is_as_published(url: str, path: str, method: str) -> None:
    statuses: set[int] = set()
    token = httpx.get(f"{url}/files/V001~image/url").json()["url"].rpartition("/")[2]

    def check(case: Case) -> None:
        make_plausible(case, path, token)
        statuses.add(case.call_and_validate(base_url=url, checks=CHECKS).status_code)

    explore(path, method, GenerationMode.POSITIVE, check)
    assert statuses & {200, 201}, statuses


def explore(path: str, method: str, mode: GenerationMode, check: Callable[[Case], None]) -> None:
    """Run `check` on many cases of one operation."""
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method.upper()]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        check(case)

    run()


def make_plausible(case: Case, path: str, token: str) -> None:
    """Replace what a schema can't describe: files, JSON in texts, digests, ids of what is there."""
    if isinstance(case.body, dict):
        body = plausible(case.body)
        case.multipart_content_types = {"file": "image/jpeg"}
        if path == "/files/upload/video":
            body["file"] = video()[1]
            case.multipart_content_types = {"file": "video/mp4"}
        case.body = body
    elif case.operation.body:
        case.body, case.media_type = IMAGE[1], "image/jpeg"
    case.query = plausible(case.query or {})
    for name in OPAQUE:
        case.headers.pop(name, None)
    if path.startswith("/files/{file_id}") and not case.operation.body:
        case.path_parameters = {"file_id": "V001~image"}
    elif path == "/violations/{violation_id}":
        case.path_parameters = {"violation_id": "V001"}
    elif path in JOBS:
        case.path_parameters = {"job_id": str(JOBS[path])}
    elif path == "/access/{token}":
        case.path_parameters = {"token": token}


def plausible(given: dict[str, Any]) -> dict[str, Any]:
    """These fields with what passes every check."""
    kept = {name: value for name, value in given.items() if name not in OPAQUE}
    return {name: PLAUSIBLE.get(name, value) for name, value in kept.items()}
