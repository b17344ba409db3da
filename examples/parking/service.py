"""A small FastAPI service that embeds Traffic Storage and keeps its evidence there.

The service takes the use cases from a container. A test replaces every adapter in the container
(see `test_service.py`); in production, the settings choose the adapters:

    uvicorn --factory examples.parking.service:create_app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from traffic_storage import (
    Conflict,
    Container,
    InvalidInput,
    NotFound,
    StorageConfig,
    TrafficStorageError,
    Upload,
    ViolationQuery,
    ViolationRecord,
    build,
    running,
)
from traffic_storage.entrypoints.views import ViolationView, violation_view, violation_views

STATUSES: dict[type[TrafficStorageError], int] = {InvalidInput: 422, Conflict: 409, NotFound: 404}


def create_app(container: Container | None = None) -> FastAPI:
    """Return the service; if no container is given, build one from the configuration.

    The service's lifespan starts and closes the container.
    """
    parts = container or build(StorageConfig.load())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(parts):
            yield

    app = FastAPI(title="Parking control", lifespan=lifespan)
    app.add_exception_handler(TrafficStorageError, _refused)

    @app.put("/tickets/{number}", status_code=201)
    async def issue(
        number: str, plate: str, bay: str, seen_at: datetime, request: Request
    ) -> ViolationView:
        """Issue a parking ticket. The request body is the photograph."""
        record = ViolationRecord(
            violation_id=f"parking-{number}",
            device_id=bay,
            violation_type="parking",
            timestamp=seen_at,
            vehicle_bbox=[0, 0, 1, 1],
            vehicle_class="car",
            confidence=1.0,
            camera_info={"plate": plate},
        )
        photograph = Upload(request.stream(), request.headers.get("content-type"))
        stored = await parts.store_evidence()(record, photograph)
        return violation_view(stored.violation)

    @app.get("/bays/{bay}/tickets")
    async def tickets(
        bay: str, limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> list[ViolationView]:
        """Return the latest tickets of a bay."""
        page = await parts.find().violations(ViolationQuery(device_id=bay, limit=limit))
        return violation_views(page.items)

    @app.get("/tickets/{number}/photograph")
    async def photograph(number: str) -> Response:
        """Return the verified photograph of a ticket."""
        data, file = await parts.read_files().whole(f"parking-{number}~image")
        return Response(data, media_type=file.content_type)

    return app


async def _refused(_: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 503)
    return JSONResponse({"detail": str(error)}, status)
