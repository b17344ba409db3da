"""Prints files, violations and jobs: lists of them page by page, or one file or violation."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from attrs import evolve, frozen

from traffic_storage.domain.amounts import in_bytes
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.holds import Hold
from traffic_storage.domain.incidents import Incident, IncidentsQuery
from traffic_storage.domain.jobs import Job
from traffic_storage.domain.query import (
    MAX_LIMIT,
    FilesQuery,
    HoldsQuery,
    JobsQuery,
    Page,
    ViolationQuery,
)
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json, say_table
from traffic_storage.entrypoints.fixity_views import IncidentView, incident_view
from traffic_storage.entrypoints.views import (
    HoldView,
    JobView,
    StoredFileView,
    ViolationView,
    file_view,
    hold_view,
    job_view,
    violation_view,
)

T = TypeVar("T")
V = TypeVar("V", bound=Mapping[str, object])
Q = TypeVar("Q", FilesQuery, HoldsQuery, IncidentsQuery, JobsQuery, ViolationQuery)

_VIOLATIONS = ("time", "violation", "device", "type", "class", "confidence", "files")
_INCIDENTS = ("opened", "incident", "kind", "file", "store", "details")
_HOLDS = ("placed", "hold", "case", "by", "until", "covers")
_JOBS = ("written", "job", "kind", "state", "attempts", "done", "message")
_INSTANTS = frozenset({"timestamp", "received_at", "created_at", "captured_at", "expires_at"})
_FILES = ("received", "file", "type", "size", "device", "violation", "where")


@frozen
class Listing(Generic[T, V]):
    """Prints a list of files, of violations or of jobs, as a table or as JSON.

    Attributes:
        noun: what the items are called in messages, in the plural.
        header: the columns of the table.
        view: converts an item to its JSON view.
        row: converts a view to the cells of the table, with times in a zone.
        zone: the zone of the times in the table; JSON has UTC.
    """

    noun: str
    header: Sequence[str]
    view: Callable[[T], V]
    row: Callable[[V, ZoneInfo], Sequence[str]]
    zone: ZoneInfo

    async def say(self, pages: AsyncIterator[Page[T]], *, as_json: bool) -> None:
        """Print a line for each item as pages arrive, then a note if there are more pages."""
        header, page = self.header, Page[T](())
        async for page in pages:
            views = [self.view(item) for item in page.items]
            if as_json:
                for view in views:
                    say_json(view)
            elif views:
                say_table(header, [self.row(view, self.zone) for view in views])
                header = ()
        if page.next is not None:
            note(f"there are more {self.noun}: --all lists all, --limit up to {MAX_LIMIT} of them")
        elif header and not as_json:
            note(f"no {self.noun}")


async def pages(
    find: Callable[[Q], Awaitable[Page[T]]], query: Q, *, every: bool
) -> AsyncIterator[Page[T]]:
    """Yield the page that `query` asks for or, with `every`, that page and all following pages."""
    while True:
        page = await find(query)
        yield page
        if not every or page.next is None:
            return
        query = evolve(query, after=page.next)


def violations(zone: ZoneInfo) -> Listing[StoredViolation, ViolationView]:
    """Return the `Listing` that prints violations."""
    return Listing("violations", _VIOLATIONS, violation_view, _violation_row, zone)


def files(zone: ZoneInfo) -> Listing[StoredFile, StoredFileView]:
    """Return the `Listing` that prints files."""
    return Listing("files", _FILES, file_view, _file_row, zone)


def holds(zone: ZoneInfo) -> Listing[Hold, HoldView]:
    """Return the `Listing` that prints legal holds."""
    return Listing("holds", _HOLDS, hold_view, _hold_row, zone)


def jobs(zone: ZoneInfo) -> Listing[Job, JobView]:
    """Return the `Listing` that prints jobs."""
    return Listing("jobs", _JOBS, job_view, _job_row, zone)


def incidents(zone: ZoneInfo) -> Listing[Incident, IncidentView]:
    """Return the `Listing` that prints incidents."""
    return Listing("incidents", _INCIDENTS, incident_view, _incident_row, zone)


def say_violation(
    violation: ViolationView, files: Sequence[StoredFileView], *, more: bool, zone: ZoneInfo
) -> None:
    """Print a violation and its files; with `more`, note that there are further files."""
    _say_view(violation, zone)
    say("")
    say_table(
        ("file", "type", "size", "where", "kept until"),
        [
            (
                file["file_id"],
                file["content_type"],
                in_bytes(file["size_bytes"]),
                _where(file),
                _in(zone, file["expires_at"]),
            )
            for file in files
        ],
    )
    if more:
        note(f"there are more files: --all shows all, --limit up to {MAX_LIMIT} others")


def say_file(file: StoredFileView, zone: ZoneInfo) -> None:
    """Print the record of a file."""
    _say_view({**file, "replicas": _where(file), "placement": file["placement"]["reason"]}, zone)


def _violation_row(view: ViolationView, zone: ZoneInfo) -> tuple[str, ...]:
    states = {"image": view["image_state"], "video": view["video_state"]}
    files = [
        name if state == "available" else f"{name} (deleted)"
        for name, state in states.items()
        if state is not None
    ]
    return (
        _in(zone, view["timestamp"]),
        view["violation_id"],
        view["device_id"],
        view["violation_type"],
        view["vehicle_class"],
        f"{view['confidence']:.2f}",
        " ".join(files) or "incomplete",
    )


def _file_row(view: StoredFileView, zone: ZoneInfo) -> tuple[str, ...]:
    return (
        _in(zone, view["created_at"]),
        view["file_id"],
        view["content_type"],
        in_bytes(view["size_bytes"]),
        view["device_id"] or "",
        view["violation_id"] or "",
        _where(view),
    )


def _hold_row(view: HoldView, zone: ZoneInfo) -> tuple[str, ...]:
    start, end = (_in(zone, view[name]) for name in ("start_time", "end_time"))
    of_range = f"{view['device_id']} {start} - {end}"
    return (
        _in(zone, view["placed_at"]),
        view["hold_id"],
        view["case_reference"],
        view["placed_by"],
        "released" if view["released_at"] else _in(zone, view["until"]) or "open",
        view["file_id"] or view["violation_id"] or of_range,
    )


def _job_row(view: JobView, zone: ZoneInfo) -> tuple[str, ...]:
    progress = view["progress"]
    of = "" if progress["total"] is None else f"/{progress['total']}"
    return (
        _in(zone, view["created_at"]),
        view["job_id"],
        view["kind"],
        view["state"],
        f"{view['attempts']}/{view['max_attempts']}",
        f"{progress['done']}{of}",
        view["error"] or progress["message"],
    )


def _incident_row(view: IncidentView, zone: ZoneInfo) -> tuple[str, ...]:
    return (
        _in(zone, view["opened_at"]),
        view["incident_id"],
        view["kind"],
        view["file_id"],
        view["store_id"] or "",
        view["resolution"] or view["details"],
    )


def _where(file: StoredFileView) -> str:
    return ", ".join(f"{copy['tier']} ({copy['state']})" for copy in file["replicas"])


def _say_view(view: Mapping[str, object], zone: ZoneInfo) -> None:
    shown = {name: value for name, value in view.items() if value not in ({}, None)}
    for name in _INSTANTS & shown.keys():
        shown[name] = _in(zone, str(shown[name]))
    say_fields({name: _text(value) for name, value in shown.items()})


def _in(zone: ZoneInfo, text: str | None) -> str:
    """Return a time of a view in a zone, in which also the filters are read; None: empty."""
    if text is None:
        return ""
    try:
        return datetime.fromisoformat(text).astimezone(zone).isoformat()
    except OverflowError:  # at the ends of the calendar
        return text


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
