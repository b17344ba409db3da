"""The quality of records: complete, plausible, and whatever can't be constructed is judged, too."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from attrs import asdict
from hypothesis import given, settings
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.quality.assessment import Assessment, Part
from traffic_storage.domain.quality.record import (
    RECORD_CHECKS,
    Circumstances,
    JudgedRecord,
    Sighting,
    judged_record,
    overlap,
    record_quality,
)
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.testing import strategies as kit

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
BOX = (100.0, 100.0, 200.0, 200.0)
RAW = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = st.sampled_from([*ViolationRecord.__match_args__, "speed"])


def fields(**changes: object) -> dict[str, object]:
    return {
        "violation_id": "V001",
        "device_id": "cam-1",
        "violation_type": "speed",
        "timestamp": NOON,
        "vehicle_bbox": list(BOX),
        "vehicle_class": "car",
        "confidence": 0.95,
        "camera_info": {"location": "Main St"},
        "processing_time_ms": 150.0,
        "model_versions": {"detector": "yolov8"},
    } | changes


def judged(given: Mapping[str, object], **around: Any) -> Assessment:
    circumstances = Circumstances(**{"received_at": NOON + timedelta(seconds=5)} | around)
    return record_quality(judged_record(given, circumstances))


def found(result: Assessment) -> dict[str, str]:
    """Field and kind of each finding; an error's kind is in capitals."""
    kinds = {finding.field: finding.kind.upper() for finding in result.errors}
    return {finding.field: finding.kind for finding in result.warnings} | kinds


