"""Text fields, read strictly, with all that is wrong told at once."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.domain.principal import ALL_SCOPES, Principal
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.http import uploads
from traffic_storage.entrypoints.http.fields import idempotency_key, renamed
from traffic_storage.entrypoints.http.queries import instant_in
from traffic_storage.entrypoints.http.schemas import (
    FileDescription,
    ImageForm,
    VideoForm,
    ViolationForm,
    number,
    query_time,
    read_fields,
    whole_number,
)

ANYBODY = Principal("office", ALL_SCOPES)

GOOD = {
    "violation_id": "V001",
    "device_id": "cam_001",
    "violation_type": "speed",
    "timestamp": "2025-11-01T10:00:00",
    "vehicle_bbox": "[100,100,200,200]",
    "vehicle_class": "car",
    "confidence": "0.95",
    "processing_time_ms": "150",
}


def record_of(texts: dict[str, str]) -> ViolationRecord:
    return uploads.record_of(*read_fields(ViolationForm, texts), ANYBODY)


def test_the_fields_of_the_source_make_a_record() -> None:
    record = record_of(GOOD)
    assert record.violation_id == "V001"
    assert record.timestamp == datetime(2025, 11, 1, 10)
    assert tuple(record.vehicle_bbox) == (100, 100, 200, 200)
    assert (record.confidence, record.processing_time_ms) == (0.95, 150.0)


def test_json_fields_are_objects() -> None:
    record = record_of({**GOOD, "camera_info": '{"a": [1]}', "model_versions": '{"d": "8"}'})
    assert record.camera_info == {"a": [1]}
    assert record.model_versions == {"d": "8"}


def test_every_wrong_field_is_named_at_once() -> None:
    wrong = {
        "violation_id": "..",
        "device_id": "\u202e",
        "timestamp": "yesterday",
        "vehicle_bbox": "nonsense",
        "vehicle_class": "car",
        "confidence": "2",
        "processing_time_ms": "fast",
        "camera_info": "[]",
    }
    with pytest.raises(InvalidInput) as caught:
        record_of(wrong)
    assert sorted(problem.field for problem in caught.value.problems) == sorted(
        [*(set(wrong) - {"vehicle_class"}), "violation_type"]
    )
    assert all(problem.remedy for problem in caught.value.problems)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1_0", "٣", "0x1", "", " ", "1,5", "1e9999", "9" * 5 + "x"]
)
def test_only_decimal_numbers_are_numbers(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        number(text, "confidence")
    assert caught.value.problems[0].field == "confidence"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_read(value: float) -> None:
    assert number(repr(value), "confidence") == value


@pytest.mark.parametrize("text", ["", "1.0", "ten", "1" * 5000, "\u0661"])
def test_only_digits_are_whole_numbers(text: str) -> None:
    with pytest.raises(InvalidInput):
        whole_number(text, "limit")


def test_times_of_a_query_are_instants() -> None:
    def parse(text: str, field: str) -> datetime:
        return instant_in(ZoneInfo("Europe/Madrid"), field)(query_time(text, field))

    assert parse("2025-11-01T10:00:00", "start_date") == datetime(2025, 11, 1, 9, tzinfo=UTC)
    assert parse("2025-11-01", "start_date") == datetime(2025, 10, 31, 23, tzinfo=UTC)
    assert parse("2025-11-01T10:00:00Z", "start_date") == datetime(2025, 11, 1, 10, tzinfo=UTC)


def test_a_plus_that_became_a_space_is_understood() -> None:
    read = query_time("2025-11-01T10:00:00 02:00", "start_date")
    assert read == datetime(2025, 11, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2025-11-01 10:00", "2025-11-01 1000", "20251101 10:00"])
def test_a_time_behind_a_space_is_no_offset(text: str) -> None:
    assert query_time(text, "start_date") == datetime(2025, 11, 1, 10)


@pytest.mark.parametrize("text", ["", "now", "2025-13-01", "0001-01-01T00:00:00+14:00"])
def test_an_impossible_time_names_its_own_field(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        instant_in(ZoneInfo("Asia/Tokyo"), "end_date")(query_time(text, "end_date"))
    assert caught.value.problems[0].field == "end_date"


def test_a_key_is_read_with_quotes_or_without() -> None:
    assert idempotency_key(['"k1"']) == idempotency_key([" k1 "]) == "k1"
    assert idempotency_key([]) is None


@pytest.mark.parametrize(
    "lines", [[""], [" "], ['""'], ["é"], ["k" * 256], ["a\tb"], ["a", "b"], ["a", "a"]]
)
def test_a_key_that_is_none_or_not_one_is_refused(lines: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        idempotency_key(lines)
    assert caught.value.problems[0].field == "Idempotency-Key"


def test_labels_report_metadata_and_ids_together() -> None:
    fields, problems = read_fields(FileDescription, {"metadata": "{", "device_id": ""})
    with pytest.raises(InvalidInput) as caught:
        uploads.attributes_of(fields, problems, ANYBODY, None)
    assert {problem.field for problem in caught.value.problems} == {"metadata", "device_id"}


def test_renaming_keeps_class_and_message() -> None:
    with pytest.raises(InvalidInput) as caught, renamed({"image": "file"}):
        raise InvalidInput.of("image", "is empty", "send it")
    assert caught.value.problems[0].field == "file"
    with pytest.raises(InvalidInput) as untouched, renamed({"image": "file"}):
        raise InvalidInput.of("other", "is empty")
    assert untouched.value.problems[0].field == "other"


@pytest.mark.parametrize("model", [ImageForm, VideoForm, ViolationForm])
def test_the_example_of_each_field_is_valid(model: type[BaseModel]) -> None:
    examples = {
        name: info.examples[0] for name, info in model.model_fields.items() if info.examples
    }
    assert read_fields(model, examples)[1] == [
        FieldProblem(name, "is missing", "send it")
        for name, info in model.model_fields.items()
        if info.is_required() and name not in examples
    ]
