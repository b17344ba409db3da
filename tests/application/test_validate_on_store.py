"""Validating on ingest: off costs nothing, warn keeps what was found, refuse stores nothing bad."""

import json
import logging
from datetime import timedelta
from typing import Any

import pytest

from tests.application.rig import Rig, violation_record
from tests.support.damage import blurred
from tests.support.media import encode, photograph, video
from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.domain.errors import LowQuality
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.quality.assessment import ValidationMode
from traffic_storage.domain.query import Page, ViolationQuery
from traffic_storage.domain.violation import StoredViolation

GOOD = encode(photograph("chelsea"))
BLURRED = encode(blurred(photograph("chelsea"), 6), "PNG")
OFF, WARN, REFUSE = ValidationMode


def rig(mode: ValidationMode) -> Rig:
    return Rig(
        images=PillowImages(10**6, threads=1),
        max_pixels=10**6,
        validate_on_store=mode,
        accept_unknown_video=False,
    )


def note(file: Any) -> Any:
    """What was kept with a file."""
    return None if file.quality is None else json.loads(file.quality)


async def test_off_keeps_nothing() -> None:
    async with rig(OFF).running() as service:
        assert (await service.image(BLURRED)).file.quality is None
        stored = await service.evidence(violation_record(), BLURRED, video())
        assert [file.quality for file in stored.files.values()] == [None] * 3


async def test_a_box_outside_its_image_is_told_even_if_off() -> None:
    async with rig(OFF).running() as service:
        outside = violation_record(vehicle_bbox=[4000, 3000, 9000, 9000])
        stored = await service.evidence(outside, GOOD)
        assert stored.files[FileKind.IMAGE].quality is None
        kept = note(stored.files[FileKind.METADATA])
        assert kept["errors"] == [{"kind": "box_outside", "field": "vehicle_bbox"}]


@pytest.mark.parametrize("mode", [WARN, REFUSE])
async def test_what_is_good_is_stored_with_its_result(mode: ValidationMode) -> None:
    async with rig(mode).running() as service:
        stored = await service.evidence(violation_record(), GOOD, video())
        notes = {kind: note(file) for kind, file in stored.files.items()}
        assert all(each["valid"] for each in notes.values())
        assert notes[FileKind.IMAGE]["score"] == 1
        assert notes[FileKind.IMAGE]["metrics"]["width"] == 451
        assert notes[FileKind.VIDEO]["metrics"]["container"] == "video/mp4"
        assert notes[FileKind.METADATA]["metrics"] is None
        again = await service.evidence(violation_record(), GOOD, video())
        assert again.files == stored.files
        array = (await service.image(photograph("chelsea"))).file
        assert note(array)["errors"] == []
        assert (await service.json({"speed": 93})).file.quality is None


async def test_warn_stores_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    own = rig(WARN)
    async with own.running() as service:
        with caplog.at_level(logging.WARNING, "traffic_storage.validate"):
            stored = await service.image(BLURRED, "night")
        kept = note(stored.file)
        assert (kept["valid"], kept["errors"][0]["kind"]) == (False, "blurred")
        assert "night is stored although: error metrics.acuity" in caplog.text
        (manifest,) = own.at_rest[Tier.LOCAL].manifest.values()
        assert manifest.completed(None).quality == stored.file.quality
        assert own.files[FileId("night")].quality == stored.file.quality


async def test_refuse_stores_nothing_and_names_every_finding() -> None:
    own = rig(REFUSE)
    async with own.running() as service:
        with pytest.raises(LowQuality, match=r"image\.metrics\.acuity: error: is 0, below"):
            await service.image(BLURRED)
        with pytest.raises(LowQuality):
            await service.evidence(violation_record(), BLURRED)
        record = violation_record(vehicle_bbox=[900, 900, 990, 990], confidence=0.3)
        with pytest.raises(LowQuality) as refused:
            await service.evidence(record, GOOD)
        fields = [problem.field for problem in refused.value.problems]
        assert fields[0] == "metadata.vehicle_bbox"
        assert "metadata.confidence" in fields
        assert own.files == {}
    assert (own.attempts, own.findings()) == ([], [])


async def test_a_violation_that_comes_again_under_another_id_is_a_duplicate() -> None:
    """Also after a restart, because it is looked up in the catalogue."""
    own, again = rig(WARN), violation_record("V002", vehicle_bbox=[101, 100, 200, 200])
    first = violation_record("V001", vehicle_bbox=[100, 100, 200, 200])
    async with own.running() as service:
        stored = await service.evidence(first)
        assert note(stored.files[FileKind.METADATA])["errors"] == []
        kept = note((await service.evidence(again)).files[FileKind.METADATA])
        assert kept["errors"] == [{"field": "violation_id", "kind": "duplicate"}]
        await service.evidence(violation_record("V003", device_id="cam_002"))
    strict = rig(REFUSE)
    async with strict.running() as service:
        await service.evidence(first)
        assert not (await service.evidence(first)).created
        elsewhere = violation_record("V004", vehicle_bbox=[300, 100, 400, 200])
        assert (await service.evidence(elsewhere)).created
        with pytest.raises(LowQuality, match="violation 'V001' of this device has the same time"):
            await service.evidence(again)


async def test_only_validating_looks_for_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ViolationQuery] = []
    for mode in (OFF, WARN):
        own = rig(mode)
        look_up = own.repo.violations

        async def counted(query: ViolationQuery) -> Page[StoredViolation]:
            asked.append(query)
            return await look_up(query)  # noqa: B023 - called in this round

        monkeypatch.setattr(own.repo, "violations", counted)
        async with own.running() as service:
            await service.evidence(violation_record())
        assert len(asked) == (mode is WARN)
    (query,) = asked
    assert (query.device_id, query.limit) == ("cam-1", 100)
    assert query.end_time is not None
    assert query.start_time is not None
    assert query.end_time - query.start_time == timedelta(microseconds=1)


async def test_without_an_image_the_box_is_not_compared() -> None:
    async with rig(REFUSE).running() as service:
        record = violation_record(vehicle_bbox=[900, 900, 990, 990])
        assert (await service.evidence(record)).created
