"""Promote: gives files in the cloud that are read often a copy on local disk."""

import logging
from datetime import timedelta

from attrs import frozen

from traffic_storage.application.stores import Stores
from traffic_storage.domain.copies import copy_job, may_be_promoted
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import StoredFile, Tier
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.placement import StorageStrategy, Thresholds
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.jobs import JobQueue

logger = logging.getLogger("traffic_storage.copies")

WINDOW = timedelta(hours=1)
_MOST_COUNTED = 10_000


@frozen
class _Reads:
    """How often a file was read since the monotonic time `since`."""

    count: int
    since: float


class Promote:
    """Counts the reads of this process; `reads` of one file within an hour are often. 0: never.

    A promoted file is a replica like any other. It leaves local disk again when that is above its
    high-water mark. A file that would bring local disk above its low-water mark is not promoted.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        queue: JobQueue,
        clock: Clock,
        ids: Ids,
        strategy: StorageStrategy,
        thresholds: Thresholds,
        reads: int,
    ) -> None:
        self._stores = stores
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._strategy = strategy
        self._thresholds = thresholds
        self._often = reads
        # In the order of the first read of each file.
        self._counted: dict[FileId, _Reads] = {}

    async def __call__(self, file: StoredFile) -> None:
        """Note that a file was read; write the job of a local copy if it is read often now.

        An error does not fail the read: it is logged, and counting starts anew.
        """
        if not self._often or not may_be_promoted(self._strategy, file):
            return
        if self._count(file.file_id) < self._often:
            return
        del self._counted[file.file_id]
        try:
            await self._promote(file)
        except TrafficStorageError as error:
            logger.warning("%s is not promoted: %s", file.file_id, str(error))

    def _count(self, file_id: FileId) -> int:
        now = self._clock.monotonic()
        known = self._counted.get(file_id)
        if known is None or now - known.since > WINDOW.total_seconds():
            self._counted.pop(file_id, None)
            known = _Reads(0, now)
        self._counted[file_id] = _Reads(known.count + 1, known.since)
        if len(self._counted) > _MOST_COUNTED:
            del self._counted[next(iter(self._counted))]
        return known.count + 1

    async def _promote(self, file: StoredFile) -> None:
        local = self._stores.local_status()
        if local is None or not local.below(self._thresholds.low_water, file.stored.size_bytes):
            return
        source = file.readable[0].store_id
        job = copy_job(self._ids.uuid7(), file, source, local.store_id, Tier.LOCAL)
        await self._queue.enqueue([job])
        logger.info("%s is read often and gets a copy on local disk", file.file_id)
