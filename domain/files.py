"""Stored files, their replicas, the states of both and the allowed transitions.

Each file has its own catalogue row, bytes and retention; two files never share bytes. The replicas
(copies) of a file are in stores: a store is a folder of one host, or a bucket. Each replica has a
generated key, under which bytes are written only once.

```
file:     available → tombstoned → purging → purged
                    ← (undelete)
replica:  present ⇄ corrupt → gone
                  ⇄ missing → gone
                  → gone
```

`corrupt` and `missing` are states in which a read found the replica. They are not final: a disk can
be mounted again and a copy can be restored by hand. A replica that a later read verifies becomes
`present` again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NewType
from uuid import UUID

from attrs import evolve, frozen

from traffic_storage.domain.digests import Digests, Sha256
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.identifiers import DeviceId, FileId, StoreId, ViolationId
from traffic_storage.domain.image_layout import ChannelOrder

BlobKey = NewType("BlobKey", str)
"""The name of a blob in a store; it contains no text of a user.

Its form is `kind/yyyy/mm/dd/<uuid7 of the replica>-<sha256 of the stored bytes>`.
"""


class FileKind(StrEnum):
    """The kind of a file, which determines its retention and its placement."""

    IMAGE = "image"
    VIDEO = "video"
    METADATA = "metadata"


class FileState(StrEnum):
    """The lifecycle state of a file: readable, marked as deleted, being erased, erased.

    A new file is `available`.
    """

    AVAILABLE = "available"
    TOMBSTONED = "tombstoned"
    PURGING = "purging"
    PURGED = "purged"


class ReplicaState(StrEnum):
    """The recorded state of a replica (one copy of a file in one store).

    A file is read from its `present` replicas first, then from `corrupt` and `missing` ones.
    """

    PRESENT = "present"
    CORRUPT = "corrupt"
    MISSING = "missing"
    GONE = "gone"


class Tier(StrEnum):
    """The class of a store: a folder on a local disk, or a bucket in the cloud."""

    LOCAL = "local"
    CLOUD = "cloud"


class RetentionClock(StrEnum):
    """Which time of a file starts its retention period: its capture or its receipt."""

    CAPTURED = "captured"
    RECEIVED = "received"


class Coding(StrEnum):
    """How the stored bytes are encoded: as the content itself, or compressed."""

    IDENTITY = "identity"
    ZSTD = "zstd"


FILE_TRANSITIONS: Mapping[FileState, frozenset[FileState]] = MappingProxyType(
    {
        FileState.AVAILABLE: frozenset({FileState.TOMBSTONED}),
        FileState.TOMBSTONED: frozenset({FileState.AVAILABLE, FileState.PURGING}),
        FileState.PURGING: frozenset({FileState.PURGED}),
        FileState.PURGED: frozenset(),
    }
)
REPLICA_TRANSITIONS: Mapping[ReplicaState, frozenset[ReplicaState]] = MappingProxyType(
    {
        ReplicaState.PRESENT: frozenset(
            {ReplicaState.CORRUPT, ReplicaState.MISSING, ReplicaState.GONE}
        ),
        ReplicaState.CORRUPT: frozenset({ReplicaState.PRESENT, ReplicaState.GONE}),
        ReplicaState.MISSING: frozenset({ReplicaState.PRESENT, ReplicaState.GONE}),
        ReplicaState.GONE: frozenset(),
    }
)
_DOUBTFUL = frozenset({ReplicaState.CORRUPT, ReplicaState.MISSING})
OBSERVATIONS: Mapping[ReplicaState, frozenset[ReplicaState]] = MappingProxyType(
    {
        ReplicaState.CORRUPT: frozenset({ReplicaState.PRESENT}),
        ReplicaState.MISSING: frozenset({ReplicaState.PRESENT}),
        ReplicaState.PRESENT: _DOUBTFUL,
    }
)
"""Observed state of a replica → the recorded states that it replaces."""
OCCUPYING = frozenset({ReplicaState.PRESENT, ReplicaState.CORRUPT})
"""The states in which a replica is counted as using space in its store."""


class ForbiddenTransition(TrafficStorageError):
    """A file or replica can't go from its state to the requested one.

    The cause is a defect, or another process changed the state first.
    """


@frozen
class Replica:
    """One copy of a file in one store."""

    store_id: StoreId
    tier: Tier
    key: BlobKey
    state: ReplicaState
    verified_at: datetime | None = None

    @property
    def replica_id(self) -> UUID:
        """The UUIDv7 in the key; it is unique among all replicas."""
        return replica_id_of(self.key)

    @property
    def written_on(self) -> date:
        """The day (UTC) on which the replica was created: the day in its key."""
        return _EPOCH.date() + timedelta(days=(self.replica_id.int >> 80) // _MILLISECONDS_A_DAY)

    def become(self, state: ReplicaState, *, verified_at: datetime | None = None) -> "Replica":
        """Return a copy of this replica with another state.

        Raises:
            ForbiddenTransition: the transition from the current state to `state` is not allowed.
        """
        if state not in REPLICA_TRANSITIONS[self.state]:
            raise ForbiddenTransition(f"a replica that is {self.state} can't become {state}")
        return evolve(self, state=state, verified_at=verified_at or self.verified_at)


@frozen
class MediaInfo:
    """The properties of an image or a video; None where a property is unknown or does not apply."""

    width: int | None = None
    height: int | None = None
    channels: int | None = None
    channel_order: ChannelOrder | None = None
    duration_seconds: float | None = None
    pixel_sha256: Sha256 | None = None


@frozen
class PlacementNote:
    """The choice of the stores of a file (`local, then cloud`) and its reason, in words."""

    decision: str
    reason: str


@frozen
class RetentionBasis:
    """The time at which a file's retention period starts, and the reason.

    Attributes:
        clock: whether this is the time of capture or of receipt.
        at: that time, UTC.
        reason: why `clock` was chosen, in words.
    """

    clock: RetentionClock
    at: datetime
    reason: str


@frozen
class StoredFile:
    """The catalogue row of a file, with its replicas (copies in stores).

    Attributes:
        content: digests of the bytes as received and returned: the evidential digests.
        stored: digests of the bytes as stored; equal to `content` unless `coding` changed them.
        created_at: the time of receipt, UTC.
        captured_at: the time of capture, UTC; None if the caller gave none.
        metadata: the metadata that the caller gave, as canonical JSON text of an object, or None.
        state_at: the time at which the file entered `state`, UTC; None means `created_at`.
        keep_until: the end of the retention period, UTC.
        retention_rule: the id of the retention rule from which `keep_until` was computed.
        historic: whether the caller stated that an old capture time is correct.
        original_name: the file name that the caller gave.
        quality: what validating found when the file was stored, as canonical JSON text of an object
            (`domain.quality.note`); None if `validate_on_store` was off. Of a video that was stored
            although it is damaged, also `integrity` and what is `missing`.
        added_labels: the names of the labels that were added after the file was stored
            (`domain.labels`), sorted. Manifests that were written before lack them.
    """

    file_id: FileId
    kind: FileKind
    content_type: str
    content: Digests
    stored: Digests
    coding: Coding
    created_at: datetime
    captured_at: datetime | None
    device_id: DeviceId | None
    violation_id: ViolationId | None
    media: MediaInfo
    placement: PlacementNote
    metadata: str | None
    replicas: tuple[Replica, ...]
    keep_until: datetime
    retention_rule: str
    retention_basis: RetentionBasis
    state: FileState = FileState.AVAILABLE
    state_at: datetime | None = None
    historic: bool = False
    original_name: str | None = None
    quality: str | None = None
    added_labels: tuple[str, ...] = ()

    @property
    def readable(self) -> tuple[Replica, ...]:
        """The replicas in state `present`, in the order of `replicas`."""
        return tuple(r for r in self.replicas if r.state is ReplicaState.PRESENT)

    @property
    def doubtful(self) -> tuple[Replica, ...]:
        """The replicas in state `corrupt` or `missing`, in the order of `replicas`."""
        return tuple(r for r in self.replicas if r.state in _DOUBTFUL)

    def become(self, state: FileState, *, at: datetime) -> "StoredFile":
        """Return a copy of this file with another state, entered at `at`.

        Raises:
            ForbiddenTransition: the transition from the current state to `state` is not allowed.
        """
        if state not in FILE_TRANSITIONS[self.state]:
            raise ForbiddenTransition(f"a file that is {self.state} can't become {state}")
        return evolve(self, state=state, state_at=at)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_A_DAY = 86_400_000
_ID_IN_KEY = slice(-101, -65)
_KEY = re.compile(
    rf"(?:{'|'.join(FileKind)})/[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}"
    r"/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{64}"
)


def replica_id_of(key: BlobKey) -> UUID:
    """Return the id of the replica whose blob has this key."""
    return UUID(key[_ID_IN_KEY])


def is_of_digest(key: BlobKey, stored_sha256: Sha256) -> bool:
    """Return whether a blob's key names this SHA-256 of the stored bytes."""
    return key.endswith(stored_sha256)


def is_blob_key(text: str) -> bool:
    """Return whether a name in a store has the form of a blob's key, as `blob_key` returns it."""
    return _KEY.fullmatch(text) is not None


def blob_key(kind: FileKind, replica_id: UUID, stored_sha256: Sha256) -> BlobKey:
    """Return the key of a blob: kind, day, replica id and SHA-256, as described at `BlobKey`.

    The day (UTC) is taken from the timestamp in `replica_id`, a UUIDv7.
    """
    day = _day((replica_id.int >> 80) // _MILLISECONDS_A_DAY)
    return BlobKey(f"{kind}/{day}/{replica_id}-{stored_sha256}")


@lru_cache(maxsize=1000)
def _day(number: int) -> str:
    return f"{_EPOCH + timedelta(days=number):%Y/%m/%d}"
