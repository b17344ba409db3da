"""`traffic-storage export`: violations as a table, statistics as JSON, evidence packages."""

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import App, Parameter

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.cli.asking import actor
from traffic_storage.entrypoints.cli.output import (
    ShownText,
    flush_out,
    note,
    printable,
    say,
    say_bytes,
    say_json,
)
from traffic_storage.entrypoints.cli.session import (
    AsJson,
    Flag,
    Shared,
    end_of,
    instant_of,
    opened_to_read,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from traffic_storage.application.export import Export, Piece
    from traffic_storage.entrypoints.cli.progress import Progress, RowBar

app = App(name="export", help="Export violations, statistics and evidence packages to files.")

_PIPE = "-"
_BINARY = frozenset({"parquet", "xlsx"})

Output: TypeAlias = Annotated[
    str, Parameter(name=("--output", "-o"), allow_leading_hyphen=True, show_default=False)
]
"""A file, an object (s3://BUCKET/KEY), or - for stdout."""


@app.command
async def violations(
    *,
    output: Output = _PIPE,
    format: Annotated[str | None, Parameter(name="--format")] = None,  # noqa: A002
    start: str | None = None,
    end: str | None = None,
    device_id: str | None = None,
    violation_type: str | None = None,
    columns: str | None = None,
    zone: str | None = None,
    decimal: str = ".",
    keep_formulas: Flag = False,
    force: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Export violations that match all given filters, newest first.

    A file appears under its name only when it is complete.

    Parameters
    ----------
    output:
        The file to write, or an object (s3://BUCKET/KEY); - (the default) is stdout.
    format:
        csv, ndjson, parquet, xlsx or geojson; default: as the suffix of the file says (.csv, .ndjson
        or .jsonl, .parquet, .xlsx, .geojson), otherwise csv.
    start:
        Only violations at or after this time (ISO 8601; without a zone: in the setting
        timezone).
    end:
        Only violations before this time.
    device_id:
        Only violations of the device with this id.
    violation_type:
        Only violations of this type, such as speed or red_light.
    columns:
        Names of columns, separated by commas, in their order; default: all.
    zone:
        Time zone in which times are written, such as Europe/Madrid; default: the setting
        timezone.
    decimal:
        Decimal separator of CSV, . or a comma; with a comma, a semicolon separates the fields.
    keep_formulas:
        Write a text of CSV unchanged that a spreadsheet would take for a formula.
    force:
        Overwrite an existing file; write Parquet or XLSX to a terminal.
    json:
        Print file, rows, bytes and SHA-256 as one JSON object (needs --output FILE).
    """
    from traffic_storage.entrypoints.cli.progress import RowBar
    from traffic_storage.entrypoints.export_views import format_for, table_request

    settings = session.settings()
    _check_output(output, as_json=json)
    file_format = format_for(output, format)
    _refuse_terminal(output, file_format, force=force)
    begins, ends = instant_of(start, "--start", settings), end_of(end, "--end", settings)
    if begins is not None and ends is not None and begins > ends:
        raise InvalidInput.of(
            "--start", f"{start} is after --end {end}", "give a --start that is before --end"
        )
    request = table_request(
        file_format,
        begins,
        ends,
        settings.zone,
        {
            "device_id": device_id,
            "violation_type": violation_type,
            "columns": None if columns is None else columns.split(","),
            "zone": zone,
            "decimal": decimal,
            "neutralise": not keep_formulas,
        },
    )
    async with opened_to_read(session.container(settings)) as container:
        export = container.export()
        with RowBar("exporting") as bar:
            pieces = export.pieces(request)
            await _deliver(export, pieces, output, file_format, bar, force=force, as_json=json)


@app.command
async def statistics(
    *, output: Output = _PIPE, force: Flag = False, json: AsJson = False, session: Shared
) -> None:
    """Export the figures of `stats` as JSON.

    Parameters
    ----------
    output:
        The file to write; - (the default) is stdout.
    force:
        Overwrite an existing file.
    json:
        Print file, bytes and SHA-256 as one JSON object (needs --output FILE).
    """
    from traffic_storage.entrypoints.cli.progress import RowBar
    from traffic_storage.entrypoints.export_views import statistics_file

    _check_output(output, as_json=json)
    async with opened_to_read(session.container()) as container:
        pieces = statistics_file(await container.statistics()())
        with RowBar("exporting") as bar:
            export = container.export()
            await _deliver(export, pieces, output, "json", bar, force=force, as_json=json)


@app.command
async def package(
    *violation_ids: str,
    output: Output,
    profile: str | None = None,
    allow_incomplete: Flag = False,
    force: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> None:
    """Export violations with all their files as a ZIP file that anybody can verify.

    Each file is verified in a durable store and recorded as handed out. The SHA-256 of the manifest
    is shown at the end: hand it over on another way than the package.

    Parameters
    ----------
    violation_ids:
        The ids of the violations, such as V001.
    output:
        The ZIP file to write, or an object (s3://BUCKET/KEY).
    profile:
        Ids of completeness profiles that the violations must meet, separated by commas; default: the
        setting evidence_profile. Without one, the package says that no completeness was checked.
    allow_incomplete:
        Make the package although a violation lacks something; the package says what.
    force:
        Overwrite an existing file.
    json:
        Print the file, its size and its digests as one JSON object.
    """
    from traffic_storage.domain.principal import Principal
    from traffic_storage.entrypoints.cli.progress import Progress
    from traffic_storage.entrypoints.export_views import package_view

    if output.startswith("-"):
        raise InvalidInput.of("--output", f"{output} is not a file", "give -o FILE")
    async with opened_to_read(session.container()) as container:
        made = await container.make_package().open(
            violation_ids, Principal(actor()), profile=profile, allow_incomplete=allow_incomplete
        )
        with Progress() as bar:
            bar.expect(sum(member.size_bytes for member in made.members))
            pieces = _advancing(made.pieces(), bar)
            done = await container.export().save(pieces, output, overwrite=force)
    view = package_view(done, made)
    if json:
        say_json(view)
    else:
        say(f"SHA-256 of the manifest: {view['manifest_sha256']}")
        note(f"{printable(output)}: {counted(view['files'], 'file')}, {in_bytes(done.size_bytes)}")
        for item in view["missing"]:
            note(f"INCOMPLETE: {printable(item)}")


async def _advancing(
    pieces: "AsyncGenerator[Piece, None]", bar: "Progress"
) -> "AsyncGenerator[Piece, None]":
    """Yield the pieces, and show how many bytes they are."""
    async with aclosing(pieces):
        async for piece in pieces:
            bar.advance(len(piece.data))
            yield piece


def _refuse_terminal(output: str, file_format: str, *, force: bool) -> None:
    if output == _PIPE and file_format in _BINARY and sys.stdout.isatty() and not force:
        raise InvalidInput.of(
            "--output", f"is a terminal, which can't show {file_format}", "give -o FILE, or --force"
        )


def _check_output(output: str, *, as_json: bool) -> None:
    if output.startswith("-") and output != _PIPE:
        raise InvalidInput.of("--output", f"{output} looks like an option", "give -o FILE")
    if as_json and output == _PIPE:
        raise InvalidInput.of("--json", "can't share stdout with the export", "give --output FILE")


async def _deliver(
    export: "Export",
    pieces: "AsyncGenerator[Piece, None]",
    output: str,
    file_format: str,
    bar: "RowBar",
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Write a file to stdout or to its place, and say what was written."""
    from traffic_storage.entrypoints.export_views import export_view

    if output == _PIPE:
        await _to_stdout(pieces, bar, is_text=file_format not in _BINARY and not force)
        return
    done = await export.save(pieces, output, overwrite=force, report=bar.count)
    if as_json:
        say_json(export_view(done, file_format))
    else:
        rows = "" if file_format == "json" else f"{counted(done.rows, 'violation')}, "
        note(f"{printable(output)}: {rows}{in_bytes(done.size_bytes)}, SHA-256 {done.sha256}")


async def _to_stdout(
    pieces: "AsyncGenerator[Piece, None]", bar: "RowBar", *, is_text: bool
) -> None:
    rows, shown = 0, ShownText()
    async with aclosing(pieces):
        async for piece in pieces:
            if is_text:
                shown.write(piece.data)
            else:
                say_bytes(piece.data)
            rows += piece.rows
            bar.count(rows)
    flush_out()
