"""Changes: the only port that writes files, replicas and violations."""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.changes import Change


class Changes(Protocol):
    """Applies changes to the catalogue."""

    @abstractmethod
    async def apply(self, change: Change) -> bool:
        """Apply a change completely, in one transaction, together with the counters.

        The counters stay equal to a recount. A change is compare-and-set on the states that it
        expects, and safe to repeat. If the outcome of the transaction is unclear, the adapter looks
        it up before it returns.

        Return whether the change modified anything. False if it was applied before (by an earlier
        call of this attempt or by another caller), or if it is an observation of a replica in a
        state that the observed state may not replace.

        Raises (nothing was changed, except possibly with OutcomeUnknown):
            AttemptCondemned: recovery condemned the attempt of `CommitUnit` first, or the unit names
                an unregistered store, or restores a file that no longer exists. The attempt stays
                in the journal.
            IdsTaken: another unit has one of the ids, or has completed the violation. The attempt
                stays in the journal.
            OutcomeUnknown: the outcome could not be looked up; the change may have been applied.
            CatalogueUnavailable: the database can't be reached or did not answer in time.
            StorageFull: the database has no space to write.
        """
