"""Violations: the record that a camera or detector gives, and the data that is added to it."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

from attrs import NOTHING, field, fields, frozen

from traffic_storage.domain.canonical import Json, canonical_json, checked_json
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import FieldProblem, InvalidInput, shown
from traffic_storage.domain.files import FileState
from traffic_storage.domain.frozen_json import frozen_json
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


# Larger whole numbers are not exact in a column of the catalogue.
_MOST_MILLISECONDS = float(2**53)


def _float(value: object) -> float:
    return plain_number(value)  # type: ignore[return-value]


def _box(value: object) -> tuple[float, ...]:
    # Arrays of numpy, torch and the standard library have `tolist`, which gives exact numbers.
    if tolist := getattr(type(value), "tolist", None):
        value = tolist(value)
    if isinstance(value, list | tuple):
        return tuple(map(_float, value))
    return value  # type: ignore[return-value]


def _own_copy(value: object) -> Mapping[str, Any]:
    return frozen_json(value)  # type: ignore[no-any-return]


def _number(value: float) -> int | float:
    whole = int(value)
    return whole if whole == value else value


def _numbers(box: Sequence[float]) -> list[float]:
    return [_number(edge) for edge in box]


def _without_fractions(value: Json) -> Json:
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, (dict, Mapping)):
        return {key: _without_fractions(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_fractions(item) for item in value]
    return value


def _time_text(timestamp: datetime) -> str:
    if timestamp.utcoffset() is None:
        return timestamp.isoformat()
    try:
        return timestamp.astimezone(UTC).isoformat()
    except OverflowError:  # In UTC it is outside the years 1 to 9999; storing refuses it.
        return timestamp.isoformat()


def _info_text(info: Mapping[str, Json]) -> bytes:
    # Python's own comparison treats true as equal to 1.
    return canonical_json(_without_fractions(info), "camera_info")


def _timestamp_problem(name: str, value: object) -> FieldProblem | None:
    if isinstance(value, datetime):
        return None
    return FieldProblem(name, f"is a {type(value).__name__}, not a datetime", "give a datetime")


def _box_problem(name: str, value: object) -> FieldProblem | None:
    if not isinstance(value, tuple) or len(value) != 4:
        return FieldProblem(name, f"does not have four numbers: {shown(value)}", _BOX_REMEDY)
    if not all(_is_finite(edge) for edge in value):
        message = f"contains a value that is not a finite number: {shown(value)}"
        return FieldProblem(name, message, _BOX_REMEDY)
    x1, y1, x2, y2 = value
    if x1 >= x2 or y1 >= y2:
        return FieldProblem(
            name, f"has no area or has swapped corners: {shown(value)}", _BOX_REMEDY
        )
    return None


def _range_problem(
    name: str, value: object, low: float = 0.0, high: float = 1.0
) -> FieldProblem | None:
    if isinstance(value, int | float) and _is_finite(value) and low <= value <= high:
        return None
    return FieldProblem(name, f"is {shown(value)}", f"give a number in [{low:g}, {high:g}]")


def _path_problem(name: str, value: object) -> FieldProblem | None:
    if value == "":
        return None
    if not isinstance(value, str) or len(value) > 4096 or not value.isprintable():
        return FieldProblem(
            name,
            "is not a printable text of at most 4096 characters",
            "omit it: the service assigns it",
        )
    return None


def _info_problem(name: str, value: object) -> FieldProblem | None:
    if not isinstance(value, Mapping):
        return FieldProblem(name, f"is {shown(value)}, not a JSON object", "give a JSON object")
    try:
        size = len(canonical_json(value, name))
    except InvalidInput as error:
        return error.problems[0]
    if size > MAX_INFO_BYTES:
        return FieldProblem(name, f"has {size} bytes", f"use at most {MAX_INFO_BYTES}")
    return None


def _versions_problem(name: str, value: Mapping[str, object]) -> FieldProblem | None:
    if problem := _info_problem(name, value):
        return problem
    wrong = [key for key, item in value.items() if not isinstance(item, str)]
    if wrong:
        return FieldProblem(
            name, f"the version of {shown(wrong[0])} is not a text", "give each version as a text"
        )
    return None


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


Check = Callable[[str, Any], FieldProblem | None]
Write = Callable[[Any], Json]


def _spec(check: Check, write: Write | None = None, *, is_given: bool = True) -> dict[str, object]:
    """Return the attrs metadata of a field of `ViolationRecord`.

    `check` returns what is wrong with a value. `write` converts a value for `as_given`; None means
    that the value is written unchanged. `is_given` is whether `as_given` contains the field.
    """
    return {"check": check, "write": write, "is_given": is_given}


def _id_problem(name: str, value: object) -> FieldProblem | None:
    return id_problem(name, value, MAX_VIOLATION_ID)


def _duration_problem(name: str, value: object) -> FieldProblem | None:
    return _range_problem(name, value, 0.0, _MOST_MILLISECONDS)


@frozen(weakref_slot=False)
class ViolationRecord:
    """One traffic violation as its detector described it. Immutable.

    Records are compared by value, including the paths; equal records have the same digest. Times
    that are the same instant with different offsets are equal, 25.0 equals 25, and true does not
    equal 1.

    The constructor checks all fields and reports every wrong one. The time zone of a naive
    timestamp and a timestamp in the future are checked when the record is stored, because they
    depend on settings and the clock. Numbers of numpy, and a bounding box that is an
    array, are converted exactly to Python numbers.

    Attributes:
        violation_id: 1–180 ASCII letters, digits and `. _ - : @ + =`.
        device_id: printable text, as are `violation_type` and `vehicle_class`.
        violation_type: `speed`, `red_light` or any other text.
        timestamp: when the violation happened; a time without a zone is interpreted in the
            configured zone.
        vehicle_bbox: `(x1, y1, x2, y2)` in pixels of the image, `x1 < x2`, `y1 < y2`.
        confidence: the confidence of the detection, from 0 to 1.
        image_path: the `file_id` of the image. When the record is stored, the service sets this and
            `video_path`.
        camera_info: a JSON object of at most 64 KiB.
        processing_time_ms: how long the detector processed, in milliseconds, from 0 to 2**53.
        model_versions: name of a model → its version.

    Raises:
        InvalidInput: one or more fields are wrong.
    """

    violation_id: str = field(metadata=_spec(_id_problem))
    device_id: str = field(metadata=_spec(text_problem))
    violation_type: str = field(metadata=_spec(text_problem))
    timestamp: datetime = field(eq=_time_text, metadata=_spec(_timestamp_problem, _time_text))
    vehicle_bbox: Sequence[float] = field(converter=_box, metadata=_spec(_box_problem, _numbers))
    vehicle_class: str = field(metadata=_spec(text_problem))
    confidence: float = field(converter=_float, metadata=_spec(_range_problem, _number))
    image_path: str = field(default="", metadata=_spec(_path_problem, is_given=False))
    video_path: str = field(default="", metadata=_spec(_path_problem, is_given=False))
    camera_info: Mapping[str, Json] = field(
        factory=dict,
        converter=_own_copy,
        eq=_info_text,
        metadata=_spec(_info_problem, _without_fractions),
    )
    processing_time_ms: float = field(
        default=0.0, converter=_float, metadata=_spec(_duration_problem, _number)
    )
    model_versions: Mapping[str, str] = field(
        factory=dict, converter=_own_copy, metadata=_spec(_versions_problem)
    )

    def __attrs_post_init__(self) -> None:
        checked = zip(_CHECKS, _NAMES, _values(self), strict=False)
        if problems := [found for check, name, value in checked if (found := check(name, value))]:
            raise InvalidInput(problems)

    def as_given(self) -> dict[str, Json]:
        """Return the record as a JSON object without the paths, which the service sets.

        Equal records give the same JSON: a time with an offset is written in UTC, and a whole
        number without a fraction, at any depth. A naive time is unchanged.
        """
        given = dict(zip(_GIVEN, _given_values(self), strict=True))
        for name, write in _WRITTEN:
            given[name] = write(given[name])
        return given

    def sha256(self) -> Sha256:
        """Return the SHA-256 of the canonical JSON of `as_given`.

        A repeated request to store this violation must have the same SHA-256.
        """
        return sha256_of(checked_json(self.as_given()))


def _names(kind: type) -> tuple[str, ...]:
    return tuple(attribute.name for attribute in fields(kind))


_NAMES = _names(ViolationRecord)
_CHECKS: tuple[Check, ...] = tuple(part.metadata["check"] for part in fields(ViolationRecord))
_GIVEN = tuple(part.name for part in fields(ViolationRecord) if part.metadata["is_given"])
_WRITTEN: tuple[tuple[str, Write], ...] = tuple(
    (part.name, part.metadata["write"])
    for part in fields(ViolationRecord)
    if part.metadata["write"]
)
_values = attrgetter(*_NAMES)
_given_values = attrgetter(*_GIVEN)


def field_problems(values: Mapping[str, object]) -> list[FieldProblem]:
    """Return what is wrong with raw values of a record's fields, and which required ones are missing.

    The values are judged as the constructor judges them; other keys are ignored.
    """
    problems: list[FieldProblem] = []
    for part in fields(ViolationRecord):
        if part.name not in values:
            if part.default is NOTHING:
                problems.append(FieldProblem(part.name, "is missing", "give it"))
            continue
        convert: Any = part.converter or (lambda value: value)
        if found := part.metadata["check"](part.name, convert(values[part.name])):
            problems.append(found)
    return problems


def _maker(made: type, parameters: Sequence[str], other: str = "") -> Any:  # noqa: ANN401
    """Return a function that makes an object of a frozen class without converters and checks.

    A field that is not a parameter gets the value of the expression `other`, in which `{}` is
    replaced by the field's name. Setting the attributes of a frozen object by `object.__setattr__`
    would take five times as long. The function therefore fills an object of an open class with the
    same slots and then changes its class.
    """
    names = _names(made)
    sources = ((name, name if name in parameters else other.format(name)) for name in names)
    lines = (
        f"def make({', '.join(parameters)}):",
        "    made = Open()",
        *(f"    made.{name} = {source}" for name, source in sources),
        "    made.__class__ = Made",
        "    return made",
    )
    scope = {"Made": made, "Open": type(f"_Open{made.__name__}", (), {"__slots__": names})}
    exec("\n".join(lines), scope)  # noqa: S102 - as attrs makes `__init__`, of field names alone
    return scope["make"]


recorded: Callable[..., ViolationRecord] = _maker(ViolationRecord, _NAMES)
"""Return a `ViolationRecord` made of stored values for all its fields, without checking them again.

