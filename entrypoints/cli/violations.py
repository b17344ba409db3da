"""`traffic-storage violations`: lists of violations, and one violation with its files."""

from typing import Annotated

from cyclopts import App, Parameter

from traffic_storage.entrypoints.cli.output import say_json
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Flag,
    Shared,
    end_of,
    instant_of,
    opened_to_read,
)

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
    """List violations that match all given filters, newest first.

    Parameters
    ----------
    device_id:
        Only violations of the device with this id.
    violation_type:
        Only violations of this type, such as speed or red_light.
    vehicle_class:
        Only violations by vehicles of this class, such as car.
    min_confidence:
        Only violations with at least this confidence, from 0 to 1.
    max_confidence:
        Only violations with at most this confidence, from 0 to 1.
    start:
        Only violations at or after this time (ISO 8601; without a zone: in the setting
        timezone).
    end:
        Only violations before this time; a date alone includes the whole day.
    limit:
        How many violations to list at most, from 1 to 1000.
    every:
        List all matching violations; --limit is ignored.
    json:
        Print one JSON object per line.
    """
    from traffic_storage.domain.query import MAX_LIMIT, ViolationQuery
    from traffic_storage.entrypoints.cli.listing import pages, violations

    settings = session.settings()
    query = ViolationQuery(
        device_id=device_id,
        violation_type=violation_type,
        vehicle_class=vehicle_class,
        min_confidence=min_confidence,
        max_confidence=max_confidence,
        start_time=instant_of(start, "start", settings),
        end_time=end_of(end, "end", settings),
        limit=MAX_LIMIT if every else limit,
    )
    async with opened_to_read(session.container(settings)) as container:
        found = pages(container.find().violations, query, every=every)
        await violations(settings.zone).say(found, as_json=json)


@app.command
async def show(
    violation_id: str,
    /,
    *,
    limit: int = 100,
    every: Annotated[Flag, Parameter(name="--all")] = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Show one violation with its own files, followed by the others that name it.

    Parameters
    ----------
    violation_id:
        The id of the violation.
    limit:
        How many of the other files to show at most, from 1 to 1000; the latest received first.
    every:
        Show all files that name it; --limit is ignored.
    json:
        Print one JSON object; "more" says whether there are more files.
    """
    from traffic_storage.domain.query import MAX_LIMIT
    from traffic_storage.entrypoints.cli.listing import say_violation
    from traffic_storage.entrypoints.views import file_view, violation_view

    settings = session.settings()
    async with opened_to_read(session.container(settings)) as container:
        find = container.find().violation_with_files
        found = await find(violation_id, limit=MAX_LIMIT if every else limit)
        files = [file_view(file) for file in found.files]
        while every and found.others.next is not None:
            found = await find(violation_id, after=found.others.next)
            files += map(file_view, found.files)
    violation, more = violation_view(found.violation), found.others.next is not None
    if json:
        say_json({"violation": violation, "files": files, "more": more})
    else:
        say_violation(violation, files, more=more, zone=settings.zone)
