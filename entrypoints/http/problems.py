"""Every error as a problem document (RFC 9457): one table, one body, one set of headers."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from attrs import frozen

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
    WrongFields,
)
from traffic_storage.entrypoints.http.errors import (
    BadMultipart,
    BadRequest,
    Crowded,
    DeviceNotAllowed,
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
    """A kind of problem: its name, the status that it comes with, a title that never varies."""

    name: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """What `type` holds in a problem document."""
        return _URN + self.name


INTERNAL = ProblemType("internal-error", 500, "The service failed")

TYPES: Mapping[type[TrafficStorageError], ProblemType] = MappingProxyType(
    {
        BadRequest: ProblemType("bad-request", 400, "The request is malformed"),
        BadMultipart: ProblemType("bad-multipart", 400, "The multipart body is broken"),
        NotAdmitted: ProblemType("not-admitted", 401, "A credential is needed"),
        LocalUseOnly: ProblemType("local-use-only", 403, "Only this machine is served"),
        AccessDenied: ProblemType("access-denied", 403, "The access token is not valid"),
        MissingScope: ProblemType("missing-scope", 403, "The credential lacks a scope"),
        DeviceNotAllowed: ProblemType("device-not-allowed", 403, "Bound to other devices"),
        UndeclaredAccess: ProblemType("undeclared-access", 403, "The route declares no access"),
        NotFound: ProblemType("not-found", 404, "Nothing is known under this id"),
        NoSuchResource: ProblemType("no-such-resource", 404, "Nothing is served here"),
        MethodNotAllowed: ProblemType("method-not-allowed", 405, "The method is not served here"),
        SlowBody: ProblemType("slow-body", 408, "The request body came too slowly"),
        Conflict: ProblemType("conflict", 409, "The id is taken by other content"),
        PreconditionFailed: ProblemType(
            "precondition-failed", 412, "The file's ETag does not match If-Match"
        ),
        TooLarge: ProblemType("too-large", 413, "The input exceeds a limit"),
        UnsupportedMedia: ProblemType("unsupported-media", 415, "The type is not accepted"),
        UnsupportedRequest: ProblemType("unsupported-body", 415, "The body's type is not taken"),
        RangeNotSatisfiable: ProblemType("range-not-satisfiable", 416, "No such bytes"),
        InvalidInput: ProblemType("invalid-input", 422, "The input breaks a rule"),
        DigestMismatch: ProblemType("digest-mismatch", 422, "The bytes contradict their digest"),
        UndecodableMedia: ProblemType("undecodable-media", 422, "The bytes are broken"),
        KeyReused: ProblemType("idempotency-key-reused", 422, "The key stands for other content"),
        NoGoodReplica: ProblemType("no-good-replica", 500, "No good copy of the file is left"),
        Crowded: ProblemType("crowded", 503, "The service is busy"),
        Unavailable: ProblemType("unavailable", 503, "A needed service is unavailable"),
        OutcomeUnknown: ProblemType("outcome-unknown", 503, "It may or may not have been stored"),
        AttemptCondemned: ProblemType("attempt-expired", 503, "Storing took too long"),
        DeadlinePassed: ProblemType("attempt-expired", 503, "Storing took too long"),
        StorageFull: ProblemType("storage-full", 507, "There is no room left"),
        TrafficStorageError: INTERNAL,
    }
)
"""Error class → problem type; a class that is not named is its nearest parent."""

_HIDDEN = "an unexpected error happened; it is in the service's log under this request id"


@frozen
class Problem:
    """A problem document and the headers that go with it."""

    type: ProblemType
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def problem_type(error: BaseException) -> ProblemType:
    """The type of the problem that an error is to a client."""
    if isinstance(error, Refused):
        return ProblemType("refused", error.status, "The request was refused")
    parents = (TYPES.get(parent) for parent in type(error).__mro__)
    return next((found for found in parents if found), INTERNAL)


def problem_of(error: BaseException, request_id: str) -> Problem:
    """The problem document of an error.

    An error that nobody raised on purpose shows nothing of itself.
    """
    kind = problem_type(error)
    members: dict[str, object] = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": _HIDDEN,
        "remedy": "try again; if it stays, give the request id to whoever runs the service",
        "errors": [],
        "instance": _REQUEST_URN + request_id,
        "request_id": request_id,
    }
    if isinstance(error, TrafficStorageError) and kind is not INTERNAL:
        members |= {"detail": error.message, "remedy": error.remedy, "errors": _fields_of(error)}
    # Not orjson: what is quoted of the input may hold what is no Unicode.
    return Problem(kind, json.dumps(members).encode(), tuple(_headers_of(error, kind)))


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
