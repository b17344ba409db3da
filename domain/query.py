"""Queries for violations and files in the catalogue (the database), and pages of their results."""

import base64
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Generic, TypeVar

from attrs import field, frozen
from cattrs.preconf.orjson import OrjsonConverter

from traffic_storage.domain.errors import FieldProblem, InvalidInput, shown
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.identifiers import (
    MAX_VIOLATION_ID,
    id_problem,
    is_known_id,
    text_problem,
)
from traffic_storage.domain.jobs import JobState
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.strict import strict_converter

T = TypeVar("T")

MAX_LIMIT = 1000


def _number(value: object) -> Any:  # noqa: ANN401 - checked right after
    return plain_number(value)


@frozen
class Cursor:
    """The position at which the next page of a query starts.

    It is behind the row with this time and id, in the order of the query.

    Raises:
        InvalidInput: `at` has no time zone, or `row_id` can't be the id of a row.
    """

    at: datetime
    row_id: str

    def __attrs_post_init__(self) -> None:
        if not _is_aware(self.at) or not is_known_id(self.row_id):
            raise _not_a_cursor()

    def to_text(self) -> str:
        """Return the cursor as an opaque, URL-safe text."""
        return base64.urlsafe_b64encode(_converter().dumps(self)).rstrip(b"=").decode()

    @classmethod
    def from_text(cls, text: str) -> "Cursor":
        """Parse a cursor (the position of the next page) from the text that `to_text` returned.

        Raises:
            InvalidInput: the text is not a cursor.
        """
        try:
            raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
            return _converter().loads(raw, cls)
        except Exception as error:
            # The converter raises errors of many classes; each means that this is not a cursor.
            raise _not_a_cursor() from error


@cache
def _converter() -> OrjsonConverter:
    return strict_converter()


@frozen
class ViolationQuery:
    """A query for the available violations that meet all given filters; a filter of None is not applied.

    Violations are ordered by `occurred_at`, newest first, and those with equal times by id,
    ascending. The page starts behind the position `after`. The ranges are
    `start_time ≤ occurred_at < end_time` and `min_confidence ≤ confidence ≤ max_confidence`. Both
    times must have a time zone; if they are equal, nothing is found. `limit` is 1 to 1,000.

    Raises:
        InvalidInput: a filter has a value that no violation can have, `start_time` is after
            `end_time`, `min_confidence` is more than `max_confidence`, or `limit` is out of range.
    """

    device_id: str | None = None
    violation_type: str | None = None
    vehicle_class: str | None = None
    min_confidence: float | None = field(default=None, converter=_number)
    max_confidence: float | None = field(default=None, converter=_number)
    start_time: datetime | None = None
    end_time: datetime | None = None
    limit: int = field(default=100, converter=_number)
    after: Cursor | None = None

    def __attrs_post_init__(self) -> None:
        if problems := [problem for problem in _problems(self) if problem]:
            raise InvalidInput(problems)


@frozen
class FilesQuery:
    """A query for files that meet all given filters; a filter of None is not applied.

    Files are ordered by `created_at` (the time of receipt), newest first, and those with equal
    times by id, descending. The page starts behind the position `after`. The range is
    `start_time ≤ created_at < end_time`. Both times must have a time zone; if they are equal,
    nothing is found. `limit` is 1 to 1,000.

    Raises:
        InvalidInput: a filter has a value that no file can have, `start_time` is after `end_time`,
            or `limit` is out of range.
    """

    kind: FileKind | None = None
    device_id: str | None = None
    violation_id: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    state: FileState = FileState.AVAILABLE
    limit: int = field(default=100, converter=_number)
    after: Cursor | None = None

    def __attrs_post_init__(self) -> None:
        if problems := [problem for problem in _problems_of_files(self) if problem]:
            raise InvalidInput(problems)


@frozen
class JobsQuery:
    """A query for jobs in this state and of this kind; a filter of None is not applied.

    Jobs are ordered by the time at which they were written, newest first, and those with equal
    times by id, descending. The page starts behind the position `after`. `limit` is 1 to 1,000.

    Raises:
        InvalidInput: `state` is not a `JobState`, or `limit` is out of range.
    """

    state: JobState | None = None
    kind: str | None = None
    limit: int = field(default=100, converter=_number)
    after: Cursor | None = None

    def __attrs_post_init__(self) -> None:
        problems = [
            None if self.state is None else _member_problem("state", self.state, JobState),
            None if self.kind is None else text_problem("kind", self.kind),
            _limit_problem(self.limit),
        ]
        if found := [problem for problem in problems if problem]:
            raise InvalidInput(found)


