"""The fields of requests and responses as pydantic models, the only definition of each field.

A model accepts the texts of forms and queries as well as JSON values. The types of the fields only
parse; the domain checks the rules for ids, names, times and records. `read_fields` requires that
the first example of each field is a valid text of it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic import WithJsonSchema as Schema
from typing_extensions import TypedDict

from traffic_storage.application.examine_video import MAX_DURATION_SECONDS
from traffic_storage.domain.canonical import Json, parse_json, parse_json_object
from traffic_storage.domain.digests import Sha256, declared_sha256
from traffic_storage.domain.errors import FieldProblem, InvalidInput, WrongFields, shown
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.holds import MAX_CASE_REFERENCE
from traffic_storage.domain.identifiers import MAX_FILE_ID, MAX_TEXT, MAX_VIOLATION_ID
from traffic_storage.domain.jobs import JobState
from traffic_storage.domain.query import MAX_LIMIT
from traffic_storage.domain.tabular import VIOLATION_COLUMNS, ExportFormat
from traffic_storage.domain.times import parse_time
from traffic_storage.entrypoints.http.forms import (
    INFO_TEXT,
    INFO_VALUES,
    LABEL_VALUES,
    LONG_TEXT,
    FormFile,
    MaxBytes,
)
from traffic_storage.entrypoints.http.request_body import unknown_field
from traffic_storage.entrypoints.views import HoldView, JobView, StoredFileView, ViolationView

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W", bound=StrEnum)
M = TypeVar("M", bound=BaseModel)

# float() also accepts "nan", "1_0" and the digits of every script.
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
_WHOLE = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)
# Only after a time of day: a date may have a time behind a space.
_LOST_PLUS = re.compile(r"([:T]\S*) (\d\d:?\d\d)$", re.ASCII)


def number(value: object, field: str) -> float:
    """Return a number that is given as a JSON number or as decimal text.

    Raises:
        InvalidInput: the value is neither.
    """
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            return float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise InvalidInput.of(
        field, f"is not a number: {shown(value, 60)}", "send a decimal number, as 12.5"
    )


def whole_number(value: object, field: str) -> int:
    """Return a whole number that is given as a JSON integer or as text of at most 18 digits.

    Raises:
        InvalidInput: the value is neither.
    """
    if isinstance(value, str):
        if _WHOLE.fullmatch(value):
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidInput.of(
        field, f"is not a whole number: {shown(value, 60)}", "send 1 to 18 digits"
    )


def query_time(value: object, field: str) -> datetime:
    """Return the time in a query. A space before an offset is read as an unencoded `+`.

    Raises:
        InvalidInput: the value is not ISO 8601.
    """
    return parse_time(_LOST_PLUS.sub(r"\1+\2", value) if isinstance(value, str) else value, field)


def info_object(value: object, field: str) -> Mapping[str, Json]:
    """Return a JSON object of at most 64 KiB that is given as an object or as text.

    Raises:
        InvalidInput: the value is neither, or has more values than 64 KiB can hold.
    """
    if isinstance(value, str):
        return parse_json_object(value, field, INFO_VALUES)
    return json_object(value, field)


def json_object(value: object, field: str) -> Mapping[str, Json]:
    """Return a JSON object that is given as an object or as text.

    Raises:
        InvalidInput: the value is neither.
    """
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return parse_json_object(value, field, LABEL_VALUES)
    raise InvalidInput.of(
        field,
        f"is not a JSON object: {shown(value, 60)}",
        'send a JSON object, as {"key": "value"}',
    )


def box(value: object, field: str) -> list[Json]:
    """Return a bounding box that is given as a JSON list or as text.

    Raises:
        InvalidInput: the value is neither.
    """
    found = parse_json(value, field) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise InvalidInput.of(
            field, f"is not a box of four numbers: {shown(value)}", "send [x1,y1,x2,y2]"
        )
    return found


def sha256(value: object, field: str) -> Sha256:
    """Return a SHA-256 that is given in hexadecimal.

    Raises:
        InvalidInput: the value is not a SHA-256 in hexadecimal.
    """
    return declared_sha256(value if isinstance(value, str) else shown(value), field)


def flag(value: object, field: str) -> bool:
    """Return a boolean that is given as a JSON boolean or the text `true`, `false`, `1` or `0`.

    Raises:
        InvalidInput: the value is neither.
    """
    if isinstance(value, bool):
        return value
    if value in ("true", "false", "1", "0"):
        return value in ("true", "1")
    raise InvalidInput.of(
        field, f"is neither true nor false: {shown(value, 60)}", "send true or false"
    )


def _word(words: type[W]) -> Callable[[object, str], W]:
    def read(value: object, field: str) -> W:
        if isinstance(value, str) and value in tuple(words):
            return words(value)
        raise InvalidInput.of(
            field, f"is an unknown value: {shown(value, 60)}", f"send one of {', '.join(words)}"
        )

    return read


def _by(parse: Callable[[object, str], T]) -> BeforeValidator:
    """Return a validator that reads a field with `parse`. JSON null counts as an absent field."""

    def read(value: object, info: ValidationInfo) -> T | None:
        return None if value is None else parse(value, info.field_name or "body")

    return BeforeValidator(read)


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional field without its null type, which a form can't send."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) != 1:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **branches[0]}


def _no_nulls(schema: dict[str, Any]) -> None:
    properties = schema.get("properties", {})
    for name, field in properties.items():
        properties[name] = without_null(field)


_ID = r"^[A-Za-z0-9._\-:@+=]+$"
# The pattern accepts more texts than the server, which also applies `str.isprintable`. No short
# pattern equals that.
_PRINTABLE = (
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0][^\u0000-\u001f\u007f-\u009f]*$"
)
_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": _PRINTABLE}
_FILE_ID = {"type": "string", "minLength": 1, "maxLength": MAX_FILE_ID, "pattern": _ID}
_TIME = {"type": "string", "format": "date-time"}
_OBJECT_TEXT = {"type": "string", "contentMediaType": "application/json"}
_EMPTY = hashlib.sha256().hexdigest()
_TIME_WORDS = "ISO 8601; a time without an offset is in the time zone of the setting timezone"

Text = Annotated[str, Schema(_TEXT)]
NewFileId = Annotated[str, Schema({**_FILE_ID, "not": {"pattern": r"^\.+$"}})]
KnownFileId = Annotated[
    str, Schema({**_FILE_ID, "pattern": r"^[A-Za-z0-9._\-:@+=]+(~(image|video|metadata))?$"})
]
ViolationIdText = Annotated[
    str,
    Schema({**_FILE_ID, "maxLength": MAX_VIOLATION_ID, "not": {"pattern": r"^\.+$"}}),
]
Digest = Annotated[
    Sha256 | None, _by(sha256), Schema({"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"})
]
Number = Annotated[float | None, _by(number), Schema({"type": "number", "minimum": 0})]
Share = Annotated[float | None, _by(number), Schema({"type": "number", "minimum": 0, "maximum": 1})]
Seconds = Annotated[
    float | None,
    _by(number),
    Schema({"type": "number", "minimum": 0, "maximum": MAX_DURATION_SECONDS}),
]
Limit = Annotated[
    int | None, _by(whole_number), Schema({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT})
]
Pace = Annotated[
    int | None, _by(whole_number), Schema({"type": "integer", "minimum": 0, "maximum": 10**15})
]
TargetName = Annotated[
    str, Schema({"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "minLength": 1, "maxLength": 64})
]
Time = Annotated[Any, _by(parse_time), Schema(_TIME)]
QueryTime = Annotated[Any, _by(query_time), Schema(_TIME)]
Flag = Annotated[bool | None, _by(flag), Schema({"type": "boolean"})]
ProfileIds = Annotated[
    str | None, Schema({"type": "string", "pattern": r"^[A-Za-z0-9._\-]+( *, *[A-Za-z0-9._\-]+)*$"})
]
_PROFILE_WORDS = (
    "ids of completeness profiles, separated by commas, at most one for each type of violation; "
    "default: the setting evidence_profile"
)
KindName = Annotated[
    Any, _by(_word(FileKind)), Schema({"type": "string", "enum": [*map(str, FileKind)]})
]
StateName = Annotated[
    Any,
    _by(_word(FileState)),
    Schema({"type": "string", "enum": [*map(str, FileState)]}),
]
FormatName = Annotated[
    Any, _by(_word(ExportFormat)), Schema({"type": "string", "enum": [*map(str, ExportFormat)]})
]
_COLUMN = f"({'|'.join(column.name for column in VIOLATION_COLUMNS)})"
ColumnNames = Annotated[str, Schema({"type": "string", "pattern": f"^{_COLUMN}(,{_COLUMN})*$"})]
DecimalName = Annotated[str, Schema({"type": "string", "enum": [".", ","]})]
JobStateName = Annotated[
    Any,
    _by(_word(JobState)),
    Schema({"type": "string", "enum": [*map(str, JobState)]}),
]
HoldIdText = Annotated[str, Schema({"type": "string", "format": "uuid"})]
LongText = Annotated[str, Schema({**_TEXT, "maxLength": MAX_CASE_REFERENCE})]
JobIdText = Annotated[str, Schema({"type": "string", "format": "uuid"})]
JsonText = Annotated[Any, _by(json_object), Schema(_OBJECT_TEXT), MaxBytes(LONG_TEXT)]
InfoText = Annotated[Any, _by(info_object), Schema(_OBJECT_TEXT), MaxBytes(INFO_TEXT)]
JsonObject = Annotated[Any, _by(info_object), Schema({"type": "object"})]
BoxText = Annotated[Any, _by(box), Schema(_OBJECT_TEXT)]
Box = Annotated[
    Any,
    _by(box),
    Schema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]
AnyText = Annotated[str | None, Schema({"type": "string"})]
LongAnyText = Annotated[str | None, Schema({"type": "string"}), MaxBytes(INFO_TEXT)]
Binary = Annotated[FormFile | None, Schema({"type": "string", "format": "binary"})]


class Fields(BaseModel):
    """The fields of a request. Unknown fields are refused."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, json_schema_extra=_no_nulls
    )


