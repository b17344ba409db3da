"""Inputs and checks that several tests of the HTTP service share."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.support import media
from traffic_storage.entrypoints.http.problems import MEDIA_TYPE

RECORD = {
    "violation_id": "V001",
    "device_id": "cam_001",
    "violation_type": "speed",
    "timestamp": "2025-11-01T10:00:00",
    "vehicle_bbox": "[100,100,200,200]",
    "vehicle_class": "car",
    "confidence": "0.95",
    "processing_time_ms": "150",
}
IMAGE = ("evidence.jpg", media.shipped_jpeg(), "image/jpeg")


def video() -> tuple[str, bytes, str]:
    """A short MP4 as a form field."""
    return ("segment.mp4", media.video("mp4", seconds=0.4), "video/mp4")


def problem(response: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """The problem document of a refusal, checked for form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE.decode()
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:traffic-storage:problem:{name}", document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["instance"].endswith(document["request_id"])
    return document


def fields_of(document: Mapping[str, Any]) -> list[str]:
    """The fields that a problem names."""
    return [error["field"] for error in document["errors"]]


async def counted(client: httpx.AsyncClient) -> tuple[int, int]:
    """How many files and violations are stored."""
    stats = (await client.get("/storage/stats")).json()
    tiers = (stats["local_storage"], stats["cloud_storage"])
    return sum(tier["files"] for tier in tiers), stats["database"]["violations"]
