"""`traffic-storage violations`: lists of violations, and one with its files."""

from typing import Annotated

from cyclopts import App, Parameter

from traffic_storage.entrypoints.cli.output import say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, instant_of, opened_to_read

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
    from traffic_storage.entrypoints.cli.listing import pages, violations

    settings = session.settings()
    query = ViolationQuery(
        device_id=device_id,
        violation_type=violation_type,
        vehicle_class=vehicle_class,
        min_confidence=min_confidence,
        max_confidence=max_confidence,
        start_time=instant_of(start, "start", settings),
        end_time=instant_of(end, "end", settings),
        limit=MAX_LIMIT if every else limit,
    )
    async with opened_to_read(session.container(settings)) as container:
        found = pages(container.find().violations, query, every=every)
        await violations().say(found, as_json=json)


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
    from traffic_storage.entrypoints.cli.listing import say_violation
    from traffic_storage.entrypoints.views import file_view, violation_view

    settings = session.settings()
    async with opened_to_read(session.container(settings)) as container:
        found = await container.find().violation_with_files(violation_id)
    violation = violation_view(found.violation)
    files = [file_view(file) for file in found.files]
    if json:
        say_json({"violation": violation, "files": files})
    else:
        say_violation(violation, files, more=found.others.next is not None)
