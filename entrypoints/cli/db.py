"""`traffic-storage db`: migrations of the catalogue."""

import asyncio

from cyclopts import App

from traffic_storage.entrypoints.cli.output import note, say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared

app = App(name="db", help="Apply pending database migrations.")


@app.command
async def upgrade(*, dry_run: Flag = False, json: AsJson = False, session: Shared) -> None:
    """Apply pending database migrations, under a lock.

    Other commands, such as `serve` and `store`, apply quick migrations when they start. Only this
    command applies a migration that takes long on a large catalogue.

    Parameters
    ----------
    dry_run:
        Only list the pending migrations.
    json:
        Print one JSON object.
    """
    container = session.container()
    upkeep = container.catalogue_upkeep()
    try:
        pending = list(await upkeep.pending())
        if not dry_run:
            await upkeep.upgrade()
    finally:
        await container.runtime().aclose()
        await asyncio.sleep(0)
    if json:
        say_json({"pending" if dry_run else "applied": pending})
        return
    for step in pending:
        say(f"{'pending' if dry_run else 'applied'} {step}")
    if not pending:
        note("no migrations are pending")
