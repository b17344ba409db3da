"""The fields of requests and answers: pydantic models, the only definition of each field.

A model reads texts (of forms and queries) as well as JSON values. Its types parse; the rules for
ids, names, times and records are the domain's. The example of each field is a valid text of it.
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
from traffic_storage.domain.identifiers import MAX_FILE_ID, MAX_TEXT, MAX_VIOLATION_ID
from traffic_storage.domain.query import MAX_LIMIT
from traffic_storage.domain.times import parse_time
from traffic_storage.entrypoints.http.forms import LONG_TEXT, FormFile, MaxBytes
from traffic_storage.entrypoints.http.request_body import unknown_field
from traffic_storage.entrypoints.views import StoredFileView, ViolationView

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W", bound=StrEnum)
M = TypeVar("M", bound=BaseModel)

# Python's own float() reads "nan", "1_0" and digits of every script, too.
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
_WHOLE = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)$", re.ASCII)


def number(value: object, field: str) -> float:
    """A number, or the decimal text of one.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            return float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise InvalidInput.of(field, f"is no number: {shown(value, 60)}", "send a decimal number")


def whole_number(value: object, field: str) -> int:
    """A whole number, or the text of one with at most 18 digits.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(value, str):
        if _WHOLE.fullmatch(value):
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidInput.of(field, f"is no whole number: {shown(value, 60)}", "send digits only")


def query_time(value: object, field: str) -> datetime:
    """The time in a query. An unencoded `+` of an offset arrives as a space, and is understood.

    Raises:
        InvalidInput: it is not ISO 8601.
    """
    return parse_time(_LOST_PLUS.sub(r"+\1", value) if isinstance(value, str) else value, field)


def json_object(value: object, field: str) -> Mapping[str, Json]:
    """A JSON object, or the text of one.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        return parse_json_object(value, field)
    raise InvalidInput.of(field, f"is {shown(value, 60)}", 'send a JSON object, {"key": "value"}')


def box(value: object, field: str) -> list[Json]:
    """A JSON list, or the text of one.

    Raises:
        InvalidInput: it is neither.
    """
    found = parse_json(value, field) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise InvalidInput.of(
            field, f"is not a box of four numbers: {shown(value)}", "send [x1,y1,x2,y2]"
        )
    return found


def sha256(value: object, field: str) -> Sha256:
    """A SHA-256 in hexadecimal.

    Raises:
        InvalidInput: it is none.
    """
    return declared_sha256(value if isinstance(value, str) else shown(value), field)


def flag(value: object, field: str) -> bool:
    """A boolean, or the text `true` or `false`.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(value, bool):
        return value
    if value in ("true", "false", "1", "0"):
        return value in ("true", "1")
    raise InvalidInput.of(field, f"is {shown(value, 60)}", "send true or false")


def _word(words: type[W]) -> Callable[[object, str], W]:
    def read(value: object, field: str) -> W:
        if isinstance(value, str) and value in tuple(words):
            return words(value)
        raise InvalidInput.of(field, f"is {shown(value, 60)}", f"send one of {', '.join(words)}")

    return read


def _by(parse: Callable[[object, str], T]) -> BeforeValidator:
    """Reads a field by a parser of ours; JSON's null counts as absent."""

    def read(value: object, info: ValidationInfo) -> T | None:
        return None if value is None else parse(value, info.field_name or "body")

    return BeforeValidator(read)


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field that may be left out, without the null that no form can send."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) != 1:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **branches[0]}


def _no_nulls(schema: dict[str, Any]) -> None:
    properties = schema.get("properties", {})
    for name, field in properties.items():
        properties[name] = without_null(field)


