"""`POST /migrations`: counted at once, brought by a job, to targets that the operator has named."""

from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from attrs import evolve

from tests.support.media import shipped_jpeg
from traffic_storage.application.worker import GivenUp
from traffic_storage.domain.jobs import Done, Progress, Run
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.settings import StorageConfig

RANGE = {"start_date": "2025-10-01T00:00:00", "end_date": "2025-11-01T00:00:00"}
VIOLATION = {
    "violation_id": "V001",
    "device_id": "cam_001",
    "violation_type": "speed",
    "timestamp": "2025-10-05T10:00:00",
    "vehicle_bbox": "[100,100,200,200]",
    "vehicle_class": "car",
    "confidence": "0.95",
    "historic": "true",
}


@pytest.fixture
def settings(settings: StorageConfig, tmp_path: Path) -> StorageConfig:
    """With one target, `new`, and one whose settings are wrong."""
    folder = tmp_path / "targets"
    folder.mkdir()
    new = f'local_base_path = "{tmp_path / "new"}"\nlocal_reserve_gb = 0.0\n'
    (folder / "new.toml").write_text(new)
    (folder / "wrong.toml").write_text("max_local_size_gb = -1\n")
    return evolve(settings, migration_targets=folder)


async def run_of(container: Container, answer: httpx.Response) -> Run:
    """The run of the job that an answer tells of."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    job = await container._record_repo().job(UUID(answer.json()["job_id"]))
    assert job is not None
    return Run(job.job_id, uuid4(), job.kind, job.arguments, 1, 8)


async def test_violations_are_counted_then_brought_by_a_job(
    container: Container, client: httpx.AsyncClient
) -> None:
    image = {"image_file": ("x.jpg", shipped_jpeg(), "image/jpeg")}
    stored = await client.post("/violations", data=VIOLATION, files=image)
    assert stored.status_code == 201, stored.text
    asked = {"target": "new", **RANGE}
    counted = await client.post("/migrations", json={**asked, "dry_run": True})
    assert counted.status_code == 200, counted.text
    assert (counted.json()["migrated_records"], counted.json()["migrated_files"]) == (1, 2)
    shown: list[Progress] = []
    for message in (
        "1 violation, 2 files brought; equal by all bytes; sealed",
        "0 violations, 0 files brought; equal by all bytes; sealed",
    ):
        answer = await client.post("/migrations", json={**asked, "seal": True})
        run = await run_of(container, answer)
        outcome = await container.handlers()[run.kind](run, shown.append)
        assert isinstance(outcome.end, Done)
        assert outcome.end.progress is not None
        assert outcome.end.progress.message == message
    assert shown[0].done == 1
    refused = await client.post(
        "/violations", data={**VIOLATION, "violation_id": "V002"}, files=image
    )
    assert refused.status_code == 409
    assert "sealed (read only)" in refused.text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"target": "unknown", **RANGE}, "target"),
        ({"target": "../new", **RANGE}, "target"),
        ({"target": "new", **RANGE, "end_date": "2025-09-01"}, "end_date"),
        ({"target": "new", "start_date": "2025-09-01"}, "end_date"),
        ({"target": "new", **RANGE, "bytes_per_second": -1}, "bytes_per_second"),
    ],
)
async def test_wrong_fields_are_named(
    client: httpx.AsyncClient, given: dict[str, object], field: str
) -> None:
    answer = await client.post("/migrations", json=given)
    assert answer.status_code == 422, answer.text
    assert field in answer.text


async def test_a_target_with_wrong_settings_ends_its_job(
    container: Container, client: httpx.AsyncClient
) -> None:
    run = await run_of(
        container, await client.post("/migrations", json={"target": "wrong", **RANGE})
    )
    with pytest.raises(GivenUp, match="max_local_size_gb"):
        await container.handlers()[run.kind](run, lambda _: None)


async def test_the_names_of_the_targets_are_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/migrations", json={"target": "other", **RANGE})
    assert "give one of new, wrong" in answer.text
