"""Storing single files: each kind, in each strategy, once, however often it is tried."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.application.raw_images import raw_picture
from tests.application.rig import Rig, film, outcome, picture, streamed
from traffic_storage.adapters.compressor.zstd import ZstdCompressor
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.store_files import Stored
from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import digests_of, sha256_of
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.errors import Conflict, InvalidInput
from traffic_storage.domain.files import Coding, FileKind, Tier
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.ports.spool import MemoryBody

EVERY_STRATEGY = pytest.mark.parametrize("strategy", StorageStrategy)
ANALYSIS: dict[str, Json] = {"detections": [{"class": "car", "score": 0.93}] * 200}


@EVERY_STRATEGY
async def test_an_array_comes_back_as_it_was(strategy: StorageStrategy) -> None:
    async with Rig(strategy).running() as service:
        for pixels in (picture(7), np.arange(12, dtype=np.uint8).reshape(3, 4)):
            name = f"detection-{pixels.ndim}"
            stored = await service.image(pixels, name, metadata={"lane": 2})
            assert stored.created
            assert (stored.file.file_id, stored.file.kind) == (name, FileKind.IMAGE)
            assert stored.file.metadata == '{"lane":2}'
            shown = stored.file.media
            assert (shown.height, shown.width) == pixels.shape[:2]
            assert shown.channel_order == (ChannelOrder.RGB if pixels.ndim == 3 else None)
            decoded, file = await service.read.image(name)
            assert np.array_equal(decoded.pixels, pixels)
            assert file == stored.file


@EVERY_STRATEGY
async def test_encoded_bytes_are_kept_byte_for_byte(strategy: StorageStrategy) -> None:
    photo = raw_picture(picture(9), b"exif")
    async with Rig(strategy).running() as service:
        sources: list[Any] = [photo, bytearray(photo), memoryview(photo), streamed(photo)]
        for number, source in enumerate(sources):
            stored = await service.image(source, f"photo-{number}")
            assert stored.file.content.sha256 == sha256_of(photo)
            assert stored.file.media.pixel_sha256 is None
            assert (await service.read.whole(f"photo-{number}"))[0] == photo


@EVERY_STRATEGY
async def test_a_video_is_kept_byte_for_byte(strategy: StorageStrategy) -> None:
    async with Rig(strategy).running() as service:
        stored = await service.container.store_files().video(
            Upload(streamed(film())), FileAttributes.of(file_id="segment-1"), duration_seconds=10
        )
        assert stored.file.kind is FileKind.VIDEO
        assert stored.file.media.duration_seconds == 10
        assert (await service.read.whole("segment-1"))[0] == film()


@EVERY_STRATEGY
async def test_metadata_is_canonical_and_compressed_where_that_pays(
    strategy: StorageStrategy,
) -> None:
    async with Rig(strategy).running() as service:
        stored = await service.json(ANALYSIS, "analysis-1")
        assert stored.file.content_type == "application/json"
        assert stored.file.coding is Coding.ZSTD
        assert stored.file.stored.size_bytes < stored.file.content.size_bytes
        data, _ = await service.read.whole("analysis-1")
        assert data == canonical_json(ANALYSIS)
        assert stored.file.content.sha256 == sha256_of(data)
        tiny = await service.json({"a": 1}, "tiny")
        assert tiny.file.coding is Coding.IDENTITY


async def test_what_a_coding_makes_no_smaller_is_stored_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def same(_: ZstdCompressor, data: bytes) -> MemoryBody:
        return MemoryBody(data, digests_of(data))

    monkeypatch.setattr(ZstdCompressor, "compress", same)
    async with Rig().running() as service:
        stored = await service.json(ANALYSIS)
        assert stored.file.coding is Coding.IDENTITY
        assert (await service.read.whole(stored.file.file_id))[0] == canonical_json(ANALYSIS)


async def test_compression_is_a_setting() -> None:
    async with Rig(compression_enabled=False).running() as service:
        stored = await service.json(ANALYSIS)
        assert stored.file.coding is Coding.IDENTITY
        assert stored.file.stored == stored.file.content


@EVERY_STRATEGY
async def test_it_is_placed_by_the_strategy_which_says_why(strategy: StorageStrategy) -> None:
    rig = Rig(strategy)
    async with rig.running() as service:
        await service.image(picture(), "image")
        await service.video(film(), "video")
        await service.json({"a": 1}, "metadata")
    local = {
        StorageStrategy.LOCAL_ONLY: {"image", "video", "metadata"},
        StorageStrategy.LOCAL_THEN_CLOUD: {"image", "video", "metadata"},
        StorageStrategy.HYBRID: {"image", "metadata"},
    }.get(strategy, set())
    for name in ("image", "video", "metadata"):
        file = rig.files[FileId(name)]
        assert rig.tier(name) is (Tier.LOCAL if name in local else Tier.CLOUD)
        assert file.placement.decision.startswith(rig.tier(name))
        assert file.placement.reason
        assert len(file.replicas) == 1
        hybrid_local = strategy is StorageStrategy.HYBRID and name in local
        assert rig.copies_due.get(FileId(name)) is (Tier.CLOUD if hybrid_local else None)
    assert rig.findings() == []


async def test_what_the_metadata_says_becomes_the_files_own() -> None:
    said: dict[str, Any] = {
        "device_id": "cam-7",
        "violation_id": "V009",
        "timestamp": datetime(2026, 3, 14, 9, 30),
        "weather": "rain",
    }
    async with Rig(timezone="Europe/Madrid").running() as service:
        file = (await service.image(picture(), metadata=said)).file
        assert (file.device_id, file.violation_id) == ("cam-7", "V009")
        assert file.captured_at == datetime(2026, 3, 14, 8, 30, tzinfo=UTC)
        assert file.created_at == NOON
        assert file.metadata == (
            '{"device_id":"cam-7","timestamp":"2026-03-14T09:30:00",'
            '"violation_id":"V009","weather":"rain"}'
        )
        (linked,) = await service.container._record_repo().files_of(ViolationId("V009"))
        assert linked == file


@pytest.mark.parametrize(
    "timestamp", ["yesterday", "1969-12-31T23:59:59Z", NOON + timedelta(hours=24, seconds=1), 5]
)
async def test_a_time_that_cannot_be_is_refused_before_anything_is_taken_in(
    timestamp: object,
) -> None:
    rig = Rig()
    taken = False

    async def source() -> Any:
        nonlocal taken
        taken = True
        yield raw_picture(picture())

    async with rig.running() as service:
        with pytest.raises(InvalidInput, match=r"captured_at|timestamp"):
            await service.image(source(), metadata={"timestamp": timestamp})
    assert not taken
    assert not rig.files


async def test_a_time_ahead_is_accepted_with_a_warning_that_names_the_setting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Rig().running() as service:
        stored = await service.image(picture(), metadata={"timestamp": NOON + timedelta(hours=23)})
        assert stored.file.captured_at == NOON + timedelta(hours=23)
    assert "max_clock_ahead" in caplog.text


# Idempotence


@EVERY_STRATEGY
async def test_the_same_again_is_a_no_op_that_gives_the_first_result(
    strategy: StorageStrategy,
) -> None:
    rig = Rig(strategy)
    async with rig.running() as service:
        stores: list[Callable[[], Awaitable[Stored]]] = [
            lambda: service.image(picture(), "image"),
            lambda: service.image(raw_picture(picture()), "photo"),
            lambda: service.video(film(), "video"),
            lambda: service.json(ANALYSIS, "analysis"),
        ]
        for store in stores:
            first = await store()
            rig.clock.advance(timedelta(hours=1))
            again = await store()
            assert (first.created, again.created) == (True, False)
            assert again.file == first.file
        assert service.counters.retries_recognised == 4
        assert service.counters.files_stored == 4
        assert await service.miscounts() == []
    assert (rig.attempts, rig.findings()) == ([], [])


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("image", "pixels"),
        ("image", "photo"),
        ("photo", "another photo"),
        ("video", "another video"),
        ("metadata", "other metadata"),
        ("image", "video"),
        ("video", "metadata"),
        ("metadata", "photo"),
    ],
)
async def test_other_content_under_the_same_id_is_a_conflict_and_nothing_changes(
    first: str, other: str
) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:

        async def store(what: str) -> Any:
            match what:
                case "image":
                    return await service.image(picture(1), "X")
                case "pixels":
                    return await service.image(picture(2), "X")
                case "photo":
                    return await service.image(raw_picture(picture(1), b"a"), "X")
                case "another photo":
                    return await service.image(raw_picture(picture(1), b"b"), "X")
                case "video":
                    return await service.video(film(1), "X")
                case "another video":
                    return await service.video(film(2), "X")
                case "metadata":
                    return await service.json({"a": 1}, "X")
                case _:
                    return await service.json({"a": 2}, "X")

        stored = await store(first)
        for _ in range(2):
            with pytest.raises(Conflict, match="file 'X' exists already with other content"):
                await store(other)
        assert await service.find.file("X") == stored.file
        assert not (await store(first)).created
        assert await service.miscounts() == []
        assert not any(service.reserved().values())
    assert sum(len(store.blobs) for store in rig.at_rest.values()) == 1
    assert (rig.attempts, rig.findings()) == ([], [])


@pytest.mark.parametrize(
    ("given", "other", "named"),
    [
        ({"device_id": "cam-1"}, {"device_id": "cam-2"}, "device_id"),
        ({"violation_id": "V001"}, {"violation_id": "V002"}, "violation_id"),
        ({"captured_at": NOON}, {"captured_at": NOON - timedelta(seconds=1)}, "captured_at"),
        ({"metadata": {"lane": 1}}, {"metadata": {"lane": 2}}, "metadata"),
        ({}, {"device_id": "cam-1", "metadata": {"lane": 2}}, "metadata"),
        (
            {"device_id": "cam-1"},
            {"device_id": "cam-2", "metadata": {"lane": 2}},
            "device_id, metadata",
        ),
    ],
)
async def test_other_labels_under_the_same_id_are_a_conflict_that_names_them(
    given: dict[str, Any], other: dict[str, Any], named: str
) -> None:
    async with Rig(StorageStrategy.HYBRID).running() as service:
        stored = await service.image(picture(), "X", **given)
        with pytest.raises(Conflict, match="exists already with other labels: ") as refused:
            await service.image(picture(), "X", **other)
        for name in named.split(", "):
            was_given = name in given
            assert f"{name} was not given" in str(refused.value) or was_given
            assert name in str(refused.value)
        assert await service.find.file("X") == stored.file
        for fewer in ({}, given):
            assert (await service.image(picture(), "X", **fewer)).file == stored.file


async def test_an_array_is_known_by_its_pixels_whatever_the_encoder_does() -> None:
    async with Rig().running() as service:
        store = service.container.store_files().image
        attributes = FileAttributes.of(file_id="frame")
        first = await store(ArrayImage(picture(5), encoding=Encoding(quality=90)), attributes)
        again = await store(ArrayImage(picture(5), encoding=Encoding(quality=40)), attributes)
        assert again.file == first.file
        assert not again.created
        swapped = ArrayImage(picture(5), ChannelOrder.BGR)
        with pytest.raises(Conflict, match="its pixels differ"):
            await store(swapped, attributes)


async def test_the_bytes_that_an_array_became_are_the_same_file() -> None:
    async with Rig().running() as service:
        await service.image(picture(5), "frame")
        data, first = await service.read.whole("frame")
        again = await service.image(data, "frame")
        assert (again.file, again.created) == (first, False)


async def test_a_grey_frame_has_no_channel_order() -> None:
    grey = np.full((4, 4), 9, np.uint8)
    async with Rig().running() as service:
        store = service.container.store_files().image
        attributes = FileAttributes.of(file_id="grey")
        await store(ArrayImage(grey, ChannelOrder.RGB), attributes)
        assert not (await store(ArrayImage(grey, ChannelOrder.BGR), attributes)).created


async def test_a_blind_retry_without_an_id_finds_the_first_and_any_difference_is_new() -> None:
    rig = Rig()
    said = {"device_id": "cam-1", "timestamp": "2026-03-14T10:00:00Z"}
    variants: list[dict[str, Any]] = [
        {},
        {"metadata": {}},
        {"metadata": said},
        {"metadata": said | {"lane": 1}},
        {"metadata": said | {"timestamp": "2026-03-14T10:00:01Z"}},
        {"device_id": "cam-1"},
        {"device_id": "cam-2"},
        {"violation_id": "V001"},
    ]
    async with rig.running() as service:
        seen: set[str] = set()
        for _ in range(2):
            for attributes in variants:
                seen.add((await service.image(picture(), **attributes)).file.file_id)
                seen.add((await service.image(raw_picture(picture()), **attributes)).file.file_id)
                seen.add((await service.video(film(), **attributes)).file.file_id)
                seen.add((await service.json({"a": 1}, **attributes)).file.file_id)
        assert len(seen) == len(rig.files) == 4 * len(variants)
        assert service.counters.files_stored == len(seen)
        assert service.counters.retries_recognised == len(seen)
        assert (await service.image(picture(1))).created
        assert (await service.json({"a": 1.5})).created


async def test_the_same_instant_in_other_words_derives_the_same_id() -> None:
    """The metadata differs as text, so only its own words make another file."""
    async with Rig().running() as service:
        first = await service.image(picture(), metadata={"timestamp": "2026-03-14T10:00:00Z"})
        other = await service.image(picture(), metadata={"timestamp": "2026-03-14T11:00:00+01:00"})
        assert first.file.captured_at == other.file.captured_at
        assert first.file.file_id != other.file.file_id


@pytest.mark.parametrize("name", ["V001~image", "a/b", "..", "x" * 201])
async def test_an_id_that_may_not_be_given_is_refused(name: str) -> None:
    rig = Rig()
    async with rig.running() as service:
        assert isinstance(await outcome(service.image(picture(), name)), InvalidInput)
        assert isinstance(await outcome(service.video(film(), name)), InvalidInput)
        assert isinstance(await outcome(service.json({}, name)), InvalidInput)
    assert not rig.files
