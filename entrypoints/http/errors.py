"""The errors that only HTTP requests cause. `problems` maps each class to a response."""

from collections.abc import Iterable, Mapping
from typing import Literal

from traffic_storage.domain.errors import (
    AccessDenied,
    Conflict,
    InvalidInput,
    TooLarge,
    TrafficStorageError,
    Unavailable,
)
from traffic_storage.domain.principal import Scope


class BadRequest(InvalidInput):
    """The request is malformed HTTP. The service has used no part of it."""


class BadMultipart(BadRequest):
    """The body is malformed or truncated `multipart/form-data` (RFC 7578)."""


class UnsupportedRequest(InvalidInput):
    """The resource does not accept the media type or content coding of the body."""


class BodyTooLarge(TooLarge):
    """The request body exceeds the limit of the resource for the whole body."""


class SlowBody(TrafficStorageError):
    """The request body stalled, or arrived more slowly than the minimum rate."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            remedy="send the request again over a faster connection; the settings "
            "request_idle_timeout_seconds and min_upload_bytes_per_second set these limits",
        )


class ClientGone(TrafficStorageError):
    """The client closed the connection. The service can't send a response."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class NotAdmitted(AccessDenied):
    """The request carries no valid credential.

    `key_given` is true if it carries an invalid one. The `WWW-Authenticate` header must distinguish
    the two cases (RFC 6750, section 3.1).
    """

    def __init__(self, message: str, *, remedy: str, key_given: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.key_given = key_given


class LocalUseOnly(NotAdmitted):
    """The service has no keys and serves only this machine; the request is not local use."""


class ForeignHost(NotAdmitted):
    """Access is open, and the Host of the request is not a name of the service."""


class ForeignPage(NotAdmitted):
    """A page of another origin sent the request."""


class MissingScope(AccessDenied):
    """The principal lacks the scope that the route requires."""

    def __init__(self, principal: str, scope: Scope) -> None:
        super().__init__(
            f"the key {principal!r} lacks the scope {scope}",
            remedy=f"use a key with the scope {scope} (traffic-storage keys new NAME "
            f"--scope {scope})",
        )
        self.scope = scope


class DeviceNotAllowed(AccessDenied):
    """The principal is bound to devices; the request names none of them."""

    def __init__(self, devices: Iterable[str], device_id: str | None) -> None:
        asked = "no device" if device_id is None else f"the device {device_id!a:.80}"
        super().__init__(
            f"this key is bound to the devices {', '.join(devices)}; the request names {asked}",
            remedy="send a device_id that the key is bound to, or use another key",
        )


class UndeclaredAccess(AccessDenied):
    """The route declares no access, so every request to it is refused."""

    def __init__(self) -> None:
        super().__init__(
            "this route declares no access",
            remedy="declare it at the definition of the route with @requires(Scope.…) or @public",
        )


class Crowded(Unavailable):
    """The number of requests in progress has reached `max_concurrent_requests`."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} requests are in progress, which is the limit",
            remedy="try again shortly, or raise the setting max_concurrent_requests",
            retry_after_seconds=1,
        )


class KeyReused(Conflict):
    """The Idempotency-Key was used before for another file_id, other content or other attributes."""

    def __init__(
        self, key: str, difference: str, cause: Literal["content", "labels", "deletion"] = "content"
    ) -> None:
        super().__init__("Idempotency-Key", key, difference, cause=cause)
        self.remedy = "use a new key, or repeat the first request unchanged"


class PreconditionFailed(TrafficStorageError):
    """`If-Match` does not contain the ETag of the file."""

    def __init__(self, etag: str) -> None:
        super().__init__(
            f"the file's ETag is {etag}, which does not match If-Match",
            remedy="send the file's ETag in If-Match, or leave out If-Match",
        )


class RangeNotSatisfiable(TrafficStorageError):
    """The requested range contains no byte of the file."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"the range contains none of the file's {size_bytes} bytes",
            remedy=f"request a range that starts before byte {size_bytes}",
        )
        self.size_bytes = size_bytes


class NoSuchResource(TrafficStorageError):
    """No route has this path."""

    def __init__(self) -> None:
        super().__init__("no route has this path", remedy="see /docs for the routes")


class MethodNotAllowed(TrafficStorageError):
    """The path has a route, but not for this method; `allowed` lists its methods."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            f"this path does not support {method}", remedy=f"use {' or '.join(allowed)}"
        )
        self.allowed = allowed


class Refused(TrafficStorageError):
    """An HTTPException of an embedder's route; it keeps its status and headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
