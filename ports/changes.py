"""Changes: the only way in which files, replicas and violations are written."""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.changes import Change


class Changes(Protocol):
    """What writing needs."""

    @abstractmethod
    async def apply(self, change: Change) -> bool:
        """Apply a change whole, in one transaction, and count accordingly.

        The counters change in the same transaction and stay equal to a recount. A change is
        compare-and-set on the states that it expects, and safe to repeat. One whose outcome is
        unclear is looked up before this returns.

        Returns whether it changed anything: False for one that was applied before (by this
        attempt, or of several callers by another), and for an observation of a replica that is in
        no state which the observed one may replace.

        Raises (nothing is changed then):
            AttemptCondemned: recovery ended the attempt of `CommitUnit` first, or a store that it
                names is unknown, or a file that it restores is gone. The attempt
                stays, as with the next one.
            IdsTaken: another unit has one of the ids (or has completed the violation).
            OutcomeUnknown: it could not be looked up; it may have happened.
            CatalogueUnavailable: the database can't be reached or did not answer in time.
            StorageFull: it has no room to write.
        """
