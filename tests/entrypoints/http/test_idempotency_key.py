"""An `Idempotency-Key` names one request, with and without the file_id, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.http.conftest import BASE_URL
from tests.entrypoints.http.evidence import IMAGE, counted, problem
from tests.support import media
from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.setups import config
from traffic_storage import StorageConfig
from traffic_storage.entrypoints.http import create_storage_app

Post = Callable[..., Coroutine[Any, Any, httpx.Response]]
WHY = {"reason": "a test", "override": "true"}
OTHER_IMAGE = ("b.png", media.encoded("camera", "PNG"), "image/png")


@cache
def _film(seconds: float) -> tuple[str, bytes, str]:
    return ("segment.mp4", media.video("mp4", seconds=seconds), "video/mp4")


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    """A configuration with either database; bytes are on the disk."""
    servers: dict[str, Any] = {}
    if request.param == "postgres":
        servers["database"] = request.getfixturevalue("catalogue_database")
        servers["db_timeout_seconds"] = PATIENT_SECONDS
    return config(tmp_path, workers=0, **servers)


@pytest.fixture
async def client(settings: StorageConfig, no_leaks: None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    app = create_storage_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        yield client


@pytest.fixture(params=["image", "video", "metadata"])
def post(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Post:
    """Posts a file of one kind, or `other` content, with a key and attributes."""
    kind: str = request.param

    async def posted(key: str = "5f1a", *, other: bool = False, **fields: str) -> httpx.Response:
        url, headers = f"/files/upload/{kind}", {"Idempotency-Key": key}
        if kind == "metadata":
            document = {"lane": 2 if other else 1}
            return await client.post(url, json=document, params=fields, headers=headers)
        if kind == "image":
            files = {"file": OTHER_IMAGE if other else IMAGE}
        else:
            files = {"file": _film(0.6 if other else 0.4)}
        return await client.post(url, files=files, data=fields, headers=headers)

    return posted


async def test_with_an_id_and_then_without_is_one_request(
    client: httpx.AsyncClient, post: Post
) -> None:
    first = await post(file_id="mine", device_id="a")
    assert (first.status_code, first.json()["file_id"]) == (201, "mine")
    for fields in ({}, {"file_id": "mine"}, {}):
        again = await post(device_id="a", **fields)
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["location"] == "/files/mine"
    assert await counted(client) == (1, 0)


async def test_with_an_id_and_then_with_another_is_refused(
    client: httpx.AsyncClient, post: Post
) -> None:
    first = await post(file_id="mine")
    detail = problem(await post(file_id="other"), 422, "idempotency-key-reused")["detail"]
    assert "Idempotency-Key '5f1a'" in detail
    assert "file_id is 'mine', not 'other'" in detail
    assert (await client.get("/files/other")).status_code == 404
    again = await post()
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await post("5f1b", file_id="other")).status_code == 201
    assert await counted(client) == (2, 0)


async def test_without_an_id_and_then_with_one_is_refused(
    client: httpx.AsyncClient, post: Post
) -> None:
    first = await post()
    detail = problem(await post(file_id="mine"), 422, "idempotency-key-reused")["detail"]
    assert f"file_id is {first.json()['file_id']!r}, not 'mine'" in detail
    again = await post()
    assert (again.status_code, again.json()) == (200, first.json())
    assert await counted(client) == (1, 0)


async def test_other_content_or_labels_are_refused(client: httpx.AsyncClient, post: Post) -> None:
    first = await post(file_id="mine", device_id="a")
    problem(await post(other=True, device_id="a"), 422, "idempotency-key-reused")
    problem(await post(other=True, device_id="a", file_id="mine"), 409, "conflict")
    labels = problem(await post(device_id="b"), 422, "idempotency-key-reused")["detail"]
    assert "device_id is 'a', not 'b'" in labels
    # The key alone adds no label.
    problem(await post(device_id="a", violation_id="V1"), 422, "idempotency-key-reused")
    assert (await post(device_id="a")).json() == first.json()
    assert await counted(client) == (1, 0)


async def test_a_key_of_a_refused_request_is_not_used(
    client: httpx.AsyncClient, post: Post
) -> None:
    await post("5f1b", other=True, file_id="mine")
    problem(await post(file_id="mine"), 409, "conflict")
    stored = await post(file_id="other")
    assert stored.status_code == 201
    assert (await post()).json() == stored.json()
    assert await counted(client) == (2, 0)


async def test_a_key_stands_for_a_file_that_was_stored_without_it(
    client: httpx.AsyncClient,
) -> None:
    """Its labels may be more than the request with the key gives."""
    url, key = "/files/upload/image", {"Idempotency-Key": "5f1a"}
    named = {"file_id": "mine"}
    first = await client.post(url, files={"file": IMAGE}, data={**named, "device_id": "a"})
    for data in (named, {}, named):
        again = await client.post(url, files={"file": IMAGE}, data=data, headers=key)
        assert (again.status_code, again.json()) == (200, first.json())
    other = await client.post(url, files={"file": IMAGE}, data={"file_id": "o"}, headers=key)
    problem(other, 422, "idempotency-key-reused")
    assert await counted(client) == (1, 0)


async def test_labels_that_were_added_since_are_no_difference(
    client: httpx.AsyncClient, post: Post
) -> None:
    first = await post()
    file_id = first.json()["file_id"]
    labels = {"violation_id": "V1", "device_id": "a"}
    # Another key: the file is found by its id.
    added = await post("5f1b", file_id=file_id, **labels)
    assert added.json()["labels_added"] == sorted(labels)
    again = await post()
    assert (again.status_code, again.json()["file_id"]) == (200, file_id)
    problem(await post(device_id="b"), 422, "idempotency-key-reused")


async def test_images_and_videos_have_keys_of_their_own(client: httpx.AsyncClient) -> None:
    ids: dict[str, set[str]] = {}
    for kind, file in (("image", IMAGE), ("video", _film(0.4))):
        for data in ({"file_id": kind}, {}):
            response = await client.post(
                f"/files/upload/{kind}",
                files={"file": file},
                data=data,
                headers={"Idempotency-Key": "5f1a"},
            )
            ids.setdefault(kind, set()).add(response.json()["file_id"])
    assert ids == {"image": {"image"}, "video": {"video"}}


async def test_a_deleted_file_keeps_its_key(client: httpx.AsyncClient, post: Post) -> None:
    await post(file_id="mine")
    assert (await client.delete("/files/mine", params=WHY)).is_success
    detail = problem(await post(), 422, "idempotency-key-reused")["detail"]
    assert "tombstoned" in detail
    problem(await post(file_id="other"), 422, "idempotency-key-reused")
    assert (await client.get("/files/other")).status_code == 404


@pytest.mark.parametrize(
    "requests",
    [({"file_id": "mine"}, {}), ({}, {"file_id": "mine"}), ({"file_id": "mine"}, {"file_id": "o"})],
    ids=["named, alone", "alone, named", "two ids"],
)
async def test_of_requests_at_once_one_stores_the_file(
    client: httpx.AsyncClient, requests: tuple[dict[str, str], ...]
) -> None:
    keys = [f"key-{number}" for number in range(6)]

    async def send(key: str, fields: dict[str, str]) -> tuple[str, httpx.Response]:
        named = {"file_id": f"{fields['file_id']}-{key}"} if fields else {}
        return key, await client.post(
            "/files/upload/metadata",
            json={"lane": 1},
            params=named,
            headers={"Idempotency-Key": key},
        )

    answers = await asyncio.gather(*(send(key, one) for key in keys for one in requests * 2))
    for key in keys:
        own = [answer for named, answer in answers if named == key]
        good = [answer for answer in own if answer.status_code in {200, 201}]
        assert len({answer.json()["file_id"] for answer in good}) == 1
        assert sum(answer.status_code == 201 for answer in good) == 1
        for answer in own:
            if answer not in good:
                problem(answer, 422, "idempotency-key-reused")
    assert await counted(client) == (len(keys), 0)
