"""Snapshots by HTTP."""

import httpx

from tests.entrypoints.http.test_retention import upload
from tests.entrypoints.http.test_scopes import READER, key_line, serving, with_key
from traffic_storage.application.snapshots.jobs import CREATE
from traffic_storage.domain.jobs import Run
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.settings import StorageConfig

ASYNC = {"Prefer": "respond-async"}


async def test_a_snapshot_is_made_verified_restored_and_deleted(client: httpx.AsyncClient) -> None:
    await upload(client, "a")
    made = await client.post("/lifecycle/snapshot", json={"name": "daily"})
    assert made.status_code == 201, made.text
    assert made.json()["files"] == 1
    again = await client.post("/lifecycle/snapshot", json={"name": "daily"})
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    assert (await client.post("/lifecycle/snapshot", json={"name": "../x"})).status_code == 422
    listed = (await client.get("/lifecycle/snapshots")).json()
    assert [one["name"] for one in listed["snapshots"]] == ["daily"]
    verified = await client.post("/lifecycle/snapshots/daily/verify")
    assert verified.json()["valid"] is True
    restored = await client.post("/lifecycle/snapshots/daily/restore", json={"dry_run": True})
    assert (restored.json()["files_present"], restored.json()["dry_run"]) == (1, True)
    whole = await client.post("/lifecycle/snapshots/daily/restore")
    assert (whole.status_code, whole.json()["complete"]) == (200, True)
    assert (await client.post("/lifecycle/snapshots/other/verify")).status_code == 404
    deleted = await client.delete("/lifecycle/snapshots/daily")
    assert (deleted.status_code, deleted.json()["objects_deleted"]) == (200, 1)
    assert (await client.delete("/lifecycle/snapshots/daily")).status_code == 404


async def test_long_ones_become_jobs(client: httpx.AsyncClient, container: Container) -> None:
    await upload(client, "a")
    started = await client.post("/lifecycle/snapshot", json={"name": "daily"}, headers=ASYNC)
    assert (started.status_code, started.json()["kind"]) == (202, CREATE)
    assert started.json()["arguments"] == {"name": "daily"}
    job = await container.jobs().job(started.json()["job_id"])
    run = Run(job.job_id, job.job_id, job.kind, job.arguments, 1, 8)
    await container.handlers()[CREATE](run, lambda _progress: None)
    again = await client.post("/lifecycle/snapshot", json={"name": "daily"}, headers=ASYNC)
    assert again.status_code == 409
    for what in ("verify", "restore"):
        answer = await client.post(f"/lifecycle/snapshots/daily/{what}", headers=ASYNC)
        assert (answer.status_code, answer.json()["kind"]) == (202, f"{what}_snapshot")
        missing = await client.post(f"/lifecycle/snapshots/other/{what}", headers=ASYNC)
        assert missing.status_code == 404


async def test_keys_of_devices_and_without_the_scope_are_refused(settings: StorageConfig) -> None:
    bound = key_line("bound", Scope.MAINTENANCE, devices=("cam-*",))
    async with serving(settings, READER, bound) as (_, client):
        for name in ("reader", "bound"):
            answer = await client.get("/lifecycle/snapshots", headers=with_key(name))
            assert answer.status_code == 403
