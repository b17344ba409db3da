"""`traffic-storage snapshot` and `archive`."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.entrypoints.cli.confirm import Yes, confirmed
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json, say_table
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Flag,
    Session,
    Shared,
    opened,
    opened_to_read,
)

if TYPE_CHECKING:
    from traffic_storage.application.snapshots.restore import Destroyed
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.snapshot_views import (
        RestoredDatabaseView,
        RestoredSnapshotView,
        SnapshotView,
        VerificationView,
    )

app = App(name="snapshot", help="Snapshots of everything that is stored.")

_SHOWN = 20


@app.command
async def create(name: str, /, *, json: AsJson = False, session: Shared) -> None:
    """Make a snapshot of everything that is stored now; others may store meanwhile.

    It goes to the setting snapshot_location. What an interrupted call has copied is used when it is
    repeated with the same name.

    Parameters
    ----------
    name:
        1 to 100 letters, digits and . _ -
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.snapshot_views import created_view

    async with opened_to_read(session.container()) as container:
        with FileBar("copying") as bar:
            view = created_view(await container.create_snapshot()(name, bar.show))
    if json:
        say_json(view)
        return
    _say(view)
    if session.settings().snapshots_beside_evidence:
        note(
            "warning: the snapshot is below local_base_path, and is lost with its disk (set "
            "snapshot_location to a folder of another disk, or to s3://BUCKET)"
        )
    say(f"written: {counted(view['objects_written'], 'object')}, {in_bytes(view['bytes_written'])}")


def _opened(session: Session) -> AbstractAsyncContextManager["Container"]:
    """Start the container; no store is made for snapshots that would be in it."""
    container = session.container()
    if container.settings().snapshot_location is None:
        return opened_to_read(container)
    return opened(container)


@app.command(name="list")
async def list_snapshots(*, json: AsJson = False, session: Shared) -> None:
    """List the complete snapshots, the newest first.

    Parameters
    ----------
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.snapshot_views import snapshots_view

    async with _opened(session) as container:
        view = await snapshots_view(container.snapshot_location())
    if json:
        say_json(view)
        return
    rows = [
        (
            one["name"],
            one["cut_at"][:19],
            str(one["files"]),
            str(one["violations"]),
            in_bytes(one["bytes"]),
            str(one["damaged"]),
            _last_verification(one["verification"]),
        )
        for one in view["snapshots"]
    ]
    say_table(("NAME", "MOMENT (UTC)", "FILES", "VIOLATIONS", "SIZE", "DAMAGED", "VERIFIED"), rows)
    for name in view["unfinished"]:
        note(f"{name} is not complete: it is being made, or was interrupted")
    for name in view["unreadable"]:
        note(f"{name} can't be used, because its manifest is damaged: delete it")


@app.command
async def verify(name: str, /, *, json: AsJson = False, session: Shared) -> ExitCode:
    """Read all rows and all bytes of a snapshot, and compare them with its digests.

    Damaged bytes are written anew from a store that has them intact; otherwise they are noted, and
    the next snapshot writes them if a store has them again. Exit code 3: bytes of files were corrupt or
    missing, repaired or not.

    Parameters
    ----------
    name:
        The name of the snapshot.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.snapshot_views import verified_view

    async with _opened(session) as container:
        with FileBar("verifying") as bar:
            view = verified_view(await container.verify_snapshot()(name, bar.show))
    if json:
        say_json(view)
    else:
        say(
            f"{counted(view['files'], 'file')} ({in_bytes(view['bytes'])}) and "
            f"{counted(view['violations'], 'violation')}: "
            f"{view['corrupt']} corrupt, {view['missing']} missing, {view['repaired']} repaired"
        )
        for one in view["damage"][:_SHOWN]:
            note(f"  {one['id']}: {one['cause']}")
            note(f"    {one['remedy'] or 'repaired from a store; check the disk of the snapshots'}")
        if (more := view["corrupt"] + view["missing"] - _SHOWN) > 0:
            note(f"  and {more} more (--json)")
    return ExitCode.FINDINGS if view["corrupt"] or view["missing"] else ExitCode.OK


