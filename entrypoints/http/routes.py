"""The routes of the service, in the order of matching: the most frequently used come first."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from starlette.responses import PlainTextResponse, Response

from traffic_storage.application.access_urls import AccessUrls
from traffic_storage.application.delete_files import DeleteFiles
from traffic_storage.application.export import Export
from traffic_storage.application.export_jobs import ExportJobs
from traffic_storage.application.find import Find
from traffic_storage.application.jobs import Jobs
from traffic_storage.application.legal_holds import LegalHolds
from traffic_storage.application.package import MakePackage
from traffic_storage.application.produce_evidence import ProduceEvidence
from traffic_storage.application.read_files import ReadFiles
from traffic_storage.application.runtime import Runtime
from traffic_storage.application.statistics import Statistics
from traffic_storage.domain.deletion import Deleted, InsideRetention
from traffic_storage.domain.errors import (
    AccessDenied,
    Conflict,
    DigestMismatch,
    IncompleteEvidence,
    InvalidInput,
    NoGoodReplica,
    NotFound,
    StorageFull,
    TooLarge,
    TrafficStorageError,
    Unavailable,
    UndecodableMedia,
    UnsupportedMedia,
    WrongState,
)
from traffic_storage.domain.holds import Held
from traffic_storage.domain.media import ACCEPTED_IMAGES, ACCEPTED_VIDEOS
from traffic_storage.domain.principal import Scope
from traffic_storage.domain.seal import Sealed
from traffic_storage.domain.tabular import ExportFormat
from traffic_storage.entrypoints.http.analytics import AnalyticsEndpoints, analytics_routes
from traffic_storage.entrypoints.http.downloads import GetFile, OpenAccessUrl
from traffic_storage.entrypoints.http.errors import (
    BadMultipart,
    BadRequest,
    DeviceNotAllowed,
    KeyReused,
    PreconditionFailed,
    RangeNotSatisfiable,
    SlowBody,
    UnsupportedRequest,
)
from traffic_storage.entrypoints.http.exports import ExportPackage, ExportViolations, GetExport
from traffic_storage.entrypoints.http.fixity import FixityEndpoints, fixity_routes
from traffic_storage.entrypoints.http.holds import (
    DeletionEndpoints,
    ListHolds,
    PlaceHolds,
    ReleaseHolds,
    UndeleteFile,
    UndeleteViolation,
)
from traffic_storage.entrypoints.http.jobs import JobEndpoints, ListJobs
from traffic_storage.entrypoints.http.metrics import GetMetrics
from traffic_storage.entrypoints.http.middleware import ACCESS_PREFIX
from traffic_storage.entrypoints.http.migrations import MigrationEndpoints, migration_routes
from traffic_storage.entrypoints.http.queries import (
    DescribeFile,
    GetViolation,
    ListFiles,
    ListViolations,
    Service,
)
from traffic_storage.entrypoints.http.request_body import Pace
from traffic_storage.entrypoints.http.retention import RetentionParts, retention_routes
from traffic_storage.entrypoints.http.routing import AsgiEndpoint, AsgiRoute, StorageRoute
from traffic_storage.entrypoints.http.schemas import (
    AccessUrlView,
    LivenessView,
    ReadinessView,
    ViolationFields,
    ViolationWithFilesView,
)
from traffic_storage.entrypoints.http.security.access import Access
from traffic_storage.entrypoints.http.snapshots import SnapshotParts, snapshot_routes
from traffic_storage.entrypoints.http.uploads import (
    CreateViolation,
    Ingest,
    PutContent,
    UploadImage,
    UploadMetadata,
    UploadVideo,
)
from traffic_storage.entrypoints.http.validation import JudgeViolation, ValidationParts
from traffic_storage.entrypoints.quality_views import EvidenceQualityView
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.views import (
    CertificateView,
    DeletionView,
    EvidenceView,
    HoldView,
    JobView,
    PlacedHoldView,
    StatisticsView,
    StoredFileView,
    ViolationView,
)

_READ = Access(Scope.EVIDENCE_READ)
_WRITE = Access(Scope.EVIDENCE_WRITE)
_DELETE = Access(Scope.EVIDENCE_DELETE)
_HOLD = Access(Scope.HOLD)
_MAINTENANCE = Access(Scope.MAINTENANCE)
_LINK = Access(None)
_LIVENESS = Access(None, counted=False, needs_start=False)
_READINESS = Access(None, needs_start=False)
_METRICS = Access(Scope.METRICS, counted=False, needs_start=False)

_QUERYING: tuple[type[TrafficStorageError], ...] = (BadRequest, InvalidInput, Unavailable)
_POSTING: tuple[type[TrafficStorageError], ...] = (
    *_QUERYING,
    DigestMismatch,
    SlowBody,
    StorageFull,
    TooLarge,
    UnsupportedRequest,
)
_INGESTING: tuple[type[TrafficStorageError], ...] = (
    BadMultipart,
    BadRequest,
    Conflict,
    DeviceNotAllowed,
    DigestMismatch,
    InvalidInput,
    Sealed,
    SlowBody,
    StorageFull,
    Unavailable,
    TooLarge,
    UndecodableMedia,
    UnsupportedMedia,
    UnsupportedRequest,
)
_JUDGING = (*_POSTING, BadMultipart, DeviceNotAllowed)
_DOWNLOADING: tuple[type[TrafficStorageError], ...] = (
    InvalidInput,
    Deleted,
    NoGoodReplica,
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    Unavailable,
)
_JOB = {"model": JobView, "description": "the job that makes it"}
_IMAGE_TYPES = tuple(sorted(kind.value for kind in ACCEPTED_IMAGES))
_VIDEO_TYPES = tuple(sorted(kind.value for kind in ACCEPTED_VIDEOS))
_FILES_OF_RECORD = {
    "image_file": {"contentType": ", ".join(_IMAGE_TYPES)},
    "video_file": {"contentType": ", ".join(_VIDEO_TYPES)},
}


@frozen
class Parts:
    """The use cases and settings that the routes need."""

    settings: StorageConfig
    ingest: Ingest
    validation: ValidationParts
    read_files: ReadFiles
    produce_evidence: ProduceEvidence
    find: Find
    jobs: Jobs
    fixity: FixityEndpoints
    legal_holds: LegalHolds
    delete_files: DeleteFiles
    retention: RetentionParts
    snapshots: SnapshotParts
    analytics: AnalyticsEndpoints
    migrations: MigrationEndpoints
    export: Export
    make_package: MakePackage
    export_jobs: ExportJobs
    signer: AccessUrls
    statistics: Statistics
    runtime: Runtime
    metrics: GetMetrics
    pace: Pace


def storage_routes(parts: Parts) -> list[StorageRoute]:
    """Return all routes except those of the documentation."""
    return [
        *_files(parts),
        *_violations(parts),
        *_deletions(parts),
        *_holds(parts),
        *_jobs(parts),
        *fixity_routes(parts.fixity),
        *retention_routes(parts.retention),
        *_exports(parts),
        *snapshot_routes(parts.snapshots),
        *analytics_routes(parts.analytics),
        *migration_routes(parts.migrations),
        *_service(parts),
    ]


def _files(parts: Parts) -> list[StorageRoute]:
    describe = DescribeFile(parts.signer, parts.find)
    return [
        _download(
            "/files/{file_id}",
            "get_file",
            GetFile(parts.read_files, parts.produce_evidence, parts.pace),
            _READ,
        ),
        _upload("image", UploadImage(parts.ingest), _IMAGE_TYPES),
        _upload("video", UploadVideo(parts.ingest), _VIDEO_TYPES),
        AsgiRoute(
            "/files/{file_id}/content",
            PutContent(parts.ingest),
            method="PUT",
            name="put_content",
            summary="Store raw bytes",
            tags=["files"],
            access=_WRITE,
            errors=_INGESTING,
            **_stored(StoredFileView),
            openapi_extra={
                "requestBody": _raw("application/octet-stream", *_IMAGE_TYPES, *_VIDEO_TYPES)
            },
        ),
        AsgiRoute(
            "/files",
            ListFiles(parts.find, parts.settings.zone),
            method="GET",
            name="list_files",
            summary="List files, the latest received first",
            tags=["files"],
            access=_READ,
            errors=_QUERYING,
            response_description="a page",
            responses={200: {"headers": _headers(Link="the next page, if there is one")}},
        ),
        AsgiRoute(
            "/files/upload/metadata",
            UploadMetadata(parts.ingest),
            method="POST",
            name="upload_metadata",
            summary="Store a JSON object in canonical form",
            tags=["files"],
            access=_WRITE,
            errors=(*_INGESTING, KeyReused),
            **_stored(StoredFileView),
        ),
        StorageRoute(
            "/files/{file_id}/metadata",
            describe.metadata,
            method="GET",
            name="get_metadata",
            summary="Get the attributes and replicas of a file",
            tags=["files"],
            access=_READ,
            errors=(*_QUERYING, NotFound, Deleted),
            response_model=StoredFileView,
            response_description="the attributes",
        ),
        StorageRoute(
            "/files/{file_id}/url",
            describe.url,
            method="GET",
            name="get_access_url",
            summary="Create an access URL for a file that needs no credential until it expires",
            tags=["files"],
            access=_READ,
            errors=(*_QUERYING, NotFound, Deleted),
            response_model=AccessUrlView,
            response_description="the access URL",
        ),
        _download(
            f"{ACCESS_PREFIX}{{token}}",
            "open_access_url",
            OpenAccessUrl(parts.signer, parts.read_files, parts.pace),
            _LINK,
            AccessDenied,
        ),
    ]


def _violations(parts: Parts) -> list[StorageRoute]:
    settings = parts.settings
    return [
        AsgiRoute(
            "/violations",
            CreateViolation(parts.ingest),
            method="POST",
            name="create_violation",
            summary="Store a violation with its image and video",
            tags=["violations"],
            access=_WRITE,
            errors=_INGESTING,
            **_stored(EvidenceView),
            openapi_extra={"requestBody": {"content": _record_body()}},
        ),
        AsgiRoute(
            "/validate",
            JudgeViolation(parts.validation),
            method="POST",
            name="validate_violation",
            summary="Judge a violation with its image and video, and store nothing",
            tags=["violations"],
            access=_WRITE,
            errors=_JUDGING,
            response_model=EvidenceQualityView,
            response_description="what was found",
            openapi_extra={"requestBody": {"content": _judged_body()}},
        ),
        AsgiRoute(
            "/violations",
            ListViolations(parts.find, settings.zone),
            method="GET",
            name="list_violations",
            summary="List violations, newest first",
            tags=["violations"],
            access=_READ,
            errors=_QUERYING,
            response_description="a page",
            responses={200: {"headers": _headers(Link="the next page, if there is one")}},
        ),
        StorageRoute(
            "/violations/{violation_id}",
            GetViolation(parts.find).get,
            method="GET",
            name="get_violation",
            summary="Get a violation and the files that name it",
            tags=["violations"],
            access=_READ,
            errors=(*_QUERYING, NotFound, Deleted),
            response_model=ViolationWithFilesView,
            response_description="the violation",
            responses={200: {"headers": _headers(Link="the next page, if there is one")}},
        ),
    ]


def _deletions(parts: Parts) -> list[StorageRoute]:
    ends = DeletionEndpoints(parts.delete_files, parts.find)
    undelete_file = UndeleteFile(parts.delete_files, ends, parts.pace)
    undelete_violation = UndeleteViolation(parts.delete_files, ends, parts.pace)
    return [
        _delete("file", ends.file),
        _delete("violation", ends.violation),
        _undelete("file", undelete_file, StoredFileView),
        _undelete("violation", undelete_violation, ViolationView),
        _certificate("file", ends.file_certificate),
        _certificate("violation", ends.violation_certificate),
    ]


def _delete(what: str, endpoint: Callable[..., Any]) -> StorageRoute:
    return StorageRoute(
        f"/{what}s/{{{what}_id}}",
        endpoint,
        method="DELETE",
        name=f"delete_{what}",
        summary=f"Delete a {what}; until its grace has ended, it can be undeleted",
        tags=[f"{what}s"],
        access=_DELETE,
        errors=(*_QUERYING, NotFound, Deleted, Held, InsideRetention, WrongState),
        response_model=DeletionView,
        response_description="the deletion",
    )


def _undelete(what: str, endpoint: AsgiEndpoint, view: type) -> StorageRoute:
    return AsgiRoute(
        f"/{what}s/{{{what}_id}}/undelete",
        endpoint,
        method="POST",
        name=f"undelete_{what}",
        summary=f"Make a deleted {what} available again",
        tags=[f"{what}s"],
        access=_DELETE,
        errors=(*_POSTING, NotFound, Deleted, WrongState),
        response_model=view,
        response_description=f"the {what}",
    )


def _certificate(what: str, endpoint: Callable[..., Any]) -> StorageRoute:
    return StorageRoute(
        f"/{what}s/{{{what}_id}}/certificate",
        endpoint,
        method="GET",
        name=f"get_{what}_certificate",
        summary=f"Get the destruction certificate of a {what} that is erased",
        tags=[f"{what}s"],
        access=_READ,
        errors=(*_QUERYING, NotFound),
        response_model=CertificateView,
        response_description="the certificate",
    )


def _holds(parts: Parts) -> list[StorageRoute]:
    return [
        AsgiRoute(
            "/holds",
            PlaceHolds(parts.legal_holds, parts.pace, parts.settings.zone),
            method="POST",
            name="place_hold",
            summary="Place a legal hold",
            tags=["holds"],
            access=_HOLD,
            errors=(*_POSTING, DeviceNotAllowed, NotFound, Deleted),
            status_code=201,
            response_model=PlacedHoldView,
            response_description="the hold",
        ),
        AsgiRoute(
            "/holds/{hold_id}/release",
            ReleaseHolds(parts.legal_holds, parts.pace),
            method="POST",
            name="release_hold",
            summary="Release a legal hold",
            tags=["holds"],
            access=_HOLD,
            errors=(*_POSTING, DeviceNotAllowed, NotFound, WrongState),
            response_model=HoldView,
            response_description="the hold",
        ),
        AsgiRoute(
            "/holds",
            ListHolds(parts.legal_holds),
            method="GET",
            name="list_holds",
            summary="List legal holds, those placed last first",
            tags=["holds"],
            access=_HOLD,
            errors=(*_QUERYING, DeviceNotAllowed),
            response_description="a page",
            responses={200: {"headers": _headers(Link="the next page, if there is one")}},
        ),
    ]


def _jobs(parts: Parts) -> list[StorageRoute]:
    job = JobEndpoints(parts.jobs)
    return [
        AsgiRoute(
            "/jobs",
            ListJobs(parts.jobs),
            method="GET",
            name="list_jobs",
            summary="List jobs, newest first",
            tags=["jobs"],
            access=_MAINTENANCE,
            errors=_QUERYING,
            response_description="a page",
            responses={200: {"headers": _headers(Link="the next page, if there is one")}},
        ),
        StorageRoute(
            "/jobs/{job_id}",
            job.get,
            method="GET",
            name="get_job",
            summary="Get a job with its progress",
            tags=["jobs"],
            access=_MAINTENANCE,
            errors=(*_QUERYING, NotFound),
            response_model=JobView,
            response_description="the job",
        ),
        StorageRoute(
            "/jobs/{job_id}/cancel",
            job.cancel,
            method="POST",
            name="cancel_job",
            summary="Cancel a job",
            tags=["jobs"],
            access=_MAINTENANCE,
            errors=(*_QUERYING, NotFound, WrongState),
            response_model=JobView,
            response_description="the job",
        ),
        StorageRoute(
            "/jobs/{job_id}/retry",
            job.retry,
            method="POST",
            name="retry_job",
            summary="Make a dead or cancelled job ready again",
            tags=["jobs"],
            access=_MAINTENANCE,
            errors=(*_QUERYING, NotFound, WrongState),
            response_model=JobView,
            response_description="the job",
        ),
    ]


def _exports(parts: Parts) -> list[StorageRoute]:
    return [
        AsgiRoute(
            "/exports/violations",
            ExportViolations(parts.export, parts.export_jobs, parts.settings.zone, parts.pace),
            method="GET",
            name="export_violations",
            summary="Export violations as a file",
            tags=["exports"],
            access=_READ,
            errors=(*_QUERYING, TooLarge),
            response_model=None,
            response_class=Response,
            response_description="the file, in chunks",
            responses={
                200: {
                    "content": {
                        one.media_type.partition(";")[0]: {"schema": _schema_of(one.media_type)}
                        for one in ExportFormat
                    },
                    "headers": _headers(**{"Content-Disposition": "a file name (RFC 6266)"}),
                },
                202: _JOB,
            },
        ),
        AsgiRoute(
            "/exports/package",
            ExportPackage(parts.make_package, parts.export_jobs, parts.pace),
            method="POST",
            name="export_package",
            summary="Export violations with their files as a ZIP file that can be verified",
            tags=["exports"],
            access=_READ,
            errors=(*_POSTING, NotFound, Deleted, NoGoodReplica, IncompleteEvidence),
            response_model=None,
            response_class=Response,
            response_description="the ZIP file, in chunks",
            responses={
                200: {
                    "content": {"application/zip": {"schema": _BYTES}},
                    "headers": _headers(
                        **{
                            "Content-Disposition": "a file name (RFC 6266)",
                            "Manifest-SHA256": "SHA-256 of manifest.json in the package",
                        }
                    ),
                },
                202: _JOB,
            },
        ),
        AsgiRoute(
            "/exports/{job_id}",
            GetExport(parts.export_jobs, parts.pace),
            method="GET",
            name="get_export",
            summary="Get the file of an export or analysis that a job has made",
            tags=["exports"],
            access=_READ,
            errors=(*_QUERYING, NotFound, WrongState),
            response_model=None,
            response_class=Response,
            response_description="the file, in chunks",
            responses={
                200: {
                    "content": {
                        one: {"schema": _schema_of(one)}
                        for one in (
                            *(kind.media_type.partition(";")[0] for kind in ExportFormat),
                            "application/zip",
                            "application/json",
                        )
                    },
                    "headers": _headers(
                        **{
                            "Content-Disposition": "a file name (RFC 6266)",
                            "ETag": "SHA-256 of the file, in quotation marks",
                            "Repr-Digest": "SHA-256 of the file (RFC 9530)",
                        }
                    ),
                },
                202: {"model": JobView, "description": "the job, which is not done"},
            },
        ),
    ]


def _service(parts: Parts) -> list[StorageRoute]:
    service = Service(parts.statistics, parts.runtime)
    return [
        StorageRoute(
            "/storage/stats",
            service.statistics,
            method="GET",
            name="get_statistics",
            summary="Get the statistics of the stores and of this process",
            tags=["service"],
            access=_READ,
            errors=_QUERYING,
            response_model=StatisticsView,
            response_description="the statistics",
        ),
        StorageRoute(
            "/healthz",
            service.liveness,
            method="GET",
            name="liveness",
            summary="Check whether the process is alive",
            tags=["service"],
            access=_LIVENESS,
            errors=(BadRequest, InvalidInput),
            response_model=LivenessView,
            response_description="the process is alive",
        ),
        StorageRoute(
            "/readyz",
            service.readiness,
            method="GET",
            name="readiness",
            summary="Check whether the service is ready, with the state of its components",
            tags=["service"],
            access=_READINESS,
            errors=_QUERYING,
            response_model=ReadinessView,
            response_description="the service is ready, possibly degraded",
        ),
        AsgiRoute(
            "/metrics",
            parts.metrics,
            method="GET",
            name="get_metrics",
            summary="Get the metrics of requests, stores and jobs, for Prometheus",
            tags=["service"],
            access=_METRICS,
            errors=(BadRequest, InvalidInput),
            response_class=PlainTextResponse,
            response_description="the metrics",
        ),
    ]


def _upload(kind: str, endpoint: UploadImage | UploadVideo, types: tuple[str, ...]) -> AsgiRoute:
    encoding = {"file": {"contentType": ", ".join(types)}}
    content = {"multipart/form-data": {"encoding": encoding}}
    return AsgiRoute(
        f"/files/upload/{kind}",
        endpoint,
        method="POST",
        name=f"upload_{kind}",
        summary=f"Store {'an image' if kind == 'image' else 'a video segment'} byte for byte",
        tags=["files"],
        access=_WRITE,
        errors=(*_INGESTING, KeyReused),
        **_stored(StoredFileView),
        openapi_extra={"requestBody": {"content": content}},
    )


def _download(
    path: str,
    name: str,
    endpoint: GetFile | OpenAccessUrl,
    access: Access,
    *errors: type[TrafficStorageError],
) -> AsgiRoute:
    headers = _headers(
        ETag="the SHA-256 of the file, in quotes",
        **{
            "Repr-Digest": "the SHA-256 of the file (RFC 9530)",
            "Accept-Ranges": "bytes",
            "Content-Disposition": "a file name (RFC 6266)",
        },
    )
    content = {kind: {"schema": _BYTES} for kind in _ANY_TYPE}
    return AsgiRoute(
        path,
        endpoint,
        method="GET",
        name=name,
        summary="Download a file" if access.scope else "Download the file of an access URL",
        tags=["files"],
        access=access,
        errors=(*_DOWNLOADING, *errors),
        response_model=None,
        response_class=Response,
        response_description="the bytes",
        responses={
            200: {"content": content, "headers": headers},
            206: {"description": "the bytes of the range", "content": content, "headers": headers},
            304: {"description": "If-None-Match contains the ETag of the file"},
        },
    )


# Client generators understand the first type; the ranges cover the types that are sent.
_ANY_TYPE = ("application/octet-stream", "image/*", "video/*", "application/*")
_BYTES = {"type": "string", "format": "binary"}


def _schema_of(media_type: str) -> dict[str, str]:
    """Return the schema of a file: of an object if it is JSON, else of bytes."""
    is_json = media_type in {"application/json", "application/geo+json"}
    return {"type": "object"} if is_json else _BYTES


def _stored(view: type) -> dict[str, Any]:
    """Return the responses of a route that stores evidence."""
    headers = _headers(Location="URL of the stored file or violation")
    return {
        "status_code": 201,
        "response_model": view,
        "response_description": "stored",
        "responses": {
            201: {"headers": headers},
            200: {
                "model": view,
                "description": "the same evidence was stored before",
                "headers": headers,
            },
        },
    }


def _headers(**described: str) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in described.items()
    }


def _raw(*types: str) -> Mapping[str, Any]:
    return {"required": True, "content": {kind: {"schema": _BYTES} for kind in types}}


def _judged_body() -> dict[str, Any]:
    return {
        "multipart/form-data": {"encoding": _FILES_OF_RECORD},
        "application/json": {"schema": {"type": "object", "title": "a violation record"}},
    }


def _record_body() -> dict[str, Any]:
    return {
        "multipart/form-data": {"encoding": _FILES_OF_RECORD},
        "application/json": {"schema": ViolationFields.model_json_schema()},
    }
