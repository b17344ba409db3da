"""`validate_on_store` by HTTP: the result is in the file's metadata, a refusal names all findings."""

from collections.abc import AsyncIterator

import httpx
import pytest
from attrs import evolve

from tests.entrypoints.http.conftest import BASE_URL
from tests.support.damage import blurred
from tests.support.media import encode, photograph
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.quality.assessment import ValidationMode
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container


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