class FileDescription(Fields):
    """The attributes of a file."""

    device_id: Text | None = Field(
        None, description="id of the camera or detector", examples=["cam_001"]
    )
    violation_id: ViolationIdText | None = Field(
        None, description="id of the violation, which may be stored later", examples=["V001"]
    )
    timestamp: Time = Field(
        None, description=f"time of capture; {_TIME_WORDS}", examples=["2025-11-01T10:00:00"]
    )
    historic: Flag = Field(
        None, description="confirms that a time long before receipt is correct", examples=["true"]
    )
    metadata: JsonText = Field(
        None,
        description="JSON object; its keys device_id, violation_id and timestamp count as fields",
        examples=['{"lane": 2}'],
    )


class UploadFields(FileDescription):
    """The fields of an upload other than the file."""

    file_id: NewFileId | None = Field(
        None, description="id of the file; derived if left out", examples=["d_001"]
    )
    sha256: Digest = Field(
        None,
        description="SHA-256 of the file; bytes with another SHA-256 are refused",
        examples=[_EMPTY],
    )


class ImageForm(UploadFields):
    """An image with its attributes."""

    file: Binary = Field(description="the image")


class VideoForm(UploadFields):
    """A video segment with its attributes."""

    file: Binary = Field(description="the video")
    duration_seconds: Seconds = Field(
        None, description="duration; if left out, that of the video container", examples=["10.0"]
    )
    accept_damaged_video: Flag = Field(
        None,
        description="confirms that a video that is cut or damaged behind its first frame is stored as it is",
        examples=["true"],
    )


