"""The errors of the domain: one class per decision that a caller can take.

The message of an error names the cause, its `remedy` what to do. No message contains a secret. The
tables of HTTP statuses and exit codes are in entrypoints.
"""

from collections.abc import Iterable
from typing import Self

from attrs import frozen


def shown(value: object, longest: int = 80) -> str:
    """A caller's value for use in a message: escaped and cut to `longest` characters."""
    try:
        return f"{value!r:.{longest}}"
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that can't be shown"


def _with_remedy(message: str, remedy: str) -> str:
    return f"{message} ({remedy})" if remedy else message


class TrafficStorageError(Exception):
    """The base class of all errors that this library raises deliberately."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return _with_remedy(self.message, self.remedy)


@frozen
class FieldProblem:
    """One wrong field: the caller's name for it, the fault, and the remedy."""

    field: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {_with_remedy(self.message, self.remedy)}"


class WrongFields(TrafficStorageError, ValueError):
    """One or more fields are wrong; `problems` has all of them."""

    def __init__(self, problems: Iterable[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "; ".join(f"{problem.field}: {problem.message}" for problem in self.problems),
            remedy="; ".join(dict.fromkeys(p.remedy for p in self.problems if p.remedy)),
        )

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))

    @classmethod
    def of(cls, field: str, message: str, remedy: str = "") -> Self:
        """An error of this class about one field."""
        return cls([FieldProblem(field, message, remedy)])


class InvalidInput(WrongFields):
    """The caller's input breaks a rule; nothing was stored."""


class DigestMismatch(InvalidInput):
    """The bytes that arrived contradict the digest that the caller declared."""


class UndecodableMedia(InvalidInput):
    """The bytes are of a known type but not a whole, decodable item of it."""


class UnsupportedMedia(InvalidInput):
    """The type of the bytes is not accepted, or contradicts the declared one."""


class TooLarge(InvalidInput):
    """The input exceeds a limit of the configuration (bytes or pixels)."""


class Conflict(TrafficStorageError):
    """The id is taken by other content. Evidence is never overwritten."""

    def __init__(self, what: str, identifier: str, difference: str) -> None:
        super().__init__(
            f"{what} {identifier!r} exists already with other content: {difference}",
            remedy="use another id, or send exactly what was sent the first time",
        )
        self.what = what
        self.identifier = identifier
        self.difference = difference


class NotFound(TrafficStorageError, LookupError):
    """Nothing is known under this id."""

    def __init__(self, what: str, identifier: str) -> None:
        super().__init__(f"no {what} {identifier!r}", remedy="check the id for typing errors")
        self.what = what
        self.identifier = identifier


class AccessDenied(TrafficStorageError, PermissionError):
    """The credential (access token or API key) is missing, forged, expired or revoked."""


class ConfigurationError(WrongFields):
    """Settings contradict each other or lack something."""


class StorageFull(TrafficStorageError):
    """No place that the strategy allows has room left. Nothing was evicted to make some."""


class Unavailable(TrafficStorageError, ConnectionError):
    """A needed service can't be used for now; the same request can succeed later.

    `retry_after_seconds` is a suggestion to a client that wants to try again.
    """

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: int = 5) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class StorageUnavailable(Unavailable):
    """No store that the strategy allows can be written, or a store can't be reached."""


class BlobCorrupt(TrafficStorageError):
    """A blob's size or digest differs from the recorded one; none of its bytes was returned."""


class NoGoodReplica(TrafficStorageError):
    """Every reachable replica of a file is corrupt or missing: no unverified byte is given."""
