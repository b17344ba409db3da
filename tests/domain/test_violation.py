"""Violation records: checked whole, frozen, equal by value, recognised by their digest."""

import json
import math
import operator
import pickle
from array import array
from collections.abc import Callable, Mapping
from copy import copy, deepcopy
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traffic_storage.domain.canonical import Json, canonical_json, json_copy
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.violation import (
    MAX_INFO_BYTES,
    EvidencePart,
    StoredViolation,
    ViolationRecord,
    evidence_document,
    recorded,
    stored,
    with_paths,
)
from traffic_storage.entrypoints.testing import strategies as kit

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def given_fields(**changes: object) -> dict[str, Any]:
    return {
        "violation_id": "V001",
        "device_id": "cam-1",
        "violation_type": "speed",
        "timestamp": NOON,
        "vehicle_bbox": [10, 20, 110.5, 220],
        "vehicle_class": "car",
        "confidence": 0.93,
        "camera_info": {"lens": {"mm": 35}, "modes": ["day", {"hdr": True}]},
        "processing_time_ms": 12.5,
        "model_versions": {"detector": "1.2"},
    } | changes


def record(**changes: object) -> ViolationRecord:
    return ViolationRecord(**given_fields(**changes))


def problems_of(**changes: object) -> dict[str, str]:
    """The wrong fields and their remedies."""
    with pytest.raises(InvalidInput) as caught:
        record(**changes)
    assert all(problem.message for problem in caught.value.problems)
    return {problem.field: problem.remedy for problem in caught.value.problems}


def deep(levels: int) -> object:
    value: object = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def ring() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = value
    return value


WRONG: dict[str, list[object]] = {
    "violation_id": [None, 1, "", "...", "a~b", "a/b", "ä", "a\n", "a" * 181, "V001~image"],
    "device_id": [None, 7, "", "  ", "cam\n", "\u202ecam", "\ud800", "c" * 129],
    "violation_type": [None, "", "\x00", "t" * 129],
    "timestamp": [None, "2026-03-14T12:00:00", 1_773_000_000, NOON.date()],
    "vehicle_bbox": [
        None,
        "1,2,3,4",
        [],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        {1, 2, 3, 4},
        np.array([1, 2, 3]),
        np.array([3, 2, 1, 4]),
        np.array(1),
        np.ones((4, 4)),
        np.array([1, 2, math.nan, 4]),
        np.ma.masked_array([1, 2, 3, 4], mask=[False, False, False, True]),
        [np.ones(2)] * 4,
        [0, 0, np.True_, np.True_],
        np.ndarray,
        [1, 2, 3, "4"],
        [1, 2, 3, None],
        [0, 0, True, True],
        [0, 0, math.nan, 1],
        [0, 0, math.inf, 1],
        [0, 0, 10**400, 1],
        [0, 0, 10**5000, 1],
        [3, 2, 1, 4],
        [1, 4, 3, 2],
        [1, 2, 1, 4],
        [deep(2000)] * 4,
    ],
    "vehicle_class": [None, "", "\u2066car"],
    "confidence": [None, "0.5", True, -0.001, 1.001, math.nan, math.inf, 10**400, 10**5000],
    "image_path": [None, 5, "a\nb", "\u202e", "p" * 4097],
    "video_path": [None, b"path"],
    "camera_info": [
        None,
        [],
        "{}",
        {1: 2},
        {"a": math.nan},
        {"a": b""},
        {"a": object()},
        {"a": NOON},
        {"a": 10**400},
        {"a": "\ud800"},
        {"a": "x" * MAX_INFO_BYTES},
        deep(66),
        deep(100_000),
        ring(),
    ],
    "processing_time_ms": [None, "1", False, -1, -0.001, math.nan, math.inf, 10**400, 2**63],
    "model_versions": [None, [], {"a": 1}, {"a": None}, {"a": {"b": "c"}}, {1: "a"}],
}


def numbered(values: Mapping[str, list[object]]) -> list[Any]:
    return [
        pytest.param(field, value, id=f"{field}-{number}")
        for field, several in values.items()
        for number, value in enumerate(several)
    ]


@pytest.mark.parametrize(("field", "value"), numbered(WRONG))
def test_a_wrong_field_is_named_with_a_remedy(field: str, value: object) -> None:
    problems = problems_of(**{field: value})
    (named,) = problems
    assert named == field or named.startswith(f"{field}.")
    assert problems[named]


