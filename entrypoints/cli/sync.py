"""`traffic-storage sync`."""

from typing import TYPE_CHECKING

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.application.sync_backends import Synchronised


async def sync(*, dry_run: Flag = False, json: AsJson = False, session: Shared) -> ExitCode:
    """Copy files that are due in another store, and move files out of local disk that is too full.

    Every copy is read back at its store before it counts, and nothing leaves a store while its only
    other copy is unverified. Servers and workers do the same in the background. A copy to a store
    that is away waits. Exit code 3: a copy failed; it is tried again later.

    Parameters
    ----------
    dry_run:
        Say what is due, and change nothing.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.views import sync_view

    async with opened_to_read(session.container()) as container:
        synchronise = container.sync_backends()
        with FileBar("copying") as bar:
            done = await synchronise.plan() if dry_run else await synchronise(bar.show)
    if json:
        say_json(sync_view(done))
    else:
        say(_planned(done) if dry_run else _done(done))
    if done.failed:
        note("see `traffic-storage jobs list --state dead` for copies that were given up")
    return ExitCode.FINDINGS if done.failed else ExitCode.OK


def _planned(due: "Synchronised") -> str:
    return f"{counted(due.remaining, 'file')} to copy or move, {in_bytes(due.bytes)}"


def _done(done: "Synchronised") -> str:
    text = (
        f"{counted(done.copied, 'file')} copied, {counted(done.moved, 'file')} moved, "
        f"{in_bytes(done.bytes)}"
    )
    if done.failed:
        text += f"; {counted(done.failed, 'try', 'tries')} failed"
    return f"{text}; {counted(done.remaining, 'file')} remaining"
