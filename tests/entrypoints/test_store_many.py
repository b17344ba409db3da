"""`store_many` of both services: results in order, on real disks and databases."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import media
from tests.support.servers import PostgresAddress
from tests.support.setups import on_database
from traffic_storage import (
    BlockingStorageService,
    Conflict,
    InvalidInput,
    ItemResult,
    NewFile,
    NewViolation,
    NotFound,
    StorageConfig,
    StorageService,
    ViolationRecord,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
FRAME = np.zeros((4, 6, 3), np.uint8)


def record(number: int, **changes: Any) -> ViolationRecord:
    fields: dict[str, Any] = {
        "violation_id": f"V{number:04d}",
        "device_id": f"cam_{number % 3}",
        "violation_type": "speed",
        "timestamp": NOON + timedelta(seconds=number),
        "vehicle_bbox": [0, 0, 2, 2],
        "vehicle_class": "car",
        "confidence": 0.9,
    }
    return ViolationRecord(**(fields | changes))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[StorageService]:
    async with StorageService(StorageConfig(local_base_path=tmp_path)) as service:
        yield service


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[BlockingStorageService]:
    with StorageService.sync(StorageConfig(local_base_path=tmp_path)) as storage:
        yield storage


async def results(service: StorageService, items: Any) -> list[ItemResult]:
    return [result async for result in service.store_many(items)]


async def test_results_come_in_order_and_say_what_is_stored(service: StorageService) -> None:
    clip = media.video("mp4")
    items = [
        record(1),
        NewViolation(record(2), FRAME, clip, channel_order="BGR"),
        NewFile("image", FRAME, "still", {"device_id": "cam_1"}),
        NewFile("video", clip, "clip", filename="clip.mp4"),
        NewFile("metadata", {"words": [1, 2]}, "note"),
    ]
    found = await results(service, items)
    assert [one.index for one in found] == [0, 1, 2, 3, 4]
    assert [one.item for one in found] == items
    assert all(one.created and one.error is None for one in found)
    assert [sorted(one.files) for one in found] == [
        ["metadata"],
        ["image", "metadata", "video"],
        ["image"],
        ["video"],
        ["metadata"],
    ]
    for one in found:
        for view in one.files.values():
            assert await service.get_file(view["file_id"]) == view
    assert (await service.get_file("clip"))["original_name"] == "clip.mp4"
    pixels, view = await service.retrieve_image("V0002~image")
    assert view["channel_order"] == "BGR"
    np.testing.assert_array_equal(pixels, FRAME)
    again = await results(service, items)
    assert [(one.created, one.error) for one in again] == [(False, None)] * 5


async def test_what_is_wrong_with_an_item_is_in_its_result(service: StorageService) -> None:
    await service.store_violation_evidence(record(1))
    missing: Any = None
    items: list[Any] = [
        record(1, confidence=0.1),
        NewViolation(record(2), missing),
        NewFile("sound", b"bytes"),
        NewFile("metadata", b"bytes"),
        NewFile("image", b"bytes", "a/b"),
        {"violation_id": "V3"},
        record(4),
        NewFile("image", media.shipped_jpeg(), "still", sha256="0" * 64),
    ]
    found = await results(service, items)
    assert [type(one.error) for one in found[:6]] == [Conflict, *[InvalidInput] * 5]
    assert found[6].created
    told = [str(one.error) for one in found]
    for text, expected in zip(
        told,
        [
            "its record differs in confidence",
            "cv2.imread",
            "must be image or video or metadata",
            "content: is a bytes",
            "file_id",
            "give a ViolationRecord, a NewViolation or a NewFile",
            "None",
            "0" * 64,
        ],
        strict=True,
    ):
        assert expected in text
    assert all(one.files == {} for one in found if one.error)


async def test_items_may_come_from_an_asynchronous_iterator(service: StorageService) -> None:
    async def items() -> AsyncIterator[ViolationRecord]:
        for number in range(5):
            yield record(number)

    assert sum([one.created for one in await results(service, items())]) == 5


async def test_no_iterable_is_refused(service: StorageService) -> None:
    with pytest.raises(InvalidInput, match="give an iterable of items"):
        await results(service, 5)


async def test_an_error_of_the_iterator_and_an_early_end_leave_whole_items(
    service: StorageService,
) -> None:
    def items() -> Iterator[ViolationRecord]:
        yield from map(record, range(600))
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended"):
        await results(service, items())
    async with aclosing(service.store_many(map(record, range(1000, 3000)))) as found:
        async for one in found:
            assert one.created
            break
    violation, _ = await service.get_violation("V1000")
    assert violation["violation_id"] == "V1000"
    assert (await service.get_file("V0511~metadata"))["violation_id"] == "V0511"
    with pytest.raises(NotFound):
        await service.get_file("V0599~metadata")


def test_a_script_reads_the_items_in_its_own_thread(blocking: BlockingStorageService) -> None:
    with closing(sqlite3.connect(":memory:")) as old:
        old.execute("CREATE TABLE old (number INTEGER)")
        old.executemany("INSERT INTO old VALUES (?)", [(number,) for number in range(100)])
        rows = old.execute("SELECT number FROM old ORDER BY number")
        found = list(blocking.store_many(record(number) for (number,) in rows))
    assert [one.index for one in found] == list(range(100))
    assert all(one.created for one in found)
    mixed: list[Any] = [record(100), NewFile("image", FRAME, "still"), record(100, confidence=0.1)]
    assert [type(one.error) for one in blocking.store_many(mixed)] == [
        type(None),
        type(None),
        Conflict,
    ]
    assert blocking.get_storage_statistics()["database"]["violations"] == 101


def test_a_script_may_stop_early(blocking: BlockingStorageService) -> None:
    for one in blocking.store_many(map(record, range(2000))):
        assert one.created
        break
    violation, _ = blocking.get_violation("V0000")
    assert violation["violation_id"] == "V0000"


async def test_on_postgresql_rows_are_those_of_single_stores(
    tmp_path: Path, postgres: PostgresAddress
) -> None:
    rows, counters = [], []
    for side in ("many", "single"):
        with postgres.temporary_database() as database:
            settings = StorageConfig(local_base_path=tmp_path / side, **on_database(database))
            async with StorageService(settings) as service:
                records = [record(number) for number in range(130)]
                if side == "many":
                    assert all(one.created for one in await results(service, records))
                else:
                    for one in records:
                        await service.store_violation_evidence(one)
                page = await service.find_violations(limit=1000)
                rows.append([{**one, "received_at": None} for one in page.items])
                usage = await service._container._record_repo().usage()
                counters.append((usage.violations, usage.files))
                assert not await service._container._record_repo().condemn(NOON.replace(year=9999))
    assert rows[0] == rows[1]
    assert counters[0] == counters[1]
