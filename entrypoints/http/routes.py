"""The table of what is served: each route with its endpoint and its description.

The application mounts this table and publishes it, so that the two can't differ.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import evolve, frozen
from starlette.types import ASGIApp
from typing_extensions import TypedDict

from traffic_storage.application.examine_video import MAX_DURATION_SECONDS
from traffic_storage.domain.errors import (
    AccessDenied,
    Conflict,
    DigestMismatch,
    InvalidInput,
    NoGoodReplica,
    NotFound,
    StorageFull,
    TooLarge,
    TrafficStorageError,
    Unavailable,
    UndecodableMedia,
    UnsupportedMedia,
)
from traffic_storage.domain.identifiers import MAX_FILE_ID, MAX_TEXT, MAX_VIOLATION_ID
from traffic_storage.domain.media import ACCEPTED_IMAGES, ACCEPTED_VIDEOS
from traffic_storage.domain.query import MAX_LIMIT
from traffic_storage.entrypoints.http.errors import (
    BadMultipart,
    BadRequest,
    KeyReused,
    PreconditionFailed,
    RangeNotSatisfiable,
    SlowBody,
    UnsupportedRequest,
)
from traffic_storage.entrypoints.views import (
    EvidenceView,
    StatisticsView,
    StoredFileView,
    ViolationView,
)

ProblemClass: TypeAlias = type[TrafficStorageError]
Schema: TypeAlias = dict[str, Any]

DOCS_PATH = "/docs"
OPENAPI_PATH = "/openapi.json"
LIVENESS_PATH = "/healthz"
READINESS_PATH = "/readyz"


class PageView(TypedDict):
    """One page of violations, newest first; `next_cursor` is null on the last."""

    violations: list[ViolationView]
    count: int
    next_cursor: str | None


class ViolationWithFilesView(TypedDict):
    """A violation and all files that name it, oldest first."""

    violation: ViolationView
    files: list[StoredFileView]


class AccessUrlView(TypedDict):
    """A link that opens a file, and until when."""

    url: str
    expires_at: str


class LivenessView(TypedDict):
    """The process answers."""

    status: str


class ComponentView(TypedDict):
    """One part of the service; without a `needed` one nothing works."""

    name: str
    healthy: bool
    needed: bool
    detail: str


class ReadinessView(TypedDict):
    """Whether requests can be served, and whether all parts are well."""

    ready: bool
    degraded: bool
    components: list[ComponentView]


@frozen
class Parameter:
    """A field of the path, the query or the headers."""

    name: str
    where: str
    schema: Schema
    description: str = ""
    example: str | int | None = None


@frozen
class Field:
    """A field of a form; `content_types` names what a file may be."""

    name: str
    schema: Schema
    description: str = ""
    content_types: tuple[str, ...] = ()


@frozen
class Answer:
    """A success: its status and either a view or bytes; `headers` by name with a description."""

    status: int
    description: str
    view: type | None = None
    binary: bool = False
    headers: Mapping[str, str] = {}


@frozen
class Served:
    """One method of one path: what answers it, and what a client must know.

    `problems` are the errors that are this route's own; those of every route are added.
    `free` routes need no credential.
    """

    method: str
    path: str
    name: str
    endpoint: ASGIApp
    summary: str
    answers: tuple[Answer, ...]
    parameters: tuple[Parameter, ...] = ()
    form: tuple[Field, ...] = ()
    required: tuple[str, ...] = ()
    raw_types: tuple[str, ...] = ()
    problems: tuple[ProblemClass, ...] = ()
    free: bool = False


_ID = r"^[A-Za-z0-9._\-:@+=]+$"
_FILE_ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_FILE_ID,
    "pattern": _ID,
    "not": {"pattern": r"^\.+$"},
}
_KNOWN_FILE_ID: Schema = {
    **_FILE_ID,
    "pattern": r"^[A-Za-z0-9._\-:@+=]+(~(image|video|metadata))?$",
}
_VIOLATION_ID: Schema = {**_FILE_ID, "maxLength": MAX_VIOLATION_ID}
# Printable Unicode is taken; what a pattern can say of it in few words is Latin.
_LATIN = r"!-~\u00a1-\u00ac\u00ae-\u024f"
_TEXT: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_TEXT,
    "pattern": f"^[{_LATIN}]([ {_LATIN}]*[{_LATIN}])?$",
}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_TIME: Schema = {"type": "string", "format": "date-time"}
_BINARY: Schema = {"type": "string", "format": "binary"}
_SHA256: Schema = {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"}
_JSON_OBJECT: Schema = {"type": "string", "contentMediaType": "application/json"}
_IMAGE_TYPES = tuple(sorted(kind.value for kind in ACCEPTED_IMAGES))
_VIDEO_TYPES = tuple(sorted(kind.value for kind in ACCEPTED_VIDEOS))
_SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": MAX_DURATION_SECONDS}

_FILE_PATH = Parameter("file_id", "path", _KNOWN_FILE_ID, "id of the file", "V001~image")
_DIGEST_HEADER = Parameter(
    "Content-Digest",
    "header",
    {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
    "SHA-256 of the body (RFC 9530); bytes that contradict it are refused. Of a form with one "
    "file it may be the file's",
)
_KEY_HEADER = Parameter(
    "Idempotency-Key",
    "header",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "without a file_id, the id is derived from it; other content or other attributes under it are "
    "refused",
)
_VIOLATION_KEY_HEADER = evolve(
    _KEY_HEADER,
    description="taken and checked for form, and without effect: the violation_id itself makes a "
    "retry safe, and another record under it is a conflict",
)
_CONDITIONAL = (
    Parameter("Range", "header", {"type": "string"}, "one range of bytes", "bytes=0-1023"),
    Parameter("If-Range", "header", {"type": "string"}, "the ETag that the range is for"),
    Parameter("If-None-Match", "header", {"type": "string"}, "304 when it names the content"),
    Parameter("If-Match", "header", {"type": "string"}, "412 when it does not name the content"),
)
_LABELS = (
    Field("device_id", _TEXT, "the camera or detector"),
    Field("violation_id", _VIOLATION_ID, "the violation, which may come later"),
    Field(
        "metadata",
        _JSON_OBJECT,
        "JSON object; device_id, violation_id and timestamp in it count as attributes",
    ),
)
_UPLOAD = (
    *_LABELS,
    Field("file_id", _FILE_ID, "id to store it under; derived when it is left out"),
    Field("sha256", _SHA256, "SHA-256 of the file; bytes that contradict it are refused"),
)
_RECORD = (
    Field("violation_id", _VIOLATION_ID),
    Field("device_id", _TEXT),
    Field("violation_type", _TEXT, "speed, red_light, …: an open set"),
    Field("timestamp", _TIME, "ISO 8601; without a zone it is read in the setting timezone"),
    Field("vehicle_bbox", _JSON_OBJECT, "JSON: [x1, y1, x2, y2] in pixels, x1 < x2, y1 < y2"),
    Field("vehicle_class", _TEXT),
    Field("confidence", _SHARE),
    Field("processing_time_ms", {"type": "number", "minimum": 0}),
    Field("camera_info", _JSON_OBJECT, "JSON object of at most 64 KiB"),
    Field("model_versions", _JSON_OBJECT, "JSON object: name of a model → its version"),
    Field("image_file", _BINARY, "without it the violation is incomplete", _IMAGE_TYPES),
    Field("video_file", _BINARY, "", _VIDEO_TYPES),
    Field("duration_seconds", _SECONDS, "of the video, which must come with it"),
    Field("image_sha256", _SHA256, "of image_file, which must come with it"),
    Field("video_sha256", _SHA256, "of video_file, which must come with it"),
)
_FILTERS = (
    Parameter("device_id", "query", _TEXT),
    Parameter("violation_type", "query", _TEXT),
    Parameter("vehicle_class", "query", _TEXT),
    Parameter("min_confidence", "query", _SHARE),
    Parameter("max_confidence", "query", _SHARE),
    Parameter("start_date", "query", _TIME, "from this instant on", "2025-11-01T00:00:00"),
    Parameter("end_date", "query", _TIME, "before this instant", "2025-12-01T00:00:00"),
    Parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
    Parameter("cursor", "query", {"type": "string"}, "next_cursor of the page before"),
)
_FILE_HEADERS = {
    "ETag": "the SHA-256 of the file, in quotes",
    "Repr-Digest": "the SHA-256 of the file (RFC 9530)",
    "Accept-Ranges": "bytes",
    "Content-Disposition": "a safe file name",
}
_LOCATION = {"Location": "where it is"}

_TAKING_IN: tuple[ProblemClass, ...] = (
    BadMultipart,
    SlowBody,
    Conflict,
    TooLarge,
    UnsupportedMedia,
    UnsupportedRequest,
    InvalidInput,
    DigestMismatch,
    UndecodableMedia,
    Unavailable,
    StorageFull,
)
_HANDING_OUT: tuple[ProblemClass, ...] = (
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    InvalidInput,
    NoGoodReplica,
    Unavailable,
)
_BYTES = (
    Answer(200, "the bytes", binary=True, headers=_FILE_HEADERS),
    Answer(206, "the bytes of the range", binary=True, headers=_FILE_HEADERS),
    Answer(304, "the client has this content already"),
)
_STORED = (
    Answer(201, "stored", StoredFileView, headers=_LOCATION),
    Answer(200, "the same was stored before", StoredFileView, headers=_LOCATION),
)


@frozen
class Endpoints:
    """What answers each route."""

    upload_image: ASGIApp
    upload_video: ASGIApp
    put_content: ASGIApp
    get_file: ASGIApp
    get_access_url: ASGIApp
    create_violation: ASGIApp
    list_violations: ASGIApp
    get_violation: ASGIApp
    get_statistics: ASGIApp
    open_access_url: ASGIApp
    liveness: ASGIApp
    readiness: ASGIApp


def served(endpoints: Endpoints) -> list[Served]:
    """The table, in the order in which routing looks: what is asked most comes first."""
    return [*_files(endpoints), *_violations(endpoints), *_service(endpoints)]


def _files(endpoints: Endpoints) -> list[Served]:
    return [
        Served(
            "GET",
            "/files/{file_id}",
            "get_file",
            endpoints.get_file,
            "The bytes of a file, each verified before it leaves",
            _BYTES,
            (_FILE_PATH, *_CONDITIONAL),
            problems=_HANDING_OUT,
        ),
        Served(
            "POST",
            "/files/upload/image",
            "upload_image",
            endpoints.upload_image,
            "Store an image byte for byte: JPEG, PNG, WebP or AVIF",
            _STORED,
            (_KEY_HEADER, _DIGEST_HEADER),
            form=(Field("file", _BINARY, "the image", _IMAGE_TYPES), *_UPLOAD),
            required=("file",),
            problems=(*_TAKING_IN, KeyReused),
        ),
        Served(
            "POST",
            "/files/upload/video",
            "upload_video",
            endpoints.upload_video,
            "Store a video segment byte for byte: MP4, MOV, Matroska, WebM, MPEG-TS or AVI",
            _STORED,
            (_KEY_HEADER, _DIGEST_HEADER),
            form=(
                Field("file", _BINARY, "the video", _VIDEO_TYPES),
                *_UPLOAD,
                Field("duration_seconds", _SECONDS, "its length; else the container's"),
            ),
            required=("file",),
            problems=(*_TAKING_IN, KeyReused),
        ),
        Served(
            "PUT",
            "/files/{file_id}/content",
            "put_content",
            endpoints.put_content,
            "Store raw bytes, for devices: the content type says image or video",
            _STORED,
            (
                Parameter("file_id", "path", _FILE_ID, "id to store it under", "cam_001-000042"),
                *(
                    Parameter(field.name, "query", field.schema, field.description)
                    for field in _LABELS
                ),
                Parameter("duration_seconds", "query", _SECONDS, "of a video"),
                _DIGEST_HEADER,
            ),
            raw_types=("application/octet-stream", *_IMAGE_TYPES, *_VIDEO_TYPES),
            problems=(BadRequest, *_TAKING_IN),
        ),
        Served(
            "GET",
            "/files/{file_id}/url",
            "get_access_url",
            endpoints.get_access_url,
            "A link that opens the file for a while without a credential",
            (Answer(200, "the link", AccessUrlView),),
            (
                _FILE_PATH,
                Parameter("expires_in", "query", {"type": "number", "minimum": 1}, "seconds", 3600),
            ),
            problems=(BadRequest, NotFound, InvalidInput, Unavailable),
        ),
        Served(
            "GET",
            "/access/{token}",
            "open_access_url",
            endpoints.open_access_url,
            "The bytes of the file that a link opens",
            _BYTES,
            (Parameter("token", "path", {"type": "string", "minLength": 1}), *_CONDITIONAL),
            problems=(AccessDenied, *_HANDING_OUT),
            free=True,
        ),
    ]


def _violations(endpoints: Endpoints) -> list[Served]:
    return [
        Served(
            "POST",
            "/violations",
            "create_violation",
            endpoints.create_violation,
            "Store a violation with its image and video, whole or not at all",
            (
                Answer(201, "stored", EvidenceView, headers=_LOCATION),
                Answer(200, "the same was stored before", EvidenceView, headers=_LOCATION),
            ),
            (_VIOLATION_KEY_HEADER, _DIGEST_HEADER),
            form=_RECORD,
            required=tuple(field.name for field in _RECORD[:7]),
            problems=_TAKING_IN,
        ),
        Served(
            "GET",
            "/violations",
            "list_violations",
            endpoints.list_violations,
            "Violations, newest first, page by page",
            (Answer(200, "a page", PageView, headers={"Link": "the next page, if there is one"}),),
            _FILTERS,
            problems=(BadRequest, InvalidInput, Unavailable),
        ),
        Served(
            "GET",
            "/violations/{violation_id}",
            "get_violation",
            endpoints.get_violation,
            "A violation and the files that name it",
            (Answer(200, "the violation", ViolationWithFilesView),),
            (Parameter("violation_id", "path", _VIOLATION_ID, "", "V001"),),
            problems=(NotFound, InvalidInput, Unavailable),
        ),
    ]


def _service(endpoints: Endpoints) -> list[Served]:
    return [
        Served(
            "GET",
            "/storage/stats",
            "get_statistics",
            endpoints.get_statistics,
            "What is stored where, and what this process has done",
            (Answer(200, "the figures", StatisticsView),),
            problems=(BadRequest, InvalidInput, Unavailable),
        ),
        Served(
            "GET",
            LIVENESS_PATH,
            "liveness",
            endpoints.liveness,
            "Whether the process answers",
            (Answer(200, "it does", LivenessView),),
            free=True,
        ),
        Served(
            "GET",
            READINESS_PATH,
            "readiness",
            endpoints.readiness,
            "Whether requests can be served, and the state of each part",
            (Answer(200, "they can; perhaps degraded", ReadinessView),),
            problems=(Unavailable,),
        ),
    ]