def test_all_wrong_fields_are_named_at_once() -> None:
    assert set(problems_of(**{field: values[0] for field, values in WRONG.items()})) == set(WRONG)


@given(st.dictionaries(st.sampled_from(sorted(WRONG)), st.integers(0, 99), min_size=1))
def test_any_set_of_wrong_fields_is_named_and_no_other(picks: dict[str, int]) -> None:
    changes = {field: WRONG[field][pick % len(WRONG[field])] for field, pick in picks.items()}
    assert {name.partition(".")[0] for name in problems_of(**changes)} == set(changes)


def test_a_message_shows_no_more_of_a_hostile_value_than_it_must() -> None:
    with pytest.raises(InvalidInput) as caught:
        record(vehicle_bbox="\u202e\n" * 10_000, confidence="\x00" * 10_000, device_id="\x1b" * 100)
    assert len(str(caught.value)) < 2000
    assert str(caught.value).isprintable()


def test_what_is_not_needed_may_be_left_out() -> None:
    brief = ViolationRecord("V001", "cam-1", "speed", NOON, (1, 2, 3, 4), "car", 1)
    assert brief.image_path == brief.video_path == ""
    assert brief.camera_info == brief.model_versions == {}
    assert brief.processing_time_ms == 0


@given(kit.records())
def test_records_are_equal_by_value(one: ViolationRecord) -> None:
    other = ViolationRecord(**attrs.asdict(one, recurse=False))
    assert other == one
    assert other is not one
    assert other.sha256() == one.sha256()


@given(kit.records(), kit.records())
def test_another_record_has_another_digest(one: ViolationRecord, other: ViolationRecord) -> None:
    same = canonical_json(one.as_given()) == canonical_json(other.as_given())
    assert (one.sha256() == other.sha256()) == same


def test_a_record_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record().confidence = 0.1  # type: ignore[misc]


@given(kit.json_objects())
def test_what_the_caller_does_to_his_own_values_afterwards_changes_nothing(
    info: dict[str, Json],
) -> None:
    mine: dict[str, Any] = {"info": info, "list": [1, {"deep": [2]}]}
    versions = {"detector": "1.2"}
    box = [1, 2, 3, 4]
    made = record(camera_info=mine, model_versions=versions, vehicle_bbox=box)
    before, digest = deepcopy(made), made.sha256()
    mine["list"][1]["deep"].append(3)
    mine["info"]["more"] = 1
    mine.clear()
    versions["detector"] = "2"
    box[0] = 0
    assert made == before
    assert made.sha256() == digest


def test_any_mapping_is_taken_and_kept_as_json() -> None:
    proxy = MappingProxyType({"lens": MappingProxyType({"mm": 35}), "modes": ("day",)})
    assert record(camera_info=proxy) == record(camera_info={"lens": {"mm": 35}, "modes": ["day"]})


@given(st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_keys(chance: Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            chance.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return value

    info = {"a": {"x": 1, "y": {"p": 1, "q": 2}}, "b": 2, "c": 3}
    assert record(camera_info=shuffled(info)).sha256() == record(camera_info=info).sha256()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"vehicle_bbox": [10, 20, 30, 40]}, {"vehicle_bbox": (10.0, 20.0, 30.0, 40.0)}),
        ({"confidence": 1}, {"confidence": 1.0}),
        ({"processing_time_ms": 3}, {"processing_time_ms": 3.0}),
        ({"confidence": np.float64(0.5)}, {"confidence": 0.5}),
        ({"confidence": np.float32(0.5)}, {"confidence": 0.5}),
        ({"processing_time_ms": np.int64(3)}, {"processing_time_ms": 3}),
        ({"vehicle_bbox": np.array([1, 2, 3, 4])}, {"vehicle_bbox": [1, 2, 3, 4]}),
        (
            {"vehicle_bbox": [np.int64(1), np.float32(2.5), np.uint8(3), np.float64(4)]},
            {"vehicle_bbox": [1, 2.5, 3, 4]},
        ),
        (
            {"camera_info": {"a": [{"gain": np.float32(0.5)}]}},
            {"camera_info": {"a": [{"gain": 0.5}]}},
        ),
        ({"camera_info": {"fps": 25.0}}, {"camera_info": {"fps": 25}}),
        ({"camera_info": {"a": [{"b": (1.0, -0.0)}]}}, {"camera_info": {"a": [{"b": [1, 0]}]}}),
        ({"camera_info": {"a": 1e300}}, {"camera_info": {"a": int(1e300)}}),
        ({"timestamp": NOON}, {"timestamp": NOON.astimezone(timezone(timedelta(hours=1)))}),
        ({"timestamp": NOON}, {"timestamp": NOON.astimezone(ZoneInfo("Asia/Kathmandu"))}),
        ({"image_path": ""}, {"image_path": "V001~image", "video_path": "V001~video"}),
    ],
)
def test_what_is_the_same_however_it_was_written_has_the_same_digest(
    one: dict[str, object], other: dict[str, object]
) -> None:
    assert record(**one).sha256() == record(**other).sha256()


