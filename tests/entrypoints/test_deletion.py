"""Holds, deletion and purge through `StorageService`, embedded and on servers."""

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.setups import config
from traffic_storage import (
    InvalidInput,
    NotFound,
    StorageService,
    StorageStrategy,
    ViolationRecord,
)
from traffic_storage.domain.deletion import Deleted, InsideRetention
from traffic_storage.domain.holds import Held

FRAME = np.zeros((4, 4, 3), np.uint8)
NOW = datetime.now(UTC)


@pytest.fixture(params=["embedded", "servers"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StorageService]:
    """A service that erases what is deleted at once."""
    servers: dict[str, Any] = {}
    strategy = StorageStrategy.LOCAL_ONLY
    if request.param == "servers":
        servers["bucket"] = request.getfixturevalue("s3_bucket")
        servers["database"] = request.getfixturevalue("catalogue_database")
        servers["db_timeout_seconds"] = PATIENT_SECONDS
        servers["redis"] = request.getfixturevalue("redis_database")
        strategy = StorageStrategy.CLOUD_ONLY
    settings = config(tmp_path, deletion_grace_days=0, workers=0, **servers)
    async with StorageService(settings, strategy) as storage:
        yield storage


async def test_a_file_is_held_then_erased(storage: StorageService) -> None:
    await storage.store_image(FRAME, "F", {"plate": "X 1"})
    await storage.retrieve_file("F")
    hold = await storage.place_hold("case 7", "objection", file_id="F", actor="judge")
    with pytest.raises(Held):
        await storage.delete_file("F", "space", override=True)
    assert [one["hold_id"] for one in (await storage.list_holds()).items] == [hold["hold_id"]]
    await storage.release_hold(hold["hold_id"], "closed")
    assert (await storage.list_holds()).items == ()
    with pytest.raises(InsideRetention):
        await storage.delete_file("F", "a mistake")
    done = await storage.delete_file("F", "a mistake", override=True, actor="clerk")
    assert (done["state"], done["actor"]) == ("purged", "clerk")
    with pytest.raises(Deleted, match="a mistake"):
        await storage.retrieve_file("F")
    found = await storage.destruction_certificate("F")
    assert "X 1" not in json.dumps(found)
    canonical = json.dumps(
        found["certificate"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert hashlib.sha256(canonical.encode()).hexdigest() == found["certificate_sha256"]
    with pytest.raises(NotFound):
        await storage.undelete_file("F", "again")


async def test_a_violation_is_erased(storage: StorageService) -> None:
    record = ViolationRecord(
        violation_id="V001",
        device_id="cam_001",
        violation_type="speed",
        timestamp=NOW,
        vehicle_bbox=[1, 2, 3, 4],
        vehicle_class="car",
        confidence=0.9,
    )
    await storage.store_violation_evidence(record, FRAME)
    hold = await storage.place_hold(
        "case 7",
        "objection",
        device_id="cam_001",
        start_time=NOW - timedelta(hours=1),
        end_time=NOW + timedelta(hours=1),
        kind="image",
        include_future=True,
        until=NOW + timedelta(days=1),
    )
    with pytest.raises(Held):
        await storage.delete_violation("V001", "a mistake", override=True)
    await storage.release_hold(hold["hold_id"], "closed")
    done = await storage.delete_violation("V001", "a mistake", override=True)
    assert sorted(done["deleted"]) == ["V001~image", "V001~metadata"]
    with pytest.raises(Deleted):
        await storage.get_violation("V001")
    found = await storage.violation_destruction_certificate("V001")
    assert found["certificate"]["violation_id"] == "V001"
    with pytest.raises(NotFound):
        await storage.undelete_violation("V001", "again")
    assert (await storage.get_storage_statistics())["database"]["violations"] == 0


async def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    async with StorageService(config(tmp_path, workers=0)) as storage:
        wrong: Any = 7
        with pytest.raises(InvalidInput, match="file_id"):
            await storage.delete_file(wrong, "a mistake")
        with pytest.raises(InvalidInput, match="override"):
            await storage.delete_file("F", "a mistake", override=wrong)
        with pytest.raises(InvalidInput, match="exactly one"):
            await storage.place_hold("case", "why")
        await storage.store_image(FRAME, "F")
        await storage.delete_file("F", "a mistake", override=True)
        assert (await storage.undelete_file("F", "back"))["state"] == "available"
