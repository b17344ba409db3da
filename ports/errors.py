"""What a back end can answer, whatever its technology. Each adapter translates into these.

`StorageFull` and `StorageUnavailable` are the domain's: placement raises them too.

By their builtin parents `DeadlinePassed` and `StorageUnavailable` are an `OSError`, so an adapter
that translates those lets a `TrafficStorageError` through first.
"""

from traffic_storage.domain.errors import StorageFull, StorageUnavailable, TrafficStorageError


class BlobMissing(TrafficStorageError, LookupError):
    """The store answers, and has no blob under this key."""


class BlobCorrupt(TrafficStorageError):
    """The blob's size or digest is not what the catalogue says; none of its bytes was given."""


class BlobConflict(TrafficStorageError):
    """The key holds other bytes already. Keys are ours alone, so this is never expected."""


class DeadlinePassed(TrafficStorageError, TimeoutError):
    """The attempt's deadline passed before the blob was published; nothing was published."""


class StoreReplaced(StorageUnavailable):
    """Something else lies where the store was opened: nothing may be written there."""


class CatalogueUnavailable(StorageUnavailable):
    """The database can't be reached, or did not answer in time."""


class OutcomeUnknown(CatalogueUnavailable):
    """A commit was sent, and whether it happened can't be found out now. It may have."""


class AttemptCondemned(TrafficStorageError):
    """The attempt was undone by recovery before it could commit; nothing of it is visible."""


class NamesTaken(TrafficStorageError):
    """Another unit claimed one of the names first; nothing of this unit is visible."""


__all__ = [
    "AttemptCondemned",
    "BlobConflict",
    "BlobCorrupt",
    "BlobMissing",
    "CatalogueUnavailable",
    "DeadlinePassed",
    "NamesTaken",
    "OutcomeUnknown",
    "StorageFull",
    "StorageUnavailable",
    "StoreReplaced",
]