class ContentQuery(FileDescription):
    """The attributes of raw content, in the query."""

    duration_seconds: Seconds = Field(None, description="duration of a video", examples=["10.0"])
    accept_damaged_video: Flag = Field(
        None,
        description="confirms that a video that is cut or damaged behind its first frame is stored as it is",
        examples=["true"],
    )


class RecordFields(Fields):
    """A violation record."""

    violation_id: ViolationIdText = Field(examples=["V001"])
    device_id: Text = Field(examples=["cam_001"])
    violation_type: Text = Field(description="any text, as speed or red_light", examples=["speed"])
    timestamp: Time = Field(description=_TIME_WORDS, examples=["2025-11-01T10:00:00"])
    vehicle_bbox: Box = Field(
        description="[x1, y1, x2, y2] in pixels, x1 < x2, y1 < y2", examples=["[100,100,200,200]"]
    )
    vehicle_class: Text = Field(examples=["car"])
    confidence: Share = Field(examples=["0.95"])
    processing_time_ms: Number = Field(None, examples=["150"])
    camera_info: JsonObject = Field(
        None, description="object of at most 64 KiB", examples=['{"location": "Main St"}']
    )
    model_versions: JsonObject = Field(
        None,
        description="object: name of a model → its version",
        examples=['{"detector": "yolov8"}'],
    )