_ID = r"^[A-Za-z0-9._\-:@+=]+$"
# A superset of what the server takes: what `str.isprintable` refuses beyond it has no short pattern.
_PRINTABLE = (
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0][^\u0000-\u001f\u007f-\u009f]*$"
)
_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": _PRINTABLE}
_FILE_ID = {"type": "string", "minLength": 1, "maxLength": MAX_FILE_ID, "pattern": _ID}
_TIME = {"type": "string", "format": "date-time"}
_OBJECT_TEXT = {"type": "string", "contentMediaType": "application/json"}
_EMPTY = hashlib.sha256().hexdigest()
_TIME_WORDS = "ISO 8601; without an offset it is read in the setting timezone"

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
Time = Annotated[Any, _by(parse_time), Schema(_TIME)]
QueryTime = Annotated[Any, _by(query_time), Schema(_TIME)]
Flag = Annotated[bool | None, _by(flag), Schema({"type": "boolean"})]
KindName = Annotated[
    Any, _by(_word(FileKind)), Schema({"type": "string", "enum": [*map(str, FileKind)]})
]
StateName = Annotated[
    Any,
    _by(_word(FileState)),
    Schema({"type": "string", "enum": [*map(str, FileState)]}),
]
JsonText = Annotated[Any, _by(json_object), Schema(_OBJECT_TEXT), MaxBytes(LONG_TEXT)]
JsonObject = Annotated[Any, _by(json_object), Schema({"type": "object"})]
BoxText = Annotated[Any, _by(box), Schema(_OBJECT_TEXT)]
Box = Annotated[
    Any,
    _by(box),
    Schema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]
Binary = Annotated[FormFile | None, Schema({"type": "string", "format": "binary"})]


