"""`DataExporter`: exports of what a `StorageService` holds."""

from collections.abc import Sequence
from datetime import datetime
from os import PathLike, fspath
from typing import Unpack

from traffic_storage.application.export import Report, unreported
from traffic_storage.application.package import ProfileNames
from traffic_storage.domain.principal import Principal
from traffic_storage.entrypoints.export_views import (
    ExportOptions,
    ExportView,
    PackageView,
    export_view,
    format_for,
    package_view,
    statistics_file,
    table_request,
)
from traffic_storage.entrypoints.service.arguments import check_type, flag, instant_of
from traffic_storage.entrypoints.service.retention import ACTOR
from traffic_storage.entrypoints.service.service import StorageService


class DataExporter:
    """Exports violations and statistics of a service to files.

    A file appears under its name when it is complete and durable, with its number of rows and its
    SHA-256 in the result; missing folders are created. An `output_path` s3://BUCKET/KEY is an object
    in S3, reached with the settings of the service. An existing file is replaced only with
    `overwrite`. Memory and the length of transactions do not grow with the number of rows.

    Errors of all methods:
        InvalidInput: an argument is wrong, the file exists and `overwrite` is False, or the format
            needs a package that is not installed (the extra `export`).
        TooLarge: the format can't hold as many rows, or a cell as long (XLSX).
        StorageUnavailable: the file can't be written.
        StorageFull: the disk of the file is full.
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(self, storage: StorageService) -> None:
        check_type("storage", storage, StorageService)
        self._parts = storage.parts

    async def export_violations_csv(
        self,
        start_date: datetime | None,
        end_date: datetime | None,
        output_path: str | PathLike[str],
        *,
        overwrite: bool = False,
        report: Report = unreported,
        **options: Unpack[ExportOptions],
    ) -> ExportView:
        """Export violations as CSV; see `export_violations`."""
        return await self.export_violations(
            "csv", start_date, end_date, output_path, overwrite=overwrite, report=report, **options
        )

    async def export_violations(
        self,
        format: str,  # noqa: A002 - the name that the other interfaces use
        start_date: datetime | None,
        end_date: datetime | None,
        output_path: str | PathLike[str],
        *,
        overwrite: bool = False,
        report: Report = unreported,
        **options: Unpack[ExportOptions],
    ) -> ExportView:
        """Export the available violations that meet all filters, newest first.

        Args:
            format: csv, ndjson, parquet, xlsx or geojson.
            start_date: only violations at or after this time; a naive time is in the setting
                `timezone`; None for no limit.
            end_date: only violations before this time.
            output_path: the file. A suffix of another format (.csv, .ndjson, .jsonl, .parquet, .xlsx,
                .geojson) is refused.
            overwrite: replace an existing file.
            report: called with the number of rows that were written so far.
            options: filters, columns, and how cells are written: see `ExportOptions`.
        """
        here = self._parts.zone
        start = instant_of("start_date", start_date, here)
        end = instant_of("end_date", end_date, here)
        place = fspath(output_path)
        request = table_request(format_for(place, format), start, end, here, options)
        use_cases = await self._parts.started()
        done = await use_cases.export().to_place(
            request, place, overwrite=flag("overwrite", overwrite), report=report
        )
        return export_view(done, request.format)

    async def export_statistics_json(
        self, output_path: str | PathLike[str], *, overwrite: bool = False
    ) -> ExportView:
        """Export what `StorageService.get_storage_statistics` returns as JSON."""
        use_cases = await self._parts.started()
        pieces = statistics_file(await use_cases.statistics()())
        done = await use_cases.export().save(
            pieces, fspath(output_path), overwrite=flag("overwrite", overwrite)
        )
        return export_view(done, "json")

    async def export_package(
        self,
        violation_ids: Sequence[str],
        output_path: str | PathLike[str],
        *,
        overwrite: bool = False,
        profile: ProfileNames = None,
        allow_incomplete: bool = False,
    ) -> PackageView:
        """Export violations with all their files as a ZIP file that can be verified anywhere.

        Each file is handed out as evidence: a copy in a durable store is verified, and recorded.
        Hand `manifest_sha256` of the result over on another way than the file.

        Args:
            profile: the completeness profiles that the violations must meet, at most one for each type
                of violation: ids (of the setting `profiles_file`, or a shipped example), separated by
                commas or as a list, or `CompletenessProfile`s. Default: the setting
                `evidence_profile`. Without one, the package says that no completeness was checked.
            allow_incomplete: make the package although violations lack something. Its manifest and its
                page say what is missing.

        Raises:
            IncompleteEvidence: a violation does not meet its profile, or a file of it was
                deleted; each missing item is named.
            NotFound: there is no such violation.
            Deleted: a violation was deleted.
            NoGoodReplica: every copy of a file is corrupt or missing.
        """
        if isinstance(violation_ids, str):
            violation_ids = [violation_ids]
        use_cases = await self._parts.started()
        package = await use_cases.make_package().open(
            violation_ids,
            Principal(ACTOR),
            profile=profile,
            allow_incomplete=flag("allow_incomplete", allow_incomplete),
        )
        done = await use_cases.export().save(
            package.pieces(), fspath(output_path), overwrite=flag("overwrite", overwrite)
        )
        return package_view(done, package)
