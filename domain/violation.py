"""Violations: the record as a camera or detector gave it, and what storing adds to it."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from traffic_storage.domain.canonical import Json, canonical_json, json_copy
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import FieldProblem, InvalidInput, shown
from traffic_storage.domain.identifiers import (
    MAX_VIOLATION_ID,
    FileId,
    ViolationId,
    id_problem,
    text_problem,
)
from traffic_storage.domain.numeric import plain_number

MAX_INFO_BYTES = 64 * 1024
DOCUMENT_SCHEMA = "traffic-storage/violation/1"
_BOX_REMEDY = "give [x1, y1, x2, y2] in pixels with x1 < x2 and y1 < y2"


def _float(value: object) -> float:
    return plain_number(value)  # type: ignore[return-value]


def _box(value: object) -> tuple[float, ...]:
    # Arrays of any library (numpy, torch, the standard one) give Python's numbers so, exactly.
    if tolist := getattr(type(value), "tolist", None):
        value = tolist(value)
    if isinstance(value, list | tuple):
        return tuple(map(_float, value))
    return value  # type: ignore[return-value]


def _own_copy(value: object) -> Mapping[str, Any]:
    return json_copy(value)  # type: ignore[return-value]


def _number(value: float) -> int | float:
    whole = int(value)
    return whole if whole == value else value


def _whole(value: Json) -> Json:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (dict, Mapping)):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(item) for item in value]
    return value


def _time_text(timestamp: datetime) -> str:
    if timestamp.utcoffset() is None:
        return timestamp.isoformat()
    try:
        return timestamp.astimezone(UTC).isoformat()
    except OverflowError:  # Beyond the years of UTC, where nothing is stored.
        return timestamp.isoformat()


def _canonical(info: Mapping[str, Json]) -> bytes:
    # Python's own comparison takes true for 1.
    return canonical_json(_whole(info), "camera_info")


@frozen(weakref_slot=False)
class ViolationRecord:
    """One traffic violation as its detector described it. Frozen.

    Equal by value, paths included: what is equal has the same digest. The same instant is equal
    whatever its offset, 25.0 is 25, and true is not 1.

    Checked when it is made; every wrong field is reported at once. What needs a clock or a
    setting (a naive timestamp's zone, a timestamp in the future) is checked when it is stored.
    Numbers may be those of numpy, and the box an array: they become Python's, exactly.

    Attributes:
        violation_id: 1–180 ASCII letters, digits and `. _ - : @ + =`.
        device_id: printable text, as are `violation_type` and `vehicle_class`.
        violation_type: `speed`, `red_light`, …; an open set.
        timestamp: when it happened; naive is allowed and read in the configured zone.
        vehicle_bbox: `(x1, y1, x2, y2)` in pixels of the image, `x1 < x2`, `y1 < y2`.
        confidence: of the detection, in [0, 1].
        image_path: the `file_id` of the image; assigned on store, as is `video_path`.
        camera_info: JSON object of at most 64 KiB.
        processing_time_ms: milliseconds, not negative.
        model_versions: name of a model → its version.

    Raises:
        InvalidInput: one or more fields are wrong.
    """

    violation_id: str
    device_id: str
    violation_type: str
    timestamp: datetime = field(eq=_time_text)
    vehicle_bbox: Sequence[float] = field(converter=_box)
    vehicle_class: str
    confidence: float = field(converter=_float)
    image_path: str = ""
    video_path: str = ""
    camera_info: Mapping[str, Json] = field(factory=dict, converter=_own_copy, eq=_canonical)
    processing_time_ms: float = field(default=0.0, converter=_float)
    model_versions: Mapping[str, str] = field(factory=dict, converter=_own_copy)

    def __attrs_post_init__(self) -> None:
        if problems := [problem for problem in _problems(self) if problem]:
            raise InvalidInput(problems)

    def as_given(self) -> dict[str, Json]:
        """The record as JSON, without what storing assigns (the paths).

        Records that are equal give the same text: a time that names its offset is written in UTC,
        a whole number without a fraction, at any depth. A naive time stays as it is.
        """
        return {
            "violation_id": self.violation_id,
            "device_id": self.device_id,
            "violation_type": self.violation_type,
            "timestamp": _time_text(self.timestamp),
            "vehicle_bbox": [_number(edge) for edge in self.vehicle_bbox],
            "vehicle_class": self.vehicle_class,
            "confidence": _number(self.confidence),
            "camera_info": _whole(self.camera_info),
            "processing_time_ms": _number(self.processing_time_ms),
            "model_versions": self.model_versions,
        }

    def sha256(self) -> Sha256:
        """The digest of the canonical JSON of the record as given: what a retry must equal."""
        return sha256_of(canonical_json(self.as_given(), "violation_record"))


def recorded(
    violation_id: str,
    device_id: str,
    violation_type: str,
    timestamp: datetime,
    vehicle_bbox: tuple[float, ...],
    vehicle_class: str,
    confidence: float,
    image_path: str,
    video_path: str,
    camera_info: Mapping[str, Json],
    processing_time_ms: float,
    model_versions: Mapping[str, str],
) -> ViolationRecord:
    """A record that was checked when it was stored, given back without checking it again.

    For catalogues only: a page of 100 is built in a tenth of the time. The caller hands over
    the mappings and keeps no reference to them.
    """
    record = _OpenRecord()
    record.violation_id = violation_id
    record.device_id = device_id
    record.violation_type = violation_type
    record.timestamp = timestamp
    record.vehicle_bbox = vehicle_bbox
    record.vehicle_class = vehicle_class
    record.confidence = confidence
    record.image_path = image_path
    record.video_path = video_path
    record.camera_info = camera_info
    record.processing_time_ms = processing_time_ms
    record.model_versions = model_versions
    record.__class__ = ViolationRecord  # type: ignore[assignment]
    return record  # type: ignore[return-value]


def with_paths(record: ViolationRecord, image_path: str, video_path: str) -> ViolationRecord:
    """A record with the paths that storing assigns: ids of its files, or empty."""
    return recorded(
        record.violation_id,
        record.device_id,
        record.violation_type,
        record.timestamp,
        tuple(record.vehicle_bbox),
        record.vehicle_class,
        record.confidence,
        image_path,
        video_path,
        record.camera_info,
        record.processing_time_ms,
        record.model_versions,
    )


class ViolationState(StrEnum):
    """The lifecycle state of a violation. A row is born `available`."""

    AVAILABLE = "available"
    TOMBSTONED = "tombstoned"
    PURGING = "purging"
    PURGED = "purged"


@frozen(weakref_slot=False)
class StoredViolation:
    """A violation record with what storing added.

    Attributes:
        occurred_at: the record's timestamp as an instant, UTC.
        zone_assumed: the zone in which a naive timestamp was read, else None.
        received_at: when it was stored, UTC.
        image_file_id: the stored image; None marks the violation as incomplete.
        state_at: when it entered `state`, UTC; None: at `received_at`.
    """

    record: ViolationRecord
    record_sha256: Sha256
    occurred_at: datetime
    zone_assumed: str | None
    received_at: datetime
    metadata_file_id: FileId
    image_file_id: FileId | None = None
    video_file_id: FileId | None = None
    state: ViolationState = ViolationState.AVAILABLE
    state_at: datetime | None = None

    @property
    def violation_id(self) -> ViolationId:
        """The record's id."""
        return ViolationId(self.record.violation_id)

    @property
    def incomplete(self) -> bool:
        """Whether it came without the image that evidence needs."""
        return self.image_file_id is None


def stored(
    record: ViolationRecord,
    record_sha256: Sha256,
    occurred_at: datetime,
    zone_assumed: str | None,
    received_at: datetime,
    metadata_file_id: FileId,
    image_file_id: FileId | None,
    video_file_id: FileId | None,
    state: ViolationState = ViolationState.AVAILABLE,
    state_at: datetime | None = None,
) -> StoredViolation:
    """A stored violation, made as quickly as `recorded` makes its record; for catalogues."""
    violation = _OpenViolation()
    violation.record = record
    violation.record_sha256 = record_sha256
    violation.occurred_at = occurred_at
    violation.zone_assumed = zone_assumed
    violation.received_at = received_at
    violation.metadata_file_id = metadata_file_id
    violation.image_file_id = image_file_id
    violation.video_file_id = video_file_id
    violation.state = state
    violation.state_at = state_at
    violation.__class__ = StoredViolation  # type: ignore[assignment]
    return violation  # type: ignore[return-value]


@frozen
class EvidencePart:
    """A file that came with a violation, as the violation's metadata file names it."""

    file_id: FileId
    content_type: str
    size_bytes: int
    sha256: Sha256


def evidence_document(
    record: ViolationRecord, zone_assumed: str | None, parts: Mapping[str, EvidencePart]
) -> bytes:
    """The canonical JSON that a violation's metadata file holds.

    The record as given, the zone in which its naive timestamp was read (null where the timestamp
    has an offset), and the ids and digests of the files that came with it. A retry gives the same
    text. `rebuild.violation_from_document` makes the violation's row of it.
    """
    files: dict[str, Json] = {
        role: {
            "file_id": part.file_id,
            "content_type": part.content_type,
            "size_bytes": part.size_bytes,
            "sha256": part.sha256,
        }
        for role, part in parts.items()
    }
    return canonical_json(
        {
            "schema": DOCUMENT_SCHEMA,
            "record": record.as_given(),
            "zone_assumed": zone_assumed,
            "files": files,
        },
        "violation_record",
    )


def _problems(record: ViolationRecord) -> list[FieldProblem | None]:
    return [
        id_problem("violation_id", record.violation_id, MAX_VIOLATION_ID),
        text_problem("device_id", record.device_id),
        text_problem("violation_type", record.violation_type),
        _timestamp_problem(record.timestamp),
        _box_problem(record.vehicle_bbox),
        text_problem("vehicle_class", record.vehicle_class),
        _range_problem("confidence", record.confidence, 0.0, 1.0),
        _path_problem("image_path", record.image_path),
        _path_problem("video_path", record.video_path),
        _info_problem("camera_info", record.camera_info),
        _range_problem("processing_time_ms", record.processing_time_ms, 0.0, math.inf),
        _versions_problem(record.model_versions),
    ]


def _timestamp_problem(value: object) -> FieldProblem | None:
    if isinstance(value, datetime):
        return None
    return FieldProblem(
        "timestamp", f"is a {type(value).__name__}, not a datetime", "give a datetime"
    )


def _box_problem(value: object) -> FieldProblem | None:
    if not isinstance(value, tuple) or len(value) != 4:
        return FieldProblem(
            "vehicle_bbox", f"is not a box of four numbers: {shown(value)}", _BOX_REMEDY
        )
    if not all(_is_finite(edge) for edge in value):
        return FieldProblem(
            "vehicle_bbox", f"holds something that is no number: {shown(value)}", _BOX_REMEDY
        )
    x1, y1, x2, y2 = value
    if x1 >= x2 or y1 >= y2:
        return FieldProblem("vehicle_bbox", f"is empty or inside out: {shown(value)}", _BOX_REMEDY)
    return None


def _range_problem(name: str, value: object, low: float, high: float) -> FieldProblem | None:
    if isinstance(value, int | float) and _is_finite(value) and low <= value <= high:
        return None
    wanted = f"a number in [{low:g}, {high:g}]" if high < math.inf else "a number of at least 0"
    return FieldProblem(name, f"is {shown(value)}", f"give {wanted}")


def _path_problem(name: str, value: object) -> FieldProblem | None:
    if value == "":
        return None
    if not isinstance(value, str) or len(value) > 4096 or not value.isprintable():
        return FieldProblem(name, "is not a printable text", "leave it empty: storing assigns it")
    return None


def _info_problem(name: str, value: object) -> FieldProblem | None:
    if not isinstance(value, Mapping):
        return FieldProblem(name, f"is a {type(value).__name__}", "give a JSON object")
    try:
        size = len(canonical_json(value, name))
    except InvalidInput as error:
        return error.problems[0]
    if size > MAX_INFO_BYTES:
        return FieldProblem(name, f"has {size} bytes", f"use at most {MAX_INFO_BYTES}")
    return None


def _versions_problem(value: Mapping[str, object]) -> FieldProblem | None:
    if problem := _info_problem("model_versions", value):
        return problem
    wrong = [key for key, item in value.items() if not isinstance(item, str)]
    if wrong:
        return FieldProblem("model_versions", f"{shown(wrong[0])} is not a text", "give texts")
    return None


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


# Frozen attributes are set through `object.__setattr__`, at five times the time. What is made by the
# hundred is made open, with the same slots, and becomes frozen by becoming of the frozen class.


class _OpenRecord:
    violation_id: str
    device_id: str
    violation_type: str
    timestamp: datetime
    vehicle_bbox: Sequence[float]
    vehicle_class: str
    confidence: float
    image_path: str
    video_path: str
    camera_info: Mapping[str, Json]
    processing_time_ms: float
    model_versions: Mapping[str, str]

    __slots__ = ViolationRecord.__slots__  # type: ignore[attr-defined]


class _OpenViolation:
    record: ViolationRecord
    record_sha256: Sha256
    occurred_at: datetime
    zone_assumed: str | None
    received_at: datetime
    metadata_file_id: FileId
    image_file_id: FileId | None
    video_file_id: FileId | None
    state: ViolationState
    state_at: datetime | None

    __slots__ = StoredViolation.__slots__  # type: ignore[attr-defined]
