"""`traffic-storage violations`: lists of violations, and one with its files."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from attrs import evolve
from cyclopts import App, Parameter

from traffic_storage.domain.query import MAX_LIMIT, ViolationQuery
from traffic_storage.domain.times import instant, parse_time
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.cli.output import (
    in_bytes,
    note,
    say,
    say_fields,
    say_json,
    say_table,
)
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.views import StoredFileView, ViolationView
from traffic_storage.ports.record_repo import Catalogue

_HEADER = ("time", "violation", "device", "type", "class", "confidence", "files")

app = App(name="violations")


@app.default
async def list_violations(
    *,
    device_id: str | None = None,
    violation_type: str | None = None,
    vehicle_class: str | None = None,
    min_confidence: float | None = None,
    max_confidence: float | None = None,
    start: str | None = None,
    end: str | None = None,
    limit: int = 100,
    every: Annotated[Flag, Parameter(name="--all")] = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """List violations, newest first. Filters are joined by "and".

    Parameters
    ----------
    device_id:
        Only those of this device.
    violation_type:
        Only those of this type, as speed or red_light.
    vehicle_class:
        Only those of vehicles of this class.
    min_confidence:
        Only those of at least this confidence.
    max_confidence:
        Only those of at most this confidence.
    start:
        Only those at or after this time (ISO 8601; without a zone: in the setting timezone).
    end:
        Only those before this time.
    limit:
        At most so many, 1 to 1000.
    every:
        All of them, whatever --limit says.
    json:
        Print a JSON object a line.
    """
    settings = session.settings()
    query = ViolationQuery(
        device_id=device_id,
        violation_type=violation_type,
        vehicle_class=vehicle_class,
        min_confidence=min_confidence,
        max_confidence=max_confidence,
        start_time=_instant(start, "start", settings),
        end_time=_instant(end, "end", settings),
        limit=MAX_LIMIT if every else limit,
    )
    async with opened(session.container(settings)) as container:
        await _say_all(_found(container.catalogue(), query, every=every), json=json)


@app.command
async def show(violation_id: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Show one violation with its files.

    Parameters
    ----------
    violation_id:
        The violation.
    json:
        Print one JSON object.
    """
    from traffic_storage.domain.errors import NotFound
    from traffic_storage.domain.identifiers import violation_id as checked
    from traffic_storage.entrypoints.views import file_view, violation_view

    settings = session.settings()
    known = checked(violation_id)
    async with opened(session.container(settings)) as container:
        violation = await container.catalogue().violation(known)
        if violation is None:
            raise NotFound("violation", violation_id)
        files = await container.catalogue().files_of(known)
    views = [file_view(file, settings.retention) for file in files]
    if json:
        say_json({"violation": violation_view(violation), "files": views})
    else:
        _say_one(violation_view(violation), views)


async def _found(
    catalogue: Catalogue, query: ViolationQuery, *, every: bool
) -> AsyncIterator[tuple[StoredViolation, ...]]:
    while True:
        page = await catalogue.violations(query)
        yield page.items
        if not every or page.next is None:
            return
        query = evolve(query, after=page.next)


async def _say_all(pages: AsyncIterator[tuple[StoredViolation, ...]], *, json: bool) -> None:
    from traffic_storage.entrypoints.views import violation_view

    header: tuple[str, ...] = _HEADER
    async for page in pages:
        views = [violation_view(violation) for violation in page]
        if json:
            for view in views:
                say_json(view)
        elif views:
            say_table(header, [_row(view) for view in views])
            header = ()
    if header and not json:
        note("no violations")


def _row(view: ViolationView) -> tuple[str, ...]:
    files = [name for name in ("image", "video") if view[f"{name}_path"]]  # type: ignore[literal-required]
    return (
        view["timestamp"],
        view["violation_id"],
        view["device_id"],
        view["violation_type"],
        view["vehicle_class"],
        f"{view['confidence']:.2f}",
        " ".join(files) or "incomplete",
    )


def _say_one(violation: ViolationView, files: list[StoredFileView]) -> None:
    say_fields({name: str(value) for name, value in violation.items() if value not in ({}, None)})
    say("")
    say_table(
        ("file", "type", "size", "where", "kept until"),
        [
            (
                file["file_id"],
                file["content_type"],
                in_bytes(file["size_bytes"]),
                ", ".join(f"{copy['tier']} ({copy['state']})" for copy in file["replicas"]),
                file["expires_at"],
            )
            for file in files
        ],
    )


def _instant(text: str | None, name: str, settings: StorageConfig) -> datetime | None:
    return None if text is None else instant(parse_time(text, name), settings.zone).at
