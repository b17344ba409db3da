"""Which copies are verified when, and what the results mean."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import BlobCorrupt, InvalidInput, StorageUnavailable
from traffic_storage.domain.files import FileState, ReplicaState, StoredFile, Tier
from traffic_storage.domain.fixity import (
    BAD,
    Coverage,
    Finding,
    FixityCounts,
    FixityPolicy,
    FoundReplica,
    StoreCoverage,
    Verdict,
    manifest_problem,
    replaced_by,
    verdict_of,
)
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.incidents import Closing, IncidentKind
from traffic_storage.domain.manifest import BlobManifest, manifest_of
from traffic_storage.entrypoints.testing.units import NOON, new_file
from traffic_storage.ports.errors import BlobMissing

STORE = RegisteredStore(StoreId("local-1"), Tier.LOCAL, "/evidence", NOON)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def a_file(**changes: object) -> StoredFile:
    return evolve(new_file(STORE), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "verdict", "state"),
    [
        (BlobCorrupt("flipped"), Verdict.CORRUPT, ReplicaState.CORRUPT),
        (BlobMissing("gone"), Verdict.MISSING, ReplicaState.MISSING),
        (StorageUnavailable("away"), Verdict.UNKNOWN, None),
        (None, Verdict.GOOD, ReplicaState.PRESENT),
    ],
)
def test_what_was_read_decides(
    error: Exception | None, verdict: Verdict, state: ReplicaState | None
) -> None:
    file = a_file()
    found, details = verdict_of(file, error, manifest_of(file))
    finding = Finding(file, found, details)
    assert (finding.verdict, finding.state) == (verdict, state)
    assert details == ("" if error is None else str(error))
    assert (finding.incident(uuid4(), NOON) is not None) is (verdict in BAD)


def test_right_bytes_with_a_wrong_manifest_are_present_and_an_incident() -> None:
    file = a_file()
    verdict, details = verdict_of(file, None, None)
    finding = Finding(file, verdict, details)
    assert finding.state is ReplicaState.PRESENT
    incident = finding.incident(uuid4(), NOON)
    assert incident is not None
    assert incident.kind is IncidentKind.ALTERED_MANIFEST


def with_(file: StoredFile, **changes: object) -> BlobManifest:
    return evolve(manifest_of(file), **changes)  # type: ignore[arg-type]


def test_a_manifest_that_differs_from_the_row_is_a_problem() -> None:
    file = a_file()
    assert manifest_problem(file, manifest_of(file)) == ""
    assert "missing" in manifest_problem(file, None)
    assert "sidecar" in manifest_problem(file, with_(file, sidecar_sha256=Sha256("0" * 64)))
    for name, value in {
        "file_id": "another",
        "stored_sha256": Sha256("0" * 64),
        "metadata": '{"a":1}',
        "device_id": "other",
        "created_at": NOON + DAY,
    }.items():
        problem = manifest_problem(file, with_(file, **{name: value}))
        assert name in problem


def test_a_retention_that_was_recomputed_is_no_problem() -> None:
    file = a_file()
    changed = evolve(file, keep_until=file.keep_until + DAY, retention_rule="longer")
    assert manifest_problem(changed, manifest_of(file)) == ""


def test_a_state_replaces_the_recorded_one_only_where_the_copy_still_counts() -> None:
    file = a_file()
    (copy,) = file.replicas
    found = FoundReplica(file.file_id, copy.replica_id, ReplicaState.MISSING)
    assert replaced_by(found, file) == copy
    assert replaced_by(found, None) is None
    assert replaced_by(evolve(found, replica_id=uuid4()), file) is None
    assert replaced_by(evolve(found, state=ReplicaState.PRESENT), file) is None
    gone = evolve(file, replicas=(evolve(copy, state=ReplicaState.GONE),))
    assert replaced_by(found, gone) is None
    assert replaced_by(found, evolve(file, state=FileState.TOMBSTONED)) == copy
    for state in (FileState.PURGING, FileState.PURGED):
        assert replaced_by(found, evolve(file, state=state)) is None


def test_counts_of_results() -> None:
    file = a_file()
    verdicts = (
        *(Verdict.GOOD, Verdict.GOOD, Verdict.CORRUPT),
        *(Verdict.MISSING, Verdict.UNKNOWN, Verdict.ALTERED_MANIFEST),
    )
    counts = FixityCounts.of(Finding(file, verdict) for verdict in verdicts)
    assert counts == FixityCounts(
        checked=5, corrupted=1, missing=1, altered=1, unknown=1, bytes=4000
    )
    assert counts + FixityCounts(healed=2) == evolve(counts, healed=2)


class TestPolicy:
    POLICY = FixityPolicy(30 * DAY)

    def taken(self, ages: list[timedelta | None], size: int, stored: int) -> int:
        """How many copies of these ages a run takes, of `size` bytes each."""
        portion = self.POLICY.slice(NOON, HOUR, stored)
        count = 0
        for age in ages:
            at = None if age is None else NOON - age
            (copy,) = a_file().replicas
            if not portion.takes(evolve(copy, verified_at=at), count * size):
                break
            count += 1
        return count

    def test_what_was_verified_lately_is_not_due(self) -> None:
        assert self.taken([14 * DAY], 1, 10**9) == 0
        assert self.taken([15 * DAY + HOUR], 1, 10**9) == 1

    def test_due_copies_are_spread_over_half_of_the_interval(self) -> None:
        """360 runs, one an hour in 15 days, take all of 3,600 copies."""
        assert self.taken([20 * DAY] * 3600, 1000, 3_600_000) == 11

    def test_what_is_urgent_or_was_never_verified_does_not_wait(self) -> None:
        ages = [None] * 100 + [28 * DAY] * 100 + [20 * DAY] * 100
        assert self.taken(ages, 1000, 100_000) == 200

    def test_a_run_takes_at_least_one_due_copy(self) -> None:
        assert self.taken([20 * DAY] * 2, 10**9, 2 * 10**9) == 1


def coverage(*stores: StoreCoverage) -> Coverage:
    return Coverage(NOON, 30 * DAY, stores)


def test_coverage_in_words() -> None:
    here = StoreCoverage(StoreId("a"), 1000, 1, 2, 15, NOON - 31 * DAY)
    assert str(coverage(here)) == "98.2 % within 30 days, the oldest 31.0 days ago"
    never = StoreCoverage(StoreId("b"), 1000, 0, 0, 1000, None)
    assert str(coverage(here, never)) == "49.1 % within 30 days, never verified"
    assert coverage().share == 1.0


def test_all_but_one_is_not_all() -> None:
    almost = StoreCoverage(StoreId("a"), 10**6, 0, 0, 1, NOON - 31 * DAY)
    assert str(coverage(almost)).startswith("99.9 %")


@pytest.mark.parametrize("text", ["", "  ", "x" * 1001])
def test_a_closing_needs_a_reason(text: str) -> None:
    with pytest.raises(InvalidInput, match="resolution"):
        Closing(datetime(2025, 1, 1, tzinfo=UTC), "ana", text)
