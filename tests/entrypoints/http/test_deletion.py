"""`/holds`, deleting, undeleting and certificates; what is deleted answers 410 with the reason."""

import hashlib
import json
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from tests.entrypoints.http.evidence import IMAGE, RECORD, fields_of, problem
from tests.entrypoints.http.test_scopes import key_line, serving, with_key
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.domain.principal import Scope
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.settings import StorageConfig

HOLD = {"case_reference": "2025/7", "reason": "objection"}
WHY = {"reason": "stored by mistake", "override": "1"}


@pytest.fixture
async def stored(client: httpx.AsyncClient) -> str:
    """An image of a camera."""
    labels = {"file_id": "F", "device_id": "cam_001"}
    answer = await client.post("/files/upload/image", files={"file": IMAGE}, data=labels)
    assert answer.status_code == 201
    return "F"


async def purged(container: Container) -> None:
    """Let the grace end, and purge."""
    clock = container.clock()
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(days=8))
    await container.purge().due()


async def test_a_deleted_file_is_gone_with_a_reason(
    client: httpx.AsyncClient, container: Container, stored: str
) -> None:
    refused = await client.delete(f"/files/{stored}", params={"reason": "a mistake"})
    assert "inside-retention" in problem(refused, 409, "inside-retention")["type"]
    assert fields_of(problem(await client.delete("/files/F"), 422, "invalid-input")) == ["reason"]
    deleted = await client.delete(f"/files/{stored}", params=WHY)
    assert deleted.status_code == 200
    assert (deleted.json()["state"], deleted.json()["deleted"]) == ("tombstoned", ["F"])
    for address in ("/files/F", "/files/F/metadata", "/files/F/url"):
        gone = problem(await client.get(address), 410, "deleted")
        assert (gone["state"], gone["reason"]) == ("tombstoned", "stored by mistake")
        assert gone["purge_after"] == deleted.json()["purge_after"]
        assert gone["certificate"] is None
    problem(await client.get("/files/F/certificate"), 404, "not-found")
    problem(await client.get("/files/other"), 404, "not-found")
    await purged(container)
    gone = problem(await client.get("/files/F"), 410, "deleted")
    assert gone["state"] == "purged"
    found = (await client.get(gone["certificate"])).json()
    assert found["certificate"]["reason"] == "stored by mistake"
    text = json.dumps(
        found["certificate"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert hashlib.sha256(text.encode()).hexdigest() == found["certificate_sha256"]
    problem(await client.delete("/files/F", params=WHY), 410, "deleted")
    again = await client.post("/files/upload/image", files={"file": IMAGE}, data={"file_id": "F"})
    assert "purged" in problem(again, 409, "conflict")["detail"]


async def test_an_undeleted_file_is_back(client: httpx.AsyncClient, stored: str) -> None:
    await client.delete("/files/F", params=WHY)
    answer = await client.post("/files/F/undelete", json={"reason": "it is needed"})
    assert (answer.status_code, answer.json()["state"]) == (200, "available")
    assert (await client.get("/files/F")).content == IMAGE[1]
    again = await client.post("/files/F/undelete", json={"reason": "again"})
    problem(again, 409, "wrong-state")
    wrong = await client.post("/files/F/undelete", json={})
    assert fields_of(problem(wrong, 422, "invalid-input")) == ["reason"]
    problem(await client.post("/files/F/undelete", content=b"x"), 415, "unsupported-body")


async def test_a_violation_goes_and_comes_back(
    client: httpx.AsyncClient, container: Container
) -> None:
    await client.post("/violations", data=RECORD, files={"image_file": IMAGE})
    name = RECORD["violation_id"]
    await client.delete(f"/files/{name}~image", params=WHY)
    (listed,) = (await client.get("/violations")).json()["violations"]
    assert (listed["image_state"], listed["video_state"]) == ("tombstoned", None)
    deleted = await client.delete(f"/violations/{name}", params=WHY)
    assert deleted.json()["deleted"] == [f"{name}~metadata"]
    problem(await client.get(f"/violations/{name}"), 410, "deleted")
    back = await client.post(f"/violations/{name}/undelete", json={"reason": "it is needed"})
    assert back.json()["image_state"] == "available"
    await client.delete(f"/violations/{name}", params=WHY)
    await purged(container)
    gone = problem(await client.get(f"/violations/{name}"), 410, "deleted")
    found = (await client.get(gone["certificate"])).json()["certificate"]
    assert found["violation"]["violation_id"] == name


async def test_a_hold_prevents_deletion_until_it_is_released(
    client: httpx.AsyncClient, stored: str
) -> None:
    placed = await client.post("/holds", json={**HOLD, "file_id": stored})
    assert placed.status_code == 201
    hold = placed.json()
    assert (hold["file_id"], hold["tombstoned"], hold["purging"]) == ("F", 0, 0)
    problem(await client.delete("/files/F", params=WHY), 409, "held")
    assert [one["hold_id"] for one in (await client.get("/holds")).json()["holds"]] == [
        hold["hold_id"]
    ]
    address = f"/holds/{hold['hold_id']}/release"
    released = await client.post(address, json={"reason": "the case is closed"})
    assert released.json()["release_reason"] == "the case is closed"
    problem(await client.post(address, json={"reason": "again"}), 409, "wrong-state")
    unknown = await client.post(f"/holds/{uuid4()}/release", json={"reason": "again"})
    problem(unknown, 404, "not-found")
    assert (await client.get("/holds")).json()["holds"] == []
    assert (await client.get("/holds", params={"active": "false"})).json()["count"] == 1
    assert (await client.delete("/files/F", params=WHY)).status_code == 200


async def test_a_hold_on_a_range(client: httpx.AsyncClient, stored: str) -> None:
    wanted = {
        **HOLD,
        "device_id": "cam_001",
        "start_time": "2020-01-01T00:00:00",
        "end_time": "2099-01-01T00:00:00",
        "kind": "image",
    }
    await client.delete("/files/F", params=WHY)
    placed = (await client.post("/holds", json=wanted)).json()
    assert (placed["tombstoned"], placed["kind"]) == (1, "image")
    first = await client.get("/holds", params={"limit": 1})
    assert "link" not in first.headers
    await client.post("/holds", json={**wanted, "include_future": True})
    first = await client.get("/holds", params={"limit": 1})
    rest = await client.get(first.links["next"]["url"])
    assert [rest.json()["count"], rest.json()["next_cursor"]] == [1, None]


async def test_a_wrong_hold_is_described(client: httpx.AsyncClient) -> None:
    wrong = await client.post("/holds", json={"file_id": "F", "violation_id": "V", "until": "x"})
    assert set(fields_of(problem(wrong, 422, "invalid-input"))) >= {
        "case_reference",
        "reason",
        "until",
    }
    unknown = await client.post("/holds", json={**HOLD, "file_id": "unknown"})
    problem(unknown, 404, "not-found")


async def test_scopes_and_devices(settings: StorageConfig) -> None:
    """A key of one camera sees nothing of another's deleted files, and places no hold."""
    keys = (
        key_line("writer", Scope.EVIDENCE_WRITE),
        key_line("eraser", Scope.EVIDENCE_DELETE, Scope.EVIDENCE_READ),
        key_line("court", Scope.HOLD),
        key_line(
            "camera",
            *(Scope.EVIDENCE_DELETE, Scope.EVIDENCE_READ, Scope.HOLD),
            devices=("cam_002",),
        ),
    )
    async with serving(settings, *keys) as (_, client):
        labels = {"file_id": "F", "device_id": "cam_001"}
        await client.post(
            "/files/upload/image",
            files={"file": IMAGE},
            data=labels,
            headers=with_key("writer"),
        )
        for name in ("writer", "court"):
            refused = await client.delete("/files/F", params=WHY, headers=with_key(name))
            problem(refused, 403, "missing-scope")
        hidden = await client.delete("/files/F", params=WHY, headers=with_key("camera"))
        problem(hidden, 404, "not-found")
        body = {**HOLD, "file_id": "F"}
        for name in ("eraser", "camera"):
            answer = await client.post("/holds", json=body, headers=with_key(name))
            assert answer.status_code == 403, name
        answer = await client.post("/holds", json=body, headers=with_key("court"))
        hold_id = answer.json()["hold_id"]
        await client.post(
            f"/holds/{hold_id}/release", json={"reason": "closed"}, headers=with_key("court")
        )
        deleted = await client.delete("/files/F", params=WHY, headers=with_key("eraser"))
        assert deleted.json()["actor"] == "eraser"
        problem(await client.get("/files/F", headers=with_key("eraser")), 410, "deleted")
        for address in ("/files/F", "/files/F/metadata", "/files/F/certificate"):
            hidden = await client.get(address, headers=with_key("camera"))
            problem(hidden, 404, "not-found")
