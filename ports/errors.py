"""The errors that adapters raise. Each adapter translates the errors of its technology into these.

`BlobCorrupt`, `StorageFull` and `StorageUnavailable` are defined in the domain, which raises them
too. Stores raise `StorageUnavailable`, catalogues `CatalogueUnavailable`; neither is a subclass of
the other, and `Unavailable` is the parent of both.

`DeadlinePassed` and every `Unavailable` are an `OSError` by their builtin parents: an adapter that
translates `OSError` re-raises a `TrafficStorageError` unchanged.
"""

from traffic_storage.domain.errors import (
    BlobCorrupt,
    StorageFull,
    StorageUnavailable,
    TrafficStorageError,
    Unavailable,
)


class BlobMissing(TrafficStorageError, LookupError):
    """The store answers, and has no blob under this key.

    `absent_part` names the folder for blobs of this date if it is absent as a whole; else it is
    empty. Such a folder may be a mount point of its own that is not mounted.
    """

    def __init__(self, message: str, *, remedy: str = "", absent_part: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.absent_part = absent_part


class BlobConflict(TrafficStorageError):
    """The key or the marker holds other bytes already; nothing was changed."""


class DeadlinePassed(TrafficStorageError, TimeoutError):
    """The attempt's deadline passed before the blob was published; nothing was published."""


class StoreReplaced(StorageUnavailable):
    """Another folder is at the path where the store was opened; nothing is written there."""


class CatalogueUnavailable(Unavailable):
    """The database can't be reached, or did not answer in time."""


class OutcomeUnknown(CatalogueUnavailable):
    """A commit was sent, and whether it happened can't be found out now. It may have."""


class AttemptCondemned(TrafficStorageError):
    """The attempt was undone by recovery before it could commit; nothing of it is visible."""


class IdsTaken(TrafficStorageError):
    """Another unit claimed one of the names first; nothing of this unit is visible."""


__all__ = [
    "AttemptCondemned",
    "BlobConflict",
    "BlobCorrupt",
    "BlobMissing",
    "CatalogueUnavailable",
    "DeadlinePassed",
    "IdsTaken",
    "OutcomeUnknown",
    "StorageFull",
    "StorageUnavailable",
    "StoreReplaced",
    "Unavailable",
]
