"""The conversion of errors to problem documents (RFC 9457) with status, body and headers."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from attrs import frozen

from traffic_storage.domain.deletion import Deleted, InsideRetention
from traffic_storage.domain.errors import (
    AccessDenied,
    Conflict,
    DigestMismatch,
    IncompleteEvidence,
    InvalidInput,
    LowQuality,
    NoGoodReplica,
    NotFound,
    StorageFull,
    TooLarge,
    TrafficStorageError,
    Unavailable,
    UndecodableMedia,
    UnsupportedMedia,
    WrongFields,
    WrongState,
)
from traffic_storage.domain.files import FileState
from traffic_storage.domain.holds import Held
from traffic_storage.domain.seal import Sealed
from traffic_storage.entrypoints.http.errors import (
    BadMultipart,
    BadRequest,
    Crowded,
    DeviceNotAllowed,
    ForeignHost,
    ForeignPage,
    KeyReused,
    LocalUseOnly,
    MethodNotAllowed,
    MissingScope,
    NoSuchResource,
    NotAdmitted,
    PreconditionFailed,
    RangeNotSatisfiable,
    Refused,
    SlowBody,
    UndeclaredAccess,
    UnsupportedRequest,
)
from traffic_storage.ports.errors import AttemptCondemned, DeadlinePassed, OutcomeUnknown

MEDIA_TYPE = b"application/problem+json"
_URN = "urn:traffic-storage:problem:"
_REQUEST_URN = "urn:traffic-storage:request:"


@frozen
class ProblemType:
    """A type of problem: its name, its HTTP status and its constant title."""

    name: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The value of `type` in a problem document."""
        return _URN + self.name


INTERNAL = ProblemType("internal-error", 500, "The service failed")

TYPES: Mapping[type[TrafficStorageError], ProblemType] = MappingProxyType(
    {
        BadRequest: ProblemType("bad-request", 400, "The request is malformed"),
        BadMultipart: ProblemType("bad-multipart", 400, "The multipart body is broken"),
        NotAdmitted: ProblemType("not-admitted", 401, "A credential is needed"),
        LocalUseOnly: ProblemType(
            "local-use-only", 403, "The service accepts requests from its own machine only"
        ),
        ForeignHost: ProblemType("foreign-host", 403, "The Host is not a name of the service"),
        ForeignPage: ProblemType("foreign-page", 403, "A page of another origin sent the request"),
        AccessDenied: ProblemType("access-denied", 403, "The access token is not valid"),
        MissingScope: ProblemType("missing-scope", 403, "The credential lacks a scope"),
        DeviceNotAllowed: ProblemType(
            "device-not-allowed", 403, "The credential is bound to other devices"
        ),
        UndeclaredAccess: ProblemType("undeclared-access", 403, "The route declares no access"),
        NotFound: ProblemType("not-found", 404, "Nothing is known under this id"),
        Deleted: ProblemType("deleted", 410, "The file or violation was deleted"),
        NoSuchResource: ProblemType("no-such-resource", 404, "No route has this path"),
        MethodNotAllowed: ProblemType(
            "method-not-allowed", 405, "The path does not support the method"
        ),
        SlowBody: ProblemType("slow-body", 408, "The request body arrived too slowly"),
        Conflict: ProblemType("conflict", 409, "The id is taken by other content"),
        Held: ProblemType("held", 409, "A legal hold covers it"),
        Sealed: ProblemType("sealed", 409, "The service is read only"),
        InsideRetention: ProblemType("inside-retention", 409, "Its retention has not ended"),
        IncompleteEvidence: ProblemType(
            "incomplete-evidence", 409, "The evidence lacks what its profile demands"
        ),
        WrongState: ProblemType("wrong-state", 409, "Not possible in the present state"),
        PreconditionFailed: ProblemType(
            "precondition-failed", 412, "The file's ETag does not match If-Match"
        ),
        LowQuality: ProblemType("low-quality", 422, "The input has an error that validating found"),
        TooLarge: ProblemType("too-large", 413, "The input exceeds a limit"),
        UnsupportedMedia: ProblemType("unsupported-media", 415, "The media type is not accepted"),
        UnsupportedRequest: ProblemType(
            "unsupported-body", 415, "The type or coding of the body is not accepted"
        ),
        RangeNotSatisfiable: ProblemType(
            "range-not-satisfiable", 416, "The range contains no byte of the file"
        ),
        InvalidInput: ProblemType("invalid-input", 422, "The input breaks a rule"),
        DigestMismatch: ProblemType(
            "digest-mismatch", 422, "The bytes do not match the declared digest"
        ),
        UndecodableMedia: ProblemType(
            "undecodable-media", 422, "The image or video can't be decoded"
        ),
        KeyReused: ProblemType(
            "idempotency-key-reused", 422, "The Idempotency-Key was used for another request"
        ),
        NoGoodReplica: ProblemType("no-good-replica", 500, "No good copy of the file is left"),
        Crowded: ProblemType("crowded", 503, "The service is busy"),
        Unavailable: ProblemType("unavailable", 503, "A needed service is unavailable"),
        OutcomeUnknown: ProblemType(
            "outcome-unknown", 503, "Whether the evidence was stored is unknown"
        ),
        AttemptCondemned: ProblemType("attempt-expired", 503, "Storing took too long"),
        DeadlinePassed: ProblemType("attempt-expired", 503, "Storing took too long"),
        StorageFull: ProblemType("storage-full", 507, "The storage is full"),
        TrafficStorageError: INTERNAL,
    }
)
"""Error class → problem type. A class that is not listed has the type of its nearest base class."""

