"""`StorageService` at its edges: what is told wrongly gets an error in words; what is numpy's, or
is filled again meanwhile, is taken as it was.
"""

import asyncio
import io
import os
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, TypeAlias

import numpy as np
import pytest
from PIL import Image

from tests.support import media
from traffic_storage import (
    InvalidInput,
    NotFound,
    StorageConfig,
    StorageService,
    ViolationRecord,
)
from traffic_storage.application.runtime import WrongHome
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import TooLarge, TrafficStorageError, UnsupportedMedia
from traffic_storage.entrypoints.container import build

NOON = datetime(2025, 11, 1, 12, tzinfo=UTC)
FRAME = np.zeros((4, 4, 3), np.uint8)
VIDEO = media.video("mp4")
EXACT = Encoding(lossless=True)


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


def test_settings_that_are_none_are_named() -> None:
    given: Any = "evidence"
    with pytest.raises(InvalidInput, match="config: is a str, not a StorageConfig"):
        StorageService(given)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"after": "xyz"}, "after: is a str, not a Cursor"),
        ({"kind": "sound"}, "kind: must be .*video.*, not 'sound'"),
        ({"state": "lost"}, "state: must be .*available.*, not 'lost'"),
        ({"device_id": {"id": 1}}, "device_id: must be text"),
        ({"violation_id": "V1~image"}, "violation_id"),
        ({"limit": 0}, "limit: is 0"),
        ({"start_time": "yesterday"}, "start_time: is a str, not a datetime"),
    ],
)
async def test_a_filter_of_files_that_is_none_is_named(
    storage: Any, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        await storage.find_files(**arguments)


async def test_a_cursor_that_is_none_is_named(storage: Any) -> None:
    with pytest.raises(InvalidInput, match="after: is a str, not a Cursor"):
        await storage.find_violations(after="xyz")


async def test_violations_by_pages_are_the_same_as_at_once(storage: Any) -> None:
    for number in range(5):
        at = NOON + timedelta(hours=number)
        record = ViolationRecord(f"V{number}", "cam", "speed", at, [1, 2, 3, 4], "car", 0.9)
        await storage.store_violation_evidence(record)
    naive = {"start_time": datetime(2025, 11, 1, 13), "end_time": datetime(2025, 11, 1, 17)}
    found, after = [], None
    while True:
        page = await storage.find_violations(limit=2, after=after, **naive)
        found += page.items
        after = page.next
        if after is None:
            break
    assert found == await storage.get_violation_records(**naive)
    assert [violation["violation_id"] for violation in found] == ["V4", "V3", "V2", "V1"]


async def test_files_are_found_by_pages_and_described(storage: Any) -> None:
    for number in range(5):
        metadata = {"device_id": f"cam-{number % 2}"}
        await storage.store_metadata({"n": number}, f"n{number}", metadata=metadata)
    image = await storage.store_image(FRAME, "still", filename="still 1.webp")
    found, after = [], None
    while True:
        page = await storage.find_files("metadata", limit=2, after=after)
        found += page.items
        after = page.next
        if after is None:
            break
    assert sorted(file["file_id"] for file in found) == [f"n{number}" for number in range(5)]
    assert found[0] == await storage.get_file(found[0]["file_id"])
    one = await storage.find_files(device_id="cam-1", limit=1)
    assert one.items[0]["device_id"] == "cam-1"
    assert one.next is not None
    assert (await storage.find_files(kind="image")).items == (image,)
    assert (await storage.find_files(state="tombstoned")).items == ()
    received = datetime.fromisoformat(image["created_at"]).replace(tzinfo=None)
    later = received + timedelta(hours=1)
    assert (await storage.find_files(start_time=later)).items == ()
    assert len((await storage.find_files(end_time=later)).items) == 6
    with pytest.raises(NotFound):
        await storage.get_file("n9")


async def test_the_original_name_of_a_file_is_kept(storage: Any, tmp_path: Path) -> None:
    path = tmp_path / "clip é.mp4"
    path.write_bytes(VIDEO)
    stored = await storage.store_video_segment(path, "a")
    assert stored["original_name"] == "clip é.mp4"
    assert (await storage.store_video_segment(VIDEO, "b"))["original_name"] is None
    named = await storage.store_video_segment(path, "c", filename="north.mp4")
    assert named["original_name"] == "north.mp4"
    assert (await storage.store_metadata({}, "d", filename="d.json"))["original_name"] == "d.json"
    record = ViolationRecord("V001", "cam_001", "speed", NOON, [1, 2, 3, 4], "car", 0.9)
    evidence = await storage.store_violation_evidence(record, FRAME, path)
    names = {kind: file["original_name"] for kind, file in evidence.items()}
    assert names == {"image": None, "video": "clip é.mp4", "metadata": None}
    for bad in ("a/b.jpg", "..", "a\nb", "x" * 256):
        with pytest.raises(InvalidInput, match="filename"):
            await storage.store_image(FRAME, filename=bad)


async def test_a_violation_comes_with_every_file_that_names_it(storage: Any) -> None:
    record = ViolationRecord("V001", "cam_001", "speed", NOON, [1, 2, 3, 4], "car", 0.9)
    await storage.store_violation_evidence(record, FRAME)
    await storage.store_metadata({"vehicles": 7}, "M", metadata={"violation_id": "V001"})

    violation, files = await storage.get_violation("V001")

    assert violation["violation_id"] == "V001"
    assert {file["file_id"] for file in files} == {"V001~image", "V001~metadata", "M"}
    await storage.store_metadata({"vehicles": 8}, "N", metadata={"violation_id": "V001"})
    page = await storage.find_violation_files("V001", 1)
    assert [file["file_id"] for file in page.items[:2]] == ["V001~image", "V001~metadata"]
    others = [file["file_id"] for file in page.items[2:]]
    while page.next is not None:
        page = await storage.find_violation_files("V001", 1, after=page.next)
        others += [file["file_id"] for file in page.items]
    assert others == ["N", "M"]
    with pytest.raises(NotFound, match="V404"):
        await storage.get_violation("V404")
    with pytest.raises(InvalidInput, match="violation_id"):
        await storage.get_violation("..")


@pytest.mark.parametrize("historic", [False, True])
async def test_retention_counts_from_an_old_capture_where_it_is_stated_to_be_historic(
    storage: Any, historic: bool, caplog: pytest.LogCaptureFixture
) -> None:
    captured = NOON.replace(year=2020)
    old = {"metadata": {"timestamp": captured}, "historic": historic}
    record = ViolationRecord("V001", "cam_001", "speed", captured, [1, 2, 3, 4], "car", 0.9)
    evidence = await storage.store_violation_evidence(record, FRAME, VIDEO, historic=historic)
    files = [
        await storage.store_image(FRAME, "I", **old),
        await storage.store_video_segment(VIDEO, "V", **old),
        await storage.store_metadata({"vehicles": 7}, "M", **old),
        *evidence.values(),
    ]

    days = {"image": 90, "video": 30, "metadata": 365}
    for file in files:
        assert file["captured_at"] == captured.isoformat()
        counted = captured if historic else datetime.fromisoformat(file["created_at"])
        expires = datetime.fromisoformat(file["expires_at"])
        assert expires == counted + timedelta(days=days[file["kind"]])
    told = [line for line in caplog.messages if "starts at its receipt" in line]
    # Once for files without a device, and once for those of the violation's device.
    assert len(told) == (0 if historic else 2)
    assert all("historic=True" in line for line in told)


@pytest.mark.parametrize("historic", ["no", 1, None])
async def test_whether_a_file_is_historic_is_a_truth_value(storage: Any, historic: object) -> None:
    with pytest.raises(InvalidInput, match=r"historic: must be .* \(give True or False\)"):
        await storage.store_image(FRAME, historic=historic)


async def test_an_image_that_is_none_is_told_what_may_be_one(storage: Any) -> None:
    with pytest.raises(InvalidInput, match=r"image: is a list .*array"):
        await storage.store_image([[0, 0, 0]])


async def test_metadata_is_no_image_and_how_it_is_read_is_said(storage: Any) -> None:
    await storage.store_metadata({"vehicles": 7}, "M")
    with pytest.raises(UnsupportedMedia, match="retrieve_file"):
        await storage.retrieve_image("M")


def problem_of(error: InvalidInput) -> tuple[str, str]:
    (problem,) = error.problems
    return problem.field, problem.remedy


@pytest.mark.parametrize("order", ["XYZ", "gbr", None, 1, ["RGB"]])
async def test_a_channel_order_that_is_none_is_named_with_those_there_are(
    storage: Any, order: Any
) -> None:
    await storage.store_image(FRAME, "I")
    calls = [
        storage.store_image(FRAME, channel_order=order),
        storage.store_violation_evidence(record(), FRAME, channel_order=order),
        *([] if order is None else [storage.retrieve_image("I", order)]),
    ]
    for call in calls:
        with pytest.raises(InvalidInput) as caught:
            await call
        assert problem_of(caught.value) == ("channel_order", "give RGB or BGR")


@pytest.mark.parametrize("encoding", ["jpeg", ImageFormat.JPEG, 5, {}])
async def test_an_encoding_that_is_none_is_named_with_what_one_is(
    storage: Any, encoding: Any
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await storage.store_image(FRAME, encoding=encoding)
    field, remedy = problem_of(caught.value)
    assert field == "encoding"
    assert "Encoding(ImageFormat.JPEG" in remedy
    assert "webp, jpeg, png" in remedy


@pytest.mark.parametrize(
    ("start", "stop", "field"),
    [
        ("a", 2, "start"),
        (1.5, 3, "start"),
        (True, 3, "start"),
        (None, 3, "start"),
        (0, "b", "stop"),
        (0, 2.0, "stop"),
        (-1, 2, "span"),
        (3, 2, "span"),
        (0, 10**6, "span"),
    ],
)
async def test_a_span_that_is_none_is_named(
    storage: Any, start: Any, stop: Any, field: str
) -> None:
    await storage.store_metadata({"vehicles": 7}, "M")
    stream = await storage.open_file("M")
    with pytest.raises(InvalidInput) as caught:
        stream.chunks(start, stop)
    assert problem_of(caught.value)[0] == field


async def test_a_span_in_numbers_of_numpy(storage: Any) -> None:
    await storage.store_metadata({"vehicles": 7}, "M")
    stream = await storage.open_file("M")
    span = stream.chunks(np.int64(2), np.uint8(10))
    assert b"".join([chunk async for chunk in span]) == b"vehicles"


async def test_a_duration_without_a_video_is_refused(storage: Any) -> None:
    for given in ({"duration_seconds": 3}, {"duration_seconds": "x"}):
        with pytest.raises(InvalidInput) as caught:
            await storage.store_violation_evidence(record(), FRAME, **given)
        assert problem_of(caught.value)[0] == "duration_seconds"
    with pytest.raises(InvalidInput, match="duration_seconds: is 'x'"):
        await storage.store_violation_evidence(record(), video_segment=VIDEO, duration_seconds="x")
    stored = await storage.store_violation_evidence(
        record(), video_segment=VIDEO, duration_seconds=np.float32(1.5)
    )
    assert stored["video"]["duration_seconds"] == 1.5


async def test_times_the_wrong_way_round_are_refused(storage: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        await storage.get_violation_records(start_time=NOON, end_time=NOON - timedelta(hours=1))
    assert problem_of(caught.value)[0] == "start_time"
    assert await storage.get_violation_records(start_time=NOON, end_time=NOON) == []


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_path_that_can_not_be_read_is_told_by_the_name_of_what_it_is(
    storage: Any, tmp_path: Path, kind: str
) -> None:
    missing, there = tmp_path / "missing.bin", {"image": FRAME, "video_segment": VIDEO}
    there["image" if kind == "image" else "video_segment"] = missing
    store = storage.store_image if kind == "image" else storage.store_video_segment
    for call in (store(missing), storage.store_violation_evidence(record(), **there)):
        with pytest.raises(InvalidInput, match=r"missing\.bin") as caught:
            await call
        assert problem_of(caught.value)[0] == kind


async def test_a_path_that_changes_meanwhile_is_refused(storage: Any, tmp_path: Path) -> None:
    path = tmp_path / "segment.mp4"
    path.write_bytes(VIDEO + bytes(8 * 2**20))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    storing = asyncio.ensure_future(storage.store_video_segment(path, "V"))
    while not storing.done():
        with path.open("ab") as file:
            file.write(b"more")
        await asyncio.sleep(0)
    with pytest.raises(InvalidInput, match=r"video: .*changed while it was read"):
        await storing


def record(violation_id: str = "V001", **changes: Any) -> ViolationRecord:
    fields: dict[str, Any] = {
        "device_id": "cam_001",
        "violation_type": "speed",
        "timestamp": NOON,
        "vehicle_bbox": [1, 2, 3, 4],
        "vehicle_class": "car",
        "confidence": 0.9,
    }
    return ViolationRecord(violation_id, **(fields | changes))


async def begun(work: Awaitable[Any]) -> "asyncio.Future[Any]":
    """Work that has taken its first step and waits."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    return task


@pytest.fixture(params=[False, True], ids=["at first use", "in use"])
async def service(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """At first use it has to open the catalogue before it can store."""
    storage = StorageService(StorageConfig(local_base_path=tmp_path))
    if request.param:
        await storage.get_storage_statistics()
    yield storage
    await storage.aclose()


async def test_what_is_filled_again_is_stored_as_it_was_given(service: Any) -> None:
    picture = media.photograph("astronaut")
    frame, video, info = picture.copy(), bytearray(VIDEO), {"list": [1]}
    storing = [
        await begun(service.store_image(frame, "I", metadata=info, encoding=EXACT)),
        await begun(service.store_video_segment(video, "V")),
        await begun(service.store_metadata(info, "M")),
    ]
    frame[:], video[:] = 7, bytes(len(video))
    info["list"].append(2)
    await asyncio.gather(*storing)
    pixels, view = await service.retrieve_image("I")
    assert np.array_equal(pixels, picture)
    assert view["metadata"] == {"list": [1]}
    assert (await service.retrieve_file("V"))[0] == VIDEO
    assert (await service.retrieve_file("M"))[0] == b'{"list":[1]}'


async def test_evidence_that_is_filled_again_is_stored_as_it_was_given(service: Any) -> None:
    picture = media.photograph("astronaut")
    frame, video = picture.copy(), bytearray(VIDEO)
    storing = await begun(service.store_violation_evidence(record(), frame, video, encoding=EXACT))
    frame[:], video[:] = 7, bytes(len(video))
    await storing
    pixels, _ = await service.retrieve_image("V001~image")
    assert np.array_equal(pixels, picture)
    assert (await service.retrieve_file("V001~video"))[0] == VIDEO


async def test_an_array_of_too_many_pixels_is_refused_without_being_copied(tmp_path: Path) -> None:
    storage = StorageService(StorageConfig(local_base_path=tmp_path, max_pixels=1000))
    endless = np.broadcast_to(np.zeros((1, 1), np.uint8), (10**6, 10**7))
    with pytest.raises(TooLarge, match="image: has 10000000000000 pixels"):
        await storage.store_image(endless)
    with pytest.raises(TooLarge):
        await storage.store_violation_evidence(record(), endless)
    await storage.aclose()


async def test_what_detectors_give_is_stored(storage: Any) -> None:
    box = np.array([10.5, 20, 110.25, 220], np.float32)
    given = record(
        vehicle_bbox=box, confidence=np.float32(0.9), processing_time_ms=np.float64(12.5)
    )
    await storage.store_violation_evidence(given, FRAME)
    (found,) = await storage.get_violation_records(min_confidence=np.float32(0.5))
    assert found["vehicle_bbox"] == [10.5, 20, 110.25, 220]
    assert found["confidence"] == float(np.float32(0.9))
    assert "/access/" in storage.generate_access_url("V001~image", expires_in=np.int64(60))


async def test_the_same_record_told_otherwise_is_one_retry(storage: Any) -> None:
    first = await storage.store_violation_evidence(record(camera_info={"fps": 25}), FRAME)
    told = record(
        timestamp=datetime.fromisoformat("2025-11-01T13:00:00+01:00"), camera_info={"fps": 25.0}
    )
    assert told == record(camera_info={"fps": 25})
    assert await storage.store_violation_evidence(told, FRAME) == first


async def test_a_bmp_is_stored_and_a_tiff_where_it_is_chosen(tmp_path: Path) -> None:
    frame = np.ascontiguousarray(media.photograph("astronaut")[:20, :30])
    files = {}
    for image_format in ("BMP", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, image_format)
        files[image_format] = stream.getvalue()
    async with StorageService(StorageConfig(local_base_path=tmp_path)) as storage:
        stored = await storage.store_image(files["BMP"], "B")
        assert stored["content_type"] == "image/bmp"
        with pytest.raises(UnsupportedMedia, match="add tiff to the setting image_formats"):
            await storage.store_image(files["TIFF"], "T")
        with pytest.raises(NotFound, match="a file that was refused is not stored"):
            await storage.retrieve_file("T")
    config = StorageConfig(local_base_path=tmp_path, image_formats=["tiff"])
    async with StorageService(config) as storage:
        assert (await storage.store_image(files["TIFF"], "T"))["content_type"] == "image/tiff"
        for name, data in (("B", files["BMP"]), ("T", files["TIFF"])):
            np.testing.assert_array_equal((await storage.retrieve_image(name))[0], frame)
            assert (await storage.retrieve_file(name))[0] == data


MatLike: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any] | np.floating[Any]]]
"""What OpenCV's stubs call a picture (`cv2.typing.MatLike`)."""


async def test_a_frame_of_opencv_is_accepted_by_type_checkers_and_in_its_order(
    tmp_path: Path,
) -> None:
    frame: MatLike = np.zeros((4, 4, 3), np.uint8)
    frame[..., 0] = 200
    async with StorageService(StorageConfig(local_base_path=tmp_path)) as storage:
        stored = await storage.store_image(frame, "F", channel_order="bgr", encoding=EXACT)
        assert stored["channel_order"] == "BGR"
        image, _ = await storage.retrieve_image("F", channel_order="rgb")
        np.testing.assert_array_equal(image[..., 2], 200)
        wrong: MatLike = np.zeros((4, 4, 3), np.float32)
        with pytest.raises(InvalidInput, match="dtype float32"):
            await storage.store_image(wrong)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=["now", "before OpenCV 4.5.4"])
async def test_what_imencode_gives_is_an_encoded_image(
    storage: Any, shape: tuple[int, ...]
) -> None:
    jpeg = media.encoded("coffee")
    buffer: MatLike = np.frombuffer(jpeg, np.uint8).reshape(shape)
    stored = await storage.store_image(buffer, "F")
    assert (stored["content_type"], stored["size_bytes"]) == ("image/jpeg", len(jpeg))
    assert (await storage.retrieve_file("F"))[0] == jpeg
    video = np.frombuffer(VIDEO, np.uint8)
    assert (await storage.store_video_segment(video, "S"))["size_bytes"] == len(VIDEO)
    narrow = np.arange(4, dtype=np.uint8).reshape(4, 1)
    assert (await storage.store_image(narrow, "N", encoding=EXACT))["width"] == 1
    with pytest.raises(InvalidInput, match="video: is an array of shape"):
        await storage.store_video_segment(FRAME)


async def test_open_files_are_read_and_stay_open(storage: Any, tmp_path: Path) -> None:
    path, jpeg = tmp_path / "camera 7.jpg", media.encoded("coffee")
    path.write_bytes(b"skipped" + jpeg)
    with path.open("rb") as file:
        file.seek(7)
        stored = await storage.store_image(file, "F")
        assert not file.closed
    assert (stored["size_bytes"], stored["original_name"]) == (len(jpeg), "camera 7.jpg")
    await storage.store_image(io.BytesIO(jpeg), "B")
    assert (await storage.retrieve_file("B"))[0] == (await storage.retrieve_file("F"))[0] == jpeg
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(VIDEO)
        spooled.seek(0)
        assert (await storage.store_video_segment(spooled, "S"))["size_bytes"] == len(VIDEO)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.jpg", jpeg)
    with zipfile.ZipFile(tmp_path / "a.zip") as packed, packed.open("a.jpg") as member:
        assert (await storage.store_image(member, "F"))["sha256"] == stored["sha256"]


class Texts:
    """Something that can be read, but gives no bytes."""

    def read(self, size: int) -> str:
        return "x" * size


async def test_an_open_file_that_gives_no_bytes_is_named(storage: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    written = io.BytesIO()
    written.write(media.encoded("coffee"))
    with path.open() as text, path.open("ab") as appended:
        for file, words in (
            (text, "open as text"),
            (appended, "not open for reading"),
            (io.StringIO("text"), "open as text"),
            (written, "position is at its end"),
            (Texts(), "instead of bytes"),
        ):
            with pytest.raises(InvalidInput, match=f"image: is a file .*{words}"):
                await storage.store_image(file)
    with pytest.raises(InvalidInput, match="video: is a file that is closed"):
        await storage.store_video_segment(appended)
    with pytest.raises(InvalidInput, match="image: is empty"):
        await storage.store_image(io.BytesIO())
    assert (await storage.find_files()).items == ()


async def test_a_masked_array_is_refused(storage: Any) -> None:
    with pytest.raises(InvalidInput, match="image: is a masked array"):
        await storage.store_image(np.ma.masked_array(FRAME, mask=False))


async def test_a_start_that_fails_leaves_nothing_open(tmp_path: Path, no_leaks: None) -> None:
    (tmp_path / "catalogue.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(TrafficStorageError):
        async with StorageService(StorageConfig(local_base_path=tmp_path)):
            raise AssertionError("it has started")


def test_a_container_brings_its_settings_itself(tmp_path: Path) -> None:
    settings = StorageConfig(local_base_path=tmp_path)
    container = build(settings)
    with pytest.raises(ValueError, match="not both"):
        StorageService(settings, container=container)
    with pytest.raises(ValueError, match="not both"):
        StorageService(strategy="LOCAL_ONLY", container=container)


async def test_an_image_that_cv2_could_not_read_is_told_and_none_is_needed(storage: Any) -> None:
    record = ViolationRecord("V1", "cam", "speed", NOON, [1, 2, 3, 4], "car", 0.9)
    for stored in (
        storage.store_violation_evidence(record, None),
        storage.store_violation_evidence(record, image=None, video_segment=VIDEO),
        storage.store_image(None, file_id="I1"),
    ):
        with pytest.raises(InvalidInput, match=r"image: is None: cv2\.imread"):
            await stored
    assert await storage.get_violation_records() == []

    assert set(await storage.store_violation_evidence(record)) == {"metadata"}


def test_of_threads_that_use_a_service_first_at_once_one_has_it(tmp_path: Path) -> None:
    """The others get an error at once, and not one that a half-made service would give."""
    service, together = StorageService(StorageConfig(local_base_path=tmp_path)), Barrier(8)
    outcomes: list[str] = []

    async def use() -> str:
        together.wait()
        async with asyncio.timeout(60):
            stored = await service.store_metadata({"number": 1}, "M")
            await service.aclose()
        return stored["file_id"]

    def work() -> None:
        try:
            outcomes.append(asyncio.run(use()))
        except TrafficStorageError as error:
            outcomes.append(type(error).__name__)

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["M", *[WrongHome.__name__] * 7]
