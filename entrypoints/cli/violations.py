"""`traffic-storage violations`: lists of violations, and one with its files."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from traffic_storage.entrypoints.cli.output import say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.entrypoints.settings import StorageConfig

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
    from traffic_storage.domain.query import MAX_LIMIT, ViolationQuery
    from traffic_storage.entrypoints.cli.listing import found, say_all

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
    async with opened_to_read(session.container(settings)) as container:
        await say_all(found(container.catalogue(), query, every=every), as_json=json)


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
    from traffic_storage.application.violations import violation_with_files
    from traffic_storage.entrypoints.cli.listing import say_one
    from traffic_storage.entrypoints.views import file_view, violation_view

    settings = session.settings()
    async with opened_to_read(session.container(settings)) as container:
        violation, files = await violation_with_files(container.catalogue(), violation_id)
    views = [file_view(file) for file in files]
    if json:
        say_json({"violation": violation_view(violation), "files": views})
    else:
        say_one(violation_view(violation), views)


def _instant(text: str | None, name: str, settings: "StorageConfig") -> datetime | None:
    from traffic_storage.domain.times import instant, parse_time

    return None if text is None else instant(parse_time(text, name), settings.zone).at
