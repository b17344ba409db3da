"""Legal holds: what must not be deleted, whatever the retention, the space or an administrator says.

A hold covers a file, a violation with all its files, or the files of a device in a range of time. In
doubt a file is covered: if one of its times lies in the range, if it names no device, or if it is
not known whether a filter excludes it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

from attrs import evolve, field, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import FieldProblem, InvalidInput, WrongState
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import FileKind, FileState, StoredFile
from traffic_storage.domain.identifiers import (
    DeviceId,
    FileId,
    ViolationId,
    text_problem,
)
from traffic_storage.domain.violation import StoredViolation

MAX_CASE_REFERENCE = 200
MAX_REASON = 1000


@frozen
class HeldFile:
    """The scope of a hold on one file."""

    file_id: FileId


@frozen
class HeldViolation:
    """The scope of a hold on a violation and all files that name it, also those that come later."""

    violation_id: ViolationId


@frozen
class HeldRange:
    """The scope of a hold on the files of a device in the range `start_time ≤ time < end_time`.

    A file lies in the range if its capture, its receipt or the start of its retention does.

    Attributes:
        include_future: whether files are covered that are received after the hold was placed.
        kind: only files of this kind; None: of any.
        violation_type: only files of violations of this type, and those whose violation is unknown;
            None: of any.
    """

    device_id: DeviceId
    start_time: datetime
    end_time: datetime
    include_future: bool = False
    kind: FileKind | None = None
    violation_type: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.end_time.astimezone(UTC) <= self.start_time.astimezone(UTC):
            raise InvalidInput.of(
                "end_time", "is not after start_time", "give an end_time after start_time"
            )


HoldScope: TypeAlias = HeldFile | HeldViolation | HeldRange


@frozen
class Hold:
    """A legal hold.

    Attributes:
        until: when the hold ends by itself; None: it is open until it is released.
        released_at: when it was released; None: it was not.
    """

    hold_id: UUID
    scope: HoldScope
    case_reference: str
    reason: str
    placed_by: str
    placed_at: datetime
    until: datetime | None = None
    released_at: datetime | None = None
    released_by: str | None = None
    release_reason: str | None = None

    def is_active(self, now: datetime) -> bool:
        """Return whether the hold prevents deletions at `now`."""
        return self.released_at is None and (self.until is None or self.until > now)

    def released(self, change: "ReleaseHold") -> "Hold":
        """Return the hold as it is after `change`."""
        return evolve(
            self, released_at=change.at, released_by=change.by, release_reason=change.reason
        )


@frozen
class PlaceHold:
    """Place a hold. No deletion that a committed hold covers goes on, unless it is `purging`.

    The transaction excludes every other that tombstones files or begins to purge them. A hold of
    another catalogue may be released already; both are recorded.
    """

    hold: Hold


@frozen
class ReleaseHold:
    """Release a hold that was not released before."""

    hold_id: UUID
    at: datetime
    by: str
    reason: str


@frozen
class HoldReach:
    """How many files that a hold covers are deleted already, by state; `purged` ones are not counted.

    Attributes:
        tombstoned: files whose purge the hold stops.
        purging: files that the hold came too late for.
    """

    tombstoned: int = 0
    purging: int = 0


class Held(WrongState):
    """A legal hold covers what was to be deleted; nothing was deleted.

    Attributes:
        holds: the active holds.
    """

    def __init__(self, what: str, identifier: str, holds: tuple[Hold, ...]) -> None:
        cases = ", ".join(sorted({hold.case_reference for hold in holds}))
        super().__init__(
            f"the {what} {identifier!r} is under legal hold: {cases}",
            remedy="release each hold first, with the reason why it ends",
        )
        self.what = what
        self.identifier = identifier
        self.holds = holds


@frozen
class HoldRequest:
    """What a caller gives to place a hold: exactly one of a file, a violation, or a device's range.

    Raises:
        InvalidInput: the fields do not describe one scope, or one of them is wrong. All problems
            are reported.
    """

    case_reference: str
    reason: str
    file_id: FileId | None = None
    violation_id: ViolationId | None = None
    device_id: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    kind: FileKind | None = None
    violation_type: str | None = None
    include_future: bool = False
    until: datetime | None = None
    scope: HoldScope = field(init=False)

    def __attrs_post_init__(self) -> None:
        if problems := [*self._problems()]:
            raise InvalidInput(problems)
        object.__setattr__(self, "scope", self._scope())

    def _problems(self) -> list[FieldProblem]:
        found = [
            text_problem("case_reference", self.case_reference, MAX_CASE_REFERENCE),
            reason_problem(self.reason),
            *self._scope_problems(),
            *(
                _zone_problem(name, value)
                for name, value in (
                    ("start_time", self.start_time),
                    ("end_time", self.end_time),
                    ("until", self.until),
                )
            ),
        ]
        return [problem for problem in found if problem]

    def _scope_problems(self) -> list[FieldProblem | None]:
        scopes = [self.file_id, self.violation_id, self.device_id]
        if sum(scope is not None for scope in scopes) != 1:
            return [
                FieldProblem(
                    "file_id",
                    "a hold covers one file, one violation, or a range of one device",
                    "give exactly one of file_id, violation_id and device_id",
                )
            ]
        times = (("start_time", self.start_time), ("end_time", self.end_time))
        if self.device_id is None:
            filters = (*times, ("kind", self.kind), ("violation_type", self.violation_type))
            return [
                FieldProblem(name, "is given without a device_id", "omit it, or give a device_id")
                for name, value in filters
                if value is not None
            ]
        return [
            text_problem("device_id", self.device_id),
            None
            if self.violation_type is None
            else text_problem("violation_type", self.violation_type),
            *(
                FieldProblem(name, "is missing", "a hold on a device needs a range of time")
                for name, value in times
                if value is None
            ),
        ]

    def _scope(self) -> HoldScope:
        if self.file_id is not None:
            return HeldFile(self.file_id)
        if self.violation_id is not None:
            return HeldViolation(self.violation_id)
        assert self.device_id is not None and self.start_time and self.end_time  # noqa: PT018, S101
        return HeldRange(
            DeviceId(self.device_id),
            self.start_time,
            self.end_time,
            self.include_future,
            self.kind,
            self.violation_type,
        )


def reason_problem(reason: object, name: str = "reason") -> FieldProblem | None:
    """Return what is wrong with the reason that a person gives, or None if it is valid."""
    return text_problem(name, reason, MAX_REASON)


def covers(hold: Hold, file: StoredFile, violation: StoredViolation | None) -> bool:
    """Return whether a hold, while it is active, covers a file.

    `violation` is the violation that the file names; None if it names none or there is none.
    """
    match hold.scope:
        case HeldFile(file_id):
            return file.file_id == file_id
        case HeldViolation(violation_id):
            return file.violation_id == violation_id
        case HeldRange() as scope:
            return (
                _is_of_device(scope, file, violation)
                and (scope.include_future or file.created_at <= hold.placed_at)
                and scope.kind in (None, file.kind)
                and (
                    scope.violation_type is None
                    or violation is None
                    or violation.record.violation_type == scope.violation_type
                )
                and any(scope.start_time <= at < scope.end_time for at in _times(file))
            )


def _is_of_device(scope: HeldRange, file: StoredFile, violation: StoredViolation | None) -> bool:
    devices = {file.device_id, violation.record.device_id if violation else None} - {None}
    return not devices or scope.device_id in devices


def _times(file: StoredFile) -> list[datetime]:
    times = (file.captured_at, file.created_at, file.retention_basis.at)
    return [at for at in times if at is not None]


def reach(hold: Hold, files: Iterable[tuple[StoredFile, StoredViolation | None]]) -> HoldReach:
    """Return how many of these files, each with its violation, are deleted and covered."""
    states = [file.state for file, violation in files if covers(hold, file, violation)]
    return HoldReach(states.count(FileState.TOMBSTONED), states.count(FileState.PURGING))


def event_of_hold(hold: Hold) -> Event:
    """Return the event when a hold is placed."""
    file_id, violation_id = _named(hold.scope)
    details = scope_fields(hold.scope) | {
        "hold_id": str(hold.hold_id),
        "case_reference": hold.case_reference,
        "reason": hold.reason,
        "placed_by": hold.placed_by,
        "until": hold.until.isoformat() if hold.until else None,
    }
    return Event(EventKind.HOLD_PLACED, hold.placed_at, file_id, violation_id, details)


def events_of_hold(hold: Hold) -> tuple[Event, ...]:
    """Return the events that tell of a hold: when it was placed and, if it was, released."""
    placed, release = event_of_hold(hold), release_of(hold)
    return (placed,) if release is None else (placed, event_of_release(hold, release))


def release_of(hold: Hold) -> ReleaseHold | None:
    """Return the change that released a hold; None if it was not released."""
    if hold.released_at is None:
        return None
    return ReleaseHold(
        hold.hold_id, hold.released_at, hold.released_by or "", hold.release_reason or ""
    )


def event_of_release(hold: Hold, change: ReleaseHold) -> Event:
    """Return the event when a hold is released."""
    file_id, violation_id = _named(hold.scope)
    details: dict[str, Json] = {
        "hold_id": str(change.hold_id),
        "reason": change.reason,
        "released_by": change.by,
    }
    return Event(EventKind.HOLD_RELEASED, change.at, file_id, violation_id, details)


def scope_fields(scope: HoldScope) -> dict[str, Json]:
    """Return the fields of a scope as JSON, under the names that a request for a hold has."""
    match scope:
        case HeldFile(file_id):
            return {"file_id": file_id}
        case HeldViolation(violation_id):
            return {"violation_id": violation_id}
        case HeldRange():
            return {
                "device_id": scope.device_id,
                "start_time": scope.start_time.isoformat(),
                "end_time": scope.end_time.isoformat(),
                "include_future": scope.include_future,
                "kind": scope.kind,
                "violation_type": scope.violation_type,
            }


def _named(scope: HoldScope) -> tuple[FileId | None, ViolationId | None]:
    match scope:
        case HeldFile(file_id):
            return file_id, None
        case HeldViolation(violation_id):
            return None, violation_id
        case HeldRange():
            return None, None


def _zone_problem(name: str, value: datetime | None) -> FieldProblem | None:
    if value is None or value.utcoffset() is not None:
        return None
    return FieldProblem(name, "has no time zone", "give a time with a time zone")
