"""`traffic-storage delete`, `undelete` and `certificate`: the end of files and violations."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from traffic_storage.domain.amounts import counted
from traffic_storage.entrypoints.cli.asking import actor, confirmed
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container

IsViolation = Annotated[Flag, Parameter(name="--violation")]
"""The id is that of a violation."""


async def delete(
    identifier: str,
    reason: str,
    /,
    *,
    violation: IsViolation = False,
    override: Flag = False,
    dry_run: Flag = False,
    yes: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Delete a file, or a violation with its files.

    It can be brought back with `undelete` until its grace has ended (deletion_grace_days); then it
    is erased. What is under legal hold is never deleted.

    Parameters
    ----------
    identifier:
        The id of the file, or with --violation of the violation.
    reason:
        Why it is deleted; the certificate tells it.
    violation:
        Delete the violation with this id, and all files that name it.
    override:
        Delete it although its retention has not ended.
    dry_run:
        Say whether it would be deleted, and change nothing.
    yes:
        Do not ask; needed where there is no terminal.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.views import deletion_view

    async with opened_to_read(session.container()) as container:
        use_case = container.delete_files()
        names = (
            await use_case.plan_violation(identifier, override=override)
            if violation
            else await use_case.plan_file(identifier, override=override)
        )
        if dry_run:
            say_json({"would_delete": list(names)}) if json else say(_plan(names))
            return ExitCode.OK
        if not confirmed(f"{_plan(names)}. Continue?", yes=yes):
            note("nothing was deleted")
            return ExitCode.FAILURE
        act = use_case.violation if violation else use_case.file
        done = await act(identifier, reason, actor(), override=override)
    view = deletion_view(done, "violation" if violation else "file")
    if json:
        say_json(view)
    elif view["state"] == "tombstoned":
        say(f"{identifier} is deleted; it can be undeleted until {view['purge_after']}")
    else:
        say(f"{identifier} is {view['state']}")
    return ExitCode.OK


async def undelete(
    identifier: str,
    reason: str,
    /,
    *,
    violation: IsViolation = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Bring a deleted file or violation back, before it is erased. It is kept for 30 days at least.

    Parameters
    ----------
    identifier:
        The id of the file, or with --violation of the violation.
    reason:
        Why it is brought back.
    violation:
        Bring back the violation with this id, and its deleted files.
    json:
        Print one JSON object.
    """
    async with opened_to_read(session.container()) as container:
        view = await _undeleted(container, identifier, reason, violation=violation)
    if json:
        say_json(view)
    else:
        say(f"{identifier} is available again")


async def certificate(
    identifier: str,
    /,
    *,
    violation: IsViolation = False,
    session: Shared,
) -> None:
    """Print the destruction certificate of an erased file or violation, as JSON.

    Parameters
    ----------
    identifier:
        The id of the file, or with --violation of the violation.
    violation:
        Print the certificate of the violation with this id.
    """
    from traffic_storage.entrypoints.views import certificate_view

    async with opened_to_read(session.container()) as container:
        use_case = container.delete_files()
        found = await (
            use_case.violation_certificate(identifier)
            if violation
            else use_case.certificate(identifier)
        )
    say_json(certificate_view(found))


def _plan(names: "tuple[str, ...]") -> str:
    if not names:
        return "it is deleted already"
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"this deletes {counted(len(names), 'file')} ({shown})"


async def _undeleted(
    container: "Container", identifier: str, reason: str, *, violation: bool
) -> object:
    from traffic_storage.entrypoints.views import file_view, violation_view

    use_case = container.delete_files()
    if violation:
        return violation_view(await use_case.undelete_violation(identifier, reason, actor()))
    return file_view(await use_case.undelete_file(identifier, reason, actor()))
