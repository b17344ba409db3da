"""Validating by HTTP: when something is stored, and without storing anything."""

from collections.abc import AsyncIterator

import httpx
import pytest
from attrs import evolve

from tests.entrypoints.http.conftest import BASE_URL
from tests.entrypoints.http.evidence import IMAGE, RECORD, counted, fields_of, problem, video
from tests.entrypoints.http.test_scopes import CAMERA, READER, serving, with_key
from tests.support.damage import blurred
from tests.support.media import encode, photograph
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.quality.assessment import ValidationMode
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

Parts = dict[str, tuple[None, str]]


def form(**fields: str) -> Parts:
    """A multipart form without files: the record with these fields."""
    return {name: (None, text) for name, text in {**RECORD, **fields}.items()}


@pytest.fixture
async def strict(settings: StorageConfig) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that refuses what is not good enough."""
    refusing = evolve(settings, validate_on_store=ValidationMode.REFUSE)
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, refusing)
    app = create_storage_app(container=container)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        yield client
    await container.runtime().aclose()


async def test_what_is_good_is_stored_with_its_result(strict: httpx.AsyncClient) -> None:
    data = encode(photograph("chelsea"))
    answer = await strict.post("/files/upload/image", files={"file": data})
    assert answer.status_code == 201
    quality = answer.json()["quality"]
    assert (quality["valid"], quality["errors"]) == (True, [])
    stored = await strict.get(f"/files/{answer.json()['file_id']}/metadata")
    assert stored.json()["quality"] == quality


async def test_a_refusal_names_all_findings(strict: httpx.AsyncClient) -> None:
    data = encode(blurred(photograph("chelsea"), 6), "PNG")
    answer = await strict.post("/files/upload/image", files={"file": data})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"].endswith("low-quality")
    assert "image.metrics.acuity" in str(problem)
    assert (await strict.get("/files")).json()["files"] == []


async def test_a_violation_is_judged_and_nothing_is_stored(client: httpx.AsyncClient) -> None:
    files = {"image_file": IMAGE, "video_file": video()}
    answer = await client.post("/validate", data={**RECORD, "historic": "1"}, files=files)
    assert answer.status_code == 200
    found = answer.json()
    assert found["valid"]
    assert [one["kind"] for one in found["record"]["warnings"]] == [
        *("not_given", "not_given", "zone_assumed"),
    ]
    assert found["image"]["metrics"]["width"] == 640
    assert found["video"]["valid"]
    assert found["completeness"] is None
    assert await counted(client) == (0, 0)


async def test_what_is_wrong_is_in_the_answer(client: httpx.AsyncClient) -> None:
    wrong = {
        **RECORD,
        "confidence": "high",
        "vehicle_bbox": "[900,900,990,990]",
        "timestamp": "noon",
        "profile": "example-es-speed",
    }
    answer = await client.post("/validate", data=wrong, files={"image_file": ("a.jpg", b"text")})
    found = answer.json()
    assert not found["valid"]
    fields = {one["field"] for one in found["record"]["errors"]}
    assert fields == {"confidence", "timestamp"}
    assert [one["kind"] for one in found["image"]["errors"]] == ["unreadable"]
    completeness = found["completeness"]
    assert (completeness["profile"], completeness["example"]) == ("example-es-speed", True)
    assert "files.image" in {one["field"] for one in completeness["missing"]}
    as_json = (await client.post("/validate", json={"speed": 93, "historic": True})).json()
    assert "missing" in {one["kind"] for one in as_json["record"]["errors"]}
    assert "speed" in {one["field"] for one in as_json["record"]["warnings"]}


@pytest.mark.parametrize("confidence", [".5", "+0.5", "01", " 1e-1 ", "nan", "1_0"])
async def test_a_number_is_read_as_in_storing(client: httpx.AsyncClient, confidence: str) -> None:
    given = form(confidence=confidence, historic="1")
    as_json = {**RECORD, "vehicle_bbox": [100, 100, 200, 200], "confidence": confidence}
    stored = await client.post("/violations", files=given)
    for answer in (
        await client.post("/validate", files=given),
        await client.post("/validate", json={**as_json, "historic": True}),
    ):
        wrong = {one["field"] for one in answer.json()["record"]["errors"]}
        assert wrong == (set() if stored.status_code == 201 else {"confidence"})


async def test_an_image_alone_is_judged_as_such(client: httpx.AsyncClient) -> None:
    for content, valid in ((IMAGE, True), (("a.jpg", b"text"), False)):
        found = (await client.post("/validate", files={"image_file": content})).json()
        assert (found["valid"], found["image"]["valid"]) == (valid, valid)
        assert found["record"] is None
    nothing = (await client.post("/validate", json={})).json()
    assert nothing["record"]["valid"] is False


async def test_a_stored_violation_is_recognised_under_another_id(client: httpx.AsyncClient) -> None:
    stored = await client.post("/violations", files=form(historic="1"))
    assert stored.status_code == 201
    again = await client.post("/validate", files=form(violation_id="V002"))
    assert "duplicate" in {one["kind"] for one in again.json()["record"]["errors"]}
    itself = await client.post("/validate", files=form())
    assert "duplicate" not in {one["kind"] for one in itself.json()["record"]["errors"]}


async def test_only_what_concerns_the_request_is_a_problem(
    client: httpx.AsyncClient, settings: StorageConfig
) -> None:
    digest = "0" * 64
    whole = {**RECORD, "image_sha256": digest}
    answer = await client.post("/validate", data=whole, files={"image_file": IMAGE})
    problem(answer, 422, "digest-mismatch")
    for fields, named in (
        ({"image_sha256": digest}, "image_file"),
        ({"speed": "93"}, "speed"),
        ({"profile": "nowhere"}, "profile"),
    ):
        told = problem(await client.post("/validate", files=form(**fields)), 422, "invalid-input")
        assert fields_of(told) == [named]
    async with serving(settings, READER, CAMERA) as (_, guarded):
        reader, camera = with_key("reader"), with_key("camera")
        refused = await guarded.post("/validate", files=form(), headers=reader)
        problem(refused, 403, "missing-scope")
        assert (await guarded.post("/validate", files=form(), headers=camera)).status_code == 200
        foreign = form(device_id="gate")
        refused = await guarded.post("/validate", files=foreign, headers=camera)
        problem(refused, 403, "device-not-allowed")
