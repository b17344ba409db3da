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
    """The store answered that it has no blob under this key.

    `absent_part` names the folder for blobs of this date if that folder is absent, else it is empty.
    The folder may be a mount point that is not mounted.
    """

    def __init__(self, message: str, *, remedy: str = "", absent_part: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.absent_part = absent_part


class BlobConflict(TrafficStorageError):
    """The blob key, or the store's identification file (marker), already has other content.

    Nothing was changed.
    """


class DeadlinePassed(TrafficStorageError, TimeoutError):
    """The time limit for storing passed before the blob was published; nothing was published."""


class StoreReplaced(StorageUnavailable):
    """The path of a store now leads to another folder than before; it was not read or changed."""


class CatalogueUnavailable(Unavailable):
    """The database can't be reached or did not answer in time."""


class CatalogueReadOnly(CatalogueUnavailable):
    """The database can be read at most: nothing can be written to it."""


class OutcomeUnknown(CatalogueUnavailable):
    """A commit was sent to the database, and whether it happened could not be determined."""


class AttemptCondemned(TrafficStorageError):
    """Recovery cancelled a store operation, whose deadline had passed, before its commit.

    Nothing of the operation is visible.
    """


class IdsTaken(TrafficStorageError):
    """Another file or violation was stored first under one of the ids; nothing was committed."""


class KeyTaken(TrafficStorageError):
    """Another file was stored first with the key of an upload; nothing was committed."""


class LeaseLost(TrafficStorageError):
    """The lease of a job has passed, and the job was taken from its worker, or the job has ended."""


__all__ = [
    "AttemptCondemned",
    "BlobConflict",
    "BlobCorrupt",
    "BlobMissing",
    "CatalogueReadOnly",
    "CatalogueUnavailable",
    "DeadlinePassed",
    "IdsTaken",
    "KeyTaken",
    "LeaseLost",
    "OutcomeUnknown",
    "StorageFull",
    "StorageUnavailable",
    "StoreReplaced",
    "Unavailable",
]
