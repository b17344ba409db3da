"""`/retention/rules` and `/files/{file_id}/explain`."""

from typing import Any
from uuid import uuid4

import httpx

from tests.support.media import shipped_jpeg

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


async def test_a_file_is_explained(client: httpx.AsyncClient) -> None:
    await upload(client, "a")
    found = (await client.get("/files/a/explain")).json()
    assert found["retention_rule"] == "default-image"
    assert found["rule"]["days"] == 90
    assert found["why"][0].startswith("it must be kept until")
    assert (await client.get("/files/unknown/explain")).status_code == 404
