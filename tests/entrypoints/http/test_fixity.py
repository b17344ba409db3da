"""`/fixity`, `/incidents` and `/files/{file_id}/replicas`."""

from datetime import timedelta

import httpx

from tests.support.media import shipped_jpeg
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.files import Tier
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper


async def stored(client: httpx.AsyncClient, file_id: str) -> None:
    files = {"file": ("x.jpg", shipped_jpeg(), "image/jpeg")}
    response = await client.post("/files/upload/image", files=files, data={"file_id": file_id})
    assert response.status_code == 201


async def damaged(container: Container, file_id: str) -> None:
    """Flip a bit of the only copy of a file, and verify it."""
    file = await container.find().file(file_id)
    (store,) = [one.store for one in container.stores() if one.store.tier is Tier.LOCAL]
    await tamper(store, file.replicas[0].key, Damage.FLIP)
    await verified(container)


async def verified(container: Container) -> None:
    """Verify all copies, a second after they were stored."""
    clock = container.clock()
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(seconds=1))
    await container.verify_replicas()()


async def test_coverage_and_history(client: httpx.AsyncClient, container: Container) -> None:
    await stored(client, "X")
    await verified(container)
    body = (await client.get("/fixity")).json()
    assert body["coverage"]["percentage"] == 100.0
    assert body["coverage"]["summary"] == "100.0 % within 30 days, the oldest 0.0 days ago"
    (store,) = body["coverage"]["stores"]
    assert (store["replicas"], store["overdue"]) == (1, 0)
    (day,) = body["history"]
    assert (day["replicas_checked"], day["bytes_checked"]) == (1, len(shipped_jpeg()))


async def test_a_run_is_started_once(client: httpx.AsyncClient) -> None:
    await stored(client, "X")
    response = await client.post("/fixity")
    assert response.status_code == 202
    (job,) = response.json()["jobs"]
    assert (job["kind"], job["state"]) == ("verify_store", "ready")
    assert (await client.get(f"/jobs/{job['job_id']}")).status_code == 200
    assert (await client.post("/fixity")).json() == {"jobs": []}


async def test_incidents_are_listed_and_closed(
    client: httpx.AsyncClient, container: Container
) -> None:
    for name in ("A", "B"):
        await stored(client, name)
        await damaged(container, name)
    page = (await client.get("/incidents", params={"open": "1", "limit": 1})).json()
    assert page["count"] == 1
    rest = await client.get(
        "/incidents", params={"open": "1", "limit": 1, "cursor": page["next_cursor"]}
    )
    names = [one["file_id"] for one in (*page["incidents"], *rest.json()["incidents"])]
    assert sorted(names) == ["A", "B"]
    incident = page["incidents"][0]
    place = f"/incidents/{incident['incident_id']}"
    assert (await client.get(place)).json() == incident

    assert (await client.post(f"{place}/close", json={"resolution": ""})).status_code == 422
    assert (await client.post(f"{place}/close", json={})).status_code == 422
    closed = await client.post(f"{place}/close", json={"resolution": "restored"})
    assert closed.status_code == 200
    assert (closed.json()["resolution"], closed.json()["closed_by"]) != ("", "")
    assert (await client.post(f"{place}/close", json={"resolution": "again"})).status_code == 409
    assert (await client.get("/incidents", params={"open": "0"})).json()["count"] == 1
    mine = {"file_id": incident["file_id"]}
    assert (await client.get("/incidents", params=mine)).json()["count"] == 1
    assert (await client.get("/incidents", params={"open": "x"})).status_code == 422
    unknown = "/incidents/0199a0c4-5d00-7000-8000-000000000000"
    assert (await client.get(unknown)).status_code == 404
    assert (await client.get("/incidents/x")).status_code == 422


async def test_the_copies_of_a_file(client: httpx.AsyncClient, container: Container) -> None:
    await stored(client, "X")
    body = (await client.get("/files/X/replicas")).json()
    (replica,) = body["replicas"]
    assert (body["file_id"], replica["state"], replica["tier"]) == ("X", "present", "local")
    await damaged(container, "X")
    (replica,) = (await client.get("/files/X/replicas")).json()["replicas"]
    assert replica["state"] == "corrupt"
    assert (await client.get("/files/Y/replicas")).status_code == 404


async def test_an_evidential_download_is_verified_and_on_record(
    client: httpx.AsyncClient, container: Container
) -> None:
    await stored(client, "X")
    response = await client.get("/files/X", params={"evidence": "1"})
    assert (response.status_code, response.content) == (200, shipped_jpeg())
    assert response.headers["cache-control"] == "no-store"
    part = await client.get("/files/X", params={"evidence": "1"}, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, shipped_jpeg()[10:20])
    await client.head("/files/X", params={"evidence": "1"})
    events = await container._record_repo().events(limit=100)
    produced = [one.event for one in events if one.event.kind is EventKind.PRODUCED]
    assert len(produced) == 2
    assert produced[0].details["by"] == "local"


async def test_an_evidential_download_of_a_bad_copy_is_refused_with_its_incident(
    client: httpx.AsyncClient, container: Container
) -> None:
    await stored(client, "X")
    assert (await client.get("/files/X")).content == shipped_jpeg()
    file = await container.find().file("X")
    (store,) = [one.store for one in container.stores() if one.store.tier is Tier.LOCAL]
    await tamper(store, file.replicas[0].key, Damage.FLIP)
    response = await client.get("/files/X", params={"evidence": "1"})
    problem = response.json()
    assert (response.status_code, problem["type"].rpartition(":")[2]) == (500, "no-good-replica")
    incident = (await client.get(f"/incidents/{problem['incident_id']}")).json()
    assert (incident["kind"], incident["file_id"]) == ("blocked_evidence", "X")
