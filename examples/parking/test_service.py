"""Tests of the parking service on in-memory adapters, without disk and server."""

from collections.abc import AsyncIterator
from io import BytesIO

import httpx
import pytest
from PIL import Image

from examples.parking.service import create_app
from traffic_storage import StorageStrategy
from traffic_storage.testing import in_memory_container

TICKET = {"plate": "1234 BCD", "bay": "bay_7", "seen_at": "2026-03-14T11:00:00+00:00"}


@pytest.fixture(params=list(StorageStrategy))
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service on in-memory adapters, for each strategy."""
    app = create_app(in_memory_container(request.param))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parking") as client,
    ):
        yield client


def photograph(grey: int = 128) -> bytes:
    """Return a small JPEG."""
    out = BytesIO()
    Image.new("RGB", (64, 48), (grey, grey, grey)).save(out, "JPEG")
    return out.getvalue()


async def test_a_ticket_is_issued_found_and_its_photograph_comes_back_unaltered(
    client: httpx.AsyncClient,
) -> None:
    issued = await client.put("/tickets/42", params=TICKET, content=photograph())
    assert issued.status_code == 201
    assert issued.json()["image_path"] == "parking-42~image"

    listed = await client.get("/bays/bay_7/tickets")
    assert [ticket["violation_id"] for ticket in listed.json()] == ["parking-42"]

    picture = await client.get("/tickets/42/photograph")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content == photograph()


async def test_another_photograph_under_the_same_number_is_refused(
    client: httpx.AsyncClient,
) -> None:
    await client.put("/tickets/42", params=TICKET, content=photograph())

    again = await client.put("/tickets/42", params=TICKET, content=photograph(grey=9))

    assert again.status_code == 409


async def test_what_is_no_photograph_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.put("/tickets/42", params=TICKET, content=b"no picture")

    assert refused.status_code == 422
