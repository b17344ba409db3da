"""What only HTTP can get wrong, as errors of the one tree.

Each becomes a problem by the table in `problems`.
"""

from collections.abc import Mapping

from traffic_storage.domain.errors import (
    AccessDenied,
    Conflict,
    InvalidInput,
    TooLarge,
    TrafficStorageError,
    Unavailable,
)


class BadRequest(InvalidInput):
    """The message is broken as HTTP: nothing of it was used."""


class BadMultipart(BadRequest):
    """The body is no whole `multipart/form-data` (RFC 7578)."""


class UnsupportedRequest(InvalidInput):
    """The body is of a type or coding that this resource does not take."""


class BodyTooLarge(TooLarge):
    """The request body exceeds what this resource takes, before any file was told apart."""


class SlowBody(TrafficStorageError):
    """The request body stalled, or came at less than the least rate."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            remedy="send again over a better link; the settings request_idle_timeout_seconds and "
            "min_upload_bytes_per_second bound the wait",
        )


class ClientGone(TrafficStorageError):
    """The client closed the connection; there is nobody to answer."""

    def __init__(self) -> None:
        super().__init__("the client closed the connection")


class NotAdmitted(AccessDenied):
    """The request carries no credential that lets it in.

    `key_given` says whether there was one at all, as the challenge must tell (RFC 6750, 3.1).
    """

    def __init__(self, message: str, *, remedy: str, key_given: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.key_given = key_given


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
    """What a route that an embedder added refuses with a status of his own."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
