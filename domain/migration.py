"""Migration: violations with their files, brought from one catalogue to another; and its proof.

The rows keep their facts: ids, record, times of receipt and capture, labels, digests, coding, start
of retention. New are the replicas, the placement, and an end of retention that is never earlier.

The proof is a reconciliation: what the source has and what the target has of it, counted and
digested by day. A day's digest does not depend on the order of its items (`MultisetDigest`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import combinations

from attrs import define, evolve, field, frozen

from traffic_storage.domain.canonical import canonical_json
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import FileState, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import CatalogueId, FileId, ViolationId
from traffic_storage.domain.labels import ADDABLE
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.multiset_digest import EMPTY, MultisetDigest
from traffic_storage.domain.query import Cursor
from traffic_storage.domain.usage import day_of
from traffic_storage.domain.violation import (
    EvidencePart,
    StoredViolation,
    ViolationState,
    evidence_document,
    with_paths,
)

MOST_EXAMPLES = 1000
"""So many failures, and so many differences, are named; all are counted."""


@frozen
class MigrationId:
    """What a migration brings: the violations of a catalogue with `start ≤ occurred_at < end`.

    Raises:
        InvalidInput: a time has no zone, or `end` is not after `start`.
    """

    source: CatalogueId
    start: datetime
    end: datetime

    def __attrs_post_init__(self) -> None:
        for name, value in (("start_date", self.start), ("end_date", self.end)):
            if value.utcoffset() is None:
                raise InvalidInput.of(name, "has no time zone", "give a time with a time zone")
        if self.end.astimezone(UTC) <= self.start.astimezone(UTC):
            raise InvalidInput.of("end_date", "is not after start_date", "give a later end_date")


@frozen
class MigrationCursor:
    """How far an unfinished migration has come, as the target's catalogue records it.

    Attributes:
        after: all violations up to this position, newest first, were brought or failed.
        records, files, bytes: what was brought up to there.
    """

    migration: MigrationId
    after: Cursor
    records: int
    files: int
    bytes: int


@frozen
class SetMigrationCursor:
    """Record how far a migration has come; with `cursor` None, forget it, because it is complete."""

    migration: MigrationId
    cursor: MigrationCursor | None


@frozen
class Failure:
    """A violation, or one file of it, that was not brought, and why."""

    violation_id: ViolationId
    file_id: FileId | None
    reason: str


@frozen
class Difference:
    """In what the target differs from the source: about a violation, or one file of it."""

    violation_id: ViolationId
    file_id: FileId | None
    problem: str


@frozen
class DayTotals:
    """The violations of one day (UTC, by `occurred_at`) with their files; `bytes` as stored."""

    records: int = 0
    files: int = 0
    bytes: int = 0
    digest: Sha256 = EMPTY


@frozen
class ReconciledDay:
    """What the source has of a day, and what the target has of that."""

    day: date
    source: DayTotals
    target: DayTotals

    @property
    def is_equal(self) -> bool:
        """Whether the target has all that the source has, unaltered."""
        return self.source == self.target


@frozen
class Reconciliation:
    """The comparison of a range of violations in two catalogues.

    Attributes:
        at: when it ended.
        reread: whether all bytes were read at the target and hashed; otherwise rows were compared.
        days: all days with a violation, the oldest first.
        different: how many differences were found; `differences` names the first of them.
    """

    migration: MigrationId
    target: CatalogueId
    at: datetime
    reread: bool
    days: tuple[ReconciledDay, ...]
    different: int = 0
    differences: tuple[Difference, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether the target has everything, unaltered."""
        return not self.different and all(day.is_equal for day in self.days)

    def has_same_source(self, other: "Reconciliation") -> bool:
        """Return whether the source had the same in both comparisons."""
        return [(one.day, one.source) for one in self.days] == [
            (one.day, one.source) for one in other.days
        ]


class DayFold:
    """Counts and digests violations and files by day, in any order."""

    def __init__(self) -> None:
        self._days: defaultdict[date, _Sums] = defaultdict(_Sums)

    def add(self, violation: StoredViolation, files: Iterable[StoredFile]) -> None:
        """Add a violation with its files."""
        sums = self._days[day_of(violation.occurred_at)]
        sums.records += 1
        sums.digest.add(record_item(violation))
        for file in files:
            sums.files += 1
            sums.bytes += file.stored.size_bytes
            sums.digest.add(file_item(file))

    def totals(self, day: date) -> DayTotals:
        """Return the totals of a day."""
        sums = self._days.get(day, _Sums())
        return DayTotals(sums.records, sums.files, sums.bytes, sums.digest.sha256)

    def __iter__(self) -> Iterator[date]:
        return iter(self._days)


