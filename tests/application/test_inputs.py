"""FileAttributes: what a caller says about a file, from arguments and from its metadata."""

import math
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given

from traffic_storage.application.inputs import MAX_METADATA_BYTES, FileAttributes, Upload
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.testing import strategies as kit

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def wrong(**given: Any) -> dict[str, str]:
    """The fields that are refused, and why."""
    with pytest.raises(InvalidInput) as caught:
        FileAttributes.of(**given)
    assert all(problem.remedy for problem in caught.value.problems)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_nothing_said_is_nothing_known() -> None:
    assert FileAttributes.of() == FileAttributes()
    assert FileAttributes.of(metadata={}) == FileAttributes(metadata={})


@pytest.mark.parametrize("given", ["", "a b", "../../etc/x", "x" * 500, "V1~image"])
@pytest.mark.parametrize("name", ["file_id", "violation_id"])
def test_there_are_no_labels_that_break_a_rule(name: str, given: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        FileAttributes(**{name: given})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="device_id"):
        FileAttributes(device_id="x\n")


def test_arguments_and_metadata_say_the_same_things() -> None:
    said: dict[str, Any] = {
        "device_id": "cam-1",
        "violation_id": "V001",
        "timestamp": NOON,
        "lane": 2,
    }
    attributes = FileAttributes.of(file_id="f", metadata=said)
    assert (attributes.file_id, attributes.device_id, attributes.violation_id) == (
        "f",
        "cam-1",
        "V001",
    )
    assert attributes.captured_at == NOON
    assert attributes.metadata == said | {"timestamp": NOON.isoformat()}
    assert (
        FileAttributes.of(device_id="cam-1", metadata={"device_id": "cam-1"}).device_id == "cam-1"
    )
    assert FileAttributes.of(device_id="cam-1", metadata={"device_id": None}).device_id == "cam-1"
    assert FileAttributes.of(metadata={"timestamp": None}).captured_at is None


@pytest.mark.parametrize(
    ("stamp", "meant"),
    [
        ("2026-03-14T12:00:00Z", NOON),
        ("2026-03-14 12:00", NOON.replace(tzinfo=None)),
        (NOON.replace(tzinfo=None), NOON.replace(tzinfo=None)),
    ],
)
def test_a_timestamp_is_read(stamp: Any, meant: datetime) -> None:
    assert FileAttributes.of(metadata={"timestamp": stamp}).captured_at == meant


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"file_id": "a~b"}, {"file_id"}),
        ({"file_id": ""}, {"file_id"}),
        ({"violation_id": "a/b"}, {"violation_id"}),
        ({"device_id": "cam\n"}, {"device_id"}),
        ({"metadata": {"device_id": ""}}, {"device_id"}),
        ({"metadata": {"device_id": 7}}, {"metadata.device_id"}),
        ({"metadata": {"violation_id": ["V001"]}}, {"metadata.violation_id"}),
        ({"metadata": {"violation_id": "V~1"}}, {"violation_id"}),
        ({"metadata": {"timestamp": "yesterday"}}, {"metadata.timestamp"}),
        ({"metadata": {"timestamp": 1_773_000_000}}, {"metadata.timestamp"}),
        ({"device_id": "a", "metadata": {"device_id": "b"}}, {"metadata.device_id"}),
        ({"violation_id": "a", "metadata": {"violation_id": "b"}}, {"metadata.violation_id"}),
        ({"metadata": []}, {"metadata"}),
        ({"metadata": "{}"}, {"metadata"}),
        ({"metadata": 0}, {"metadata"}),
        ({"metadata": {"speed": math.nan}}, {"metadata.speed"}),
        ({"metadata": {"deep": {"at": NOON}}}, {"metadata.deep.at"}),
        ({"metadata": {"on": date(2026, 3, 14)}}, {"metadata.on"}),
        ({"metadata": {"raw": b""}}, {"metadata.raw"}),
        ({"metadata": {"text": "\ud800"}}, {"metadata.text"}),
        ({"metadata": {5: "a"}}, {"metadata"}),
        ({"metadata": {"note": "x" * MAX_METADATA_BYTES}}, {"metadata"}),
        (
            {
                "file_id": "a/b",
                "device_id": "cam",
                "metadata": {
                    "device_id": "other",
                    "violation_id": 5,
                    "timestamp": "x",
                    "speed": math.inf,
                },
            },
            {
                "file_id",
                "metadata.device_id",
                "metadata.violation_id",
                "metadata.timestamp",
                "metadata.speed",
            },
        ),
    ],
)
def test_all_that_is_wrong_is_named_at_once(given: dict[str, Any], fields: set[str]) -> None:
    assert set(wrong(**given)) == fields


def test_a_contradiction_quotes_both_sides_safely() -> None:
    message = wrong(device_id="cam-1", metadata={"device_id": "\u202e" * 500})
    assert "contradicts device_id 'cam-1'" in message["metadata.device_id"]
    assert message["metadata.device_id"].isprintable()
    assert len(message["metadata.device_id"]) < 200


@given(kit.json_objects())
def test_metadata_is_the_callers_own_words(said: dict[str, Json]) -> None:
    said = {f"_{name}": value for name, value in said.items()}
    attributes = FileAttributes.of(metadata=MappingProxyType(said))
    assert attributes.metadata == said
    before = dict(said)
    said["more"] = 1
    assert attributes.metadata == before


def test_bytes_are_not_shown_in_a_log() -> None:
    assert "secret" not in repr(Upload(b"secret"))
