"""Archive: moves old files from local disk to the cloud, by the jobs that move files anyway."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from attrs import define

from traffic_storage.application.stores import Stores
from traffic_storage.domain.copies import Leaving, archived
from traffic_storage.domain.errors import WrongState
from traffic_storage.domain.files import FileKind, StoredFile, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.copies import Copies
from traffic_storage.ports.jobs import JobQueue

_PAGE = 500


class NoArchive(WrongState):
    """There is no cloud store to which files could be moved."""

    def __init__(self) -> None:
        super().__init__(
            "there is no cloud store to which old files can be moved",
            remedy="set s3_bucket and its keys, and use a strategy with a local and a cloud tier",
        )


@define
class Archived:
    """Files that begin to leave local disk.

    Attributes:
        files, bytes: how many, and their stored bytes.
        copied: those of them that are copied to the cloud before; the others are verified there.
    """

    files: int = 0
    copied: int = 0
    bytes: int = 0


class Archive:
    """Plans the moves; the jobs do them. A file leaves only when its copy was read back.

    So planning again adds nothing for files that are about to leave.
    """

    def __init__(self, *, stores: Stores, copies: Copies, queue: JobQueue, ids: Ids) -> None:
        self._stores = stores
        self._copies = copies
        self._queue = queue
        self._ids = ids

    async def __call__(
        self, before: datetime, *, kinds: Collection[FileKind] = (), dry_run: bool = False
    ) -> Archived:
        """Write the jobs that move files that were received before a time; of all kinds if none is given.

        A copy that came to local disk later, because the file is read often, stays. With `dry_run`,
        the jobs are only counted.

        Raises:
            NoArchive: there is no cloud store.
            CatalogueUnavailable: the database can't be reached.
        """
        if self._stores.cloud_for(None) is None:
            raise NoArchive
        found = Archived()
        for bound in self._stores:
            if bound.store.tier is Tier.LOCAL and bound.trusted and bound.store_id is not None:
                await self._archive(
                    bound.store_id, before, frozenset(kinds), found, dry_run=dry_run
                )
        return found

    async def _archive(
        self,
        store_id: StoreId,
        before: datetime,
        kinds: Collection[FileKind],
        found: Archived,
        *,
        dry_run: bool,
    ) -> None:
        after: UUID | None = None
        while page := await self._copies.oldest_in(store_id, after, _PAGE):
            moves = list(self._moves(page, store_id, before, kinds))
            if not dry_run:
                await self._queue.enqueue([move.job(self._ids.uuid7()) for move in moves])
            found.files += len(moves)
            found.copied += sum(move.target is not None for move in moves)
            found.bytes += sum(move.file.stored.size_bytes for move in moves)
            last = next(one for one in page[-1].readable if one.store_id == store_id)
            # In the order of their copies, none of which is older than its file.
            if last.written_on > before.date():
                return
            after = last.replica_id

    def _moves(
        self,
        page: Sequence[StoredFile],
        store_id: StoreId,
        before: datetime,
        kinds: Collection[FileKind],
    ) -> Iterator[Leaving]:
        for file in page:
            if kinds and file.kind not in kinds:
                continue
            cloud = self._stores.cloud_for(file.device_id)
            if move := archived(file, cloud, store_id, before):
                yield move
