"""ReadBack: reads what was written at its store, before the catalogue learns of it."""

import logging

from attrs import evolve

from traffic_storage.application.stores import Stores
from traffic_storage.domain.copies import RefuteCopy
from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.domain.events import event_of_refuted_copy
from traffic_storage.domain.files import Replica, StoredFile
from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, CatalogueUnavailable

logger = logging.getLogger("traffic_storage.copies")


class CopyRefuted(TrafficStorageError):
    """The target holds other bytes than were written there, or none; the copy was not added."""


class ReadBack:
    """Hashes the bytes of a new copy at its store and compares them with the recorded digests."""

    def __init__(self, *, stores: Stores, changes: Changes, clock: Clock) -> None:
        self._stores = stores
        self._changes = changes
        self._clock = clock

    async def __call__(self, attempt: AttemptId, file: StoredFile, copy: Replica) -> Replica:
        """Return the copy as verified now.

        A copy that differs stays under its key, and its entry in the journal, until recovery brings
        it to the quarantine; an event tells of it.

        Raises:
            CopyRefuted: the store does not hold the bytes that were written there.
            StorageUnavailable: the store can't be reached.
        """
        try:
            await self._stores.trusted(copy.store_id).verify(copy.key, file.stored)
        except (BlobCorrupt, BlobMissing) as error:
            await self._record_refuted(attempt, file, copy, error)
            raise _refuted(file, copy, error) from error
        return evolve(copy, verified_at=self._clock.now())

    async def _record_refuted(
        self,
        attempt: AttemptId,
        file: StoredFile,
        copy: Replica,
        error: BlobCorrupt | BlobMissing,
    ) -> None:
        event = event_of_refuted_copy(file, copy, self._clock.now(), str(error))
        try:
            await self._changes.apply(RefuteCopy(attempt, event))
        except (CatalogueUnavailable, StorageFull) as failure:
            logger.warning(
                "the event of a copy that is not used was not recorded: %s", str(failure)
            )


def _refuted(file: StoredFile, copy: Replica, error: BlobCorrupt | BlobMissing) -> CopyRefuted:
    logger.error(
        "the copy of %s in %s does not have the bytes that were written; it is not used, and its "
        "source stays: %s",
        file.file_id,
        copy.store_id,
        str(error),
    )
    return CopyRefuted(
        f"the copy of {file.file_id} in {copy.store_id} does not have the bytes that were written: "
        f"{error}",
        remedy="check the medium of this store; the copy is tried again under another key",
    )
