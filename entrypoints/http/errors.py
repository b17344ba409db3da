"""Errors of HTTP alone, as classes of the one error tree; `problems` maps them to answers."""

from collections.abc import Iterable, Mapping

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
    """The message is broken as HTTP: nothing of it was used."""


class BadMultipart(BadRequest):
    """The body is no whole `multipart/form-data` (RFC 7578)."""


class UnsupportedRequest(InvalidInput):
    """The body is of a type or coding that this resource does not take."""


class BodyTooLarge(TooLarge):
    """The request body as a whole exceeds what this resource takes."""


class SlowBody(TrafficStorageError):
    """The request body stalled, or came at less than the least rate."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            remedy="send again over a better link; the settings request_idle_timeout_seconds and "
            "min_upload_bytes_per_second bound the wait",
        )


class ClientGone(TrafficStorageError):
    """The client closed the connection; no answer can be sent."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class NotAdmitted(AccessDenied):
    """The request carries no valid credential.

    `key_given` states whether it carried any, which the challenge must tell (RFC 6750, 3.1).
    """

    def __init__(self, message: str, *, remedy: str, key_given: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.key_given = key_given


class LocalUseOnly(NotAdmitted):
    """The service has no keys and serves this machine only; the request comes from elsewhere."""


class MissingScope(AccessDenied):
    """The principal lacks the scope that the route declares."""

    def __init__(self, principal: str, scope: Scope) -> None:
        super().__init__(
            f"the key {principal!r} lacks the scope {scope}",
            remedy=f"use a key with the scope {scope} (traffic-storage keys new NAME "
            f"--scope {scope})",
        )
        self.scope = scope


class DeviceNotAllowed(AccessDenied):
    """The principal is bound to devices, and the request concerns another device, or none."""

    def __init__(self, devices: Iterable[str], device_id: str | None) -> None:
        asked = "no device" if device_id is None else f"the device {device_id!a:.80}"
        super().__init__(
            f"this key is bound to the devices {', '.join(devices)}; the request names {asked}",
            remedy="name a device_id that the key is bound to, or use another key",
        )


class UndeclaredAccess(AccessDenied):
    """The route declares no access, so it serves no request."""

    def __init__(self) -> None:
        super().__init__(
            "this route declares no access",
            remedy="declare it where the route is defined: @requires(Scope.…) or @public",
        )


class Crowded(Unavailable):
    """As many requests as the setting allows are being served."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} requests are being served already",
            remedy="try again shortly, or raise the setting max_concurrent_requests",
            retry_after_seconds=1,
        )


class KeyReused(Conflict):
    """The Idempotency-Key was used before, with other content or other attributes."""

    def __init__(self, key: str, difference: str) -> None:
        super().__init__("Idempotency-Key", key, difference)
        self.remedy = "use a new key, or send exactly what was sent the first time"


class PreconditionFailed(TrafficStorageError):
    """`If-Match` names another content."""

    def __init__(self, etag: str) -> None:
        super().__init__(
            f"the file's entity tag is {etag}, which If-Match does not name",
            remedy="send the entity tag that the file has, or no If-Match",
        )


class RangeNotSatisfiable(TrafficStorageError):
    """No byte of the range exists."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"the file has {size_bytes} bytes, none of them in the range",
            remedy=f"ask for bytes below {size_bytes}",
        )
        self.size_bytes = size_bytes


class NoSuchResource(TrafficStorageError):
    """Nothing is served under this path."""

    def __init__(self) -> None:
        super().__init__("nothing is served under this path", remedy="see /docs for what there is")


class MethodNotAllowed(TrafficStorageError):
    """The path is served, the method is not; `allowed` names those that are."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            f"{method} is not served under this path", remedy=f"use {' or '.join(allowed)}"
        )
        self.allowed = allowed


class Refused(TrafficStorageError):
    """An HTTPException of a route that an embedder added: it keeps its status and headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
