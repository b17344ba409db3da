"""`traffic-storage incidents`: damage to stored evidence that was found."""

from typing import Annotated

from cyclopts import App, Parameter

from traffic_storage.entrypoints.cli.asking import user_name
from traffic_storage.entrypoints.cli.output import say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened_to_read

app = App(name="incidents")


@app.command(name="list")
async def list_incidents(
    *,
    closed: Flag = False,
    file_id: str | None = None,
    limit: int = 100,
    every: Annotated[Flag, Parameter(name="--all")] = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """List open incidents, newest first.

    Parameters
    ----------
    closed:
        List closed incidents instead.
    file_id:
        Only incidents of this file.
    limit:
        How many incidents to list at most, from 1 to 1000.
    every:
        List all matching incidents; --limit is ignored.
    json:
        Print one JSON object per line.
    """
    from traffic_storage.domain.identifiers import known_file_id
    from traffic_storage.domain.incidents import IncidentsQuery
    from traffic_storage.domain.query import MAX_LIMIT
    from traffic_storage.entrypoints.cli.listing import incidents, pages

    known = None if file_id is None else known_file_id(file_id)
    query = IncidentsQuery(not closed, known, MAX_LIMIT if every else limit)
    settings = session.settings()
    async with opened_to_read(session.container(settings)) as container:
        found = pages(container.review_incidents().find, query, every=every)
        await incidents(settings.zone).say(found, as_json=json)


@app.command
async def close(incident_id: str, /, *, reason: str, json: AsJson = False, session: Shared) -> None:
    """Close an incident, and record who closed it and why.

    An incident of a copy that was healed is closed by itself.

    Parameters
    ----------
    incident_id:
        The id of the incident, as `incidents list` shows it.
    reason:
        Why it is closed.
    json:
        Print the incident as one JSON object.
    """
    from traffic_storage.entrypoints.fixity_views import incident_view

    async with opened_to_read(session.container()) as container:
        review = container.review_incidents()
        view = incident_view(await review.close(incident_id, reason, by=user_name()))
    if json:
        say_json(view)
    else:
        say(f"the incident {incident_id} of {view['file_id']} is closed")
