"""ReleaseCopy: lets a replica go after another one of the same file was read and verified."""

import logging
from uuid import UUID

from traffic_storage.application.replica_reader import ReplicaReader
from traffic_storage.domain.copies import ReleaseReplica, removal_job, verified_elsewhere
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile
from traffic_storage.ports.clock import Clock, Ids

logger = logging.getLogger("traffic_storage.copies")


class ReleaseCopy:
    """Prepares the change that lets a replica go. The bytes are removed later, by a job."""

    def __init__(self, *, replicas: ReplicaReader, clock: Clock, ids: Ids) -> None:
        self._replicas = replicas
        self._clock = clock
        self._ids = ids

    async def __call__(self, file: StoredFile, replica_id: UUID) -> ReleaseReplica | None:
        """Read another replica of `file` whole and verify it; return the change, to be applied.

        None if no other replica is good, or if this one is gone already: it stays as it is then.

        Raises:
            StorageUnavailable: every other replica that may be good can't be read now.
            CatalogueUnavailable: the database can't be reached.
        """
        goes = next((one for one in file.replicas if one.replica_id == replica_id), None)
        if goes is None or goes.state is ReplicaState.GONE:
            return None
        kept = await self._good_one(file, goes)
        if kept is None:
            logger.warning(
                "the copy of %s in %s stays: no other copy of this file is good",
                file.file_id,
                goes.store_id,
            )
            return None
        removal = removal_job(self._ids.uuid7(), file.file_id, goes)
        return ReleaseReplica(
            file.file_id, replica_id, kept.replica_id, self._clock.now(), (removal,)
        )

    async def _good_one(self, file: StoredFile, goes: Replica) -> Replica | None:
        unreadable: StorageUnavailable | None = None
        for other in verified_elsewhere(file, goes):
            try:
                if await self._replicas.verify(file, other):
                    return other
            except StorageUnavailable as error:
                unreadable = error
        if unreadable is not None:
            raise unreadable
        return None