Only adapters of the catalogue (the database) may call this; a page of
100 records is built in a tenth of the time. The box must be a tuple of floats, and
the mappings must come from `frozen_json`.
"""

with_paths: Callable[[ViolationRecord, str, str], ViolationRecord] = _maker(
    ViolationRecord, ("record", "image_path", "video_path"), "record.{}"
)
"""Return a copy of a record with these paths: the ids of its image and video, or empty texts."""


class ViolationState(StrEnum):
    """The lifecycle state of a violation: available, marked as deleted, being erased, erased.

    A new violation is `available`.
    """

    AVAILABLE = "available"
    TOMBSTONED = "tombstoned"
    PURGING = "purging"
    PURGED = "purged"


@frozen(weakref_slot=False)
class StoredViolation:
    """The catalogue row of a violation: its record and the data that was added when it was stored.

    Attributes:
        record_sha256: the result of `ViolationRecord.sha256`.
        occurred_at: the record's timestamp, converted to UTC.
        zone_assumed: the zone in which a timestamp without a zone was interpreted, else None.
        received_at: the time of receipt, UTC.
        image_file_id: the id of the stored image; None if it is missing: the violation is
            incomplete.
        state_at: the time at which the violation entered `state`, UTC; None means `received_at`.
        image_state: the state of the image, if there is one; likewise `video_state`.
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
    image_state: FileState = FileState.AVAILABLE
    video_state: FileState = FileState.AVAILABLE

    @property
    def violation_id(self) -> ViolationId:
        """The id of the violation, from its record."""
        return ViolationId(self.record.violation_id)

    @property
    def incomplete(self) -> bool:
        """Whether the image, which evidence requires, is missing."""
        return self.image_file_id is None


stored: Callable[..., StoredViolation] = _maker(StoredViolation, _names(StoredViolation))
"""Return a `StoredViolation` made of stored values for its fields, without checking them again.

The states may be omitted.
"""
stored.__defaults__ = (
    ViolationState.AVAILABLE,
    None,
    FileState.AVAILABLE,
    FileState.AVAILABLE,
)


@frozen
class EvidencePart:
    """The entry of an image or video in the metadata file of its violation."""

    file_id: FileId
    content_type: str
    size_bytes: int
    sha256: Sha256


def evidence_document(
    record: ViolationRecord, zone_assumed: str | None, parts: Mapping[str, EvidencePart]
) -> bytes:
    """Return the content of a violation's metadata file as canonical JSON.

    The document contains the record as given, the zone in which a timestamp without an offset was
    interpreted (null if it has an offset), and the ids and digests of the files stored together
    with the violation. `parts` maps the kind of a file (`image`, `video`) to its entry. A repeated
    request gives the same document. `rebuild.violation_from_document` restores the row of the
    violation from it.
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
    return checked_json(
        {
            "schema": DOCUMENT_SCHEMA,
            "record": record.as_given(),
            "zone_assumed": zone_assumed,
            "files": files,
        }
    )