@app.command
async def restore(
    name: str,
    /,
    *,
    to: Path | None = None,
    include_purged: Flag = False,
    dry_run: Flag = False,
    yes: Yes = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Store what a snapshot has and this configuration, or another one, lacks.

    Files keep their ids, times and retention; holds, deletions and destruction certificates come
    back. What exists stays as it is. A restore that was interrupted goes on when it is repeated.
    Exit code 3: something could not be restored.

    Parameters
    ----------
    name:
        The name of the snapshot.
    to:
        The settings file of another configuration, into which to restore. Environment variables and
        options apply to this one only.
    include_purged:
        Also restore what this configuration has destroyed since; what the target itself has
        destroyed stays destroyed.
    dry_run:
        Show what would be restored, and change nothing.
    yes:
        Do not ask.
    json:
        Print one JSON object.
    """
    from contextlib import AsyncExitStack

    from traffic_storage.application.snapshots.restore import nothing_destroyed

    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(opened(session.container()))
        target = own if to is None else await stack.enter_async_context(opened(_other(to)))
        destroyed = nothing_destroyed if include_purged else own.find_destroyed()
        if not (dry_run or yes):
            plan = await _restored(own, target, name, destroyed, dry_run=True)
            _say_restored(plan)
        if not dry_run and not confirmed("Restore this?", yes=yes):
            return ExitCode.OK
        view = await _restored(own, target, name, destroyed, dry_run=dry_run)
    if json:
        say_json(view)
    else:
        _say_restored(view)
    return ExitCode.OK if view["complete"] else ExitCode.FINDINGS


@app.command(name="restore-database")
async def restore_database(
    name: str, /, *, dry_run: Flag = False, yes: Yes = False, json: AsJson = False, session: Shared
) -> ExitCode:
    """Load the database's backup in a snapshot into an empty database. The next step is `rebuild`.

    For a lost database whose stores are there. Everything comes back: also jobs, incidents, plans and
    the outbox, which `rebuild` can't know. The database must be empty, of the same kind and of the
    same version of tables; otherwise use `snapshot restore`. No service may run. Afterwards no store
    is changed and nothing is purged before `rebuild` has recorded what came after the snapshot. Exit
    code 3: rows differ from those of the snapshot.

    Parameters
    ----------
    name:
        The name of the snapshot.
    dry_run:
        Only say whether the backup can be loaded.
    yes:
        Do not ask.
    json:
        Print one JSON object.
    """
    import asyncio

    from traffic_storage.entrypoints.cli.progress import counting
    from traffic_storage.entrypoints.snapshot_views import (
        database_plan_view,
        restored_database_view,
    )

    container = session.container()
    restoring = container.restore_database()
    try:
        view = database_plan_view(await restoring.plan(name))
        if not (dry_run or yes):
            _say_database(view)
        if not dry_run and not confirmed("Load this into the empty database?", yes=yes):
            return ExitCode.OK
        if not dry_run:
            with counting("loading") as count:
                view = restored_database_view(
                    await restoring(name, lambda progress: count("pieces", progress.done))
                )
    finally:
        await container.runtime().aclose()
        await asyncio.sleep(0)
    if json:
        say_json(view)
    else:
        _say_database(view)
    return ExitCode.OK if view["complete"] else ExitCode.FINDINGS


@app.command
async def drill(
    name: str,
    /,
    *,
    sample: int = 20,
    seed: int | None = None,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Restore some files of a snapshot into a temporary folder, and compare them.

    Exit code 3: something differs, or was not restored.

    Parameters
    ----------
    name:
        The name of the snapshot.
    sample:
        How many files.
    seed:
        Chooses the files; default: another one each time, which is shown.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.drill import drill as do_drill
    from traffic_storage.entrypoints.snapshot_views import drill_view

    async with opened(session.container()) as container:
        view = drill_view(await do_drill(container, name, sample=max(1, sample), seed=seed))
    if json:
        say_json(view)
    else:
        what = "passed" if view["passed"] else "failed"
        say(
            f"{what}: {view['restored']} of {counted(view['sample'], 'file')} restored "
            f"({in_bytes(view['bytes'])}), "
            f"{counted(len(view['differing']), 'differs', 'differ')}; seed {view['seed']}"
        )
        for file_id, fields in view["differing"].items():
            note(f"  {file_id}: {', '.join(fields)}")
    return ExitCode.OK if view["passed"] else ExitCode.FINDINGS


@app.command
async def delete(
    name: str,
    /,
    *,
    foreign: Flag = False,
    dry_run: Flag = False,
    yes: Yes = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Delete a snapshot, and what no other one needs. An unfinished one can be deleted too.

    Parameters
    ----------
    name:
        The name of the snapshot.
    foreign:
        Delete it although it is of another catalogue.
    dry_run:
        Only show the snapshot.
    yes:
        Do not ask.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.snapshot_views import deleted_view, snapshot_view

    async with _opened(session) as container:
        location = container.snapshot_location()
        if dry_run:
            shown = snapshot_view(location.store.location, await location.manifest(name))
            say_json(shown) if json else _say(shown)
            return
        if not confirmed(f"Delete the snapshot {name}?", yes=yes):
            return
        view = deleted_view(await container.delete_snapshot()(name, foreign=foreign))
    if json:
        say_json(view)
        return
    objects = counted(view["objects_deleted"], "object")
    say(f"deleted {name}; {objects}, {in_bytes(view['bytes_freed'])} freed")
    if view["waits_for"]:
        note(f"objects stay while snapshots are being made: {', '.join(view['waits_for'])}")


async def archive(
    days: float,
    /,
    *,
    dry_run: Flag = False,
    yes: Yes = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Move files that were received more than DAYS days ago from local disk to the cloud.

    Jobs do it. A file leaves local disk only after its copy in the cloud was read back.

    Parameters
    ----------
    days:
        The age from which files leave.
    dry_run:
        Only count the files.
    yes:
        Do not ask.
    json:
        Print one JSON object.
    """
    from datetime import timedelta

    from traffic_storage.entrypoints.snapshot_views import archived_view

    async with opened_to_read(session.container()) as container:
        before = container.clock().now() - timedelta(days=days)
        archiving = container.archive()
        planned = await archiving(before, dry_run=True)
        what = f"Move {counted(planned.files, 'file')} ({in_bytes(planned.bytes)}) to the cloud?"
        if not dry_run and confirmed(what, yes=yes):
            planned = await archiving(before)
        view = archived_view(planned, dry_run=dry_run)
    if json:
        say_json(view)
    else:
        leave = counted(view["files"], "file leaves", "files leave")
        say(f"{leave} local disk, {view['copied']} of them after a copy")


def _other(settings_file: Path) -> "Container":
    from traffic_storage.entrypoints.cli.session import Session
    from traffic_storage.entrypoints.settings import StorageConfig

    settings = StorageConfig.load(settings_file, env={})
    return Session().container(settings)


async def _restored(
    own: "Container", target: "Container", name: str, destroyed: "Destroyed", *, dry_run: bool
) -> "RestoredSnapshotView":
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.snapshot_views import restored_view

    with FileBar("comparing" if dry_run else "restoring") as bar:
        found = await target.restore_snapshot()(
            own.snapshot_location(), name, bar.show, destroyed=destroyed, dry_run=dry_run
        )
    return restored_view(found)


def _last_verification(view: "VerificationView | None") -> str:
    if view is None:
        return "never"
    when = view["verified_at"][:16]
    bad = view["corrupt"] + view["missing"] - view["repaired"]
    if view["damage"]:
        return f"{when} rows unreadable"
    if bad:
        return f"{when} {bad} DAMAGED"
    return f"{when} {view['repaired']} repaired" if view["repaired"] else f"{when} good"


def _say(view: "SnapshotView") -> None:
    say_fields(
        {
            "snapshot": view["snapshot_location"],
            "moment": view["cut_at"],
            "files": f"{view['files']}, {in_bytes(view['bytes'])}",
            "violations": str(view["violations"]),
            "database": in_bytes(view["database"]["bytes"]) if view["database"] else "none",
            "manifest": view["manifest_sha256"],
        }
    )
    if view["damaged"]:
        note(
            f"without an intact copy anywhere, and so not there: {counted(view['damaged'], 'file')}:"
        )
        for file_id in view["damaged_files"][:_SHOWN]:
            note(f"  {file_id}")


def _say_database(view: "RestoredDatabaseView") -> None:
    backup = view["database"]
    what = f"{backup['kind']}, {in_bytes(backup['bytes'])}" if backup else "-"
    compared = {} if view["dry_run"] else {"compared": counted(view["files_compared"], "file")}
    say_fields(
        {
            "moment": view["cut_at"],
            "database": what,
            "files": str(view["files"]),
            "violations": str(view["violations"]),
            **compared,
        }
    )
    for one in view["differing"][:_SHOWN]:
        note(f"differs: {one['id']}: {one['reason']}")
    if not view["dry_run"]:
        note("nothing is stored or deleted before what came later is recorded: run `rebuild` now")


def _say_restored(view: "RestoredSnapshotView") -> None:
    applied = {
        "changes of holds": str(view["holds"]),
        "deletions": str(view["deletions"]),
        "purged files": str(view["purged"]),
    }
    say_fields(
        {
            "files restored": f"{view['files']}, {in_bytes(view['bytes'])}",
            "files healed": f"{view['copies']} that were there without an intact copy",
            "violations restored": str(view["violations"]),
            "there before": f"{counted(view['files_present'], 'file')}, "
            f"{counted(view['violations_present'], 'violation')}",
            "destroyed since": str(view["destroyed"]),
            **({} if view["dry_run"] else applied),
        }
    )
    if view["dry_run"]:
        note("holds, deletions and rules follow after the files; not counted here")
    for one in view["not_restored"][:_SHOWN]:
        note(f"not restored: {one['id']}: {one['reason']}")
