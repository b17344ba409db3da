"""`traffic-storage migrate` and `migration-report`."""

import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.entrypoints.cli.asking import actor, confirmed
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say, say_json, say_table
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Flag,
    Session,
    Shared,
    instant_of,
    opened,
    opened_to_read,
)

if TYPE_CHECKING:
    from datetime import datetime

    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.migration_views import (
        MigrationView,
        ReportCheckView,
    )
    from traffic_storage.entrypoints.settings import StorageConfig

_MOST_SHOWN = 20


async def migrate(
    *,
    to: Path,
    start: str,
    end: str,
    dry_run: Flag = False,
    reread: Flag = False,
    seal: Flag = False,
    yes: Flag = False,
    report: Path | None = None,
    parallel: int = 8,
    bytes_per_second: int = 0,
    files_per_second: int = 0,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Bring violations with their files from this configuration to another one.

    Strategies, stores and kinds of database may differ. Every byte is verified when it is read and
    again at the target. The source is only read. A migration that was interrupted goes on when the
    command is repeated, and nothing is stored twice. At the end both sides are compared by day.
    Exit code 3: something was not brought, or differs.

    Parameters
    ----------
    to:
        The settings file of the target. Environment variables and options apply to the source only.
    start:
        Bring violations from this time on (ISO 8601; without a zone: in the setting timezone).
    end:
        Bring violations before this time.
    dry_run:
        Count what would be brought, and change nothing.
    reread:
        Compare the bytes at the target once more, not only the rows.
    seal:
        Make the source read only at the end, if the target has everything, unaltered. Implies --reread.
        If files without a violation, or deleted files that can still be undeleted, stay behind, a
        terminal is asked before.
    yes:
        Do not ask.
    report:
        Write the result to this file, signed with the target's url_signing_key. Implies --reread.
    parallel:
        How many violations are brought at once.
    bytes_per_second:
        Bring at most this many bytes a second on average; 0: no limit.
    files_per_second:
        Bring at most this many files a second on average; 0: no limit.
    json:
        Print one JSON object.
    """
    from traffic_storage.application.migrate_and_prove import MigrateAndProve
    from traffic_storage.application.migration_sides import MigrationLimits
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.migration_views import migration_view
    from traffic_storage.entrypoints.service.migration import write_report

    settings = session.settings()
    begin, finish = _instant(start, "start", settings), _instant(end, "end", settings)
    limits = MigrationLimits(parallel, bytes_per_second, files_per_second)
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(opened_to_read(session.container(settings)))
        target = await stack.enter_async_context(opened(_target(to)))
        if seal and not dry_run and not await _agreed(source, begin, finish, yes=yes):
            note("nothing was brought, and the source is not sealed")
            return ExitCode.REFUSED
        bring = MigrateAndProve(source.migration_source(), target.migration_target())
        with FileBar("migrating") as bar:
            done = await bring(
                begin,
                finish,
                bar.show,
                limits=limits,
                dry_run=dry_run,
                reread=reread or report is not None,
                seal_as=actor() if seal else None,
            )
        view = migration_view(done)
        if report is not None and not dry_run:
            write_report(report, view, target.signing_key()())
    if json:
        say_json(view)
    else:
        _say(view, asked_to_seal=seal)
    return ExitCode.OK if dry_run or _is_complete(view) else ExitCode.FINDINGS


async def check(
    report: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    reread: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Check the signed report of a migration against this service, the target of the migration.

    The signature is checked with the setting url_signing_key: it proves that a holder of this key
    made the report, and that nothing in it was changed. Then what the service has now is counted and
    digested by day, and compared with what the source had. Exit code 3: a day differs. Exit code 6:
    the report was changed, or signed with another key: run this command with the settings of the target
    (--config).

    Parameters
    ----------
    report:
        The file that `migrate --report` has written.
    reread:
        Read and hash all bytes; otherwise the rows are compared.
    json:
        Print one JSON object.
    """
    from datetime import datetime

    from traffic_storage.application.reconcile_migration import CountRange
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.migration_views import migration_in, report_check_view

    document = _read(report)
    async with opened_to_read(session.container()) as container:
        told = migration_in(document, container.signing_key()())
        begin, finish = (datetime.fromisoformat(told[name]) for name in ("start_date", "end_date"))
        count = CountRange(container.migration_target())
        with FileBar("counting") as bar:
            now = await count(begin, finish, bar.show, reread=reread)
    view = report_check_view(told, now, reread=reread)
    if json:
        say_json(view)
    else:
        _say_check(view)
    return ExitCode.OK if view["equal"] else ExitCode.FINDINGS


async def _agreed(source: "Container", start: "datetime", end: "datetime", *, yes: bool) -> bool:
    """Say what a seal leaves behind, and ask on a terminal."""
    from traffic_storage.application.migration_reads import (
        files_to_undelete,
        files_without_violation,
    )

    read = source.migration_source()
    alone, is_all = await files_without_violation(read.catalogue, start, end)
    deleted, are_all = await files_to_undelete(read, start, end)
    told = _left_behind(alone, deleted, least_alone=not is_all, least_deleted=not are_all)
    if not told:
        return True
    for line in told:
        note(line)
    return confirmed("Seal the source all the same?", yes=yes or not sys.stdin.isatty())


def _left_behind(alone: int, deleted: int, *, least_alone: bool, least_deleted: bool) -> list[str]:
    """Say how many files without a violation, and deleted ones, are not brought, if there are any."""
    told = []
    if alone or least_alone:
        least = "at least " if least_alone else ""
        told.append(
            f"not brought: {least}{counted(alone, 'file')} without a violation, received in this period"
        )
    if deleted or least_deleted:
        least = "at least " if least_deleted else ""
        files, them = ("file", "it") if deleted == 1 and not least_deleted else ("files", "them")
        told.append(
            f"not brought: {least}{deleted} deleted {files} that can still be undeleted "
            f"(undelete {them} and repeat, or leave {them})"
        )
    return told


def _target(path: Path) -> "Container":
    """Build the container of the target, from its settings file alone."""
    from traffic_storage.entrypoints.settings import StorageConfig

    return Session().container(StorageConfig.load(path, env={}))


def _instant(text: str, name: str, settings: "StorageConfig") -> "datetime":
    found = instant_of(text, name, settings)
    assert found is not None  # noqa: S101 - a text was given
    return found


def _read(path: Path) -> bytes:
    from traffic_storage.domain.errors import InvalidInput

    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput.of("FILE", f"can't be read: {error.strerror}") from error


def _is_complete(view: "MigrationView") -> bool:
    found = view["reconciliation"]
    return found is not None and found["equal"] and not view["failed_count"]


def _say(view: "MigrationView", *, asked_to_seal: bool) -> None:
    would = "to bring: " if view["dry_run"] else ""
    say(
        f"{would}{counted(view['migrated_records'], 'violation')}, "
        f"{counted(view['migrated_files'], 'file')}, {in_bytes(view['bytes'])}; "
        f"{counted(view['skipped'], 'violation was', 'violations were')} there already"
        + (f", {view['resumed']} came before the interruption" if view["resumed"] else "")
    )
    for line in _left_behind(
        view["without_violation"],
        view["can_be_undeleted"],
        least_alone=view["without_violation_at_least"],
        least_deleted=view["can_be_undeleted_at_least"],
    ):
        say(line)
    if view["holds"] or view["certificates"]:
        say(
            f"{counted(view['holds'], 'hold')}, "
            f"{counted(view['certificates'], 'destruction certificate')} brought"
        )
    for one in view["failed"][:_MOST_SHOWN]:
        note(f"not brought: {one['file_id'] or one['violation_id']}: {one['reason']}")
    if (found := view["reconciliation"]) is None:
        return
    what = "all bytes" if found["reread"] else "the rows"
    days = counted(len(found["days"]), "day")
    if found["equal"]:
        deleted = view["can_be_undeleted"] or view["can_be_undeleted_at_least"]
        but = " that are not deleted" if deleted else ""
        say(
            f"reconciled by {what}: the target has all violations with their files{but}, "
            f"on each of {days}"
        )
    else:
        say(f"reconciled by {what}: {counted(found['different'], 'difference')}")
        for other in found["differences"][:_MOST_SHOWN]:
            note(f"{other['file_id'] or other['violation_id']} {other['problem']}")
    if asked_to_seal:
        say("the source is sealed" if view["sealed"] else "the source is not sealed")


def _say_check(view: "ReportCheckView") -> None:
    say("the signature is right")
    if view["equal"]:
        what = "all bytes" if view["reread"] else "the rows"
        say(
            f"compared by {what}: this service has what was reported, on each of "
            f"{counted(view['days'], 'day')}"
        )
        return
    for name in view["damaged"][:_MOST_SHOWN]:
        note(f"{name} has a damaged copy, or none")
    header = ("day", "records", "files", "bytes", "records now", "files now", "bytes now")
    rows = [
        (
            one["day"],
            *(str(side[name]) for side in (one["reported"], one["now"]) for name in _TOTALS),
        )
        for one in view["changed"]
    ]
    say_table(header, rows)


_TOTALS: "tuple[Literal['records'], Literal['files'], Literal['bytes']]" = (
    "records",
    "files",
    "bytes",
)
