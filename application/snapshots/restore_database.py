"""RestoreDatabase: loads the backup of the database in a snapshot into an empty database.

It is for a database that is lost while the stores are there: everything comes back that a rebuild
can't know, such as jobs, incidents and plans. The catalogue is then older than its stores, so it
trusts none of them until `RebuildCatalogue` has brought what came later.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from attrs import define, field, frozen

from traffic_storage.application.snapshots.location import SnapshotLocation
from traffic_storage.domain.database_backup import DatabaseForm, Loading
from traffic_storage.domain.errors import WrongState
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, Incarnation
from traffic_storage.domain.identity import LOADED
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.snapshot import (
    Part,
    PartKind,
    PinSnapshot,
    SnapshotManifest,
    SnapshotPin,
    differences,
)
from traffic_storage.domain.snapshot_rows import file_in
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.database_backup import DatabaseBackup, NotBlank
from traffic_storage.ports.reconciliation import Reconciliation

Report = Callable[[Progress], None]

_BATCH = 500
_MOST_EXAMPLES = 1000
_STATE = frozenset({"state", "state_at"})


class NoDatabaseBackup(WrongState):
    """The snapshot has no backup of a database."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the snapshot {name!r} has no backup of the database, because it was made with "
            "snapshot_database off",
            remedy="use another snapshot, or `snapshot restore` or `rebuild`",
        )


class OtherDatabase(WrongState):
    """The backup is of another kind of database, or of tables of another version."""

    def __init__(self, backup: DatabaseForm, own: DatabaseForm) -> None:
        what = (
            f"of {backup.kind}, and this database is {own.kind}"
            if backup.kind is not own.kind
            else f"of tables of version {backup.version}, and this program has {own.version}"
        )
        super().__init__(
            f"the backup is {what}",
            remedy="use `snapshot restore`, whose rows fit into every database",
        )


@frozen
class DatabasePlan:
    """What loading would do: nothing stands against it."""

    manifest: SnapshotManifest
    form: DatabaseForm


@define
class RestoredDatabase:
    """What was loaded.

    Attributes:
        files: rows of files that were compared with the snapshot's own lines; `differing`: how
            many of them differ from these; `examples` names the first 1,000, with what differs.
    """

    manifest: SnapshotManifest
    form: DatabaseForm
    files: int = 0
    differing: int = 0
    examples: list[tuple[FileId, str]] = field(factory=list)

    @property
    def is_good(self) -> bool:
        """Whether all rows are as the snapshot says."""
        return not self.differing and self.files == self.manifest.files


class RestoreDatabase:
    """Loads backups of databases. No store is read or changed. The service must not be started."""

    def __init__(
        self,
        *,
        location: SnapshotLocation,
        backup: DatabaseBackup,
        rows: Reconciliation,
        changes: Changes,
        clock: Clock,
        ids: Ids,
        max_age: timedelta,
    ) -> None:
        self._location = location
        self._backup = backup
        self._rows = rows
        self._changes = changes
        self._clock = clock
        self._ids = ids
        self._max_age = max_age

    async def plan(self, name: str) -> DatabasePlan:
        """Check whether the backup in a snapshot can be loaded. Changes nothing.

        Raises:
            InvalidInput: `name` is not the name of a snapshot.
            NotFound: there is no complete snapshot with this name.
            NoDatabaseBackup: the snapshot has no backup of a database.
            OtherDatabase: the backup is for another kind of database, or another version of tables.
            NotBlank: the database is not empty.
            SnapshotDamaged: the manifest is damaged.
            StorageUnavailable: the location can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        manifest = await self._location.manifest(name)
        form, own = manifest.database, self._backup.form
        if form is None:
            raise NoDatabaseBackup(name)
        if form != own:
            raise OtherDatabase(form, own)
        if not await self._backup.is_blank():
            raise NotBlank("the database")
        return DatabasePlan(manifest, form)

    async def __call__(
        self, name: str, report: Report = lambda _progress: None
    ) -> RestoredDatabase:
        """Load the backup in a snapshot, in one transaction; then compare it with the rows there.

        Raises (the database is as it was, or has empty tables):
            as `plan`.
            SnapshotDamaged: a part is missing or altered.
            UnusableBackup: the backup is not whole.
            CatalogueUnavailable: also, another process uses the database.
        """
        plan = await self.plan(name)
        manifest = plan.manifest
        incarnation = Incarnation(f"{LOADED}{self._ids.uuid7()}")
        loading = Loading(manifest.cut_at, self._clock.now(), incarnation)
        pieces = self._pieces(manifest.parts_of(PartKind.DATABASE), report)
        await self._backup.load_database(pieces, loading)
        # In the backup, the snapshot was being made and pinned every file, later ones too.
        until = manifest.begun_at + self._max_age
        location = self._location.store.location
        pin = SnapshotPin(name, location, manifest.begun_at, until, newest=manifest.cut_at)
        await self._changes.apply(PinSnapshot(pin))
        return await self._compared(RestoredDatabase(manifest, plan.form))

    async def _pieces(self, parts: Sequence[Part], report: Report) -> AsyncIterator[bytes]:
        done = 0
        for place, part in enumerate(parts, 1):
            piece = await self._location.piece(part)
            yield piece
            done += len(piece)
            report(Progress(place, len(parts), done))

    async def _compared(self, found: RestoredDatabase) -> RestoredDatabase:
        for part in found.manifest.parts_of(PartKind.FILES):
            lines = await self._location.lines(part)
            for begin in range(0, len(lines), _BATCH):
                files = [file_in(line) for line in lines[begin : begin + _BATCH]]
                known = await self._rows.files_by_id([file.file_id for file in files])
                for file in files:
                    found.files += 1
                    if what := _difference(file, known.get(file.file_id)):
                        found.differing += 1
                        if len(found.examples) < _MOST_EXAMPLES:
                            found.examples.append((file.file_id, what))
        return found


def _difference(file: StoredFile, row: StoredFile | None) -> str:
    """Return in what a row differs from its line in the snapshot; empty: in nothing."""
    if row is None:
        return "it is missing"
    # The line tells of a deleted file as it was before.
    passed = frozenset() if row.state is FileState.AVAILABLE else _STATE
    return ", ".join(name for name in differences(file, row) if name not in passed)