class ViolationFields(RecordFields):
    """A violation record, with the confirmation of an old timestamp."""

    historic: Flag = Field(
        None,
        description="confirms that a timestamp long before receipt is correct",
        examples=["true"],
    )


class ViolationForm(ViolationFields):
    """A violation record with its image and video."""

    vehicle_bbox: BoxText = Field(
        description="JSON: [x1, y1, x2, y2] in pixels, x1 < x2, y1 < y2",
        examples=["[100,100,200,200]"],
    )
    camera_info: InfoText = Field(
        None, description="JSON object of at most 64 KiB", examples=['{"location": "Main St"}']
    )
    model_versions: InfoText = Field(
        None,
        description="JSON object: name of a model → its version",
        examples=['{"detector": "yolov8"}'],
    )
    image_file: Binary = Field(None, description="the image; a violation without one is incomplete")
    video_file: Binary = Field(None, description="the video segment")
    duration_seconds: Seconds = Field(
        None, description="duration of video_file, which is then required", examples=["10.0"]
    )
    accept_damaged_video: Flag = Field(
        None,
        description="confirms that a video that is cut or damaged behind its first frame is stored as it is",
        examples=["true"],
    )
    image_sha256: Digest = Field(
        None, description="SHA-256 of image_file, which is then required", examples=[_EMPTY]
    )
    video_sha256: Digest = Field(
        None, description="SHA-256 of video_file, which is then required", examples=[_EMPTY]
    )


class ValidationOptions(Fields):
    """What is said about a violation that is judged, besides its record."""

    historic: Flag = Field(
        None,
        description="confirms that a timestamp long before receipt is correct",
        examples=["true"],
    )
    profile: ProfileIds = Field(None, description=_PROFILE_WORDS, examples=["example-es-speed"])
    duration_seconds: Seconds = Field(
        None, description="duration of video_file; it is not judged", examples=["10.0"]
    )
    image_sha256: Digest = Field(
        None, description="SHA-256 of image_file, which is then required", examples=[_EMPTY]
    )
    video_sha256: Digest = Field(
        None, description="SHA-256 of video_file, which is then required", examples=[_EMPTY]
    )


