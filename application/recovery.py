"""Recovery: undoes interrupted store operations (attempts).

It enters their keys into the quarantine, and deletes their journal entries. It never completes one;
the caller's retry does that. It deletes no blob: the catalogue may have been restored from a backup
in which an attempt is unfinished that was committed later. A rebuild records such a file again.
"""

import logging
from datetime import timedelta

from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.domain.ingest import Attempt
from traffic_storage.domain.quarantine import Quarantined, QuarantineReason, UndoAttempt
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.ingest_journal import IngestJournal

logger = logging.getLogger("traffic_storage.recovery")

BATCH = 100


class Recover:
    """Undoes interrupted store operations: their keys go into the quarantine.

    An operation counts as interrupted when its deadline and `margin`, the time for requests that
    still run, have passed. No store need be reached.
    """

    def __init__(
        self,
        *,
        journal: IngestJournal,
        changes: Changes,
        clock: Clock,
        counters: OperationCounters,
        margin: timedelta,
    ) -> None:
        self._journal = journal
        self._changes = changes
        self._clock = clock
        self._counters = counters
        self._margin = margin

    async def __call__(self) -> int:
        """Undo all interrupted store operations; return their number.

        Raises:
            CatalogueUnavailable: the database can't be reached.
            StorageFull: the database has no space to write.
        """
        undone = 0
        while True:
            attempts = await self._journal.condemn(self._clock.now() - self._margin, BATCH)
            for attempt in attempts:
                await self._undo(attempt)
                undone += 1
            if len(attempts) < BATCH:
                return undone

    async def _undo(self, attempt: Attempt) -> None:
        now = self._clock.now()
        entries = tuple(
            Quarantined(store_id, key, QuarantineReason.UNDONE, now)
            for store_id, key in attempt.keys
        )
        if await self._changes.apply(UndoAttempt(attempt.attempt_id, entries)):
            self._counters.attempts_undone += 1
            logger.info(
                "the interrupted store operation %s of the process %s was undone",
                attempt.attempt_id,
                attempt.owner,
            )
