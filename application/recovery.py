"""Recovery: undoes interrupted attempts. It never completes one; the caller's retry does that."""

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
    """Undoes attempts whose deadline, plus a margin for running requests, has passed."""

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
        """Undo all attempts that are due; return their number.

        An attempt with a key in a store that this process can't reach stays condemned. A process
        that can reach the store, or a later call, undoes it. It does not delay younger attempts.

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
            logger.warning("attempt %s can't be undone yet: %s", attempt.attempt_id, str(error))
            return False
        await self._journal.forget(attempt.attempt_id)
        logger.info("attempt %s of %s was undone", attempt.attempt_id, attempt.owner)
        return True
