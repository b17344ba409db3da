"""Recovery: undoes interrupted store operations (attempts).

It deletes the blobs of an attempt and its journal entry. It never completes one; the caller's retry
does that.
"""

import logging
from datetime import timedelta

from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.stores import Stores
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Attempt
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.ingest_journal import IngestJournal

logger = logging.getLogger("traffic_storage.recovery")

BATCH = 100


class Recover:
    """Undoes interrupted store operations: deletes their blobs and their journal entries.

    An operation counts as interrupted when its deadline and `margin`, the time for requests that
    still run, have passed.
    """

    def __init__(
        self,
        *,
        journal: IngestJournal,
        stores: Stores,
        clock: Clock,
        counters: OperationCounters,
        margin: timedelta,
    ) -> None:
        self._journal = journal
        self._stores = stores
        self._clock = clock
        self._counters = counters
        self._margin = margin

    async def __call__(self) -> int:
        """Undo all interrupted store operations; return their number.

        If this process can't reach a store in which an operation may have left a blob, the journal
        entry stays, and a process that can reach the store, or a later call, undoes the operation.
        Other operations are not delayed.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        undone = 0
        stuck: set[AttemptId] = set()
        while True:
            # The journal returns the stuck attempts every time, before younger ones.
            limit = BATCH + len(stuck)
            attempts = await self._journal.condemn(self._clock.now() - self._margin, limit)
            for attempt in attempts:
                if attempt.attempt_id in stuck:
                    continue
                if await self._undo(attempt):
                    undone += 1
                    self._counters.attempts_undone += 1
                else:
                    stuck.add(attempt.attempt_id)
            if len(attempts) < limit:
                return undone

    async def _undo(self, attempt: Attempt) -> bool:
        try:
            for store_id, key in attempt.keys:
                await self._stores.confirm(store_id)
                await self._stores.trusted(store_id).delete(key)
        except StorageUnavailable as error:
            logger.warning(
                "the blobs of the interrupted store operation %s can't be deleted now; this is tried "
                "again periodically: %s",
                attempt.attempt_id,
                str(error),
            )
            return False
        await self._journal.forget(attempt.attempt_id)
        logger.info(
            "the interrupted store operation %s of the process %s was undone",
            attempt.attempt_id,
            attempt.owner,
        )
        return True
