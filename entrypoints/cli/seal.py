"""`traffic-storage seal`: makes a service read only."""

from typing import TYPE_CHECKING

from cyclopts import App

from traffic_storage.entrypoints.cli.asking import actor
from traffic_storage.entrypoints.cli.output import say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.domain.seal import Seal

app = App(name="seal")


@app.command
async def show(*, json: AsJson = False, session: Shared) -> None:
    """Say whether the service is sealed, since when, by whom and why.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        _say(await container.sealing().current(), json=json)


@app.command
async def place(reason: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Seal the service: from now on, every process refuses new files and violations.

    Reading, deletion, retention and copies go on. `migrate --seal` seals a source after a proof that
    the target has everything; this command does it without one.

    Parameters
    ----------
    reason:
        Why nothing new is to be stored here.
    json:
        Print one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        _say(await container.sealing().seal(reason, actor()), json=json)


@app.command
async def lift(reason: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Lift the seal: files and violations are stored again, in at most ten seconds.

    Parameters
    ----------
    reason:
        Why it is lifted.
    json:
        Print one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        await container.sealing().unseal(reason, actor())
        _say(None, json=json)


def _say(seal: "Seal | None", *, json: bool) -> None:
    from traffic_storage.entrypoints.migration_views import seal_view

    if json:
        say_json(seal_view(seal))
    elif seal is None:
        say("not sealed")
    else:
        say(f"sealed since {seal.sealed_at.isoformat()} by {seal.sealed_by}: {seal.reason}")