@frozen
class HoldsQuery:
    """A query for legal holds, the newest first: all, or those that are active at `active_at`.

    Raises:
        InvalidInput: `limit` is not 1 to 1,000, or `active_at` has no time zone.
    """

    active_at: datetime | None = None
    limit: int = field(default=100, converter=_number)
    after: Cursor | None = None

    def __attrs_post_init__(self) -> None:
        checked = (_time_problem("active_at", self.active_at), _limit_problem(self.limit))
        if problems := [problem for problem in checked if problem]:
            raise InvalidInput(problems)


@frozen
class Page(Generic[T]):
    """One page of results. `next` is the cursor of the next page; None on the last page."""

    items: tuple[T, ...]
    next: Cursor | None = None


def _not_a_cursor() -> InvalidInput:
    return InvalidInput.of(
        "cursor", "is not a cursor of this service", "omit it to get the first page"
    )


def _problems(query: ViolationQuery) -> list[FieldProblem | None]:
    return [
        *(
            text_problem(name, value)
            for name, value in (
                ("device_id", query.device_id),
                ("violation_type", query.violation_type),
                ("vehicle_class", query.vehicle_class),
            )
            if value is not None
        ),
        _share_problem("min_confidence", query.min_confidence),
        _share_problem("max_confidence", query.max_confidence),
        _range_problem(query.min_confidence, query.max_confidence),
        _time_problem("start_time", query.start_time),
        _time_problem("end_time", query.end_time),
        _order_problem(query.start_time, query.end_time),
        _limit_problem(query.limit),
    ]


def _problems_of_files(query: FilesQuery) -> list[FieldProblem | None]:
    return [
        None if query.kind is None else _member_problem("kind", query.kind, FileKind),
        None if query.device_id is None else text_problem("device_id", query.device_id),
        None
        if query.violation_id is None
        else id_problem("violation_id", query.violation_id, MAX_VIOLATION_ID),
        _time_problem("start_time", query.start_time),
        _time_problem("end_time", query.end_time),
        _order_problem(query.start_time, query.end_time),
        _member_problem("state", query.state, FileState),
        _limit_problem(query.limit),
    ]


def _member_problem(name: str, value: object, words: type[StrEnum]) -> FieldProblem | None:
    if isinstance(value, words):
        return None
    return FieldProblem(name, f"is {shown(value)}", f"give one of {', '.join(words)}")


def _share_problem(name: str, value: object) -> FieldProblem | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return None
    return FieldProblem(name, f"is {shown(value)}", "give a number from 0 to 1")


def _range_problem(lowest: object, highest: object) -> FieldProblem | None:
    problems = _share_problem("", lowest), _share_problem("", highest)
    if any(problems) or not (isinstance(lowest, int | float) and isinstance(highest, int | float)):
        return None
    if lowest <= highest:
        return None
    return FieldProblem(
        "min_confidence",
        f"is {lowest}, which is more than the max_confidence {highest}",
        "give a min_confidence that is not more than the max_confidence",
    )


def _time_problem(name: str, value: object) -> FieldProblem | None:
    if value is None or _is_aware(value):
        return None
    return FieldProblem(name, f"is {shown(value)}", "give a datetime with a time zone")


def _order_problem(start: object, end: object) -> FieldProblem | None:
    if not (isinstance(start, datetime) and isinstance(end, datetime)):
        return None
    # Two times of one zone are compared by their clocks; this is wrong in the hour that is repeated.
    if not (_is_aware(start) and _is_aware(end)) or start.astimezone(UTC) <= end.astimezone(UTC):
        return None
    return FieldProblem(
        "start_time",
        f"is {start}, which is after the end_time {end}",
        "give a start_time before the end_time",
    )


def _is_aware(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _limit_problem(value: object) -> FieldProblem | None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_LIMIT:
        return None
    return FieldProblem("limit", f"is {shown(value)}", f"give an integer from 1 to {MAX_LIMIT}")
