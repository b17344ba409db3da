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

        Return whether the change modified anything. False if the same change was applied before, by
        this or another caller, or if it records a state in which a replica was found and that may
        not replace the recorded state, or if a replica may not go (`ReleaseReplica`), or if a file is
        not as `AddLabels` expects it.

        Raises (nothing was changed, except possibly with OutcomeUnknown):
            AttemptCondemned: recovery cancelled the store operation of a `CommitUnit`, or the attempt of
                an `AddLabels`, first, because its deadline had passed, or the change names an unregistered store, or restores a
                file that no longer exists; or the file can't get the copy of an `AddReplica`. A
                journal entry of the operation stays.
            IdsTaken: another file or violation has one of the ids, or the violation to complete
                does not exist or has such a file already. The journal entry stays.
            KeyTaken: another file was stored with the key of a `CommitUnit` or `BindKey`. The
                journal entry stays.
            OutcomeUnknown: the outcome could not be looked up; the change may have been applied.
            CatalogueUnavailable: the database can't be reached or did not answer in time.
            StorageFull: the database has no space to write.
        """