class ValidationForm(ValidationOptions):
    """A violation that is judged: the form of `POST /violations`, whose record may be wrong."""

    violation_id: AnyText = Field(None, examples=["V001"])
    device_id: AnyText = Field(None, examples=["cam_001"])
    violation_type: AnyText = Field(None, examples=["speed"])
    timestamp: AnyText = Field(None, description=_TIME_WORDS, examples=["2025-11-01T10:00:00"])
    vehicle_bbox: AnyText = Field(
        None, description="JSON: [x1, y1, x2, y2] in pixels", examples=["[100,100,200,200]"]
    )
    vehicle_class: AnyText = Field(None, examples=["car"])
    confidence: AnyText = Field(None, examples=["0.95"])
    processing_time_ms: AnyText = Field(None, examples=["150"])
    camera_info: LongAnyText = Field(
        None, description="JSON object", examples=['{"location": "Main St"}']
    )
    model_versions: LongAnyText = Field(
        None, description="JSON object", examples=['{"detector": "yolov8"}']
    )
    image_file: Binary = Field(None, description="the image")
    video_file: Binary = Field(None, description="the video segment")


class PageQuery(Fields):
    """The page that a query requests."""

    limit: Limit = Field(
        None, description="maximum number of items of the page; default 100", examples=[50]
    )
    cursor: str | None = Field(None, description="next_cursor of the previous page")


class TimeFilters(PageQuery):
    """The fields of a page and a time range: `start_date ≤ time < end_date`."""

    start_date: QueryTime = Field(
        None, description="start of the range, included", examples=["2025-11-01T00:00:00"]
    )
    end_date: QueryTime = Field(
        None, description="end of the range, excluded", examples=["2025-12-01T00:00:00"]
    )


class ViolationFilters(TimeFilters):
    """The filters of violations. A violation must match all of them."""

    device_id: Text | None = Field(None, examples=["cam_001"])
    violation_type: Text | None = Field(None, examples=["speed"])
    vehicle_class: Text | None = Field(None, examples=["car"])
    min_confidence: Share = Field(None, examples=[0.5])
    max_confidence: Share = Field(None, examples=[0.9])


class FileFilters(TimeFilters):
    """The filters of files. A file must match all of them. The time range is of the receipt."""

    kind: KindName = Field(None, examples=["image"])
    device_id: Text | None = Field(None, examples=["cam_001"])
    violation_id: ViolationIdText | None = Field(None, examples=["V001"])
    state: StateName = Field(None, description="default available", examples=["available"])


class ExportQuery(Fields):
    """Which violations are exported, and how. The range is `start_date ≤ time < end_date`."""

    format: FormatName = Field(None, description="default csv", examples=["csv"])
    start_date: QueryTime = Field(
        None, description="start of the range, included", examples=["2025-11-01T00:00:00"]
    )
    end_date: QueryTime = Field(
        None, description="end of the range, excluded", examples=["2025-12-01T00:00:00"]
    )
    device_id: Text | None = Field(None, examples=["cam_001"])
    violation_type: Text | None = Field(None, examples=["speed"])
    columns: ColumnNames | None = Field(
        None,
        description="names of columns, separated by commas, in their order; default: all",
        examples=["violation_id,timestamp"],
    )
    zone: str | None = Field(
        None,
        description="zone in which times are written; default: the setting timezone",
        examples=["Europe/Madrid"],
    )
    decimal: DecimalName | None = Field(
        None,
        description="decimal separator of CSV; with a comma, a semicolon separates the fields",
        examples=["."],
    )
    neutralise: Flag = Field(
        None,
        description="default true: a text of CSV that a spreadsheet would take for a formula gets "
        "an apostrophe in front",
        examples=["true"],
    )


class PackageFields(Fields):
    """The violations of an evidence package."""

    violation_ids: Annotated[list[ViolationIdText], Field(min_length=1, max_length=1000)] = Field(
        description="ids of 1 to 1,000 violations", examples=[["V001"]]
    )
    profile: ProfileIds = Field(None, description=_PROFILE_WORDS, examples=["example-es-speed"])
    allow_incomplete: Flag = Field(
        None,
        description="make the package although a violation lacks something; the package says what",
        examples=[True],
    )


