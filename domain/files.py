"""Stored files, their replicas, the states of both and the allowed transitions.

Each file has its own row, bytes, retention and custody; two files never share bytes. The replicas
of a file are in stores (a folder of one host, a bucket), each under a generated key that is never
written twice.

```
file:     available → tombstoned → purging → purged
                    ← (undelete)
replica:  planned → present ⇄ corrupt → gone
                  ↘ gone    ⇄ missing → gone
                            ↘ gone
```

`corrupt` and `missing` are observations. A disk may be mounted again and a copy may be restored by
hand, so a replica that is read and verified later becomes `present` again.
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
from traffic_storage.domain.pixels import ChannelOrder

BlobKey = NewType("BlobKey", str)
"""`kind/yyyy/mm/dd/<uuid7 of the replica>-<sha256 of the stored bytes>`; never user text."""


class FileKind(StrEnum):
    """The kind of a file, which determines its retention and its placement."""

    IMAGE = "image"
    VIDEO = "video"
    METADATA = "metadata"


class FileState(StrEnum):
    """The lifecycle state of a file. A new row is `available` and complete."""

    AVAILABLE = "available"
    TOMBSTONED = "tombstoned"
    PURGING = "purging"
    PURGED = "purged"


class ReplicaState(StrEnum):
    """The state of a replica. `present` ones are read first, then `corrupt` and `missing` ones."""

    PLANNED = "planned"
    PRESENT = "present"
    CORRUPT = "corrupt"
    MISSING = "missing"
    GONE = "gone"


class Tier(StrEnum):
    """The class of a store."""

    LOCAL = "local"
    CLOUD = "cloud"


class RetentionClock(StrEnum):
    """The time from which a file's retention counts."""

    CAPTURED = "captured"
    RECEIVED = "received"


class Coding(StrEnum):
    """The encoding of the stored bytes relative to the content."""

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
        ReplicaState.PLANNED: frozenset({ReplicaState.PRESENT, ReplicaState.GONE}),
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
"""Observed state → recorded states that it may replace."""
OCCUPYING = frozenset({ReplicaState.PRESENT, ReplicaState.CORRUPT})
"""The states in which a replica uses space in its store."""


class ForbiddenTransition(TrafficStorageError):
    """A transition between states that is not allowed: a defect or a lost race."""


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
        """The UUIDv7 in its key: unique among all replicas."""
        return UUID(self.key[_ID_IN_KEY])

    @property
    def written_on(self) -> date:
        """The day (UTC) of the timestamp in `replica_id`: the day in its key."""
        return _EPOCH.date() + timedelta(days=(self.replica_id.int >> 80) // _MILLISECONDS_A_DAY)

    def become(self, state: ReplicaState, *, verified_at: datetime | None = None) -> "Replica":
        """This replica in another state.

        Raises:
            ForbiddenTransition: `state` may not follow the present one.
        """
        if state not in REPLICA_TRANSITIONS[self.state]:
            raise ForbiddenTransition(f"a replica that is {self.state} can't become {state}")
        return evolve(self, state=state, verified_at=verified_at or self.verified_at)


@frozen
class MediaInfo:
    """The properties of an image or a video; None where unknown or not applicable."""

    width: int | None = None
    height: int | None = None
    channels: int | None = None
    channel_order: ChannelOrder | None = None
    duration_seconds: float | None = None
    pixel_sha256: Sha256 | None = None


@frozen
class PlacementNote:
    """The placement of a file and its reason, in words."""

    decision: str
    reason: str


@frozen
class RetentionBasis:
    """From which time a file's retention counts, and why.

    Attributes:
        at: that time, UTC.
        reason: why this clock and not the other, in words.
    """

    clock: RetentionClock
    at: datetime
    reason: str


@frozen
class StoredFile:
    """A file of the catalogue.

    Attributes:
        content: digests of the bytes as received and returned: the evidential digests.
        stored: digests of the bytes as stored; equal to `content` unless `coding` changed them.
        created_at: receipt, UTC.
        captured_at: when it was captured, UTC. None when the caller gave no time.
        metadata: the caller's, canonical JSON text of an object, or None.
        state_at: when it entered `state`, UTC; None: at `created_at`.
        keep_until: when its retention ends, UTC.
        retention_rule: the id of the rule that gave `keep_until`.
        historic: the caller stated that an old capture time is right.
        original_name: the file name that the caller gave.
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

    @property
    def readable(self) -> tuple[Replica, ...]:
        """The replicas in state `present`, in their order."""
        return tuple(r for r in self.replicas if r.state is ReplicaState.PRESENT)

    @property
    def doubtful(self) -> tuple[Replica, ...]:
        """The replicas in state `corrupt` or `missing`, in their order."""
        return tuple(r for r in self.replicas if r.state in _DOUBTFUL)

    def become(self, state: FileState, *, at: datetime) -> "StoredFile":
        """This file in another state, entered at `at`.

        Raises:
            ForbiddenTransition: `state` may not follow the present one.
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


def is_blob_key(text: str) -> bool:
    """Whether a text is a key as `blob_key` makes them. Other names in a store are not blobs."""
    return _KEY.fullmatch(text) is not None


def blob_key(kind: FileKind, replica_id: UUID, stored_sha256: Sha256) -> BlobKey:
    """The key of a blob: spread by kind and day, unique by `replica_id`, named by its digest.

    The day (UTC) is that of the UUIDv7's own timestamp.
    """
    day = _day((replica_id.int >> 80) // _MILLISECONDS_A_DAY)
    return BlobKey(f"{kind}/{day}/{replica_id}-{stored_sha256}")


@lru_cache(maxsize=1000)
def _day(number: int) -> str:
    return f"{_EPOCH + timedelta(days=number):%Y/%m/%d}"
