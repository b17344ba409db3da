"""`/jobs`: lists of jobs, one job, cancelling and retrying it."""

from uuid import uuid4

import httpx

from traffic_storage.domain.jobs import Claim, Dead, JobKind, NewJob
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.testing.contracts.jobs import LEASE

KIND = JobKind("copy")


async def written(container: Container, count: int = 1) -> list[str]:
    jobs = [NewJob(uuid4(), KIND, {"file_id": "a"}) for _ in range(count)]
    for job in jobs:
        await container._record_repo().enqueue([job])
    return [str(job.job_id) for job in jobs]


async def killed(container: Container) -> str:
    """Write a job that is given up."""
    (job_id,) = await written(container)
    repo = container._record_repo()
    (run,) = await repo.claim(Claim(uuid4(), "worker", (KIND,), 1, LEASE))
    await repo.finish(run, Dead("the file is broken"))
    return job_id


async def test_pages_of_jobs(container: Container, client: httpx.AsyncClient) -> None:
    ids = await written(container, 3)
    first = await client.get("/jobs", params={"limit": 2})
    assert first.status_code == 200
    assert first.json()["count"] == 2
    rest = await client.get(first.links["next"]["url"])
    assert rest.json()["next_cursor"] is None
    seen = [job["job_id"] for job in first.json()["jobs"] + rest.json()["jobs"]]
    assert sorted(seen) == sorted(ids)


async def test_jobs_of_a_state_and_a_kind(container: Container, client: httpx.AsyncClient) -> None:
    dead = await killed(container)
    await written(container)
    found = (await client.get("/jobs", params={"state": "dead", "kind": "copy"})).json()["jobs"]
    assert [(job["job_id"], job["error"]) for job in found] == [(dead, "the file is broken")]
    assert (await client.get("/jobs", params={"kind": "sweep"})).json()["jobs"] == []
    wrong = await client.get("/jobs", params={"state": "asleep"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "state"


async def test_a_job_is_cancelled_once(container: Container, client: httpx.AsyncClient) -> None:
    (job_id,) = await written(container)
    assert (await client.get(f"/jobs/{job_id}")).json()["state"] == "ready"
    cancelled = await client.post(f"/jobs/{job_id}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    again = await client.post(f"/jobs/{job_id}/cancel")
    assert again.status_code == 409
    assert again.json()["type"] == "urn:traffic-storage:problem:wrong-state"


async def test_a_dead_job_is_retried(container: Container, client: httpx.AsyncClient) -> None:
    job_id = await killed(container)
    retried = (await client.post(f"/jobs/{job_id}/retry")).json()
    assert (retried["state"], retried["attempts"]) == ("ready", 0)
    assert (await client.post(f"/jobs/{job_id}/retry")).status_code == 409


async def test_an_unknown_job(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/jobs/{uuid4()}")).status_code == 404
    assert (await client.get("/jobs/7")).status_code == 422