@pytest.mark.parametrize(
    "change",
    [
        {"violation_id": "V002"},
        {"device_id": "cam-2"},
        {"violation_type": "red_light"},
        {"timestamp": NOON.replace(tzinfo=None)},
        {"timestamp": NOON.replace(microsecond=1)},
        {"vehicle_bbox": [10, 20, 110.5, 220.25]},
        {"vehicle_class": "lorry"},
        {"confidence": 0.94},
        {"camera_info": {}},
        {"processing_time_ms": 12.6},
        {"model_versions": {"detector": "1.3"}},
    ],
)
def test_any_other_field_gives_another_digest(change: dict[str, object]) -> None:
    assert record(**change).sha256() != record().sha256()


@pytest.mark.parametrize(
    "box",
    [
        np.array([1, 2.1, 3, 4], np.float32),
        np.array([1, 2, 3, 4]),
        [np.float32(0.1), 0, np.int64(2**62), np.float64(0.3)],
        array("d", [0.1, 0.2, 3, 4]),
    ],
)
def test_numbers_of_numpy_become_pythons_exactly(box: Any) -> None:
    made = record(vehicle_bbox=box, confidence=np.float32(0.93), processing_time_ms=np.float64(0.1))
    assert list(made.vehicle_bbox) == [float(edge) for edge in box]
    assert (made.confidence, made.processing_time_ms) == (float(np.float32(0.93)), 0.1)
    numbers = [*made.vehicle_bbox, made.confidence, made.processing_time_ms]
    assert {type(number) for number in numbers} <= {int, float}


def test_a_naive_time_stays_as_it_is() -> None:
    naive = record(timestamp=NOON.replace(tzinfo=None, fold=1))
    assert naive.as_given()["timestamp"] == "2026-03-14T12:00:00"
    assert naive.sha256() != record().sha256()


@given(kit.records(), st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
def test_the_same_instant_with_another_offset_is_the_same_record(
    one: ViolationRecord, offset: timedelta
) -> None:
    try:
        moved = one.timestamp.astimezone(timezone(offset))
    except OverflowError:
        return
    if one.timestamp.tzinfo is not None:
        other = attrs.evolve(one, timestamp=moved)
        assert other == one
        assert other.timestamp.isoformat() == moved.isoformat()
        assert other.as_given() == one.as_given()


TWICE = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Madrid"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"camera_info": {"hdr": True}}, {"camera_info": {"hdr": 1}}),
        ({"camera_info": {"a": [False]}}, {"camera_info": {"a": [0.0]}}),
        ({"timestamp": TWICE}, {"timestamp": TWICE.replace(fold=1)}),
    ],
)
def test_what_python_takes_for_equal_and_is_not_differs(one: Any, other: Any) -> None:
    assert record(**one) != record(**other)
    assert record(**one).sha256() != record(**other).sha256()


@given(kit.records(), kit.records())
def test_equal_records_have_equal_digests(one: ViolationRecord, other: ViolationRecord) -> None:
    same = with_paths(other, one.image_path, one.video_path)
    assert (one == same) == (one.sha256() == same.sha256())


def test_the_digest_never_changes() -> None:
    """It is compared with those that earlier versions stored."""
    assert record().sha256() == "2066e83c679202abed548990dfa5b2c50b873445ef2c998a9b1fa838fd266833"


def fields_of(one: ViolationRecord) -> dict[str, Any]:
    return {attribute.name: getattr(one, attribute.name) for attribute in attrs.fields(type(one))}