class Fields(BaseModel):
    """Fields of a request; unknown ones are refused."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, json_schema_extra=_no_nulls
    )


class FileDescription(Fields):
    """What a caller states about a file."""

    device_id: Text | None = Field(None, description="the camera or detector", examples=["cam_001"])
    violation_id: ViolationIdText | None = Field(
        None, description="the violation, which may be stored later", examples=["V001"]
    )
    timestamp: Time = Field(
        None, description=f"time of capture; {_TIME_WORDS}", examples=["2025-11-01T10:00:00"]
    )
    historic: Flag = Field(
        None, description="states that a time long before receipt is right", examples=["true"]
    )
    metadata: JsonText = Field(
        None,
        description="JSON object; device_id, violation_id and timestamp in it count as fields",
        examples=['{"lane": 2}'],
    )


class UploadFields(FileDescription):
    """The fields of an upload beside the file."""

    file_id: NewFileId | None = Field(
        None, description="id to store it under; derived when it is left out", examples=["d_001"]
    )
    sha256: Digest = Field(
        None,
        description="SHA-256 of the file; bytes that contradict it are refused",
        examples=[_EMPTY],
    )


class ImageForm(UploadFields):
    """An image with what is stated about it."""

    file: Binary = Field(description="the image")


class VideoForm(UploadFields):
    """A video segment with what is stated about it."""

    file: Binary = Field(description="the video")
    duration_seconds: Seconds = Field(
        None, description="its length; left out, the container's", examples=["10.0"]
    )


class ContentQuery(FileDescription):
    """What the query of raw content states about it."""

    duration_seconds: Seconds = Field(None, description="of a video", examples=["10.0"])


class RecordFields(Fields):
    """A violation record."""

    violation_id: ViolationIdText = Field(examples=["V001"])
    device_id: Text = Field(examples=["cam_001"])
    violation_type: Text = Field(description="speed, red_light, …: an open set", examples=["speed"])
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
    """A violation record as it is stored."""

    historic: Flag = Field(
        None, description="states that a timestamp long before receipt is right", examples=["true"]
    )


class ViolationForm(ViolationFields):
    """A violation record with its image and video."""

    vehicle_bbox: BoxText = Field(
        description="JSON: [x1, y1, x2, y2] in pixels, x1 < x2, y1 < y2",
        examples=["[100,100,200,200]"],
    )
    camera_info: JsonText = Field(
        None, description="JSON object of at most 64 KiB", examples=['{"location": "Main St"}']
    )
    model_versions: JsonText = Field(
        None,
        description="JSON object: name of a model → its version",
        examples=['{"detector": "yolov8"}'],
    )
    image_file: Binary = Field(None, description="without it the violation is incomplete")
    video_file: Binary = Field(None, description="the video segment")
    duration_seconds: Seconds = Field(
        None, description="of the video, which must come with it", examples=["10.0"]
    )
    image_sha256: Digest = Field(
        None, description="of image_file, which must come with it", examples=[_EMPTY]
    )
    video_sha256: Digest = Field(
        None, description="of video_file, which must come with it", examples=[_EMPTY]
    )


class PageQuery(Fields):
    """The part of an ordered answer that is asked for."""

    limit: Limit = Field(
        None, description="most items of the page; 100 unless given", examples=[50]
    )
    cursor: str | None = Field(None, description="next_cursor of the page before")


class TimeFilters(PageQuery):
    """A span of time: `start_date ≤ time < end_date`."""

    start_date: QueryTime = Field(
        None, description="from this instant on", examples=["2025-11-01T00:00:00"]
    )
    end_date: QueryTime = Field(
        None, description="before this instant", examples=["2025-12-01T00:00:00"]
    )


class ViolationFilters(TimeFilters):
    """Which violations are asked for; filters are joined by "and"."""

    device_id: Text | None = Field(None, examples=["cam_001"])
    violation_type: Text | None = Field(None, examples=["speed"])
    vehicle_class: Text | None = Field(None, examples=["car"])
    min_confidence: Share = Field(None, examples=[0.5])
    max_confidence: Share = Field(None, examples=[0.9])


class FileFilters(TimeFilters):
    """Which files are asked for; filters are joined by "and". The time is that of receipt."""

    kind: KindName = Field(None, examples=["image"])
    device_id: Text | None = Field(None, examples=["cam_001"])
    violation_id: ViolationIdText | None = Field(None, examples=["V001"])
    state: StateName = Field(None, description="available unless given", examples=["available"])


class DownloadQuery(Fields):
    """How a file is offered."""

    download: Flag = Field(
        None, description="as an attachment under its original name", examples=["1"]
    )


class UrlQuery(Fields):
    """How long a link opens."""

    expires_in: Annotated[float | None, _by(number), Schema({"type": "number", "minimum": 1})] = (
        Field(None, description="seconds; 3600 unless given", examples=[3600])
    )


class ViolationsPage(TypedDict):
    """One page of violations, newest first; `next_cursor` is null on the last."""

    violations: list[ViolationView]
    count: int
    next_cursor: str | None


class FilesPage(TypedDict):
    """One page of files, the latest received first; `next_cursor` is null on the last."""

    files: list[StoredFileView]
    count: int
    next_cursor: str | None


class ViolationWithFilesView(TypedDict):
    """A violation and all files that name it, oldest first."""

    violation: ViolationView
    files: list[StoredFileView]


class AccessUrlView(TypedDict):
    """A link that opens a file, and until when."""

    url: Annotated[str, Schema({"type": "string", "format": "uri"})]
    expires_at: Annotated[str, Schema(_TIME)]


class LivenessView(TypedDict):
    """The process answers."""

    status: Literal["ok"]


class ComponentView(TypedDict):
    """One part of the service; without a `needed` one nothing works."""

    name: str
    healthy: bool
    needed: bool
    detail: str


class ReadinessView(TypedDict, total=False):
    """Whether requests can be served. `degraded` and `components` are shown to a principal."""

    ready: bool
    degraded: bool
    components: list[ComponentView]


class FieldProblemView(TypedDict):
    """One wrong field of a request."""

    field: str
    message: str
    remedy: str


class Problem(BaseModel):
    """What went wrong, where, and what would be right (RFC 9457)."""

    type: str = Field(examples=["urn:traffic-storage:problem:not-found"])
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    remedy: str
    errors: list[FieldProblemView]
    instance: str
    request_id: str


Problems: TypeAlias = list[FieldProblem]


def read_fields(
    model: type[M], given: Mapping[str, object], where: str = "form"
) -> tuple[M, Problems]:
    """The fields as `model` reads them, and everything that is wrong with them.

    A wrong or missing field is read as its example, so that the rules of the others can still be
    checked and all problems be reported at once.
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
    """The fields of a query.

    Raises:
        InvalidInput: fields are wrong; all of them are named.
    """
    fields, problems = read_fields(model, given, "query")
    if problems:
        raise InvalidInput(problems)
    return fields


class Checks:
    """Gathers problems of several checks; as a context manager it raises all of them at its end.

    Raises:
        InvalidInput: there are problems, those of the body of the context among them.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def optional(self, value: T | None, check: Callable[[T], R]) -> R | None:
        """The value as `check` gives it; None where it is absent or wrong."""
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
    """Pydantic's errors in this service's words; `loc` begins with the name of the field."""
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
            problems.append(FieldProblem(name, error["msg"], "send what the description says"))
    return problems
