"""The replicas of a store by their age, in the memory of this process."""

from collections.abc import Sequence
from uuid import UUID

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId


class InMemoryCopies:
    """Reads the replicas of a store in a dictionary of files."""

    _files: dict[FileId, StoredFile]

    async def oldest_in(
        self, store_id: StoreId, after: UUID | None = None, limit: int = 100
    ) -> Sequence[StoredFile]:
        found = sorted(
            (replica.replica_id, file.file_id)
            for file in self._files.values()
            for replica in file.readable
            if replica.store_id == store_id and (after is None or replica.replica_id > after)
        )
        return [self._files[file_id] for _, file_id in found[:limit]]
