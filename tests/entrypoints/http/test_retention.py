"""Retention: rules, plans, clean-ups, and the explanation of a file."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from attrs import evolve

from tests.entrypoints.http.conftest import BASE_URL
from tests.entrypoints.http.test_scopes import key_line, with_key
from tests.support.media import shipped_jpeg
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Run
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

RULE: dict[str, Any] = {"rule_id": "radar", "days": 700, "device": "radar-*"}


async def upload(client: httpx.AsyncClient, file_id: str, device_id: str = "radar-1") -> None:
    given = {"file_id": file_id, "device_id": device_id}
    files = {"file": ("a.jpg", shipped_jpeg(), "image/jpeg")}
    answer = await client.post("/files/upload/image", data=given, files=files)
    assert answer.status_code == 201, answer.text


async def test_rules_are_staged_then_entered(client: httpx.AsyncClient) -> None:
    await upload(client, "a")
    staged = await client.put("/retention/rules", json={"rules": [RULE], "reason": "a law"})
    assert staged.status_code == 200, staged.text
    body = staged.json()
    assert body["effect"]["lengthened"] == 1
    assert body["effect"]["summary"].startswith("makes 0 files due, 0 of them held")
    assert (await client.get("/retention/rules")).json()["revision"] == 1
    entered = await client.post(f"/retention/rules/changes/{body['change_id']}/enter")
    assert (entered.status_code, entered.json()["revision"]) == (200, 2)
    assert entered.json()["change_id"] == body["change_id"]


async def test_a_change_that_is_stale_or_unknown(client: httpx.AsyncClient) -> None:
    stale = (await client.put("/retention/rules", json={})).json()
    other = (await client.put("/retention/rules", json={"rules": [RULE]})).json()
    await client.post(f"/retention/rules/changes/{other['change_id']}/enter")
    refused = await client.post(f"/retention/rules/changes/{stale['change_id']}/enter")
    assert refused.status_code == 409
    assert "revision 2 is in force" in refused.json()["detail"]
    unknown = await client.post(f"/retention/rules/changes/{uuid4()}/enter")
    assert unknown.status_code == 404
    assert (await client.post("/retention/rules/changes/x/enter")).status_code == 422


async def test_wrong_rules_are_named(client: httpx.AsyncClient) -> None:
    given = {"rules": [RULE, {"rule_id": "default-image", "days": 0}]}
    refused = await client.put("/retention/rules", json=given)
    assert refused.status_code == 422
    assert [one["field"] for one in refused.json()["errors"]] == ["rules[2].days"]
    unknown = await client.put("/retention/rules", json={"rulez": []})
    assert unknown.status_code == 422


async def test_rules_are_staged_by_a_job_if_the_client_prefers_it(
    container: Container, client: httpx.AsyncClient
) -> None:
    given = {"rules": [{"rule_id": "long", "days": 1000}], "reason": "a law"}
    patient = {"Prefer": "respond-async"}
    twice = {**given, "rules": 2 * [{"rule_id": "long", "days": 1000}]}
    assert (await client.put("/retention/rules", json=twice, headers=patient)).status_code == 422
    answer = await client.put("/retention/rules", json=given, headers=patient)
    assert (answer.status_code, answer.json()["kind"]) == (202, "stage-retention-rules")
    job_id = answer.json()["job_id"]
    staged = f"/retention/rules/changes/{job_id}"
    assert (await client.get(staged)).status_code == 404
    repo = container._record_repo()
    job = await repo.job(UUID(job_id))
    assert job is not None
    run = Run(job.job_id, uuid4(), job.kind, job.arguments, 1, 8)
    outcome = await container.handlers()[job.kind](run, lambda _: None)
    assert outcome.effect is not None
    await repo.apply(outcome.effect)
    assert (await client.get(staged)).json()["change_id"] == job_id
    assert (await client.post(f"{staged}/enter")).json()["revision"] == 2


async def test_a_file_is_explained(client: httpx.AsyncClient) -> None:
    await upload(client, "a")
    found = (await client.get("/files/a/explain")).json()
    assert found["retention_rule"] == "default-image"
    assert found["rule"]["days"] == 90
    assert found["why"][0].startswith("it must be kept until")
    assert (await client.get("/files/unknown/explain")).status_code == 404


async def due(container: Container, client: httpx.AsyncClient) -> None:
    """Store a file whose retention has ended."""
    await upload(client, "a")
    repo = container._record_repo()
    file = await repo.file(FileId("a"))
    assert file is not None
    ended = container.clock().now() - timedelta(days=1)
    basis = evolve(file.retention_basis, at=ended - timedelta(days=90))
    repo._files[file.file_id] = evolve(file, keep_until=ended, retention_basis=basis)  # type: ignore[attr-defined]


async def test_retention_is_planned_then_applied(
    container: Container, client: httpx.AsyncClient
) -> None:
    await due(container, client)
    plan = await client.post("/lifecycle/retention")
    assert plan.status_code == 200, plan.text
    assert [(line["rule"], line["files"]) for line in plan.json()["lines"]] == [
        ("default-image", 1)
    ]
    assert (await client.get("/files/a/metadata")).status_code == 200
    given = {"apply": True, "plan_id": plan.json()["plan_id"]}
    done = await client.post("/lifecycle/retention", json=given)
    assert done.status_code == 200, done.text
    assert (done.json()["files_deleted"], done.json()["held"]) == (1, 0)
    assert (await client.get("/files/a/metadata")).status_code == 410
    explained = (await client.get("/files/a/explain")).json()
    assert explained["state"] == "tombstoned"
    assert explained["deletion"]["rule"] == "default-image"
    unknown = {"apply": True, "plan_id": str(uuid4())}
    assert (await client.post("/lifecycle/retention", json=unknown)).status_code == 404


async def test_a_plan_is_applied_by_a_job_if_the_client_prefers_it(
    container: Container, client: httpx.AsyncClient
) -> None:
    await due(container, client)
    answer = await client.post(
        "/lifecycle/retention", json={"apply": True}, headers={"Prefer": "respond-async"}
    )
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{answer.json()['job_id']}"
    assert answer.json()["kind"] == "apply-retention"
    job = await container._record_repo().job(UUID(answer.json()["job_id"]))
    assert job is not None
    run = Run(job.job_id, uuid4(), job.kind, job.arguments, 1, 8)
    await container.handlers()[job.kind](run, lambda _: None)
    assert (await client.get("/files/a/metadata")).status_code == 410


async def test_a_clean_up_only_counts_by_default(
    container: Container, client: httpx.AsyncClient
) -> None:
    await due(container, client)
    counted = (await client.post("/storage/cleanup")).json()
    assert (counted["dry_run"], counted["local_files_deleted"]) == (True, 1)
    assert (await client.get("/files/a/metadata")).status_code == 200
    done = (await client.post("/storage/cleanup", json={"dry_run": False})).json()
    assert (done["dry_run"], done["local_files_deleted"]) == (False, 1)
    assert (done["cloud_files_deleted"], done["records_deleted"]) == (0, 0)
    assert (await client.get("/files/a/metadata")).status_code == 410


M, D = Scope.MAINTENANCE, Scope.EVIDENCE_DELETE
RETAIN, CLEAN, RULES = "/lifecycle/retention", "/storage/cleanup", "/retention/rules"


@pytest.mark.parametrize(
    ("scopes", "devices", "method", "path", "body", "status"),
    [
        ((M,), (), "POST", RETAIN, {}, 200),
        ((M,), (), "POST", RETAIN, {"apply": True}, 403),
        ((D,), (), "POST", RETAIN, {"apply": True}, 403),
        ((M, D), (), "POST", RETAIN, {"apply": True}, 200),
        ((M,), (), "POST", CLEAN, {}, 200),
        ((M,), (), "POST", CLEAN, {"dry_run": False}, 403),
        ((M, D), (), "POST", CLEAN, {"dry_run": False}, 200),
        ((Scope.EVIDENCE_READ,), (), "GET", RULES, None, 403),
        ((M,), (), "PUT", RULES, {}, 200),
        *(
            ((Scope.ADMIN,), ("cam_*",), method, path, {}, 403)
            for method, path in (("POST", RETAIN), ("POST", CLEAN), ("PUT", RULES))
        ),
    ],
)
async def test_who_may_delete_by_retention(
    scopes: tuple[Scope, ...],
    devices: tuple[str, ...],
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: int,
    settings: StorageConfig,
) -> None:
    settings = evolve(settings, api_keys=(key_line("ana", *scopes, devices=devices),))
    container = in_memory_container(settings=settings)
    app = create_storage_app(container=container)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        answer = await client.request(method, path, json=body, headers=with_key("ana"))
        assert answer.status_code == status, answer.text
    await container.runtime().aclose()