class JobFilters(PageQuery):
    """The filters of jobs. A job must match all of them."""

    state: JobStateName = Field(None, examples=["dead"])
    kind: Text | None = Field(None, description="what the job does", examples=["sweep"])


class HoldFields(Fields):
    """A legal hold: on a file, on a violation, or on a device's files in a range of time."""

    case_reference: LongText = Field(
        description="the case for which the evidence is kept", examples=["2025/0123"]
    )
    reason: LongText = Field(description="why it is kept", examples=["objection"])
    file_id: KnownFileId | None = Field(None, examples=["V001~image"])
    violation_id: ViolationIdText | None = Field(None, examples=["V001"])
    device_id: Text | None = Field(
        None, description="needs start_time and end_time", examples=["cam_001"]
    )
    start_time: Time = Field(
        None, description="start of the range, included", examples=["2025-11-01T00:00:00"]
    )
    end_time: Time = Field(
        None, description="end of the range, excluded", examples=["2025-12-01T00:00:00"]
    )
    kind: KindName = Field(None, description="of the range, only this kind", examples=["image"])
    violation_type: Text | None = Field(
        None,
        description="of the range, only files of violations of this type",
        examples=["speed"],
    )
    include_future: Flag = Field(
        None, description="of the range, also files received from now on", examples=[False]
    )
    until: Time = Field(
        None,
        description="when the hold ends by itself; without it, it is open",
        examples=["2099-01-01T00:00:00"],
    )


class ReasonFields(Fields):
    """Why something is done."""

    reason: LongText = Field(examples=["the case is closed"])


class DeleteQuery(Fields):
    """The query of a deletion."""

    reason: LongText = Field(description="why it is deleted", examples=["stored by mistake"])
    override: Flag = Field(
        None, description="delete it although its retention has not ended", examples=["1"]
    )


class HoldFilters(PageQuery):
    """Which holds are listed."""

    active: Flag = Field(
        None, description="default true; false: also released and ended ones", examples=["true"]
    )


class RetentionRuleFields(Fields):
    """A retention rule. A condition that is absent is met by every file."""

    rule_id: str = Field(description="name of the rule", examples=["accidents"])
    days: int = Field(description="how long files are kept at least", examples=[3650])
    kind: Annotated[str, Schema({"type": "string", "enum": [*map(str, FileKind)]})] | None = Field(
        None, description="kind of the files", examples=["image"]
    )
    violation_type: str | None = Field(None, examples=["accident"])
    device: str | None = Field(
        None, description="shell pattern of device ids", examples=["cam_m30_*"]
    )
    site: str | None = Field(None, description="shell pattern of site ids", examples=["m30"])
    jurisdiction: str | None = Field(
        None, description="of the site; ES applies to ES-MD too", examples=["ES"]
    )
    legal_source: str | None = Field(None, description="the law, in words", examples=["art. 5"])
    priority: int | None = Field(
        None, description="which of equally long rules is named as the reason", examples=[0]
    )


class SiteFields(Fields):
    """A place with devices, and its jurisdiction."""

    site_id: str = Field(examples=["m30"])
    devices: list[str] = Field(description="shell patterns of device ids", examples=[["cam_m30_*"]])
    jurisdiction: str | None = Field(None, examples=["ES-MD"])


class RetentionRulesFields(Fields):
    """Retention rules and sites that replace those in force, but for the default rules."""

    rules: list[RetentionRuleFields] | None = Field(None, examples=[[]])
    sites: list[SiteFields] | None = Field(None, examples=[[]])
    reason: str | None = Field(
        None, description="why the rules change", max_length=1000, examples=["a new law"]
    )


