"""`traffic-storage rebuild`."""

from typing import TYPE_CHECKING

from traffic_storage.domain.amounts import in_bytes
from traffic_storage.entrypoints.cli.confirm import Yes, confirmed
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say_fields, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.views import RebuildView

_SHOWN = 20


async def rebuild(
    *,
    dry_run: Flag = False,
    read: Flag = False,
    take_over: tuple[str, ...] = (),
    yes: Yes = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Record the files and violations that are in the stores and not in the catalogue.

    For an empty database, after the loss of the old one, or for one that was restored from a
    backup. Nothing is deleted. The stores of another catalogue are taken over if the database has
    no files: processes on the other database then no longer change them. A rebuild that was
    interrupted goes on where it was when it is started again. Exit code 3: something could not be
    restored; it stays in the stores, and the output names it.

    Parameters
    ----------
    dry_run:
        Only count what would be recorded.
    read:
        Read the bytes of every file and compare them with its manifest. Otherwise each file is
        verified when it is read, and by the periodic check.
    take_over:
        Take over the store at this location, also if the database has files.
    yes:
        Rebuild without asking.
    json:
        Print one JSON object.
    """
    async with opened(session.container()) as container:
        if not (dry_run or yes):
            _say(await _rebuilt(container, dry_run=True, read=False, take_over=take_over))
        if not dry_run and not confirmed("Record these files?", yes=yes):
            return ExitCode.OK
        view = await _rebuilt(container, dry_run=dry_run, read=read, take_over=take_over)
    if json:
        say_json(view)
    else:
        _say(view)
    is_whole = not (view["unplaced"] or view["skipped"] or view["unreadable_notes"])
    return ExitCode.OK if is_whole else ExitCode.FINDINGS


async def _rebuilt(
    container: "Container", *, dry_run: bool, read: bool, take_over: tuple[str, ...]
) -> "RebuildView":
    from traffic_storage.entrypoints.cli.progress import counting
    from traffic_storage.entrypoints.views import rebuild_view

    with counting("rebuild") as count:
        found = await container.rebuild_catalogue()(
            lambda progress: count(progress.message, progress.done),
            dry_run=dry_run,
            read=read,
            take_over=take_over,
        )
    return rebuild_view(found)


def _say(view: "RebuildView") -> None:
    what_follows = {
        "violations": f"{view['violations']}",
        "changes of holds": f"{view['holds']}",
        "deletions": f"{view['deletions']}",
        "purged files": f"{view['purged']}",
        "added labels": f"{view['labels']}",
        "rules": f"{view['rules']}",
    }
    say_fields(
        {
            "files": f"{view['files']}, {in_bytes(view['bytes'])}",
            "further copies": f"{view['copies']}",
            **({} if view["dry_run"] else what_follows),
            "known before": f"{view['known']}",
            "being stored": f"{view['unfinished']}",
            "not restored": f"{view['unplaced']}",
        }
    )
    if view["dry_run"]:
        note(
            "violations, holds, deletions and rules are restored after the files; not counted here"
        )
    for location in view["taken_over"]:
        note(f"{location} belonged to another catalogue")
    for location in view["trusted_again"]:
        note(f"{location}: the catalogue was loaded from a backup, and trusts this store again")
    for location, reason in view["skipped"].items():
        note(f"{location} was not examined: {reason}")
    for name in view["unreadable_notes"]:
        note(
            f"the note {name} of the journal is damaged or missing: holds, deletions or rules may be "
            "missing"
        )
    for reason, count in view["reasons"].items():
        note(f"{count} not restored: {reason}")
    for one in view["examples"][:_SHOWN]:
        note(f"  {one['name']}: {one['reason']}")
