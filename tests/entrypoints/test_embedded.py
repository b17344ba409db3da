"""`StorageService` told wrongly: who has no type checker gets an error in words."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from traffic_storage import InvalidInput, StorageConfig, StorageService
from traffic_storage.domain.errors import UnsupportedMedia


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Any]:
    async with StorageService(StorageConfig(local_base_path=tmp_path)) as storage:
        yield storage


async def test_a_record_that_is_none_is_named(storage: Any) -> None:
    with pytest.raises(InvalidInput, match="violation_record: is a dict, not a ViolationRecord"):
        await storage.store_violation_evidence({"violation_id": "V001"})


@pytest.mark.parametrize("field", ["start_time", "end_time"])
async def test_a_time_that_is_none_is_named(storage: Any, field: str) -> None:
    with pytest.raises(InvalidInput, match=f"{field}: is a str, not a datetime"):
        await storage.get_violation_records(**{field: "2025-11-01"})


async def test_an_image_that_is_none_is_told_what_may_be_one(storage: Any) -> None:
    with pytest.raises(InvalidInput, match=r"image: is a list .*array"):
        await storage.store_image([[0, 0, 0]])


async def test_metadata_is_no_image_and_how_it_is_read_is_said(storage: Any) -> None:
    await storage.store_metadata({"vehicles": 7}, "M")
    with pytest.raises(UnsupportedMedia, match="retrieve_file"):
        await storage.retrieve_image("M")
