"""The examples of the source document and of the contract, for every strategy, on both set-ups."""

import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import photograph, shipped_jpeg, video
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy, ViolationRecord

Setup = Callable[[StorageStrategy], StorageConfig]


@pytest.fixture(params=["embedded", "servers"])
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Setup:
    """A configuration for a strategy: embedded (with S3 where it is needed), or on servers."""
    servers: dict[str, Any] = {}
    bucket = request.getfixturevalue("s3_bucket")
    if request.param == "servers":
        servers["bucket"] = bucket
        servers["database"] = request.getfixturevalue("postgres_database")
        servers["db_timeout_seconds"] = PATIENT_SECONDS
        servers["redis"] = request.getfixturevalue("redis_database")

    def made(strategy: StorageStrategy) -> StorageConfig:
        # Without a worker, which would copy meanwhile.
        more = {"bucket": bucket} if strategy.needs_cloud else {}
        return config(tmp_path, workers=0, **more | servers)

    return made


@pytest.fixture(params=list(StorageStrategy))
async def storage(
    request: pytest.FixtureRequest, setup: Setup, no_leaks: None
) -> AsyncIterator[StorageService]:
    """A service, made as the source makes it."""
    service = StorageService(setup(request.param), request.param)
    yield service
    await service.aclose()


def violation_record(**changes: Any) -> ViolationRecord:
    """The record of the source's example."""
    given: dict[str, Any] = {
        "violation_id": "V001",
        "device_id": "cam_001",
        "violation_type": "speed",
        "timestamp": datetime.now(),
        "vehicle_bbox": [100, 100, 200, 200],
        "vehicle_class": "car",
        "confidence": 0.95,
        "image_path": "",
        "camera_info": {"location": "Main St"},
        "processing_time_ms": 150.0,
        "model_versions": {"detector": "yolov8"},
    }
    return ViolationRecord(**given | changes)


async def test_complete_evidence_is_stored_queried_and_handed_out(storage: StorageService) -> None:
    evidence_image, video_bytes = photograph(), video("mp4")
    record = violation_record()

    stored_files = await storage.store_violation_evidence(
        violation_record=record, image=evidence_image, video_segment=video_bytes
    )

    assert list(stored_files) == ["image", "video", "metadata"]
    assert stored_files["video"]["duration_seconds"] == pytest.approx(2.0, abs=0.1)

    violations = await storage.get_violation_records(
        device_id="cam_001",
        violation_type="speed",
        start_time=datetime.now() - timedelta(days=7),
        limit=100,
    )
    assert [(v["violation_id"], v["violation_type"]) for v in violations] == [("V001", "speed")]
    assert violations[0]["zone_assumed"] == "UTC"

    file_data, metadata = await storage.retrieve_file(violations[0]["video_path"])
    assert file_data == video_bytes
    assert metadata == stored_files["video"]

    image, _ = await storage.retrieve_image(violations[0]["image_path"])
    assert image.shape == evidence_image.shape
    assert np.abs(image.astype(int) - evidence_image).mean() < 10

    again = await storage.store_violation_evidence(
        violation_record=record, image=evidence_image, video_segment=video_bytes
    )
    assert again == stored_files


async def test_individual_files_are_stored_and_come_back(storage: StorageService) -> None:
    frame, video_bytes = photograph(), video("mp4", seconds=10)
    image_metadata = await storage.store_image(
        image=frame,
        file_id="detection_001",
        metadata={"device_id": "cam_001", "timestamp": "2025-11-01T10:00:00"},
    )
    video_metadata = await storage.store_video_segment(
        video_data=video_bytes, file_id="segment_001", duration_seconds=10.0
    )
    metadata_file = await storage.store_metadata(
        data={"detections": [{"class": "car"}], "analysis_results": {"speed_kmh": 93}},
        file_id="analysis_001",
    )

    assert image_metadata["device_id"] == "cam_001"
    assert image_metadata["captured_at"] == "2025-11-01T10:00:00+00:00"
    # A capture so long before receipt is not taken for true unless it is stated to be historic.
    received = datetime.fromisoformat(image_metadata["created_at"])
    expires = datetime.fromisoformat(image_metadata["expires_at"])
    assert expires == received + timedelta(days=90)
    assert video_metadata["duration_seconds"] == 10.0
    assert metadata_file["content_type"] == "application/json"

    file_data, metadata = await storage.retrieve_file("detection_001")
    assert metadata == image_metadata
    assert len(file_data) == metadata["size_bytes"]
    image, _ = await storage.retrieve_image("detection_001")
    assert image.shape == frame.shape

    access_url = storage.generate_access_url("detection_001", expires_in=3600)
    assert access_url.startswith("http://localhost:8001/access/")


async def test_statistics_count_what_was_stored_and_read(
    storage: StorageService, setup: Setup
) -> None:
    await storage.store_image(image=shipped_jpeg(), file_id="camera_jpeg")
    for _ in range(2):
        data, _ = await storage.retrieve_file("camera_jpeg")
        assert data == shipped_jpeg()

    stats = await storage.get_storage_statistics()

    assert 0 <= stats["local_storage"]["usage_percentage"] <= 100
    assert stats["operation_stats"]["files_stored"] == 1
    assert stats["operation_stats"]["files_retrieved"] == 2
    local, cloud = stats["local_storage"]["files"], stats["cloud_storage"]["files"]
    assert local + cloud == 1
    # A cache on the network is not asked for what lies on the local disk.
    on_network = setup(StorageStrategy.LOCAL_ONLY).redis_host is not None
    assert stats["operation_stats"]["cache_hits"] == (cloud if on_network else 1)


async def test_what_was_stored_is_there_when_the_service_is_opened_again(
    setup: Setup, no_leaks: None
) -> None:
    settings = setup(StorageStrategy.HYBRID)
    async with StorageService(settings, StorageStrategy.HYBRID) as first:
        stored = await first.store_image(image=shipped_jpeg())

    async with StorageService(settings, StorageStrategy.HYBRID) as second:
        data, metadata = await second.retrieve_file(stored["file_id"])

    assert data == shipped_jpeg()
    assert metadata == stored


async def test_the_modules_log_in_detail_under_one_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with StorageService(config(tmp_path), StorageStrategy.LOCAL_ONLY) as storage:
            await storage.store_metadata({"a": 1}, "analysis_001")

    own = [record for record in caplog.records if record.name.startswith("traffic_storage")]
    assert any("analysis_001" in record.getMessage() for record in own)
    assert not logging.getLogger("traffic_storage").handlers
