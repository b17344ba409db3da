"""`DataMigrationManager`: brings violations with their files from one service to another."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from traffic_storage.application.migrate_and_prove import MigrateAndProve
from traffic_storage.application.migration_sides import MigrationLimits
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.times import instant
from traffic_storage.entrypoints.migration_views import (
    MigrationView,
    migration_view,
    signed_migration,
)
from traffic_storage.entrypoints.service.arguments import check_type, flag
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.service.service import StorageService

ACTOR = "DataMigrationManager"
"""The name under which a seal is recorded."""


class DataMigrationManager:
    """Migrates from any configuration to any other: strategies, stores and kinds of database differ.

    The source is only read; what is found there about a bad copy is recorded, as any read does. The
    manager closes neither service.
    """

    def __init__(self, source_storage: StorageService, target_storage: StorageService) -> None:
        check_type("source_storage", source_storage, StorageService)
        check_type("target_storage", target_storage, StorageService)
        self._source: Parts = source_storage.parts
        self._target: Parts = target_storage.parts

    async def migrate_violation_data(
        self,
        start_date: datetime,
        end_date: datetime,
        *,
        dry_run: bool = False,
        reread: bool = False,
        seal: bool = False,
        parallel: int = 8,
        bytes_per_second: int = 0,
        files_per_second: int = 0,
        progress: Callable[[Progress], None] | None = None,
        report_file: Path | str | None = None,
    ) -> MigrationView:
        """Bring the available violations with `start_date ≤ timestamp < end_date` and their files.

        Ids, records, times of receipt and capture, labels, digests, coding and legal holds are kept,
        released ones too; a file is kept as long as at the source, or longer by the target's rules.
        Every byte is verified when it is read and again at the target, before its row is written
        there. Of a purged file its destruction certificate is brought. Files that belong to no
        violation stay, and so does what is deleted at the source, but not purged.

        A call that was interrupted is repeated: it goes on behind the cursor in the target's
        database, and stores nothing twice. A file without a good copy does not stop its violation,
        which arrives incomplete: `failed` names it.

        Args:
            dry_run: count only.
            reread: compare the bytes at the target with the source's digests once more, not only the
                rows. Follows from `seal` and `report_file`.
            seal: make the source read only, if the target has everything, unaltered.
            parallel: how many violations are brought at once.
            bytes_per_second, files_per_second: the most on average; 0: no limit.
            progress: is called with the number of violations that are done.
            report_file: where to write the result, signed with the target's `url_signing_key`.

        Times without a zone are read in the source's `timezone`.

        Raises:
            InvalidInput: the range is empty, an argument is wrong, or both services have one
                catalogue.
            StorageUnavailable, StorageFull: a store can't be reached, or is full. A repeated call
                goes on.
            Sealed: the target is read only.
        """
        limits = MigrationLimits(
            _number("parallel", parallel),
            _number("bytes_per_second", bytes_per_second),
            _number("files_per_second", files_per_second),
        )
        start = self._instant("start_date", start_date)
        end = self._instant("end_date", end_date)
        migrate = MigrateAndProve(
            (await self._source.started()).migration_source(),
            (await self._target.started()).migration_target(),
        )
        done = await migrate(
            start,
            end,
            progress or _silent,
            limits=limits,
            dry_run=flag("dry_run", dry_run),
            reread=flag("reread", reread) or report_file is not None,
            seal_as=ACTOR if flag("seal", seal) else None,
        )
        view = migration_view(done)
        if report_file is not None and not dry_run:
            write_report(Path(report_file), view, self._target.container.signing_key()())
        return view

    def _instant(self, name: str, time: datetime) -> datetime:
        check_type(name, time, datetime)
        return instant(time, self._source.zone, name).at


def write_report(path: Path, view: MigrationView, key: bytes) -> None:
    """Write the signed report of a migration.

    Raises:
        InvalidInput: the file can't be written.
    """
    try:
        path.write_bytes(signed_migration(view, key))
    except OSError as error:
        raise InvalidInput.of(
            "report_file", f"can't be written: {error.strerror}", "name a file in a writable folder"
        ) from error


def _number(name: str, value: object) -> int:
    number = plain_number(value)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise InvalidInput.of(name, f"is {shown(value)}", "give a whole number")


def _silent(_progress: Progress) -> None:
    """Show nothing."""
