"""Stored files and their replicas: what they are, which states they have, what may follow.

A file is an identity of its own: its row, its bytes, its retention, its custody. Bytes are never
shared between files. Its replicas lie in stores (a folder of one host, a bucket), each under a
key that is ours alone and that is never written twice.

```
file:     available → tombstoned → purging → purged
                    ← (undelete)
replica:  planned → present ⇄ corrupt → gone
                  ↘ gone    ⇄ missing → gone
                            ↘ gone
```

`corrupt` and `missing` are what somebody saw when he looked. A disk that was not mounted comes
back, and a copy may be restored by hand: what is read and verified later is `present` again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
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
    """What a file is to the law and to placement."""

    IMAGE = "image"
    VIDEO = "video"
    METADATA = "metadata"


class FileState(StrEnum):
    """Where a file is in its life. A row is born `available` and complete."""

    AVAILABLE = "available"
    TOMBSTONED = "tombstoned"
    PURGING = "purging"
    PURGED = "purged"


class ReplicaState(StrEnum):
    """What is known of one copy. `present` ones are read; doubtful ones where there is no other."""

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
    """How the stored bytes differ from those handed in and out."""

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
"""The states in which a copy takes room in its store."""


class ForbiddenTransition(TrafficStorageError):
    """A state may not follow another: a bug or a lost race, never a caller's mistake."""


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
    """What is known of an image's or video's pixels; None where it does not apply."""

    width: int | None = None
    height: int | None = None
    channels: int | None = None
    channel_order: ChannelOrder | None = None
    duration_seconds: float | None = None
    pixel_sha256: Sha256 | None = None


@frozen
class PlacementNote:
    """Where a file was put and why, in words; kept with the file."""

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
        content: size and SHA-256 of the bytes as handed in and handed out: the evidential ones.
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
        """The replicas that are taken to be good, in the order in which they are kept."""
        return tuple(r for r in self.replicas if r.state is ReplicaState.PRESENT)

    @property
    def doubtful(self) -> tuple[Replica, ...]:
        """The replicas that were found bad or missing when somebody looked."""
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
    """Whether a text is a key as `blob_key` makes them; nothing else in a store is ours."""
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
