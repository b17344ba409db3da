"""Fixity: which copies of files are verified when, and what the results mean.

A copy (replica) is verified by hashing all its bytes in its store. Every copy is verified within
`FixityPolicy.interval`, the one whose verification is oldest first.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID

from attrs import evolve, frozen

from traffic_storage.domain.errors import BlobCorrupt
from traffic_storage.domain.files import (
    OBSERVATIONS,
    Coding,
    FileState,
    Replica,
    ReplicaState,
    StoredFile,
)
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.incidents import Closing, Incident, IncidentKind
from traffic_storage.domain.manifest import BlobManifest, manifest_of, segments_digest

VERIFIED_FILES = frozenset({FileState.AVAILABLE, FileState.TOMBSTONED})
"""The states of files whose copies are verified; of other files the copies are being removed."""


VERIFIED_STATES = frozenset({ReplicaState.PRESENT, ReplicaState.CORRUPT, ReplicaState.MISSING})
"""The states of copies that should have bytes in their store."""


class Verdict(StrEnum):
    """The result of verifying a copy.

    Attributes:
        GOOD: bytes and manifest are as recorded.
        CORRUPT: the bytes differ.
        MISSING: the store has no such blob.
        ALTERED_MANIFEST: the bytes are as recorded, but the manifest beside them is unreadable,
            incomplete (the sidecar is lost or altered), or differs from the row of the file.
        UNKNOWN: the bytes could not be read, or the store could not prove its identity. Nothing is
            recorded about the copy; it stays due.
    """

    GOOD = "good"
    CORRUPT = "corrupt"
    MISSING = "missing"
    ALTERED_MANIFEST = "altered_manifest"
    UNKNOWN = "unknown"


BAD = frozenset({Verdict.CORRUPT, Verdict.MISSING, Verdict.ALTERED_MANIFEST})

INCIDENTS = {
    Verdict.CORRUPT: IncidentKind.CORRUPT_REPLICA,
    Verdict.MISSING: IncidentKind.MISSING_REPLICA,
    Verdict.ALTERED_MANIFEST: IncidentKind.ALTERED_MANIFEST,
}
"""The kind of incident that a bad result opens."""

# The retention of a file, and with it the row, changes after the manifest was written.
_FIXED = (
    *("file_id", "kind", "content_type", "size_bytes", "sha256"),
    *("stored_size_bytes", "stored_sha256", "coding", "created_at", "captured_at", "device_id"),
    *("violation_id", "media", "historic", "original_name", "metadata", "quality"),
)


def verdict_of(
    file: StoredFile, error: Exception | None, manifest: BlobManifest | None
) -> tuple[Verdict, str]:
    """Return the result of verifying a copy of `file`, and the reason in words if it is not good.

    `error` and `manifest` are those of the examination of the blob (`BlobStore.examine`): a
    `LookupError` means that there is no blob.
    """
    if isinstance(error, BlobCorrupt):
        return Verdict.CORRUPT, str(error)
    if error is None and (problem := row_problem(file)):
        return Verdict.CORRUPT, problem
    if isinstance(error, LookupError):
        return Verdict.MISSING, str(error)
    if error is not None:
        return Verdict.UNKNOWN, str(error)
    if problem := manifest_problem(file, manifest):
        return Verdict.ALTERED_MANIFEST, problem
    return Verdict.GOOD, ""


def row_problem(file: StoredFile) -> str:
    """Return how the row of a file contradicts itself; empty if it doesn't.

    Bytes that are stored as they came have one digest only.
    """
    if file.coding is Coding.IDENTITY and file.content.sha256 != file.stored.sha256:
        return (
            f"the catalogue records two SHA-256 of the same bytes: {file.content.sha256} as "
            f"received, {file.stored.sha256} as stored"
        )
    return ""


def manifest_problem(file: StoredFile, manifest: BlobManifest | None) -> str:
    """Return how the manifest beside a copy differs from the row of its file; empty if it doesn't.

    What may change after a file was stored, as its retention, is not compared.
    """
    if manifest is None:
        return "the manifest is missing or unreadable"
    if manifest.sidecar_sha256 is not None:
        return "the sidecar with the whole manifest is missing or altered"
    expected = manifest_of(file)
    differing = [
        name
        for name in _FIXED
        if getattr(manifest, name) != getattr(expected, name)
        and not _is_older(name, manifest, file)
    ]
    if _states_other_segments(manifest, file):
        differing.append("segments_sha256")
    if differing:
        return f"the manifest has another value than the catalogue of: {', '.join(differing)}"
    return ""


def _is_older(name: str, manifest: BlobManifest, file: StoredFile) -> bool:
    """Return whether a member of a manifest is that of a file before a label was added."""
    # The statement that a capture time is correct came with the capture time.
    label = "captured_at" if name == "historic" else name
    return label in file.added_labels and getattr(manifest, label) is None


def is_disputed(file: StoredFile, manifest: BlobManifest | None) -> bool:
    """Return whether manifest and row state different digests that the stored bytes can't settle.

    These are the digest of the content of a compressed file, and the digests of segments. A person
    decides which is right: a manifest that is made anew from a false row would hide it.
    """
    if manifest is None:
        return False
    content = (manifest.size_bytes, manifest.sha256)
    return _states_other_segments(manifest, file) or (
        file.coding is not Coding.IDENTITY
        and content != (file.content.size_bytes, file.content.sha256)
    )


def _states_other_segments(manifest: BlobManifest, file: StoredFile) -> bool:
    return manifest.segments_sha256 not in (None, segments_digest(file.stored))


@frozen
class Finding:
    """The result of verifying one copy: `file` has this one replica only.

    `details` says in words what was found, if the copy is not good. One that `is_disputed` is not
    healed.
    """

    file: StoredFile
    verdict: Verdict
    details: str = ""
    is_disputed: bool = False

    @property
    def replica(self) -> Replica:
        """The copy that was verified."""
        return self.file.replicas[0]

    @property
    def state(self) -> ReplicaState | None:
        """The state of the copy according to this result; None if nothing is known."""
        match self.verdict:
            case Verdict.CORRUPT:
                return ReplicaState.CORRUPT
            case Verdict.MISSING:
                return ReplicaState.MISSING
            case Verdict.UNKNOWN:
                return None
            case Verdict.GOOD | Verdict.ALTERED_MANIFEST:
                return ReplicaState.PRESENT

    def incident(self, incident_id: UUID, at: datetime) -> Incident | None:
        """Return the incident that this result opens; None if it opens none."""
        if self.verdict not in INCIDENTS:
            return None
        kind = INCIDENTS[self.verdict]
        return Incident.of_replica(
            incident_id, kind, at, self.file.file_id, self.replica, self.details
        )


@frozen
class FixityCounts:
    """How many copies were verified, with which results, and how many were healed.

    `checked` includes the bad ones, and not the unknown ones. `bytes` are the bytes that were
    hashed.
    """

    checked: int = 0
    corrupted: int = 0
    missing: int = 0
    altered: int = 0
    unknown: int = 0
    healed: int = 0
    bytes: int = 0

    def __add__(self, other: "FixityCounts") -> "FixityCounts":
        return FixityCounts(
            self.checked + other.checked,
            self.corrupted + other.corrupted,
            self.missing + other.missing,
            self.altered + other.altered,
            self.unknown + other.unknown,
            self.healed + other.healed,
            self.bytes + other.bytes,
        )

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Self:
        """Return the counts of these results."""
        found = list(findings)
        numbers = dict.fromkeys(Verdict, 0)
        for finding in found:
            numbers[finding.verdict] += 1
        read = (Verdict.GOOD, Verdict.ALTERED_MANIFEST, Verdict.CORRUPT)
        return cls(
            checked=len(found) - numbers[Verdict.UNKNOWN],
            corrupted=numbers[Verdict.CORRUPT],
            missing=numbers[Verdict.MISSING],
            altered=numbers[Verdict.ALTERED_MANIFEST],
            unknown=numbers[Verdict.UNKNOWN],
            bytes=sum(one.file.stored.size_bytes for one in found if one.verdict in read),
        )


@frozen
class FixityDay:
    """What was verified in one store on one day (UTC)."""

    day: date
    store_id: StoreId
    counts: FixityCounts


@frozen
class FoundReplica:
    """The state in which a copy was found, if it is not the recorded one."""

    file_id: FileId
    replica_id: UUID
    state: ReplicaState


def replaced_by(found: FoundReplica, file: StoredFile | None) -> Replica | None:
    """Return the copy whose recorded state `found` replaces, in the current row of its file.

    None if there is none: the state is recorded already, may not be replaced, or the copies of the
    file are being removed.
    """
    if file is None or file.state not in VERIFIED_FILES:
        return None
    for replica in file.replicas:
        if replica.replica_id == found.replica_id and replica.state in OBSERVATIONS[found.state]:
            return replica
    return None


def closing_by_fixity(at: datetime) -> Closing:
    """Return how the incidents of a copy are closed that is found present again."""
    return Closing(at, "fixity", "the copy was verified again")


def closing_by_healing(at: datetime, copy: Replica) -> Closing:
    """Return how the incidents of a copy are closed that was replaced by another one."""
    return Closing(at, "fixity", f"healed: replaced by the verified copy {copy.replica_id}")


def closing_by_release(at: datetime) -> Closing:
    """Return how the incidents of a bad copy are closed that went, because another one is good."""
    return Closing(at, "fixity", "removed: another copy of the file was verified")


@frozen
class RecordVerifications:
    """Record the results of verifying copies in one store, in one transaction, exactly once.

    Attributes:
        batch_id: a new UUID; the change with this id has an effect once only.
        verified: the present copies that were verified; their time of verification becomes `at`.
        found: the copies that were found in another state than the recorded one. Those of files
            that are being removed, or whose state has changed meanwhile, are left out.
        incidents: opened, unless one that concerns the same is open.
        counts: added to the history of the day of `at`.

    The open incidents of a copy that is found `present` again are closed.
    """

    batch_id: UUID
    store_id: StoreId
    at: datetime
    counts: FixityCounts
    verified: tuple[UUID, ...] = ()
    found: tuple[FoundReplica, ...] = ()
    incidents: tuple[Incident, ...] = ()


@frozen
class DuePosition:
    """A position in the copies of a store in the order in which they are verified."""

    verified_at: datetime | None
    replica_id: UUID

    @classmethod
    def behind(cls, replica: Replica) -> Self:
        """Return the position behind a copy."""
        return cls(replica.verified_at, replica.replica_id)


@frozen
class StoreCoverage:
    """How current the verification of the copies in one store is.

    Attributes:
        replicas: the copies that should be intact: present, corrupt or missing ones.
        overdue: the present copies that were not verified within the interval, or never. More than
            `MOST_COUNTED` are estimated from a random sample.
        oldest_at: the oldest time of verification of a present copy; None if one was never
            verified, or if there is none.
        is_estimated: whether `overdue` is such an estimate.
    """

    store_id: StoreId
    replicas: int
    corrupt: int
    missing: int
    overdue: int
    oldest_at: datetime | None
    is_estimated: bool = False


MOST_COUNTED = 10_000
"""The most overdue copies that are counted in a store."""


def estimated_overdue(counted: int, present: int, sampled: int, overdue: int) -> int:
    """Return how many of `present` copies are overdue, if `overdue` of `sampled` random ones are.

    At least `counted`: so many were counted. All, if none were sampled.
    """
    share = overdue / sampled if sampled else 1.0
    return max(counted, round(share * present))


@frozen
class Coverage:
    """How many of the copies were verified within the interval, at the time `at`."""

    at: datetime
    interval: timedelta
    stores: Sequence[StoreCoverage]

    @property
    def replicas(self) -> int:
        """The copies in all stores."""
        return sum(store.replicas for store in self.stores)

    @property
    def share(self) -> float:
        """The share of the copies that are intact and were verified within the interval, 0 to 1.

        1 if there are no copies. It is estimated if the overdue copies of a store are.
        """
        bad = sum(store.corrupt + store.missing + store.overdue for store in self.stores)
        return max(0.0, 1 - bad / self.replicas) if self.replicas else 1.0

    @property
    def oldest_at(self) -> datetime | None:
        """The oldest time of verification of a present copy; None if one was never verified."""
        times = [store.oldest_at for store in self.stores if store.replicas]
        known = [at for at in times if at is not None]
        return min(known) if known and len(known) == len(times) else None

    def __str__(self) -> str:
        days = self.interval / timedelta(days=1)
        oldest = "never verified"
        if self.oldest_at is not None:
            oldest = f"the oldest {(self.at - self.oldest_at) / timedelta(days=1):.1f} days ago"
        # Rounded down: 100 % means all.
        share = int(self.share * 1000) / 10
        return f"{share:.1f} % within {days:g} {'day' if days == 1 else 'days'}, {oldest}"


@frozen
class FixityPolicy:
    """When copies are verified: every copy within `interval`."""

    interval: timedelta = timedelta(days=30)

    def slice(self, now: datetime, every: timedelta, stored_bytes: int) -> "Slice":
        """Return what one of the runs, which begin `every` so often, verifies in a store.

        A copy is due when half of the interval has passed since its verification. The due copies
        are spread over the second half. A copy for which nine tenths of the interval have passed is
        urgent and does not wait for its turn.
        """
        half = self.interval / 2
        spread = stored_bytes * (every / half)
        return Slice(now - half, now - self.interval * 0.9, int(spread))


@frozen
class Slice:
    """What a run verifies in one store: copies verified before `due_before`, the oldest first.

    It ends after `share_bytes`, but not before all copies that were verified before
    `urgent_before`, or never.
    """

    due_before: datetime
    urgent_before: datetime
    share_bytes: int

    def takes(self, replica: Replica, taken_bytes: int) -> bool:
        """Return whether the run verifies this copy after `taken_bytes` of others."""
        if replica.verified_at is None or replica.verified_at < self.urgent_before:
            return True
        return replica.verified_at < self.due_before and taken_bytes <= self.share_bytes


def single(file: StoredFile, replica: Replica) -> StoredFile:
    """Return `file` with this one of its copies, as a `Finding` has it."""
    return evolve(file, replicas=(replica,))
