"""Storing a violation: its record, its document and its files, as one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.application.raw_images import raw_picture
from tests.application.rig import Rig, Service, film, picture, streamed, violation_record
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import Conflict, InvalidInput, UndecodableMedia
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import ViolationId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.violation import EvidencePart, evidence_document
from traffic_storage.entrypoints.testing.containers import NOON

V001 = violation_record()
IMAGE, VIDEO, METADATA = FileKind.IMAGE, FileKind.VIDEO, FileKind.METADATA


async def shown(service: Service) -> Any:
    """The violation and its files, as a reader sees them."""
    catalogue = service.container._record_repo()
    violation = await catalogue.violation(ViolationId("V001"))
    return violation, await catalogue.files_of(ViolationId("V001"))


@pytest.mark.parametrize("strategy", StorageStrategy)
async def test_a_violation_with_its_files(strategy: StorageStrategy) -> None:
    rig = Rig(strategy)
    async with rig.running() as service:
        stored = await service.evidence(V001, picture(), streamed(film()))
        assert stored.created
        assert set(stored.files) == {IMAGE, VIDEO, METADATA}
        for kind, file in stored.files.items():
            assert file.file_id == f"V001~{kind}"
            assert (file.violation_id, file.device_id) == ("V001", "cam-1")
            assert file.captured_at == V001.timestamp
        violation = stored.violation
        assert violation.record == violation_record(
            image_path="V001~image", video_path="V001~video"
        )
        assert violation.record_sha256 == V001.sha256()
        assert (violation.occurred_at, violation.zone_assumed) == (V001.timestamp, None)
        assert violation.received_at == NOON
        assert not violation.incomplete
        seen, files = await shown(service)
        assert seen == violation
        assert {file.kind: file for file in files} == dict(stored.files)
        assert (await service.read.whole(violation.record.video_path))[0] == film()
        decoded, _ = await service.read.image(violation.record.image_path)
        assert np.array_equal(decoded.pixels, picture())
        assert service.counters.violations_stored == 1
    assert (rig.attempts, rig.findings()) == ([], [])


async def test_the_document_holds_the_record_as_given_and_names_its_siblings() -> None:
    async with Rig().running() as service:
        given = violation_record(image_path="mine.jpg")
        stored = await service.evidence(given, raw_picture(picture()))
        data, file = await service.read.whole("V001~metadata")
        assert file == stored.files[METADATA]
        told = json.loads(data)
        assert told["record"]["violation_id"] == "V001"
        assert told["files"] == {
            "image": {
                "file_id": "V001~image",
                "content_type": "image/png",
                "size_bytes": len(raw_picture(picture())),
                "sha256": sha256_of(raw_picture(picture())),
            }
        }
        assert b"mine.jpg" not in data
        assert data == evidence_document(V001, None, {"image": _part(stored.files[IMAGE])})
        # What storing assigns replaces what the caller had written there.
        assert stored.violation.record.image_path == "V001~image"
        assert stored.violation.record.video_path == ""


def _part(file: StoredFile) -> EvidencePart:
    return EvidencePart(
        file.file_id, file.content_type, file.content.size_bytes, file.content.sha256
    )


@pytest.mark.parametrize("with_video", [False, True])
async def test_without_an_image_it_is_accepted_as_incomplete(with_video: bool) -> None:
    async with Rig().running() as service:
        stored = await service.evidence(V001, None, film() if with_video else None)
        assert stored.violation.incomplete
        assert set(stored.files) == ({VIDEO, METADATA} if with_video else {METADATA})
        assert stored.violation.record.image_path == ""


async def test_a_naive_time_is_read_in_the_zone_of_the_settings() -> None:
    naive = violation_record(timestamp=datetime(2026, 3, 14, 11, 0))
    async with Rig(timezone="Europe/Madrid").running() as service:
        stored = await service.evidence(naive, picture())
        assert stored.violation.occurred_at == datetime(2026, 3, 14, 10, tzinfo=UTC)
        assert stored.violation.zone_assumed == "Europe/Madrid"
        assert stored.files[IMAGE].captured_at == stored.violation.occurred_at
        assert stored.violation.record.timestamp == datetime(2026, 3, 14, 11, 0)


@pytest.mark.parametrize(
    "timestamp",
    [
        datetime(1969, 12, 31, tzinfo=UTC),
        NOON + timedelta(hours=24, microseconds=1),
        datetime.max,
        datetime.min,
    ],
)
async def test_an_impossible_time_is_refused(timestamp: datetime) -> None:
    rig = Rig(timezone="America/New_York" if timestamp.year == 9999 else "Asia/Tokyo")
    async with rig.running() as service:
        with pytest.raises(InvalidInput, match="timestamp"):
            await service.evidence(violation_record(timestamp=timestamp), picture(), film())
    assert (dict(rig.files), rig.spool.held) == ({}, [])


# Idempotence


async def test_the_same_again_is_a_no_op() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        first = await service.evidence(V001, picture(), film())
        before = await shown(service)
        rig.clock.advance(timedelta(hours=1))
        again = await service.evidence(V001, picture(), streamed(film()))
        assert not again.created
        assert (again.violation, dict(again.files)) == (first.violation, dict(first.files))
        assert await shown(service) == before
        assert service.counters.files_stored == 3
        assert await service.miscounts() == []
    assert (rig.attempts, rig.findings()) == ([], [])


@pytest.mark.parametrize(
    ("image", "video", "files"),
    [
        (True, False, {IMAGE, METADATA}),
        (False, True, {VIDEO, METADATA}),
        (False, False, {METADATA}),
    ],
)
async def test_fewer_files_than_there_are_is_a_no_op(
    image: bool, video: bool, files: set[FileKind]
) -> None:
    async with Rig().running() as service:
        await service.evidence(V001, picture(), film())
        before = await shown(service)
        again = await service.evidence(
            V001, picture() if image else None, film() if video else None
        )
        assert not again.created
        assert set(again.files) == files
        assert again.violation == before[0]
        assert await shown(service) == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((True, False), (True, True)),
        ((True, False), (False, True)),
        ((False, True), (True, True)),
        ((False, True), (True, False)),
        ((False, False), (True, True)),
        ((False, False), (False, True)),
    ],
)
async def test_a_file_that_was_missing_is_added_and_the_document_stays(
    first: tuple[bool, bool], second: tuple[bool, bool]
) -> None:
    rig = Rig(StorageStrategy.HYBRID)

    def given(which: tuple[bool, bool]) -> list[Any]:
        return [picture() if which[0] else None, film() if which[1] else None]

    async with rig.running() as service:
        before = await service.evidence(V001, *given(first))
        document = await service.read.whole("V001~metadata")
        rig.clock.advance(timedelta(hours=1))
        after = await service.evidence(V001, *given(second))
        assert after.created
        image, video = first[0] or second[0], first[1] or second[1]
        record = after.violation.record
        assert record.image_path == ("V001~image" if image else "")
        assert record.video_path == ("V001~video" if video else "")
        assert after.violation.incomplete == (not image)
        assert after.violation.received_at == before.violation.received_at
        seen, files = await shown(service)
        assert seen == after.violation
        assert {file.kind for file in files} == {
            METADATA,
            *([IMAGE] if image else []),
            *([VIDEO] if video else []),
        }
        assert await service.read.whole("V001~metadata") == document
        assert not (await service.evidence(V001, *given(second))).created
        assert not (await service.evidence(V001, *given(first))).created
        assert service.counters.violations_stored == 1
        assert await service.miscounts() == []
    assert (rig.attempts, rig.findings()) == ([], [])


@pytest.mark.parametrize(
    "other",
    [
        {"record": violation_record(confidence=0.8)},
        {"record": violation_record(camera_info={})},
        {"record": violation_record(device_id="cam-2")},
        {"record": violation_record(timestamp=V001.timestamp + timedelta.resolution)},
        {"image": picture(1)},
        {"image": raw_picture(picture(), b"re-encoded")},
        {"video": film(1)},
        {"image": picture(1), "video": None},
        {"record": violation_record(confidence=0.8), "image": None, "video": None},
    ],
)
async def test_another_record_or_another_file_is_a_conflict_and_nothing_changes(
    other: dict[str, Any],
) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.evidence(V001, picture(), film())
        before = await shown(service)
        usual: dict[str, Any] = {"record": V001, "image": picture(), "video": film()}
        given = usual | other
        for _ in range(2):
            with pytest.raises(Conflict, match=r"V001.* exists already with other content"):
                await service.evidence(**given)
        assert await shown(service) == before
        assert await service.miscounts() == []
        assert not any(service.reserved().values())
    assert sum(len(store.blobs) for store in rig.at_rest.values()) == 3
    assert (rig.attempts, rig.findings(), rig.spool.held) == ([], [], [])


async def test_a_missing_file_is_not_added_beside_one_that_conflicts() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(V001, picture())
        before = await shown(service)
        with pytest.raises(Conflict, match="V001~image"):
            await service.evidence(V001, picture(1), film())
        with pytest.raises(Conflict, match="its record differs in confidence "):
            await service.evidence(violation_record(confidence=0.1), None, film())
        assert await shown(service) == before
    assert rig.findings() == []


async def test_a_bad_file_refuses_the_whole_and_names_the_file() -> None:
    rig = Rig()
    async with rig.running() as service:
        with pytest.raises(UndecodableMedia, match="image"):
            await service.evidence(V001, raw_picture(picture())[:-1], streamed(film()))
        with pytest.raises(InvalidInput, match="video: is empty"):
            await service.evidence(V001, picture(), b"")
        assert await service.container._record_repo().violation(ViolationId("V001")) is None
    assert (dict(rig.files), rig.attempts, rig.findings()) == ({}, [], [])
    assert rig.spool.held == []


async def test_a_file_that_names_the_violation_before_it_exists_is_linked_when_it_comes() -> None:
    async with Rig().running() as service:
        early = await service.image(picture(8), "early", violation_id="V001")
        violation, files = await shown(service)
        assert (violation, list(files)) == (None, [early.file])
        await service.evidence(V001, picture())
        violation, files = await shown(service)
        assert violation is not None
        assert {file.file_id for file in files} == {"early", "V001~image", "V001~metadata"}
