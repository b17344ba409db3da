"""`store_many` of both services: results in order, on real disks and databases."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


def frames_at(path: Path, shades: list[int]) -> Iterator[NewViolation | NewFile]:
    """Items with the same path, at which there is another picture each time, and finally none."""
    for number, shade in enumerate(shades):
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)
        yield (
            NewViolation(record(number), path)
            if number % 2
            else NewFile("image", path, f"F{number}")
        )
    path.unlink()


async def test_what_is_at_a_path_is_read_before_the_next_item(
    service: StorageService, tmp_path: Path
) -> None:
    found = await results(service, frames_at(tmp_path / "frame.png", [10, 20, 30, 40]))
    assert [one.error for one in found] == [None] * 4
    for name, shade in (("F0", 10), ("V0001~image", 20), ("F2", 30), ("V0003~image", 40)):
        pixels, _ = await service.retrieve_image(name)
        assert pixels[0, 0, 0] == shade


def test_a_script_may_overwrite_what_it_has_given(
    blocking: BlockingStorageService, tmp_path: Path
) -> None:
    found = list(blocking.store_many(frames_at(tmp_path / "frame.png", [10, 20, 30])))
    assert [one.error for one in found] == [None] * 3
    pixels, _ = blocking.retrieve_image("F2")
    assert pixels[0, 0, 0] == 30


async def test_videos_are_read_from_their_iterators_before_the_next_item(
    service: StorageService,
) -> None:
    clip, read = media.video("mp4"), []

    async def chunks(number: int) -> AsyncIterator[bytes]:
        yield clip
        read.append(number)

    def items() -> Iterator[NewFile]:
        for number in range(3):
            assert len(read) == number
            yield NewFile("video", chunks(number), f"clip{number}")

    assert [one.error for one in await results(service, items())] == [None] * 3


async def test_an_iterator_that_fails_is_the_error_of_its_item(service: StorageService) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield media.shipped_jpeg()[:100]
        raise OSError("the camera is gone")

    items = [
        NewFile("metadata", {"number": 1}, "before"),
        NewFile("image", broken(), "still"),
        NewFile("video", broken(), "clip"),
        NewViolation(record(1), broken()),
        NewFile("image", Path("/nothing/is/here.jpg"), "absent"),
        record(2),
    ]
    found = await results(service, items)
    assert [one.created for one in found] == [True, False, False, False, False, True]
    for one in found[1:4]:
        assert "OSError: the camera is gone" in str(one.error)
    assert "/nothing/is/here.jpg" in str(found[4].error)


async def test_arguments_that_do_not_apply_or_are_no_text_are_errors_of_their_item(
    service: StorageService,
) -> None:
    number: Any = 5
    found = await results(
        service,
        [
            NewFile("metadata", {"n": 1}, sha256="0" * 64, duration_seconds=1.0),
            NewFile("image", FRAME, accept_damaged_video=True),
            NewFile("video", b"", channel_order="BGR"),
            NewFile("image", media.shipped_jpeg(), content_type=number),
            NewFile("image", media.shipped_jpeg(), sha256=number),
            record(1),
        ],
    )
    told = [str(one.error) for one in found]
    assert [type(one.error) for one in found] == [*[InvalidInput] * 5, type(None)]
    for text, name in zip(
        told,
        ("sha256", "accept_damaged_video", "channel_order", "content_type", "sha256"),
        strict=False,
    ):
        assert name in text
    assert "duration_seconds: does not apply to metadata" in told[0]


@pytest.mark.parametrize("with_image", [False, True])
async def test_duplicates_within_a_load_are_told_as_by_single_calls(
    tmp_path: Path, *, with_image: bool
) -> None:
    records = [record(1, violation_id=f"D{number}") for number in range(4)]
    items = [
        NewViolation(one, media.shipped_jpeg(), historic=True)
        if with_image
        else NewViolation(one, historic=True)
        for one in records
    ]
    settings = StorageConfig(local_base_path=tmp_path, validate_on_store="warn")
    async with StorageService(settings) as service:
        assert all(one.created for one in await results(service, items))
        for number in range(4):
            quality = (await service.get_file(f"D{number}~metadata"))["quality"]
            assert ("duplicate" in str(quality)) is (number > 0)


async def test_large_documents_are_stored_before_many_of_them_are_held(
    service: StorageService,
) -> None:
    given = 0

    def items() -> Iterator[NewFile]:
        nonlocal given
        for given in range(1, 49):
            yield NewFile("metadata", {"text": "so much " * 250_000, "number": given}, f"M{given}")

    first_at = 0
    async for one in service.store_many(items()):
        assert one.created
        first_at = first_at or given
    # 2 MB each: a batch of 32 MiB has 16 at most, and is written while the next one is prepared.
    assert first_at <= 34


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