@define
class _Sums:
    records: int = 0
    files: int = 0
    bytes: int = 0
    digest: MultisetDigest = field(factory=MultisetDigest)


def reconciled_days(source: DayFold, target: DayFold) -> tuple[ReconciledDay, ...]:
    """Return all days of two folds side by side, the oldest first."""
    days = sorted({*source, *target})
    return tuple(ReconciledDay(day, source.totals(day), target.totals(day)) for day in days)


def record_item(violation: StoredViolation) -> bytes:
    """Return what a violation adds to the digest of its day: its record's digest, and its times."""
    return canonical_json(
        {
            "violation_id": violation.violation_id,
            "record_sha256": violation.record_sha256,
            "occurred_at": violation.occurred_at.isoformat(),
            "received_at": violation.received_at.isoformat(),
            "zone_assumed": violation.zone_assumed,
        }
    )


def file_item(file: StoredFile) -> bytes:
    """Return what a file adds to the digest of its day: its manifest without what may change."""
    lasting = evolve(manifest_of(file), placement=None, keep_until=None, retention_rule=None)
    return lasting.to_text().encode()


def migrated_violation(violation: StoredViolation) -> StoredViolation:
    """Return the row of a violation without its image and video, which are added when they come."""
    return evolve(
        violation,
        record=with_paths(violation.record, "", ""),
        image_file_id=None,
        video_file_id=None,
        image_state=FileState.AVAILABLE,
        video_state=FileState.AVAILABLE,
    )


def document_of(violation: StoredViolation, files: Collection[StoredFile]) -> bytes | None:
    """Return the content of a violation's metadata file, made anew from the rows; None if it differs.

    `files` are the violation's files. The document names those that came with the violation; which
    these were, only its recorded digest tells.
    """
    (document,) = [file for file in files if file.file_id == violation.metadata_file_id]
    media = [file for file in files if file.file_id in _media(violation)]
    for count in range(len(media) + 1):
        for chosen in combinations(media, count):
            parts = {file.kind.value: _part(file) for file in chosen}
            found = evidence_document(violation.record, violation.zone_assumed, parts)
            if sha256_of(found) == document.content.sha256:
                return found
    return None


def _media(violation: StoredViolation) -> tuple[FileId | None, ...]:
    return violation.image_file_id, violation.video_file_id


def _part(file: StoredFile) -> EvidencePart:
    content = file.content
    return EvidencePart(file.file_id, file.content_type, content.size_bytes, content.sha256)


def has_good_copy(known: StoredFile | None, file: StoredFile) -> bool:
    """Return whether a catalogue has a file of another one already, with its labels, and can read it."""
    return (
        known is not None
        and not any(
            getattr(known, name) is None and getattr(file, name) is not None for name in ADDABLE
        )
        and known.state is FileState.AVAILABLE
        and known.content == file.content
        and any(copy.state is ReplicaState.PRESENT for copy in known.replicas)
    )


def file_problem(file: StoredFile, known: StoredFile | None) -> str:
    """Return in what the target's row of a file differs from the source's; empty: in nothing."""
    if known is None:
        return "is missing"
    if known.state is not FileState.AVAILABLE:
        return f"is {known.state}"
    if not known.readable:
        return "has no present copy"
    if file_item(known) != file_item(file):
        return "has other facts or another digest"
    return "is kept less long" if known.keep_until < file.keep_until else ""


def expects_certificate(violation: StoredViolation, known: StoredViolation | None) -> bool:
    """Return whether the target gets what is left of the purged files of a violation.

    `known` is the target's row of it. A violation that is not purged comes first.
    """
    return known is not None or violation.state is ViolationState.PURGED


def record_problem(violation: StoredViolation, known: StoredViolation | None) -> str:
    """Return in what the target's row of a violation differs; empty: in nothing."""
    if known is None:
        return "is missing"
    if known.state != violation.state:
        return f"is {known.state}"
    return "has another record or other times" if _differs(violation, known) else ""


def _differs(violation: StoredViolation, known: StoredViolation) -> bool:
    return record_item(violation) != record_item(known)
