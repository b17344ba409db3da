"""The result of an export, as Python, the command line and HTTP give it; and its request."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo

from typing_extensions import TypedDict

from traffic_storage.application.export import Exported, Piece, TableRequest
from traffic_storage.application.package import OpenPackage
from traffic_storage.application.statistics import StorageStatistics
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.tabular import ExportFormat, TableForm, columns_named
from traffic_storage.entrypoints.views import statistics_view


class ExportView(TypedDict):
    """A file that was exported. `rows` are violations, `sha256` is of the file's bytes."""

    output_path: str
    format: str
    rows: int
    bytes: int
    sha256: str


class PackageView(TypedDict):
    """An evidence package that was written. `manifest_sha256` verifies it (`verify.py --expect`).

    `files` are those that the manifest lists, as `verify.py` counts them: not the manifest itself and
    the list of digests (`SHA256SUMS`).

    `complete` is whether the violations have all that their profiles demand and no file of
    theirs was deleted; None if none was, and no completeness was checked. `missing` names each missing
    item, as `V001.camera_info.speed_kmh: is not given`.
    """

    output_path: str
    format: str
    violations: int
    files: int
    bytes: int
    sha256: str
    manifest_sha256: str
    complete: bool | None
    missing: list[str]


def package_view(done: Exported, package: OpenPackage) -> PackageView:
    """Return the view of a package."""
    return {
        "output_path": done.place,
        "format": "zip",
        "violations": package.violations,
        # As `verify.py` counts: without the manifest and the list of digests, which tell of the others.
        "files": len(package.members) - 2,
        "bytes": done.size_bytes,
        "sha256": done.sha256,
        "manifest_sha256": package.manifest_sha256,
        "complete": package.completeness.complete,
        "missing": [
            f"{violation_id}.{found.field}: {found.message}"
            for violation_id, found in package.completeness.missing
        ],
    }


def export_view(done: Exported, file_format: str) -> ExportView:
    """Return the view of an export."""
    return {
        "output_path": done.place,
        "format": file_format,
        "rows": done.rows,
        "bytes": done.size_bytes,
        "sha256": done.sha256,
    }


class ExportOptions(TypedDict, total=False):
    """What an export may be asked besides its format and times; each may be left out.

    `columns` are names of columns, in their order; without it, all. `zone` is the zone in which
    times are written, as Europe/Madrid; without it, the setting `timezone`. `decimal` is the decimal
    separator of CSV (`.` or `,`; with a comma, a semicolon separates the fields). `neutralise` is
    whether a text of CSV that a spreadsheet would take for a formula gets an apostrophe in front;
    true without it.
    """

    device_id: str | None
    violation_type: str | None
    columns: Sequence[str] | None
    zone: str | None
    decimal: str
    neutralise: bool


def table_request(
    file_format: str,
    start: datetime | None,
    end: datetime | None,
    default_zone: ZoneInfo,
    options: ExportOptions,
) -> TableRequest:
    """Return the request of an export. `start` and `end` have a time zone.

    Raises:
        InvalidInput: an argument is wrong.
    """
    zone = options.get("zone")
    return TableRequest(
        format=format_named(file_format),
        query=ViolationQuery(
            device_id=options.get("device_id"),
            violation_type=options.get("violation_type"),
            start_time=start,
            end_time=end,
        ),
        columns=columns_named(options.get("columns")),
        form=TableForm(
            zone=default_zone if zone is None else zone_named(zone),
            decimal=options.get("decimal", "."),  # type: ignore[arg-type]  # checked there
            neutralise=options.get("neutralise", True),
        ),
    )


def format_named(name: str) -> ExportFormat:
    """Return the format with this name.

    Raises:
        InvalidInput: there is none.
    """
    if name in tuple(ExportFormat):
        return ExportFormat(name)
    known = ", ".join(ExportFormat)
    raise InvalidInput.of("format", f"is an unknown format: {shown(name)}", f"give one of {known}")


_SUFFIXES = {
    ".csv": ExportFormat.CSV,
    ".ndjson": ExportFormat.NDJSON,
    ".jsonl": ExportFormat.NDJSON,
    ".parquet": ExportFormat.PARQUET,
    ".xlsx": ExportFormat.XLSX,
    ".geojson": ExportFormat.GEOJSON,
}


def format_for(place: str, given: str | None) -> ExportFormat:
    """Return the format of a file at a place: the given one, or that of its suffix, or CSV.

    Raises:
        InvalidInput: the given format is unknown, or the suffix is that of another one.
    """
    by_suffix = _SUFFIXES.get(PurePosixPath(place).suffix.lower())
    if given is None:
        return by_suffix or ExportFormat.CSV
    chosen = format_named(given)
    if by_suffix in {None, chosen}:
        return chosen
    suffix = next(end for end, one in _SUFFIXES.items() if one is chosen)
    raise InvalidInput.of(
        "format",
        f"is {chosen}, but {shown(place)} has the suffix of {by_suffix}",
        f"give the file the suffix {suffix}, or the format {by_suffix}",
    )


def zone_named(name: str) -> ZoneInfo:
    """Return the time zone with this name.

    Raises:
        InvalidInput: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise InvalidInput.of(
            "zone", f"is an unknown time zone: {shown(name)}", "give a name such as Europe/Madrid"
        ) from error


async def statistics_file(statistics: StorageStatistics) -> AsyncGenerator[Piece, None]:
    """Yield the statistics as a file of JSON."""
    import json

    text = json.dumps(statistics_view(statistics), ensure_ascii=False, indent=2)
    yield Piece(f"{text}\n".encode())
