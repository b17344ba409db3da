"""`traffic-storage verify`."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say, say_json
from traffic_storage.entrypoints.cli.session import AsJson, Shared, opened_to_read

if TYPE_CHECKING:
    from traffic_storage.application.verify_replicas import IntegrityReport


async def verify(
    *,
    sample: int | None = None,
    heal: Annotated[bool, Parameter(negative="--no-heal")] = True,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Read and hash all copies of all files, and replace bad copies where another copy is good.

    Servers and workers do the same in the background, so that every copy is verified within
    `fixity_days`. Where the catalogue can only be read, as that of a read-only copy, the result is
    printed, not recorded, and nothing is replaced. Exit code 3: a bad copy was found and not healed.
    Exit code 5: copies could not be read; they may be intact.

    Parameters
    ----------
    sample:
        Verify at most this many files: those whose verification is oldest.
    heal:
        Replace bad copies. With --no-heal they are only recorded and reported.
    json:
        Print one JSON object.
    """
    from traffic_storage.entrypoints.cli.progress import FileBar
    from traffic_storage.entrypoints.fixity_views import integrity_view

    async with opened_to_read(session.container()) as container:
        verify_replicas = container.verify_replicas()
        with FileBar("verifying") as bar:
            report = await verify_replicas(sample, heal=heal, report=bar.show)
        coverage = await verify_replicas.coverage()
    if json:
        say_json(integrity_view(report))
    else:
        say(_sentence(report))
        note(f"verified: {coverage}")
    counts = report.counts
    if counts.corrupted + counts.altered + counts.missing > counts.healed:
        if report.is_recorded:
            note("`traffic-storage incidents list` says which copies are bad")
        return ExitCode.FINDINGS
    return ExitCode.TEMPORARY if counts.unknown else ExitCode.OK


def _sentence(report: "IntegrityReport") -> str:
    counts = report.counts
    files = counted(report.files_checked, "file")
    copies = counted(counts.checked, "copy", "copies")
    text = f"{files}, {copies} verified, {in_bytes(counts.bytes)}"
    found = {
        "corrupted": counts.corrupted + counts.altered,
        "missing": counts.missing,
        "healed": counts.healed,
        "unknown": counts.unknown,
    }
    return ", ".join([text, *(f"{number} {what}" for what, number in found.items() if number)])