class RetentionFields(Fields):
    """What is done about files whose retention has ended."""

    apply: Flag = Field(None, description="delete what is due; default false", examples=[False])
    plan_id: Annotated[str, Schema({"type": "string", "format": "uuid"})] | None = Field(
        None,
        description="the plan to apply; without it, a new one is made and applied",
        examples=["0199a0c4-5d00-7000-8000-000000000000"],
    )
    override_limit: Flag = Field(
        None, description="apply it although it exceeds the limits", examples=[False]
    )


class CleanupFields(Fields):
    """How a clean-up is done."""

    dry_run: Flag = Field(None, description="only count; default true", examples=[True])
    override_limit: Flag = Field(
        None, description="delete although it exceeds the limits", examples=[False]
    )


class RestoreFields(Fields):
    """How a snapshot is restored."""

    dry_run: Flag = Field(None, description="only compare; default false", examples=[True])
    include_purged: Flag = Field(
        None,
        description="also restore what was destroyed since the snapshot was made, unless it was "
        "destroyed here; default false",
        examples=[False],
    )


class MigrationFields(Fields):
    """What is brought to another configuration, and how."""

    target: TargetName = Field(
        description="a settings file in migration_targets, without .toml", examples=["cloud"]
    )
    start_date: Time = Field(
        description="start of the range, included", examples=["2025-10-01T00:00:00"]
    )
    end_date: Time = Field(
        description="end of the range, excluded", examples=["2025-11-01T00:00:00"]
    )
    dry_run: Flag = Field(None, description="only count; default false", examples=[True])
    reread: Flag = Field(
        None, description="compare the bytes at the target once more", examples=[False]
    )
    seal: Flag = Field(
        None,
        description="make this service read only, if the target has everything",
        examples=[False],
    )
    bytes_per_second: Pace = Field(
        None, description="the most on average; 0: no limit", examples=[0]
    )
    files_per_second: Pace = Field(
        None, description="the most on average; 0: no limit", examples=[0]
    )


class DownloadQuery(Fields):
    """The query of a download."""

    download: Flag = Field(
        None, description="send the file as an attachment with its original name", examples=["1"]
    )
    evidence: Flag = Field(
        None,
        description="verify a copy in a durable store, past every cache, before the first byte is "
        "sent, and record who gets it; refused with an incident if no copy is good",
        examples=["1"],
    )


class UrlQuery(Fields):
    """The query for an access URL."""

    expires_in: Annotated[float | None, _by(number), Schema({"type": "number", "minimum": 1})] = (
        Field(None, description="validity in seconds; default 3600", examples=[3600])
    )


class ViolationsPage(TypedDict):
    """A page of violations, newest first. `next_cursor` is null on the last page."""

    violations: list[ViolationView]
    count: int
    next_cursor: str | None


class FilesPage(TypedDict):
    """A page of files, the latest received first. `next_cursor` is null on the last page."""

    files: list[StoredFileView]
    count: int
    next_cursor: str | None


class JobsPage(TypedDict):
    """A page of jobs, newest first. `next_cursor` is null on the last page."""

    jobs: list[JobView]
    count: int
    next_cursor: str | None


class HoldsPage(TypedDict):
    """A page of holds, those placed last first. `next_cursor` is null on the last page."""

    holds: list[HoldView]
    count: int
    next_cursor: str | None


class ViolationWithFilesView(TypedDict):
    """A violation, its own files, and a page of the others that name it, the latest received first.

    Its own files are in the first page only, before the others and beyond the limit. `next_cursor`
    is null on the last page.
    """

    violation: ViolationView
    files: list[StoredFileView]
    next_cursor: str | None


class AccessUrlView(TypedDict):
    """An access URL of a file and its expiry."""

    url: Annotated[str, Schema({"type": "string", "format": "uri"})]
    expires_at: Annotated[str, Schema(_TIME)]


class LivenessView(TypedDict):
    """The response of a live process."""

    status: Literal["ok"]


class ComponentView(TypedDict):
    """The state of a component. Without a `needed` component the service is not ready."""

    name: str
    healthy: bool
    needed: bool
    detail: str


