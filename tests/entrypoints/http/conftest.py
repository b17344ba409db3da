"""The application for tests: in memory for what it says, behind a real server for how it says it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.entrypoints.http.live import LiveServer
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.http import create_storage_app
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import in_memory_container

BASE_URL = "http://localhost:8001"


@pytest.fixture
def settings(tmp_path: Path) -> StorageConfig:
    """Small limits, so that what exceeds them is small, too; but time enough for a busy machine."""
    return StorageConfig(
        local_base_path=tmp_path / "storage",
        url_signing_key="a-key-of-the-tests-" + "k" * 32,
        max_image_bytes=1024 * 1024,
        max_video_bytes=16 * 1024 * 1024,
        max_pixels=4_000_000,
        min_upload_bytes_per_second=0,
        workers=0,
    )


@pytest.fixture
async def container(settings: StorageConfig) -> AsyncIterator[Container]:
    """A service in memory, closed at the end of the test."""
    container = in_memory_container(StorageStrategy.LOCAL_ONLY, settings)
    yield container
    await container.runtime().aclose()


@pytest.fixture
def app(container: Container) -> FastAPI:
    """Its application."""
    return create_storage_app(container=container)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on this machine, without a network between."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as client,
    ):
        yield client


@pytest.fixture
async def live(app: FastAPI) -> AsyncIterator[LiveServer]:
    """The application behind uvicorn, on a port of its own."""
    async with LiveServer(app) as server:
        yield server
