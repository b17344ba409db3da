"""`traffic-storage hold`: legal holds, which keep evidence whatever else says that it may go."""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from traffic_storage.domain.amounts import counted
from traffic_storage.entrypoints.cli.asking import actor
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Flag,
    Shared,
    end_of,
    instant_of,
    opened_to_read,
)

if TYPE_CHECKING:
    from traffic_storage.entrypoints.views import HoldView

app = App(name="hold")


@app.command
async def add(
    case_reference: str,
    reason: str,
    /,
    *,
    file_id: str | None = None,
    violation_id: str | None = None,
    device_id: str | None = None,
    start: str | None = None,
    end: str | None = None,
    kind: Literal["image", "video", "metadata"] | None = None,
    violation_type: str | None = None,
    include_future: Flag = False,
    until: str | None = None,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Place a hold on a file, on a violation, or on the files of a device in a range of time.

    Nothing that a hold covers is deleted until the hold is released or ends.

    Parameters
    ----------
    case_reference:
        The case for which the evidence is kept.
    reason:
        Why it is kept.
    file_id:
        Hold this file.
    violation_id:
        Hold this violation with all files that name it.
    device_id:
        Hold the files of this device from --start to --end.
    start:
        The start of the range (ISO 8601; without a zone: in the setting timezone).
    end:
        The end of the range, excluded.
    kind:
        Of the range, only files of this kind.
    violation_type:
        Of the range, only files of violations of this type.
    include_future:
        Of the range, also files that are received from now on.
    until:
        When the hold ends by itself; without it, the hold is open.
    json:
        Print one JSON object.
    """
    from traffic_storage.domain.files import FileKind
    from traffic_storage.domain.holds import HoldRequest
    from traffic_storage.domain.identifiers import known_file_id
    from traffic_storage.domain.identifiers import violation_id as checked_violation_id
    from traffic_storage.entrypoints.views import placed_hold_view

    settings = session.settings()
    asked = HoldRequest(
        case_reference,
        reason,
        file_id=None if file_id is None else known_file_id(file_id),
        violation_id=None if violation_id is None else checked_violation_id(violation_id),
        device_id=device_id,
        start_time=instant_of(start, "start", settings),
        end_time=end_of(end, "end", settings),
        kind=None if kind is None else FileKind(kind),
        violation_type=violation_type,
        include_future=include_future,
        until=instant_of(until, "until", settings),
    )
    async with opened_to_read(session.container(settings)) as container:
        placed = await container.legal_holds().place(asked, actor())
    view = placed_hold_view(placed)
    if json:
        say_json(view)
        return
    say(f"placed the hold {view['hold_id']}")
    if view["tombstoned"]:
        note(
            f"{counted(view['tombstoned'], 'covered file is', 'covered files are')} deleted, but not "
            "erased: `undelete` brings back what is deleted"
        )
    if view["purging"]:
        note(
            f"the hold comes too late for {counted(view['purging'], 'file')} that the purge erases now"
        )


@app.command
async def release(hold_id: str, reason: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Release a hold. What it covered may then be deleted, as the retention rules say.

    Parameters
    ----------
    hold_id:
        The id of the hold, as `hold list` shows it.
    reason:
        Why the hold ends.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.views import hold_view

    async with opened_to_read(session.container()) as container:
        released = await container.legal_holds().release(hold_id, reason, actor())
    _say(hold_view(released), json=json)


@app.command(name="list")
async def list_holds(
    *,
    ended: Flag = False,
    limit: int = 100,
    every: Annotated[Flag, Parameter(name="--all")] = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """List the active holds, those placed last first.

    Parameters
    ----------
    ended:
        List also holds that were released or have ended.
    limit:
        How many holds to list at most, from 1 to 1000.
    every:
        List all of them; --limit is ignored.
    json:
        Print one JSON object per line.
    """
    from functools import partial

    from traffic_storage.domain.query import MAX_LIMIT, HoldsQuery
    from traffic_storage.entrypoints.cli.listing import holds, pages

    settings = session.settings()
    query = HoldsQuery(limit=MAX_LIMIT if every else limit)
    async with opened_to_read(session.container(settings)) as container:
        find = partial(container.legal_holds().holds, active=not ended)
        await holds(settings.zone).say(pages(find, query, every=every), as_json=json)


def _say(view: "HoldView", *, json: bool) -> None:
    if json:
        say_json(view)
    else:
        say_fields({name: str(value) for name, value in view.items() if value is not None})
