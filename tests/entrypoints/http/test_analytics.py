"""`/analytics/…`."""

import httpx
import pytest

from tests.entrypoints.http.test_scopes import CAMERA, serving, with_key
from tests.support.jobs import do_jobs
from tests.support.media import shipped_jpeg
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.settings import StorageConfig


async def stored(client: httpx.AsyncClient, file_id: str) -> None:
    files = {"file": ("x.jpg", shipped_jpeg(), "image/jpeg")}
    given = {"file_id": file_id, "device_id": "cam_1"}
    response = await client.post("/files/upload/image", files=files, data=given)
    assert response.status_code == 201


async def test_storage_patterns(client: httpx.AsyncClient) -> None:
    await stored(client, "X")
    await stored(client, "Y")
    response = await client.get("/analytics/storage", params={"seed": 3})
    assert response.status_code == 200
    body = response.json()
    assert (body["files"], body["sampled"], body["storage_efficiency"]) == (2, 2, 0.5)
    assert body["devices"][0]["device_id"] == "cam_1"
    assert body["duplicates"]["groups"][0]["file_ids"] == ["X", "Y"]
    assert (await client.get("/analytics/storage?seed=-1")).status_code == 422


async def test_quality_and_violations(client: httpx.AsyncClient) -> None:
    await stored(client, "X")
    body = (await client.get("/analytics/quality", params={"sample_size": 10})).json()
    assert (body["sampled"], body["valid_records"]) == (1, 1)
    of_device = await client.get("/analytics/quality", params={"device_id": "cam_1"})
    assert of_device.json()["sampled"] == 1
    assert (await client.get("/analytics/quality?device_id=cam_9")).status_code == 404
    refused = await client.get("/analytics/quality?sample_size=0")
    assert refused.status_code == 422
    assert "give an integer from 1 to 1000" in refused.text
    assert "of at least 0" in (await client.get("/analytics/quality?seed=-1")).text
    patterns = (await client.get("/analytics/violations")).json()
    assert (patterns["violations"], len(patterns["by_hour"])) == (0, 24)
    for wrong in ("start_date=2026-02-01&end_date=2026-01-01", "zone=Nowhere", "start_date=x"):
        assert (await client.get(f"/analytics/violations?{wrong}")).status_code == 422
    assert (await client.get("/analytics/violations?device_id=cam_9")).status_code == 404


@pytest.mark.parametrize(
    "what",
    [
        "quality?sample_size=10&device_id=cam_1",
        "storage?seed=3",
        "violations?start_date=2025-11-01T00:00:00&zone=Europe/Madrid",
    ],
)
async def test_a_job_makes_the_analysis_that_is_fetched_later(
    client: httpx.AsyncClient, container: Container, what: str
) -> None:
    await stored(client, "X")
    asked = await client.get(f"/analytics/{what}", headers={"Prefer": "respond-async"})
    assert asked.status_code == 202
    place = asked.headers["location"]
    assert (await client.get(place)).status_code == 202
    await do_jobs(container)
    assert (await client.get(place)).json() == (await client.get(f"/analytics/{what}")).json()


async def test_a_key_that_is_bound_to_devices_sees_no_analysis(settings: StorageConfig) -> None:
    async with serving(settings, CAMERA) as (_, client):
        for what in ("quality", "storage", "violations"):
            response = await client.get(f"/analytics/{what}", headers=with_key("camera"))
            assert response.status_code == 403
