"""Completeness profiles: what is missing keeps evidence from being exported as such."""

import json
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.profiles import (
    EXAMPLE_PROFILES,
    ChosenProfiles,
    ClockProof,
    CompletenessProfile,
    EvidenceFile,
    Profiles,
    exportability,
    profile_for,
)
from traffic_storage.domain.profiles_json import json_of, profiles_in
from traffic_storage.domain.quality.record import Circumstances, judged_record

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


OWN = """
[[profiles]]
profile_id = "es-speed"
violation_type = "speed"
jurisdiction = "ES"
legal_source = "an agreement"
images = 2
min_interval = "1ms"
max_interval = "2.5s"
fields = ["camera_info.speed_kmh"]

[profiles.clock]
max_age = "24h"
max_offset = "200ms"

[[profiles]]
profile_id = "es-parking"
violation_type = "parking"
jurisdiction = "ES"
legal_source = "another one"
"""
WRONG = """
[[profiles]]
profile_id = "a,b"
violation_type = "speed"
jurisdiction = ""
legal_source = "an agreement"
images = -1
min_interval = "5s"
max_interval = "1s"
fields = ["camera_inf.speed", "a b"]

[[profiles]]
profile_id = "es-speed"
violation_typ = "speed"
jurisdiction = "ES"
legal_source = "an agreement"
videos = true

[profiles.clock]
max_age = "a day"
max_offset = "1s"
"""


def test_profiles_are_read_from_toml() -> None:
    profiles = profiles_in(tomllib.loads(OWN), "profiles.toml")
    speed, parking = profiles.own
    assert speed == CompletenessProfile(
        "es-speed",
        "speed",
        "ES",
        "an agreement",
        images=2,
        min_interval=timedelta(milliseconds=1),
        max_interval=timedelta(seconds=2.5),
        fields=("camera_info.speed_kmh",),
        clock=ClockProof(timedelta(days=1), timedelta(milliseconds=200)),
    )
    assert profiles.known == (*EXAMPLE_PROFILES, speed, parking)
    again = json.loads(json.dumps({"profiles": [json_of(one) for one in profiles.own]}))
    assert profiles_in(again) == profiles
    assert json_of(speed)["max_interval"] == "2500ms"
    assert profiles_in({}) == Profiles()


def test_each_wrong_field_of_a_file_is_named_with_its_place() -> None:
    with pytest.raises(InvalidInput) as refused:
        profiles_in(tomllib.loads(WRONG), "profiles.toml")
    found = {one.field: one for one in refused.value.problems}
    assert set(found) == {
        *(f"profiles[1].{name}" for name in ("profile_id", "jurisdiction", "images")),
        *(f"profiles[1].{name}" for name in ("min_interval", "fields[1]", "fields[2]")),
        *(f"profiles[2].{name}" for name in ("violation_type", "violation_typ", "videos")),
        "profiles[2].clock.max_age",
    }
    assert all("(in profiles.toml)" in one.message for one in found.values())
    assert found["profiles[2].violation_typ"].remedy == "did you mean violation_type?"
    assert found["profiles[1].fields[1]"].remedy == "did you mean camera_info?"
    assert "length of time such as 200ms" in found["profiles[2].clock.max_age"].message


def test_ids_are_distinct_and_none_is_that_of_an_example() -> None:
    one = CompletenessProfile("own", "speed", "ES", "an agreement")
    with pytest.raises(InvalidInput, match=r"profiles\[2\]\.profile_id: is 'own', as that of"):
        Profiles((one, one))
    with pytest.raises(InvalidInput, match="belong to the shipped examples"):
        Profiles((evolve(one, profile_id="example-own"),))
    with pytest.raises(InvalidInput, match="max_age: must be a length of time"):
        ClockProof(timedelta(-1), timedelta(0))


def test_profiles_are_chosen_by_their_ids() -> None:
    profiles = profiles_in(tomllib.loads(OWN))
    speed, parking = profiles.own
    assert profiles.named(None) is None
    assert evolve(profiles, default=ChosenProfiles((parking,))).named(None) is not None
    several: list[str | list[str | CompletenessProfile]] = [
        "es-speed, es-parking",
        ["es-speed", parking],
        [speed, speed, parking],
    ]
    for names in several:
        chosen = profiles.named(names)
        assert chosen is not None
        assert chosen.profiles == (speed, parking)
    for wrong, told in (
        ("es-sped", r"is unknown: 'es-sped' \(did you mean es-speed\?\)"),
        ("", "is unknown: ''"),
        ([], "names no profile"),
        ("es-speed,example-es-speed", "has two for 'speed': es-speed and example-es-speed"),
    ):
        with pytest.raises(InvalidInput, match=f"profile: {told}"):
            profiles.named(wrong)


def test_a_type_without_a_chosen_profile_is_not_complete() -> None:
    chosen = ChosenProfiles(profiles_in(tomllib.loads(OWN)).own)
    (found,) = chosen.judge({"violation_type": "red_light"}, FRAMES, AT).missing
    assert (found.kind, found.field) == ("no_profile", "violation_type")
    assert "only es-speed, es-parking" in found.message
    assert chosen.judge({"violation_type": "parking"}, FRAMES, AT).exportable_as_evidence


def test_a_record_alone_is_judged_without_its_files() -> None:
    chosen = ChosenProfiles(profiles_in(tomllib.loads(OWN)).own)

    def lacks(**given: Any) -> list[str]:
        part = chosen.of_record(judged_record(given, Circumstances()))
        assert part.score == pytest.approx(0.9 ** len(part.findings))
        return [found.field for found in part.findings]

    record = {"violation_type": "speed", "timestamp": AT.isoformat(), "camera_info": INFO}
    assert lacks(**record) == []
    assert lacks(**record | {"timestamp": "noon"}) == ["timestamp"]
    assert lacks(**record | {"camera_info": {"clock": CLOCK}}) == ["camera_info.speed_kmh"]
    assert lacks(violation_type="other") == ["violation_type"]
