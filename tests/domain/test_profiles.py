"""Completeness profiles: what is missing keeps evidence from being exported as such."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from traffic_storage.domain.files import FileKind
from traffic_storage.domain.profiles import (
    EXAMPLE_PROFILES,
    CompletenessProfile,
    EvidenceFile,
    exportability,
    profile_for,
)

AT = datetime(2026, 3, 14, 12, tzinfo=UTC)
CLOCK = {"synchronised_at": "2026-03-14T11:00:00Z", "offset_ms": -12}
INFO = {
    "location": "Main St",
    "speed_kmh": 93,
    "speed_limit_kmh": 50,
    "certificate": "C-1",
    "clock": CLOCK,
}
FRAMES = (
    EvidenceFile(FileKind.IMAGE, AT),
    EvidenceFile(FileKind.METADATA, AT),
    EvidenceFile(FileKind.IMAGE, AT + timedelta(seconds=1)),
)


def missing(
    files: tuple[EvidenceFile, ...] = FRAMES, jurisdiction: str | None = "ES", **info: Any
) -> dict[str, str]:
    """Field and kind of what is missing of a speed violation."""
    given = {name: value for name, value in (INFO | info).items() if value is not None}
    record = {"violation_type": "speed", "camera_info": given}
    result = exportability(record, files, jurisdiction, EXAMPLE_PROFILES, AT)
    assert result.exportable_as_evidence == (not result.missing)
    return {finding.field.removeprefix("camera_info."): finding.kind for finding in result.missing}


def test_complete_evidence_is_exportable() -> None:
    assert missing() == {}


@pytest.mark.parametrize(
    ("info", "fields"),
    [
        ({"speed_kmh": None, "location": ""}, {"location": "not_given", "speed_kmh": "not_given"}),
        ({"clock": None},
         {"clock.synchronised_at": "no_clock_proof", "clock.offset_ms": "no_clock_proof"}),
        ({"clock": CLOCK | {"offset_ms": 1500}}, {"clock.offset_ms": "clock_proof"}),
        ({"clock": CLOCK | {"offset_ms": True}}, {"clock.offset_ms": "no_clock_proof"}),
        ({"clock": CLOCK | {"synchronised_at": "2026-03-12"}},
         {"clock.synchronised_at": "clock_proof"}),
        ({"clock": CLOCK | {"synchronised_at": "2026-03-14T12:00:09"}},
         {"clock.synchronised_at": "clock_proof"}),
        ({"clock": CLOCK | {"synchronised_at": "noon"}},
         {"clock.synchronised_at": "no_clock_proof"}),
    ],
)  # fmt: skip
def test_fields_and_the_proof_of_the_clock_are_needed(
    info: dict[str, Any], fields: dict[str, str]
) -> None:
    assert missing(**info) == fields


@pytest.mark.parametrize(
    ("files", "fields"),
    [
        (FRAMES[:2], {"files.image": "too_few_files", "files.image.captured_at": "no_interval"}),
        ((FRAMES[0], FRAMES[0]), {"files.image.captured_at": "wrong_interval"}),
        ((FRAMES[0], evolve(FRAMES[0], captured_at=AT + timedelta(minutes=1))),
         {"files.image.captured_at": "wrong_interval"}),
        ((FRAMES[0], EvidenceFile(FileKind.IMAGE)), {"files.image.captured_at": "no_interval"}),
    ],
)  # fmt: skip
def test_frames_and_their_interval_are_needed(
    files: tuple[EvidenceFile, ...], fields: dict[str, str]
) -> None:
    assert missing(files) == fields


def test_without_a_profile_an_image_is_enough() -> None:
    assert missing(FRAMES[:1], None, location=None) == {}
    assert missing(FRAMES[1:2], "FR") == {"files.image": "too_few_files"}


def test_the_last_profile_applies() -> None:
    own = CompletenessProfile("own", "speed", "ES", "an agreement", videos=1)
    profiles = (*EXAMPLE_PROFILES, own)
    assert profile_for("speed", "ES", profiles) == own
    result = exportability({"violation_type": "speed"}, FRAMES, "ES", profiles, AT)
    assert [finding.field for finding in result.missing] == ["files.video"]
    assert result.profile == own
    only = evolve(own, videos=0, max_interval=timedelta(milliseconds=5))
    (wrong,) = exportability({"violation_type": "speed"}, FRAMES, "ES", [only], AT).missing
    assert "any number of to 0.005 s" in wrong.message


def test_the_shipped_profiles_are_examples_with_their_source() -> None:
    assert len(EXAMPLE_PROFILES) == 2
    assert all(profile.example and profile.legal_source for profile in EXAMPLE_PROFILES)
