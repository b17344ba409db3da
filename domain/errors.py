"""The errors of the domain: one class for each way in which a caller can react.

The message of an error states the cause, and its `remedy` states what to do. No message contains a
secret. The HTTP status and the exit code of each class are defined in `entrypoints/`.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, Self

from attrs import frozen


def shown(value: object, longest: int = 80) -> str:
    """Return the `repr` of a value for an error message, cut to `longest` characters."""
    try:
        return f"{value!r:.{longest}}"
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} without a printable form"


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
    """The problem of one input field: the field's name, what is wrong, and the remedy."""

    field: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {_with_remedy(self.message, self.remedy)}"


class WrongFields(TrafficStorageError, ValueError):
    """One or more input fields or settings are wrong; `problems` has one entry for each."""

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
        """Return an error of this class about one field."""
        return cls([FieldProblem(field, message, remedy)])


class InvalidInput(WrongFields):
    """The caller's input breaks a rule; nothing was stored."""


class DigestMismatch(InvalidInput):
    """The received or stored bytes do not have the digest that was declared for them."""


class UndecodableMedia(InvalidInput):
    """The media type of the bytes is known, but they are truncated or can't be decoded."""


class UnsupportedMedia(InvalidInput):
    """The media type of the bytes is not accepted, or differs from the declared type."""


class LowQuality(InvalidInput):
    """The input has an error that validating found, and `validate_on_store` refuses those."""


class IncompleteEvidence(WrongFields):
    """Violations lack what their completeness profile demands, and nobody asked for them all the same.

    `problems` names each missing item, as `V001.camera_info.speed_kmh`.
    """


class TooLarge(InvalidInput):
    """The input has more bytes or pixels than the configuration allows."""


_CONFLICTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "content": (
            " with other content",
            "use another id, or send the same content that is stored under this id",
        ),
        "labels": (
            " with other labels",
            "store it under another file_id, or leave out the labels that differ",
        ),
        "deletion": ("", "use another id; what is tombstoned and not purged can be undeleted"),
    }
)
"""Cause of a conflict → how its message and its remedy read."""


class Conflict(TrafficStorageError):
    """The id already belongs to a file or violation with other content, which is not overwritten.

    `what` is `file` or `violation`, `identifier` its id; `difference` states in words how the
    stored content differs from the content that the caller sent. By `cause`, the content may be the
    same too: what the caller says about it (its labels) differs, or it is deleted.
    """

    def __init__(
        self,
        what: str,
        identifier: str,
        difference: str,
        *,
        cause: Literal["content", "labels", "deletion"] = "content",
    ) -> None:
        how, remedy = _CONFLICTS[cause]
        super().__init__(
            f"{what} {identifier!r} exists already{how}: {difference}",
            remedy=remedy,
        )
        self.what = what
        self.identifier = identifier
        self.difference = difference
        self.cause: Literal["content", "labels", "deletion"] = cause


class KeyInUse(Conflict):
    """The key of an upload stands for the file `identifier`, and the caller gave another id."""

    def __init__(self, identifier: str, given: str) -> None:
        difference = f"its file_id is {identifier!r}, not {given!r}"
        super().__init__("file", identifier, difference, cause="labels")
        self.remedy = "use another key, or give the same file_id as before"


class WrongState(TrafficStorageError):
    """The operation is not possible in the state that its object is in."""


class NotFound(TrafficStorageError, LookupError):
    """Nothing has the id `identifier`. `what` says what was looked for, such as `file` or `job`."""

    def __init__(self, what: str, identifier: str) -> None:
        remedy = "check the id for typing errors"
        if what == "file":
            remedy += "; a file that was refused is not stored"
        super().__init__(f"there is no {what} {identifier!r}", remedy=remedy)
        self.what = what
        self.identifier = identifier


class AccessDenied(TrafficStorageError, PermissionError):
    """The credential (access token or API key) is missing, forged, expired or revoked."""


class ConfigurationError(WrongFields):
    """A setting is wrong, a required setting is missing, or settings contradict each other."""


class StorageFull(TrafficStorageError):
    """A required disk or bucket, or every store that the strategy allows, has no space left.

    Nothing was deleted to free space.
    """


class Unavailable(TrafficStorageError, ConnectionError):
    """A required service can't be used at present; the same request can succeed later.

    `retry_after_seconds` is the suggested delay before the client repeats the request.
    """

    def __init__(self, message: str, *, remedy: str = "", retry_after_seconds: int = 5) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class StorageUnavailable(Unavailable):
    """No store that the storage strategy allows can be written, or a store can't be reached."""


class BlobCorrupt(TrafficStorageError):
    """The stored bytes of a file (a blob) do not have the recorded size or digest.

    No byte that failed the check was returned.
    """


class NoGoodReplica(TrafficStorageError):
    """Every reachable replica (copy) of a file is corrupt or missing, so it can't be returned.

    `incident_id` names the incident that an evidential read has opened; otherwise it is empty.
    """

    def __init__(self, message: str, *, remedy: str = "", incident_id: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.incident_id = incident_id
