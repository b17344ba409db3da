"""The jobs of copies: copy a file, move it, let a copy go, remove the bytes of one that is gone."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from traffic_storage.application.copy_file import CopyFile
from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.release_copy import ReleaseCopy
from traffic_storage.application.stores import Stores
from traffic_storage.application.worker import GivenUp, Handler, Outcome, Report
from traffic_storage.domain.copies import (
    COPY,
    MOVE,
    RELEASE,
    REMOVE_BLOB,
    lacks_copy,
    release_job,
)
from traffic_storage.domain.errors import StorageFull
from traffic_storage.domain.files import BlobKey, FileState, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.jobs import Done, JobKind, Postponed, Progress, Run
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Ids

_WHILE_FULL = timedelta(minutes=5)
_WHILE_TOMBSTONED = timedelta(hours=1)


class CopyJobs:
    """Does the jobs of copies. Each looks first at what is left to do, so it may run again."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        copy_file: CopyFile,
        release_copy: ReleaseCopy,
        stores: Stores,
        ids: Ids,
        counters: OperationCounters,
    ) -> None:
        self._catalogue = catalogue
        self._copy_file = copy_file
        self._release_copy = release_copy
        self._stores = stores
        self._ids = ids
        self._counters = counters

    @property
    def handlers(self) -> Mapping[JobKind, Handler]:
        """What does the jobs of each kind."""
        return {
            COPY: self.copy,
            MOVE: self.move,
            RELEASE: self.release,
            REMOVE_BLOB: self.remove_blob,
        }

    async def copy(self, run: Run, _report: Report) -> Outcome:
        """Copy a file to the store `store_id`, unless it has a good copy there.

        If this process has no such store, the file goes to the cloud store of its device.
        """
        file = await self._file(run)
        if (outcome := _without_copy(file)) is not None:
            return outcome
        return await self._copied(file, self._cloud_or_named(file, _target(run)))

    async def move(self, run: Run, _report: Report) -> Outcome:
        """Copy a file to the store `store_id`; then the replica `replica_id` goes, by a further job."""
        file, replica_id = await self._file(run), _replica_id(run)
        if (outcome := _without_copy(file)) is not None:
            return outcome
        target = self._cloud_or_named(file, _target(run))
        if not lacks_copy(file, target):
            return await self._released(file, replica_id)
        return await self._copied(file, target, releases=replica_id)

    async def release(self, run: Run, _report: Report) -> Outcome:
        """Let the replica `replica_id` go, if another one is good."""
        file = await self._file(run)
        if (outcome := _without_copy(file)) is not None:
            return outcome
        return await self._released(file, _replica_id(run))

    async def remove_blob(self, run: Run, _report: Report) -> Outcome:
        """Remove the bytes under `key` in the store `store_id`, whose replica must be gone."""
        store_id, key = _target(run), BlobKey(str(run.arguments["key"]))
        file = await self._file(run)
        named = [one for one in file.replicas if (one.store_id, one.key) == (store_id, key)]
        if [one.state for one in named] != [ReplicaState.GONE]:
            raise GivenUp(f"{key} in {store_id} is not removed: its replica is not gone")
        await self._stores.confirm(store_id)
        kept = await self._stores.trusted(store_id).delete(key)
        return _done(file, "; ".join(map(str, kept)))

    async def _copied(
        self, file: StoredFile, target: StoreId, releases: UUID | None = None
    ) -> Outcome:
        if not lacks_copy(file, target):
            return _done(file, "it has a copy there already")
        leaving = [one for one in file.readable if one.replica_id == releases]
        jobs = tuple(release_job(self._ids.uuid7(), file, one) for one in leaving)
        try:
            change = await self._copy_file(file, target, jobs=jobs)
        except StorageFull as error:
            return Outcome(Postponed(str(error), _WHILE_FULL))
        self._counters.files_copied += 1
        self._counters.bytes_copied += file.stored.size_bytes
        return Outcome(_done(file).end, change)

    async def _released(self, file: StoredFile, replica_id: UUID) -> Outcome:
        change = await self._release_copy(file, replica_id)
        if change is None:
            return _done(file, "it stays: no other copy is good, or it is gone already")
        self._counters.replicas_released += 1
        return Outcome(_done(file).end, change)

    def _cloud_or_named(self, file: StoredFile, named: StoreId) -> StoreId:
        """Return the store to copy a file to: the named one, or the cloud store of its device.

        The named one may be `UNKNOWN_STORE`, or a store that is configured no more.
        """
        if named in self._stores:
            return named
        return self._stores.cloud_for(file.device_id) or named

    async def _file(self, run: Run) -> StoredFile:
        file_id = FileId(str(run.arguments["file_id"]))
        file = await self._catalogue.file(file_id)
        if file is None:
            raise GivenUp(f"there is no file {file_id}")
        return file


def _without_copy(file: StoredFile) -> Outcome | None:
    """Return the outcome of a job for a file that may get no copy now; None for an available one."""
    match file.state:
        case FileState.AVAILABLE:
            return None
        case FileState.TOMBSTONED:
            return Outcome(Postponed("the file is marked as deleted", _WHILE_TOMBSTONED))
        case FileState.PURGING | FileState.PURGED:
            return _done(file, "the file is deleted")


def _done(file: StoredFile, message: str = "") -> Outcome:
    return Outcome(Done(Progress(1, 1, file.stored.size_bytes, message)))


def _target(run: Run) -> StoreId:
    return StoreId(str(run.arguments["store_id"]))


def _replica_id(run: Run) -> UUID:
    return UUID(str(run.arguments["replica_id"]))
