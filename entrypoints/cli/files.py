"""`traffic-storage files`: lists of files, and the record of one file."""

from typing import Annotated, Literal

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

app = App(name="files")


@app.default
async def list_files(
    *,
    kind: Literal["image", "video", "metadata"] | None = None,
    device_id: str | None = None,
    violation_id: str | None = None,
    start: str | None = None,
    end: str | None = None,
    state: Literal["available", "tombstoned", "purging", "purged"] = "available",
    limit: int = 100,
    every: Annotated[Flag, Parameter(name="--all")] = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """List stored files that match all given filters, the latest received first.

    Parameters
    ----------
    kind:
        Only files of this kind.
    device_id:
        Only files of the device with this id.
    violation_id:
        Only files that belong to the violation with this id.
    start:
        Only files received at or after this time (ISO 8601; without a zone: in the setting
        timezone).
    end:
        Only files received before this time; a date alone includes the whole day.
    state:
        Only files in this state.
    limit:
        How many files to list at most, from 1 to 1000.
    every:
        List all matching files; --limit is ignored.
    json:
        Print one JSON object per line.
    """
    from traffic_storage.domain.files import FileKind, FileState
    from traffic_storage.domain.query import MAX_LIMIT, FilesQuery
    from traffic_storage.entrypoints.cli.listing import files, pages

    settings = session.settings()
    query = FilesQuery(
        kind=None if kind is None else FileKind(kind),
        device_id=device_id,
        violation_id=violation_id,
        start_time=instant_of(start, "start", settings),
        end_time=end_of(end, "end", settings),
        state=FileState(state),
        limit=MAX_LIMIT if every else limit,
    )
    async with opened_to_read(session.container(settings)) as container:
        found = pages(container.find().files, query, every=every)
        await files(settings.zone).say(found, as_json=json)


@app.command
async def show(file_id: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Show the record of one file, not its bytes; `get` reads those.

    Parameters
    ----------
    file_id:
        The id of the file, such as V001~image.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.listing import say_file
    from traffic_storage.entrypoints.views import file_view

    settings = session.settings()
    async with opened_to_read(session.container(settings)) as container:
        file = await container.find().file(file_id)
    view = file_view(file)
    if json:
        say_json(view)
    else:
        say_file(view, settings.zone)