def test_a_good_record_has_the_full_score() -> None:
    result = judged(fields(), image_size=(640, 480), known_models={"detector": {"yolov8"}})
    assert (result.score, result.valid, result.findings) == (1.0, True, ())
    assert list(result.parts) == [check.__name__ for check in RECORD_CHECKS]


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        ({"confidence": 1.5}, {"confidence": "WRONG_FIELD"}),
        ({"confidence": np.float32(0.25)}, {"confidence": "unsure"}),
        ({"timestamp": "2026-03-14"}, {"timestamp": "zone_assumed"}),
        ({"timestamp": "yesterday"}, {"timestamp": "WRONG_FIELD"}),
        ({"timestamp": NOON.replace(year=1969)}, {"timestamp": "IMPLAUSIBLE_TIME"}),
        ({"timestamp": NOON + timedelta(days=3)}, {"timestamp": "IMPLAUSIBLE_TIME"}),
        ({"timestamp": NOON + timedelta(hours=3)}, {"timestamp": "after_receipt"}),
        ({"timestamp": NOON - timedelta(days=40)}, {"timestamp": "late"}),
        ({"timestamp": datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo"))},
         {"timestamp": "WRONG_FIELD"}),
        ({"vehicle_bbox": [200, 100, 100, 200]}, {"vehicle_bbox": "WRONG_FIELD"}),
        ({"vehicle_bbox": [600, 100, 700, 200]}, {"vehicle_bbox": "BOX_OUTSIDE"}),
        ({"vehicle_bbox": [560, 100, 660, 200]}, {"vehicle_bbox": "box_outside"}),
        ({"vehicle_bbox": np.array([0.1, 0.1, 0.5, 0.5])}, {"vehicle_bbox": "BOX_TINY"}),
        ({"vehicle_bbox": [10, 10, 20, 20]}, {"vehicle_bbox": "box_small"}),
        ({"vehicle_bbox": [0, 0, 600, 50]}, {"vehicle_bbox": "box_shape"}),
        ({"vehicle_bbox": [0, 0, 640, 480]}, {"vehicle_bbox": "box_large"}),
        ({"model_versions": {"detector": "v9"}}, {"model_versions.detector": "unknown_model"}),
        ({"model_versions": {}, "speed": 9}, {"model_versions": "not_given", "speed": "unknown_field"}),
        ({"camera_info": []}, {"camera_info": "WRONG_FIELD"}),
        ({"camera_info": {"device_time": "soon"}}, {"camera_info.device_time": "device_time"}),
        ({"camera_info": {"device_time": "2026-03-14T11:00:00Z"}},
         {"camera_info.device_time": "clock_skew", "timestamp": "AFTER_SENDING"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_field(
    changes: dict[str, object], findings: dict[str, str]
) -> None:
    result = judged(fields(**changes), image_size=(640, 480), known_models={"detector": {"yolov8"}})
    kinds = found(result)
    if kinds.get("camera_info") == "WRONG_FIELD":
        kinds.pop("camera_info.device_time", None)
    assert kinds == findings
    assert result.score < 1
    assert result.valid == all(kind.islower() for kind in findings.values())


@pytest.mark.parametrize("box", [[4000, 3000, 9000, 9000], [400, 300, 9000, 9000]])
def test_a_box_covers_the_image_by_its_part_inside(box: list[int]) -> None:
    result = judged(fields(vehicle_bbox=box), image_size=(560, 420))
    assert [one.kind for one in result.findings] == ["box_outside"]


def test_missing_fields_are_named_and_each_halves_the_form() -> None:
    result = judged({"violation_id": "V1", "confidence": 0.9})
    missing = {"device_id", "violation_type", "timestamp", "vehicle_bbox", "vehicle_class"}
    assert {finding.field for finding in result.errors} == missing
    assert {finding.kind for finding in result.errors} == {"missing"}
    assert result.parts["form"] == 0.5**5
    assert not result.valid


def test_without_circumstances_only_the_record_is_judged() -> None:
    far = fields(timestamp=NOON + timedelta(days=9000), vehicle_bbox=[900, 900, 990, 990])
    result = record_quality(judged_record(far, Circumstances()))
    assert result.score == 1
    outside = record_quality(judged_record(fields(vehicle_bbox=[-90, 0, 10, 99]), Circumstances()))
    assert found(outside) == {"vehicle_bbox": "BOX_OUTSIDE"}


def test_a_violation_sent_under_two_ids_is_a_duplicate() -> None:
    near = (101.0, 100.0, 201.0, 200.0)
    other = Sighting("V000", "cam-1", NOON, near)
    assert found(judged(fields(), sightings=[other])) == {"violation_id": "DUPLICATE"}
    apart = [
        Sighting("V001", "cam-1", NOON, BOX),
        Sighting("V000", "cam-2", NOON, BOX),
        Sighting("V000", "cam-1", NOON + timedelta(milliseconds=1), BOX),
        Sighting("V000", "cam-1", NOON, (150.0, 100.0, 250.0, 200.0)),
        Sighting("V000", "cam-1", NOON, (300.0, 100.0, 400.0, 200.0)),
    ]
    assert judged(fields(), sightings=apart).score == 1


def test_overlap_is_the_intersection_over_the_union() -> None:
    assert overlap(BOX, BOX) == 1
    assert overlap(BOX, (150.0, 100.0, 250.0, 200.0)) == pytest.approx(1 / 3)
    assert overlap(BOX, (300.0, 300.0, 400.0, 400.0)) == 0


@settings(max_examples=20)
@given(kit.records())
def test_a_record_is_judged_like_its_raw_fields(record: ViolationRecord) -> None:
    around = Circumstances(received_at=NOON)
    raw = {name: getattr(record, name) for name in asdict(record, recurse=False)}
    as_record, as_raw = judged_record(record, around), judged_record(raw, around)
    assert record_quality(as_record) == record_quality(as_raw)
    assert as_record.sighting == as_raw.sighting


@settings(max_examples=40)
@given(st.dictionaries(NAMES, RAW))
def test_anything_can_be_judged_and_is_valid_only_if_it_can_be_constructed(
    raw: dict[str, Any],
) -> None:
    result = judged(fields() | raw)
    assert 0 <= result.score <= 1
    known: dict[str, Any] = {
        name: value for name, value in (fields() | raw).items() if name != "speed"
    }
    try:
        ViolationRecord(**known)
    except InvalidInput as error:
        expected = {problem.field.split(".")[0] for problem in error.problems}
        named = {finding.field.split(".")[0] for finding in result.errors}
        assert expected - {"timestamp"} <= named
        assert not result.valid or expected == {"timestamp"}


def test_a_check_is_added_by_a_function() -> None:
    def plate(record: JudgedRecord) -> Part:
        return Part("plate", 1.0 if "plate" in record.info else 0.25)

    record = judged_record(fields(), Circumstances())
    assert record_quality(record, [*RECORD_CHECKS, plate]).score == 0.25
