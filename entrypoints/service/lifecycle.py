"""`DataLifecycleManager`: retention, archiving and snapshots of one service."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from traffic_storage.application.snapshots.restore import nothing_destroyed
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.times import instant
from traffic_storage.entrypoints.drill import SAMPLE, drill
from traffic_storage.entrypoints.retention_views import RetentionView
from traffic_storage.entrypoints.service.arguments import check_type, flag
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.service.service import StorageService
from traffic_storage.entrypoints.snapshot_views import (
    ArchivedView,
    CreatedSnapshotView,
    DeletedSnapshotView,
    DrillView,
    RestoredSnapshotView,
    SnapshotsView,
    VerifiedSnapshotView,
    archived_view,
    created_view,
    deleted_view,
    drill_view,
    restored_view,
    snapshots_view,
    verified_view,
)

Report = Callable[[Progress], None]


def _silent(_progress: Progress) -> None:
    """Show nothing."""


class DataLifecycleManager:
    """What becomes of stored data with time. The manager does not close the service.

    Snapshots are at `snapshot_location`: in the bucket where there is one, else below
    `local_base_path`. They are consistent while others write, and share what they have in common.
    `progress` is called with the number of files that are done.

    Errors of all methods about snapshots:
        InvalidInput: the name is not 1–100 letters, digits and `. _ -`.
        StorageUnavailable: the location or a store can't be reached; a repeated call goes on.
    """

    def __init__(self, storage: StorageService) -> None:
        check_type("storage", storage, StorageService)
        self._storage = storage
        self._parts: Parts = storage.parts

    async def apply_retention_policies(
        self, dry_run: bool = False, *, override_limit: bool = False
    ) -> RetentionView:
        """As `StorageService.apply_retention_policies`."""
        return await self._storage.apply_retention_policies(dry_run, override_limit=override_limit)

    async def archive_old_data(
        self,
        older_than: timedelta | datetime | float,
        *,
        kinds: Iterable[str] = (),
        dry_run: bool = False,
    ) -> ArchivedView:
        """Move old files from local disk to the cloud; jobs do it, and the result counts the files.

        A file leaves local disk only after its copy in the cloud was read back. `kinds` are `image`,
        `video`, `metadata`; without them, files of all kinds leave. With `dry_run`, nothing is moved.

        Args:
            older_than: an age, a number of days, or the time before which files were received.

        Raises:
            InvalidInput: an argument is wrong.
            WrongState: there is no cloud store.
        """
        wanted = [_kind(kind) for kind in kinds]
        before = self._before(older_than)
        archive = (await self._parts.started()).archive()
        found = await archive(before, kinds=wanted, dry_run=flag("dry_run", dry_run))
        return archived_view(found, dry_run=dry_run)

    async def create_data_snapshot(
        self, name: str, *, progress: Report = _silent
    ) -> CreatedSnapshotView:
        """Make a snapshot of everything that is stored at one moment.

        It is complete when the call returns; an interrupted one is not listed, and the same call
        goes on with it. Until it is deleted, and at most for `snapshot_max_age_days`, no file in it
        is erased; files can be deleted and undeleted.

        Raises:
            WrongState: there is a snapshot with this name, or another one is just being deleted.
            StorageFull: the location has no space.
        """
        check_type("name", name, str)
        create = (await self._parts.started()).create_snapshot()
        return created_view(await create(name, progress))

    async def list_snapshots(self) -> SnapshotsView:
        """Return the complete snapshots, the newest first, and the names of unfinished ones.

        Each has what its last verification found, and when.
        """
        location = (await self._parts.started()).snapshot_location()
        return await snapshots_view(location)

    async def verify_snapshot(
        self, name: str, *, progress: Report = _silent
    ) -> VerifiedSnapshotView:
        """Read all rows and all bytes of a snapshot, and compare them with its digests.

        Damaged bytes are written anew from a store that has them intact; otherwise they are noted, and
        the next snapshot writes them if a store has them again.

        Raises:
            NotFound: there is no complete snapshot with this name.
            WrongState: the manifest or the rows are damaged.
        """
        check_type("name", name, str)
        verify = (await self._parts.started()).verify_snapshot()
        return verified_view(await verify(name, progress))

    async def restore_snapshot(
        self,
        name: str,
        *,
        target: StorageService | None = None,
        dry_run: bool = False,
        include_purged: bool = False,
        progress: Report = _silent,
    ) -> RestoredSnapshotView:
        """Store what a snapshot has and `target` (this service, if it is None) lacks.

        Files keep their ids, digests, times, retention and labels; holds, deletions and destruction
        certificates come back. What exists stays as it is, and so does what was decided since. A
        repeated call goes on. With `dry_run`, the result says what would be done.

        What this service has destroyed since the snapshot was made stays destroyed, unless
        `include_purged`. What `target` itself has destroyed always stays so: its certificate says
        that the bytes are gone.

        Raises:
            NotFound: there is no complete snapshot with this name.
            WrongState: the manifest or the rows are damaged.
            StorageFull: the stores of the target have no space.
        """
        check_type("name", name, str)
        if target is not None:
            check_type("target", target, StorageService)
        own = await self._parts.started()
        other = own if target is None else await target.parts.started()
        destroyed = nothing_destroyed if flag("include_purged", include_purged) else None
        found = await other.restore_snapshot()(
            own.snapshot_location(),
            name,
            progress,
            destroyed=destroyed or own.find_destroyed(),
            dry_run=flag("dry_run", dry_run),
        )
        return restored_view(found)

    async def drill(self, name: str, *, sample: int = SAMPLE, seed: int | None = None) -> DrillView:
        """Restore `sample` files of a snapshot into a temporary folder, and compare them.

        The same `seed` chooses the same files. The folder is removed at the end.

        Raises:
            NotFound: there is no complete snapshot with this name.
            WrongState: the manifest or the rows are damaged.
        """
        check_type("name", name, str)
        container = await self._parts.started()
        size = _whole("sample", sample)
        return drill_view(await drill(container, name, sample=size, seed=seed))

    async def delete_snapshot(self, name: str, *, foreign: bool = False) -> DeletedSnapshotView:
        """Delete a snapshot, and what no other one needs. An unfinished one can be deleted too.

        With `foreign`, it may be of another catalogue than that of this service.

        Raises:
            NotFound: there is no snapshot with this name.
            WrongState: it is of another catalogue, and stays; or another snapshot is damaged, so that
                it is unknown what it needs: this one is deleted, and what it used stays.
        """
        check_type("name", name, str)
        delete = (await self._parts.started()).delete_snapshot()
        return deleted_view(await delete(name, foreign=foreign))

    def _before(self, older_than: timedelta | datetime | float) -> datetime:
        if isinstance(older_than, datetime):
            return instant(older_than, self._parts.zone, "older_than").at
        age = older_than if isinstance(older_than, timedelta) else _days(older_than)
        if age < timedelta(0):
            raise InvalidInput.of("older_than", "is negative", "give an age or a number of days")
        return self._parts.container.clock().now() - age


def _days(value: object) -> timedelta:
    number = plain_number(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e6:
        return timedelta(days=number)
    raise InvalidInput.of(
        "older_than", f"is {shown(value)}", "give an age, a number of days, or a time"
    )


def _whole(name: str, value: object) -> int:
    number = plain_number(value)
    if isinstance(number, int) and not isinstance(number, bool) and number > 0:
        return number
    raise InvalidInput.of(name, f"is {shown(value)}", "give a whole number of at least 1")


def _kind(value: str) -> FileKind:
    try:
        return FileKind(value)
    except ValueError as error:
        raise InvalidInput.of(
            "kinds", f"has {shown(value)}", f"give {', '.join(FileKind)}"
        ) from error