_HIDDEN = "an unexpected error occurred; the log of the service has it under this request id"


@frozen
class Problem:
    """A problem document and the headers of its response."""

    type: ProblemType
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def problem_type(error: BaseException) -> ProblemType:
    """Return the problem type of an error."""
    if isinstance(error, Refused):
        return ProblemType("refused", error.status, "The request was refused")
    parents = (TYPES.get(parent) for parent in type(error).__mro__)
    return next((found for found in parents if found), INTERNAL)


def problem_of(error: BaseException, request_id: str) -> Problem:
    """Return the problem document of an error.

    The document of an unexpected error contains no part of its message.
    """
    kind = problem_type(error)
    members: dict[str, object] = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": _HIDDEN,
        "remedy": "try again; if the error persists, report the request id to the operator",
        "errors": [],
        "instance": _REQUEST_URN + request_id,
        "request_id": request_id,
    }
    if isinstance(error, TrafficStorageError) and kind is not INTERNAL:
        members |= {"detail": error.message, "remedy": error.remedy, "errors": _fields_of(error)}
    if isinstance(error, Deleted):
        members |= _deletion_of(error)
    if isinstance(error, NoGoodReplica) and error.incident_id:
        members["incident_id"] = error.incident_id
    # orjson refuses lone surrogates, which quotations of the input may contain.
    return Problem(kind, json.dumps(members).encode(), tuple(_headers_of(error, kind)))


def _deletion_of(error: Deleted) -> dict[str, object]:
    deletion = error.deletion
    return {
        "state": error.state,
        "deleted_at": deletion.tombstoned_at.isoformat() if deletion else None,
        "reason": deletion.reason if deletion else None,
        "rule": deletion.rule if deletion else None,
        "purge_after": deletion.purge_after.isoformat() if deletion else None,
        "certificate": f"/{error.what}s/{error.identifier}/certificate"
        if error.state is FileState.PURGED
        else None,
    }


def _fields_of(error: TrafficStorageError) -> list[dict[str, str]]:
    problems = error.problems if isinstance(error, WrongFields) else ()
    return [{"field": p.field, "message": p.message, "remedy": p.remedy} for p in problems]


def _headers_of(error: BaseException, kind: ProblemType) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(error, MissingScope):
        yield (
            b"www-authenticate",
            f'Bearer realm="traffic-storage", error="insufficient_scope", scope="{error.scope}"'.encode(),
        )
    elif isinstance(error, NotAdmitted) and kind.status == 401:
        invalid = b', error="invalid_token"' if error.key_given else b""
        yield b"www-authenticate", b'Bearer realm="traffic-storage"' + invalid
    elif isinstance(error, Refused):
        for name, value in error.headers.items():
            yield name.lower().encode("latin-1"), value.encode("latin-1")
    elif isinstance(error, MethodNotAllowed):
        yield b"allow", ", ".join(error.allowed).encode()
    elif isinstance(error, RangeNotSatisfiable):
        yield b"content-range", b"bytes */%d" % error.size_bytes
    elif isinstance(error, Unavailable):
        yield b"retry-after", b"%d" % max(1, error.retry_after_seconds)
    elif kind.status == 503:
        yield b"retry-after", b"5"