class ReadinessView(TypedDict, total=False):
    """Whether the service is ready. `degraded` and `components` need a valid credential."""

    ready: bool
    degraded: bool
    components: list[ComponentView]


class FieldProblemView(TypedDict):
    """One wrong field of a request."""

    field: str
    message: str
    remedy: str


class Problem(BaseModel):
    """An error, the fields that it concerns, and the remedy (RFC 9457)."""

    type: str = Field(examples=["urn:traffic-storage:problem:not-found"])
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    remedy: str
    errors: list[FieldProblemView]
    instance: str
    request_id: str
    incident_id: str | None = Field(
        None, description="the incident, where an evidential download was refused"
    )


Problems: TypeAlias = list[FieldProblem]


def read_fields(
    model: type[M], given: Mapping[str, object], where: str = "form"
) -> tuple[M, Problems]:
    """Return the fields as `model` reads them, and the problems of all wrong fields.

    A wrong or missing field gets the value of its first example. The caller can then still check
    the rules of the other fields and report all problems at once.
    """
    try:
        return model.model_validate(given), []
    except ValidationError as error:
        errors = error.errors()
    problems = field_problems(errors, list(model.model_fields), where)
    wrong = {str(found["loc"][0]) for found in errors}
    kept = {name: value for name, value in given.items() if name not in wrong}
    stand_ins: dict[str, object] = {
        name: (model.model_fields[name].examples or [None])[0]
        for name in wrong & model.model_fields.keys()
    }
    stand_ins = {
        name: value
        for name, value in stand_ins.items()
        if value is not None or model.model_fields[name].is_required()
    }
    return model.model_validate({**kept, **stand_ins}), problems


def read_query(model: type[M], given: Mapping[str, object]) -> M:
    """Return the fields of a query.

    Raises:
        InvalidInput: fields are wrong; the error lists all of them.
    """
    fields, problems = read_fields(model, given, "query")
    if problems:
        raise InvalidInput(problems)
    return fields


class Checks:
    """Collects the problems of several checks. As a context manager it raises all of them on exit.

    Raises:
        InvalidInput: there are problems; those that the body of the context raised are included.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def optional(self, value: T | None, check: Callable[[T], R]) -> R | None:
        """Return the result of `check`, or None if the value is absent or wrong."""
        try:
            return None if value is None else check(value)
        except InvalidInput as error:
            self._problems += error.problems
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> None:
        if isinstance(error, InvalidInput):
            raise InvalidInput([*self._problems, *error.problems]) from error
        if error is None and self._problems:
            raise InvalidInput(self._problems)


def field_problems(errors: Sequence[Any], known: Sequence[str], where: str) -> Problems:
    """Convert pydantic's errors, whose `loc` begins with the name of the field, to problems."""
    problems: Problems = []
    for error in errors:
        name = ".".join(map(str, error["loc"])) or "body"
        cause = error.get("ctx", {}).get("error")
        if isinstance(cause, WrongFields):
            problems += cause.problems
        elif error["type"] == "missing":
            problems.append(FieldProblem(name, "is missing", "send it"))
        elif error["type"] == "extra_forbidden":
            problems.append(unknown_field(name, where, known))
        else:
            problems.append(_not_accepted(name, error))
    return problems


def _not_accepted(name: str, error: Any) -> FieldProblem:  # noqa: ANN401 - pydantic's own
    """Return what is wrong with a value that pydantic refused; for a number out of range, its bound."""
    bounds = error.get("ctx", {})
    for key, words in (
        ("ge", "at least"),
        ("gt", "more than"),
        ("le", "at most"),
        ("lt", "less than"),
    ):
        if key in bounds:
            remedy = f"give a number of {words} {bounds[key]}"
            return FieldProblem(name, f"is {shown(error['input'])}", remedy)
    return FieldProblem(name, error["msg"], "see /docs for the field")
