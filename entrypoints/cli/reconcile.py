"""`traffic-storage reconcile`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from traffic_storage.domain.amounts import in_bytes
from traffic_storage.entrypoints.cli.confirm import Yes, confirmed
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say, say_fields, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.views import ReconciliationView


async def reconcile(
    *,
    dry_run: Flag = False,
    override_limit: Flag = False,
    yes: Yes = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Compare each store with the catalogue, and act on the differences.

    A blob that the catalogue does not know is entered into the quarantine, and stays where it is.
    At least a day later it is recorded again if its manifest describes a file that the catalogue
    lacks. It is deleted after quarantine_days if the catalogue proves that it is not needed. A copy
    without a blob is recorded as missing. With more differences than reconcile_max_count and
    reconcile_max_share, nothing is changed. Exit code 3: a store could not be compared, or there
    were too many differences. Workers do the same every reconcile_interval_hours.

    Parameters
    ----------
    dry_run:
        Only show the differences.
    override_limit:
        Act even if there are many differences.
    yes:
        Act without asking.
    json:
        Print one JSON object per store.
    """
    async with opened_to_read(session.container()) as container:
        if not (dry_run or yes):
            say_stores(await _reconciled(container, dry_run=True, override_limit=override_limit))
        if not dry_run and not confirmed("Act on these differences?", yes=yes):
            return ExitCode.OK
        found = await _reconciled(container, dry_run=dry_run, override_limit=override_limit)
    if json:
        for view in found:
            say_json(view)
    else:
        say_stores(found)
    is_whole = not any(view["skipped"] or view["aborted"] for view in found)
    return ExitCode.OK if is_whole else ExitCode.FINDINGS


async def _reconciled(
    container: "Container", *, dry_run: bool, override_limit: bool
) -> "Sequence[ReconciliationView]":
    from traffic_storage.entrypoints.cli.progress import counting
    from traffic_storage.entrypoints.views import reconciliation_view

    with counting("reconcile") as count:
        found = await container.reconcile()(
            lambda store_id, progress: count(f"{store_id} {progress.message}", progress.done),
            dry_run=dry_run,
            override_limit=override_limit,
        )
    return [reconciliation_view(one) for one in found]


def say_stores(views: "Sequence[ReconciliationView]") -> None:
    """Print what was found in each store."""
    for view in views:
        if reason := view["skipped"]:
            note(f"{view['location']} was not compared: {reason}")
            continue
        say(view["location"])
        say_fields(_fields(view))
        if reason := view["aborted"]:
            note(f"nothing was changed: {reason}; see --override-limit and `rebuild`")


def _fields(view: "ReconciliationView") -> dict[str, str]:
    found = {
        "  blobs": f"{view['listed']}, {in_bytes(view['listed_bytes'])}",
        "  recorded": f"{view['recorded']}",
        "  unrecorded": f"{view['unrecorded']}, {view['known_unrecorded']} of them known before",
        "  missing": f"{view['missing']}",
        "  wrong size": f"{view['damaged']}",
        "  back": f"{view['reappeared']}",
    }
    if (held := view["quarantine"]) is not None:
        found["  quarantine"] = (
            f"{held['files'] + held['copies']} recorded again, {held['removed']} deleted "
            f"({in_bytes(held['bytes_removed'])}), {held['waiting']} waiting, {held['kept']} kept"
        )
    return found