@given(kit.records())
def test_a_record_of_the_catalogue_equals_the_checked_one(one: ViolationRecord) -> None:
    back = recorded(**fields_of(one))
    assert back == one
    assert fields_of(back) == fields_of(one)
    assert back.sha256() == one.sha256()
    assert repr(back) == repr(one)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        back.device_id = "other"  # type: ignore[misc]


@settings(max_examples=30)
@given(kit.stored_violations())
def test_a_violation_of_the_catalogue_equals_the_one_that_was_stored(one: StoredViolation) -> None:
    fields = {attribute.name: getattr(one, attribute.name) for attribute in attrs.fields(type(one))}
    back = stored(**fields)
    assert back == one
    assert repr(back) == repr(one)
    assert type(back) is StoredViolation
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        back.image_file_id = None  # type: ignore[misc]


@given(kit.records())
def test_storing_assigns_the_paths_and_nothing_else(one: ViolationRecord) -> None:
    assigned = with_paths(one, "V001~image", "")
    assert (assigned.image_path, assigned.video_path) == ("V001~image", "")
    assert with_paths(assigned, one.image_path, one.video_path) == one
    assert assigned.sha256() == one.sha256()


CHANGES: list[Callable[[Any], object]] = [
    lambda info: info.update(a=1),
    lambda info: info.clear(),
    lambda info: info.pop("lens"),
    lambda info: info.popitem(),
    lambda info: info.setdefault("a", 1),
    lambda info: operator.setitem(info, "a", 1),
    lambda info: operator.delitem(info, "lens"),
    lambda info: info.__ior__({"a": 1}),
    lambda info: operator.setitem(info["lens"], "mm", 1),
    lambda info: operator.setitem(info["modes"], 0, 1),
    lambda info: operator.delitem(info["modes"], 0),
    lambda info: info["modes"].__iadd__([1]),
    lambda info: info["modes"].__imul__(2),
    lambda info: info["modes"].append(1),
    lambda info: info["modes"].clear(),
    lambda info: info["modes"].extend([1]),
    lambda info: info["modes"].insert(0, 1),
    lambda info: info["modes"].pop(),
    lambda info: info["modes"].remove("day"),
    lambda info: info["modes"].reverse(),
    lambda info: info["modes"].sort(),
    lambda info: info["modes"][1].clear(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_its_mappings_are_frozen_at_any_depth(change: Callable[[Any], object]) -> None:
    one = record()
    with pytest.raises(TypeError, match="frozen"):
        change(one.camera_info)
    assert one == record()


@given(kit.records())
def test_a_record_is_hashable_and_any_json_writer_takes_its_mappings(one: ViolationRecord) -> None:
    same = attrs.evolve(one)
    assert {one, same} == {one}
    assert json.loads(json.dumps(one.camera_info)) == one.camera_info
    plain: Any = json_copy(one.camera_info)
    assert canonical_json(one.camera_info) == canonical_json(plain)
    assert pickle.loads(pickle.dumps(one)) == deepcopy(one) == copy(one) == one
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(one)).camera_info.update(a=1)


PARTS = st.dictionaries(st.sampled_from(["image", "video"]), kit.evidence_parts())


@settings(max_examples=30)
@given(kit.records(), PARTS)
def test_the_document_is_canonical_and_names_its_siblings(
    one: ViolationRecord, parts: dict[str, EvidencePart]
) -> None:
    document = evidence_document(one, None, parts)
    told = json.loads(document)
    assert document == canonical_json(told)
    assert told["schema"] == "traffic-storage/violation/1"
    assert sha256_of(canonical_json(told["record"])) == one.sha256()
    assert set(told["files"]) == set(parts)
    for role, part in parts.items():
        assert EvidencePart(**told["files"][role]) == part


@settings(max_examples=30)
@given(kit.records(), PARTS)
def test_the_document_holds_nothing_that_a_retry_would_change(
    one: ViolationRecord, parts: dict[str, EvidencePart]
) -> None:
    retried = with_paths(one, "V001~image", "V001~video")
    backwards = dict(reversed(parts.items()))
    again = evidence_document(retried, "UTC", backwards)
    assert again == evidence_document(one, "UTC", parts)


@settings(max_examples=30)
@given(kit.stored_violations())
def test_a_violation_without_an_image_is_incomplete(one: StoredViolation) -> None:
    assert one.incomplete == (one.image_file_id is None)
    assert one.violation_id == one.record.violation_id
    assert not attrs.evolve(one, image_file_id=FileId("V001~image")).incomplete
