"""Tests of any adapter of the port `RecordRepo`, the database of files and violations."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from operator import methodcaller
from random import Random
from typing import ClassVar, TypeVar

import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import SearchStrategy

from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.domain.changes import CommitUnit, ObserveReplica
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import (
    OBSERVATIONS,
    FileKind,
    FileState,
    ForbiddenTransition,
    ReplicaState,
    StoredFile,
    Tier,
    blob_key,
)
from traffic_storage.domain.identifiers import (
    AttemptId,
    DeviceId,
    FileId,
    Incarnation,
    StoreId,
    ViolationId,
    evidence_file_id,
)
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.incidents import IncidentKind, IncidentsQuery
from traffic_storage.domain.ingest import Attempt, ClaimedIds, Unit
from traffic_storage.domain.query import Cursor, FilesQuery, Page, ViolationQuery
from traffic_storage.domain.usage import CatalogueUsage, DailyUsage, FileUsage, StoreUsage
from traffic_storage.domain.violation import StoredViolation, ViolationRecord, ViolationState
from traffic_storage.entrypoints.testing import strategies as values
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import (
    LATER,
    NOON,
    new_attempt,
    new_evidence,
    new_evidence_file,
    new_file,
    new_record,
    new_restoration,
    store,
)
from traffic_storage.ports.errors import AttemptCondemned, IdsTaken
from traffic_storage.ports.record_repo import RecordRepo

T = TypeVar("T")

MINUTE = timedelta(minutes=1)
NOTHING = CatalogueUsage()
_DAY = timedelta(days=1)
STRANGE_IDS = ["V", "V.1", "V-1", "V:1", "V=1", "V@1", "V_1", "V+1", "v", "v1", "A", "a", "9", "+"]
"""Ids whose order by code point differs from most collations."""


def examples(strategy: SearchStrategy[T], count: int) -> list[T]:
    """Return `count` values of a strategy, the same ones in every run."""
    drawn: list[T] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(value: T) -> None:
        drawn.append(value)

    draw()
    return drawn


LOCAL = RegisteredStore(StoreId("local-1"), Tier.LOCAL, "/evidence", NOON)
CLOUD = RegisteredStore(StoreId("cloud-1"), Tier.CLOUD, "endpoint/bucket", NOON)
FIRST, SECOND = Incarnation("incarnation-1"), Incarnation("incarnation-2")


async def local(repo: RecordRepo) -> RegisteredStore:
    """Register the local store `LOCAL`, and return it."""
    await repo.register(LOCAL)
    return LOCAL


async def cloud(repo: RecordRepo) -> RegisteredStore:
    """Register the cloud store `CLOUD` in the record repository; return it."""
    await repo.register(CLOUD)
    return CLOUD


async def all_pages(repo: RecordRepo, query: ViolationQuery) -> list[StoredViolation]:
    """Return the violations of all pages, from first to last."""
    shown: list[StoredViolation] = []
    while True:
        page = await repo.violations(query)
        assert len(page.items) <= query.limit
        shown += page.items
        if page.next is None:
            return shown
        query = evolve(query, after=page.next)


async def recount(repo: RecordRepo, names: Sequence[FileId]) -> Sequence[StoreUsage]:
    """Return the expected counters, by counting the present and corrupt replicas of the files."""
    counted: Counter[tuple[StoreId, FileKind]] = Counter()
    size: Counter[tuple[StoreId, FileKind]] = Counter()
    for name in names:
        if file := await repo.file(name):
            for copy in file.replicas:
                if copy.state in (ReplicaState.PRESENT, ReplicaState.CORRUPT):
                    counted[copy.store_id, file.kind] += 1
                    size[copy.store_id, file.kind] += file.stored.size_bytes
    return [StoreUsage(*place, counted[place], size[place]) for place in sorted(counted)]


def _sum_of(days: Sequence[DailyUsage]) -> CatalogueUsage:
    return CatalogueUsage.of(
        counted
        for one in days
        for counted in (
            *((row.store_id, row.kind, row.replicas, row.bytes) for row in one.change.stores),
            *((None, row.kind, row.files, row.bytes) for row in one.change.files),
            (None, None, one.change.violations, 0),
        )
    )


async def is_whole(repo: RecordRepo, unit: Unit) -> bool:
    """Return whether a file, or a violation with its files, is visible.

    Assert that not only a part of it is visible.
    """
    found = [await repo.file(file.file_id) == file for file in unit.files]
    if unit.violation:
        found.append(await repo.violation(unit.violation.violation_id) == unit.violation)
    assert len(set(found)) == 1, f"only a part of what is stored together is visible: {found}"
    return found[0]


@pytest.mark.asyncio
class RecordRepoContract:
    """Inherit from this class, and define an async fixture `repo`.

    The catalogue is upgraded and empty; the fixture closes it. In the tests a unit is a file, or a
    violation with its files, that is stored together. An attempt is one try to store a unit.
    """

    # Attempts

    async def test_begin_returns_nothing_for_free_ids(self, repo: RecordRepo) -> None:
        """begin: returns nothing if all ids are free."""
        unit = new_evidence(new_record(), await local(repo))
        assert not await repo.begin(new_attempt(unit), unit.names)

    async def test_begin_returns_the_rows_of_taken_ids(self, repo: RecordRepo) -> None:
        """begin: returns the existing rows of the ids that are taken."""
        there = await store(repo, new_evidence(new_record(), await local(repo)))
        free = FileId("free")
        names = ClaimedIds((*there.names.files, free), there.names.violation)
        existing = await repo.begin(new_attempt(there), names)
        assert dict(existing.files) == {file.file_id: file for file in there.files}
        assert existing.violation == there.violation

    async def test_an_attempt_is_entered_even_if_ids_are_taken(self, repo: RecordRepo) -> None:
        """begin: records the attempt (one try to store files) even if ids are taken."""
        there = await store(repo, Unit((new_file(await local(repo)),)))
        attempt = new_attempt(there)
        await repo.begin(attempt, there.names)
        assert await repo.condemn(LATER) == [attempt]

    async def test_begin_may_be_repeated(self, repo: RecordRepo) -> None:
        """begin: may be repeated with the same attempt (one try to store files)."""
        unit = Unit((new_file(await local(repo)),))
        attempt = new_attempt(unit)
        await asyncio.gather(*(repo.begin(attempt, unit.names) for _ in range(5)))
        assert await repo.condemn(LATER) == [attempt]
        await repo.begin(attempt, unit.names)
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnit(attempt.attempt_id, unit))

    # Commits

    async def test_a_commit_makes_the_whole_unit_visible(self, repo: RecordRepo) -> None:
        """CommitUnit: makes a violation and all its files visible."""
        kinds = (FileKind.IMAGE, FileKind.VIDEO)
        unit = new_evidence(new_record("V001"), await local(repo), await cloud(repo), kinds=kinds)
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        assert not await is_whole(repo, unit)
        await repo.apply(CommitUnit(attempt.attempt_id, unit))
        assert await is_whole(repo, unit)
        assert list(await repo.files_of(ViolationId("V001"))) == sorted(
            unit.files, key=lambda file: file.file_id
        )
        assert (await repo.violations(ViolationQuery())).items == (unit.violation,)

    async def test_file_returns_the_committed_file(self, repo: RecordRepo) -> None:
        """file: returns the committed file unchanged, with any text, time, number and JSON."""
        places = [await local(repo), await cloud(repo)]
        for number, drawn in enumerate(examples(values.stored_files(places=places), 60)):
            # Hypothesis may draw a value twice, so each file gets its own id and keys.
            copies = (
                evolve(copy, key=blob_key(drawn.kind, uuid7_at(NOON), drawn.stored.sha256))
                for copy in drawn.replicas
            )
            name = FileId(f"{drawn.file_id[:190]}.{number}")
            file = evolve(drawn, file_id=name, replicas=tuple(copies))
            await store(repo, Unit((file,)))
            assert await repo.file(name) == file

    async def test_violation_returns_the_committed_record(self, repo: RecordRepo) -> None:
        """violation: returns the record unchanged; its timestamp keeps its offset, or has none."""
        place = await local(repo)
        for number, drawn in enumerate(examples(values.records(), 60)):
            record = evolve(drawn, violation_id=f"{drawn.violation_id[:170]}.{number}")
            unit = await store(repo, new_evidence(record, place, kinds=_SEEN[: number % 3]))
            found = await repo.violation(ViolationId(record.violation_id))
            assert found == unit.violation
            assert found
            assert found.record.sha256() == record.sha256()
            kept = found.record.timestamp
            assert kept.isoformat() == record.timestamp.isoformat()
            assert found.occurred_at.utcoffset() == timedelta(0)

    async def test_a_commit_removes_its_attempt(self, repo: RecordRepo) -> None:
        """CommitUnit: removes the record of the attempt (one try to store files)."""
        await store(repo, Unit((new_file(await local(repo)),)))
        assert not await repo.condemn(LATER)

    async def test_a_commit_may_be_repeated(self, repo: RecordRepo) -> None:
        """CommitUnit: may be repeated; `apply` returns False from the second time on."""
        unit = new_evidence(new_record(), await local(repo))
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        for number in range(3):
            changed = await repo.apply(CommitUnit(attempt.attempt_id, unit))
            assert changed is (number == 0)
        assert (await repo.usage()).violations == 1
        assert list((await repo.usage()).stores) == await recount(repo, unit.names.files)

    @pytest.mark.parametrize("forgotten", [False, True])
    async def test_a_condemned_attempt_cannot_commit(
        self, repo: RecordRepo, *, forgotten: bool
    ) -> None:
        """CommitUnit: AttemptCondemned if recovery has condemned the attempt; nothing is visible.

        An attempt is one try to store files; condemning it forbids its commit.
        """
        unit = new_evidence(new_record(), await local(repo))
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        await repo.condemn(LATER)
        if forgotten:
            await repo.forget(attempt.attempt_id)
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnit(attempt.attempt_id, unit))
        assert not await is_whole(repo, unit)
        assert await repo.usage() == NOTHING

    async def test_a_unit_without_an_attempt_is_refused(self, repo: RecordRepo) -> None:
        """CommitUnit: AttemptCondemned if the attempt was not recorded by `begin`.

        An attempt is one try to store files.
        """
        unit = Unit((new_file(await local(repo)),))
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnit(AttemptId("never begun"), unit))
        assert not await is_whole(repo, unit)

    async def test_a_unit_with_one_taken_file_id_is_refused(self, repo: RecordRepo) -> None:
        """CommitUnit: IdsTaken if a file that is already stored has one of the file ids.

        The record of the attempt (one try to store files) stays.
        """
        place = await local(repo)
        there = await store(repo, Unit((new_file(place, file_id="V001~image"),)))
        unit = new_evidence(new_record("V001"), place)
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        with pytest.raises(IdsTaken):
            await repo.apply(CommitUnit(attempt.attempt_id, unit))
        assert await repo.file(FileId("V001~image")) == there.files[0]
        assert await repo.file(FileId("V001~metadata")) is None
        assert await repo.violation(ViolationId("V001")) is None
        assert (await repo.usage()).violations == 0
        assert list((await repo.usage()).stores) == await recount(repo, there.names.files)
        assert await repo.condemn(LATER) == [attempt]

    async def test_a_unit_with_a_taken_violation_id_is_refused(self, repo: RecordRepo) -> None:
        """CommitUnit: IdsTaken if a stored violation has the id, even if all file ids are free."""
        place = await local(repo)
        there = await store(repo, new_evidence(new_record("V001"), place))
        assert there.violation
        other = new_file(place)
        unit = Unit(
            (other,), evolve(there.violation, metadata_file_id=other.file_id, image_file_id=None)
        )
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        with pytest.raises(IdsTaken):
            await repo.apply(CommitUnit(attempt.attempt_id, unit))
        assert await repo.file(other.file_id) is None
        assert await repo.violation(ViolationId("V001")) == there.violation

    async def test_of_concurrent_commits_of_one_id_one_succeeds(self, repo: RecordRepo) -> None:
        """CommitUnit: of 200 concurrent commits of one id, one succeeds, and its rows are visible."""
        place = await local(repo)
        units = [new_evidence(new_record("V001"), place) for _ in range(200)]
        attempts = [new_attempt(unit) for unit in units]
        await asyncio.gather(
            *(repo.begin(*begun) for begun in zip(attempts, (u.names for u in units), strict=True))
        )
        outcomes = await asyncio.gather(
            *(
                repo.apply(CommitUnit(a.attempt_id, u))
                for a, u in zip(attempts, units, strict=True)
            ),
            return_exceptions=True,
        )
        assert Counter(map(type, outcomes)) == {bool: 1, IdsTaken: 199}
        winner = units[outcomes.index(True)]
        assert await is_whole(repo, winner)
        assert (await repo.usage()).violations == 1
        assert list((await repo.usage()).stores) == await recount(repo, winner.names.files)
        assert len(await repo.condemn(LATER, 1000)) == 199

    async def test_a_cancelled_commit_is_whole_or_absent(self, repo: RecordRepo) -> None:
        """CommitUnit: a cancelled commit leaves all rows or none, and correct counters."""
        place = await local(repo)
        units = [new_evidence(new_record(), place) for _ in range(60)]
        for turns, unit in enumerate(units):
            attempt = new_attempt(unit)
            await repo.begin(attempt, unit.names)
            leaving = asyncio.ensure_future(repo.apply(CommitUnit(attempt.attempt_id, unit)))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving
        neighbour = await store(repo, new_evidence(new_record(), place))
        done = [unit for unit in [*units, neighbour] if await is_whole(repo, unit)]
        names = [name for unit in done for name in unit.names.files]
        usage = await repo.usage()
        assert usage.violations == len(done)
        assert list(usage.stores) == await recount(repo, names)
        assert len(await repo.condemn(LATER, 1000)) == len(units) + 1 - len(done)

    # Completions

    @pytest.mark.parametrize("kind", [FileKind.IMAGE, FileKind.VIDEO])
    async def test_a_missing_file_of_a_violation_is_added(
        self, repo: RecordRepo, kind: FileKind
    ) -> None:
        """CommitUnit: `completes` sets the violation's empty file id and the path in its record."""
        place = await local(repo)
        there = await store(repo, new_evidence(new_record("V001"), place, kinds=()))
        file = new_evidence_file(ViolationId("V001"), kind, place)
        await store(repo, Unit((file,), completes=ViolationId("V001")))
        violation = await repo.violation(ViolationId("V001"))
        assert violation
        assert there.violation
        image, video = (file.file_id if kind is one else None for one in _SEEN)
        assert (violation.image_file_id, violation.video_file_id) == (image, video)
        record = violation.record
        assert (record.image_path, record.video_path) == (image or "", video or "")
        assert (
            evolve(violation, record=there.violation.record, image_file_id=None, video_file_id=None)
            == there.violation
        )
        assert await repo.file(file.file_id) == file

    async def test_a_violation_is_completed_once(self, repo: RecordRepo) -> None:
        """CommitUnit: IdsTaken if the violation to which a file is added has a file of its kind.

        Also if the violation does not exist.
        """
        place = await local(repo)
        name = ViolationId("V001")
        await store(repo, new_evidence(new_record(name), place))
        for completed in (name, ViolationId("V002")):
            late = new_file(place)
            unit = Unit((late,), completes=completed)
            attempt = new_attempt(unit)
            await repo.begin(attempt, unit.names)
            with pytest.raises(IdsTaken):
                await repo.apply(CommitUnit(attempt.attempt_id, unit))
            assert await repo.file(late.file_id) is None
        image_and_video = Unit(
            tuple(new_evidence_file(name, kind, place) for kind in _SEEN), completes=name
        )
        attempt = new_attempt(image_and_video)
        await repo.begin(attempt, image_and_video.names)
        with pytest.raises(IdsTaken):
            await repo.apply(CommitUnit(attempt.attempt_id, image_and_video))
        violation = await repo.violation(name)
        assert violation
        assert violation.video_file_id is None
        assert violation.record.video_path == ""

    async def test_of_concurrent_completions_one_succeeds(self, repo: RecordRepo) -> None:
        """CommitUnit: of concurrent commits that add an image to one violation, one succeeds."""
        place = await local(repo)
        name = ViolationId("V001")
        await store(repo, new_evidence(new_record(name), place, kinds=()))
        units = [Unit((new_file(place),), completes=name) for _ in range(20)]
        outcomes = await asyncio.gather(
            *(store(repo, unit) for unit in units), return_exceptions=True
        )
        won = [unit for unit in units if unit in outcomes]
        assert len(won) == 1
        violation = await repo.violation(name)
        assert violation
        assert violation.image_file_id == won[0].files[0].file_id

    # Recovery

    async def test_only_attempts_past_their_deadline_are_condemned(self, repo: RecordRepo) -> None:
        """condemn: returns the attempts whose deadline has passed, oldest first.

        An attempt is one try to store files; condemning it forbids its commit.
        """
        unit = Unit((new_file(await local(repo)),))
        attempts = [new_attempt(unit, NOON + n * MINUTE) for n in (3, 1, 2)]
        for attempt in attempts:
            await repo.begin(attempt, ClaimedIds(()))
        assert await repo.condemn(NOON) == []
        assert await repo.condemn(NOON + 2 * MINUTE) == [attempts[1], attempts[2]]
        assert await repo.condemn(NOON + 2 * MINUTE, 1) == [attempts[1]]
        await repo.apply(CommitUnit(attempts[0].attempt_id, unit))

    async def test_condemned_attempts_are_returned_until_forgotten(self, repo: RecordRepo) -> None:
        """condemn: returns the attempts that it returned before, until `forget` removes them.

        An attempt is one try to store files; condemning it forbids its commit.
        """
        unit = Unit((new_file(await local(repo)),))
        one, other = new_attempt(unit), new_attempt(unit, LATER + MINUTE)
        await repo.begin(one, ClaimedIds(()))
        await repo.begin(other, ClaimedIds(()))
        assert await repo.condemn(LATER + MINUTE) == [one, other]
        assert await repo.condemn(NOON) == [one, other]
        await repo.forget(one.attempt_id)
        assert await repo.condemn(NOON) == [other]

    async def test_forget_may_be_repeated(self, repo: RecordRepo) -> None:
        """forget: removes the record of an attempt (one try to store files); may be repeated.

        It also removes an attempt that `condemn` has not returned.
        """
        unit = Unit((new_file(await local(repo)),))
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        for _ in range(2):
            await repo.forget(attempt.attempt_id)
        assert await repo.condemn(LATER) == []

    async def test_commit_and_condemn_exclude_each_other(self, repo: RecordRepo) -> None:
        """condemn: a condemned attempt can't commit, and a committed one is not condemned.

        An attempt is one try to store files.
        """
        place = await local(repo)
        for _ in range(20):
            unit = Unit((new_file(place),))
            attempt = new_attempt(unit)
            await repo.begin(attempt, unit.names)
            committed, condemned = await asyncio.gather(
                repo.apply(CommitUnit(attempt.attempt_id, unit)),
                repo.condemn(LATER),
                return_exceptions=True,
            )
            assert committed is True or isinstance(committed, AttemptCondemned)
            # `condemn` may skip an attempt that is committing. If that commit then fails, the next
            # call returns the attempt.
            assert not isinstance(condemned, BaseException)
            assert await is_whole(repo, unit) == (committed is True)
            assert (attempt in await repo.condemn(LATER)) == (committed is not True)
            assert attempt not in condemned or committed is not True
            await repo.forget(attempt.attempt_id)

    # Reading

    async def test_an_unknown_id_returns_none(self, repo: RecordRepo) -> None:
        """file, violation: return None for an unknown id; lists and counters are empty."""
        assert await repo.file(FileId("absent")) is None
        assert await repo.violation(ViolationId("absent")) is None
        assert list(await repo.files_of(ViolationId("absent"))) == []
        assert await repo.violations(ViolationQuery()) == Page(())
        assert await repo.usage() == NOTHING

    async def test_replicas_are_ordered_by_tier_and_store(self, repo: RecordRepo) -> None:
        """file: the replicas are in the order of tier (local first), then store id."""
        places = [
            RegisteredStore(StoreId(name), tier, f"place {name}", NOON)
            for name, tier in (
                ("b", Tier.CLOUD),
                ("c", Tier.LOCAL),
                ("a", Tier.CLOUD),
                ("d", Tier.LOCAL),
            )
        ]
        for place in places:
            await repo.register(place)
        file = new_file(*places)
        await store(repo, Unit((file,)))
        found = await repo.file(file.file_id)
        assert found
        assert [copy.store_id for copy in found.replicas] == ["c", "d", "a", "b"]
        assert set(found.replicas) == set(file.replicas)

    async def test_files_of_a_violation_are_oldest_first(self, repo: RecordRepo) -> None:
        """files_of: returns the oldest first, in the order of `created_at`, then `file_id`."""
        place = await local(repo)
        files = [
            new_file(place, file_id=f"{name}", violation_id="V001", at=NOON + age * MINUTE)
            for name, age in (("b", 0), ("a", 0), ("+", 0), ("c", -1), ("0", 1))
        ]
        for file in (*files, new_file(place, violation_id="V002"), new_file(place)):
            await store(repo, Unit((file,)))
        found = await repo.files_of(ViolationId("V001"))
        assert [file.file_id for file in found] == ["c", "+", "a", "b", "0"]
        assert set(found) == set(files)

    async def test_files_of_several_violations(self, repo: RecordRepo) -> None:
        """files_of_each: returns the files of each violation, as `files_of` does."""
        place, other = await local(repo), await cloud(repo)
        for name in ("V002", "V001", "V002", None):
            await store(repo, Unit((new_file(place, other, violation_id=name),)))
        names = [ViolationId(name) for name in ("V001", "V002", "absent")]
        found = await repo.files_of_each(names)
        for name, count in zip(names, (1, 2, 0), strict=True):
            assert len(found[name]) == count
            assert list(found[name]) == list(await repo.files_of(name))
        assert await repo.files_of_each([]) == {}

    async def test_files_of_a_violation_are_limited(self, repo: RecordRepo) -> None:
        """files_of: returns at most 1,000 files."""
        place, other = await local(repo), await cloud(repo)
        files = [new_file(place, other, violation_id="V001") for _ in range(1001)]
        await store(repo, Unit(tuple(files)))
        found = await repo.files_of(ViolationId("V001"))
        assert list(found) == sorted(files, key=lambda file: file.file_id)[:1000]

    # Pages of violations

    async def test_violations_are_newest_first_with_ties_by_code_point(
        self, repo: RecordRepo
    ) -> None:
        """violations: newest first; equal times in ascending order of id."""
        place = await local(repo)
        for name in STRANGE_IDS:
            await store(repo, new_evidence(new_record(name), place))
        for name, minutes in (("new", 1), ("old", -1)):
            record = new_record(name, timestamp=NOON + minutes * MINUTE)
            await store(repo, new_evidence(record, place))
        shown = await all_pages(repo, ViolationQuery(limit=3))
        assert [v.violation_id for v in shown] == ["new", *sorted(STRANGE_IDS), "old"]

    async def test_the_last_page_has_no_next(self, repo: RecordRepo) -> None:
        """violations: `next` is None on the last page, even if that page is full."""
        place = await local(repo)
        for number in range(4):
            await store(repo, new_evidence(new_record(f"V{number}"), place))
        first = await repo.violations(ViolationQuery(limit=2))
        assert first.next == Cursor(NOON, "V1")
        assert (await repo.violations(ViolationQuery(limit=2, after=first.next))).next is None
        assert (await repo.violations(ViolationQuery(limit=4))).next is None
        assert (await repo.violations(ViolationQuery(limit=5))).next is None

    async def test_a_page_leaves_out_violations_that_are_not_available(
        self, repo: RecordRepo
    ) -> None:
        """violations: leaves out violations that are not available. violation: returns them."""
        place = await local(repo)
        shown = await store(repo, new_evidence(new_record(), place))
        unit = new_evidence(new_record(), place)
        assert unit.violation
        gone = evolve(unit.violation, state=ViolationState.TOMBSTONED, state_at=NOON)
        await store(repo, evolve(unit, violation=gone))
        queries = (
            *(ViolationQuery(), ViolationQuery(max_confidence=0.99)),
            ViolationQuery(device_id=gone.record.device_id),
            ViolationQuery(vehicle_class=gone.record.vehicle_class, min_confidence=0.01),
        )
        for query in queries:
            assert gone not in (await repo.violations(query)).items
        assert (await repo.violations(ViolationQuery())).items == (shown.violation,)
        assert await repo.violation(gone.violation_id) == gone

    async def test_violations_match_all_filters(self, repo: RecordRepo) -> None:
        """violations: a violation must match all filters; the end time is exclusive."""
        place = await local(repo)
        known = await self._filled(repo, place)
        one = known[0].record
        end = NOON + 3 * MINUTE
        for query in (
            ViolationQuery(device_id="camera-1"),
            ViolationQuery(device_id="Kamera Ñ 速度"),
            ViolationQuery(device_id="camera"),
            ViolationQuery(violation_type="red_light"),
            ViolationQuery(vehicle_class="lorry"),
            ViolationQuery(min_confidence=0.5),
            ViolationQuery(max_confidence=0.5),
            ViolationQuery(min_confidence=0.5, max_confidence=0.5),
            ViolationQuery(min_confidence=1, max_confidence=1),
            ViolationQuery(start_time=NOON, end_time=NOON),
            ViolationQuery(start_time=NOON, end_time=end),
            ViolationQuery(
                device_id=one.device_id,
                violation_type=one.violation_type,
                vehicle_class=one.vehicle_class,
                min_confidence=one.confidence,
                max_confidence=one.confidence,
                start_time=NOON,
                end_time=end,
            ),
        ):
            shown = await all_pages(repo, evolve(query, limit=2))
            assert shown == [v for v in known if _meets(v, query)], query

    async def test_any_query_returns_the_matching_violations(self, repo: RecordRepo) -> None:
        """violations: any query returns the matching violations after its cursor."""
        place = await local(repo)
        known = await self._filled(repo, place)
        devices = st.sampled_from(["camera-1", "Kamera Ñ 速度"])
        times = st.integers(-1, 6).map(lambda n: NOON + n * MINUTE)
        for query in examples(values.queries(devices, times), 60):
            page = await repo.violations(query)
            expected = [v for v in known if _meets(v, query) and _is_after(v, query.after)]
            assert list(page.items) == expected[: query.limit], query
            assert (page.next is not None) == (len(expected) > query.limit), query

    async def test_pages_have_each_violation_once_during_additions(self, repo: RecordRepo) -> None:
        """violations: the pages show each violation once while others are added."""
        place = await local(repo)
        known = await self._filled(repo, place)
        query = ViolationQuery(limit=3)
        shown: list[str] = []
        number = 0
        while True:
            page = await repo.violations(query)
            shown += [v.violation_id for v in page.items]
            if page.next is None:
                break
            query = evolve(query, after=page.next)
            number += 1
            record = new_record(f"late-{number}", timestamp=NOON + number * MINUTE / 2)
            await store(repo, new_evidence(record, place))
        counts = Counter(shown)
        assert [counts[v.violation_id] for v in known] == [1] * len(known)
        assert max(counts.values()) == 1

    async def _filled(self, repo: RecordRepo, place: RegisteredStore) -> list[StoredViolation]:
        """Commit violations with varied values; return them in the order of a page."""
        chance = Random(5)
        known = []
        for number in range(40):
            record = new_record(
                f"V{number}",
                device_id=chance.choice(["camera-1", "camera-2", "Kamera Ñ 速度"]),
                violation_type=chance.choice(["speed", "red_light"]),
                vehicle_class=chance.choice(["car", "lorry"]),
                confidence=chance.choice([0, 0.25, 0.5, 0.5 + 1e-12, 1]),
                timestamp=NOON + chance.randrange(5) * MINUTE,
            )
            unit = await store(repo, new_evidence(record, place))
            assert unit.violation
            known.append(unit.violation)
        return sorted(known, key=lambda v: (NOON - v.occurred_at, v.violation_id))

    # Pages of files

    async def test_files_are_found_by_any_set_of_filters(self, repo: RecordRepo) -> None:
        """files: any query returns the matching files after its cursor, newest first.

        Files of equal `created_at` are in descending order of id.
        """
        known = await self._with_files(repo)
        for query in examples(
            values.file_queries(
                st.sampled_from(["camera-1", "camera-2", "camera"]),
                st.sampled_from([ViolationId("V1"), ViolationId("V2"), ViolationId("V")]),
                _minutes,
            ),
            150,
        ):
            expected = [f for f in known if _is_asked(f, query) and _is_later(f, query.after)]
            page = await repo.files(query)
            assert list(page.items) == expected[: query.limit], query
            assert (page.next is None) == (len(expected) <= query.limit), query

    @pytest.mark.parametrize("state", FileState)
    async def test_pages_have_each_file_once(self, repo: RecordRepo, state: FileState) -> None:
        """files: the pages show each file once."""
        known = await self._with_files(repo)
        query = FilesQuery(limit=7, state=state)
        shown: list[StoredFile] = []
        while True:
            page = await repo.files(query)
            shown += page.items
            if page.next is None:
                break
            query = evolve(query, after=page.next)
        assert shown == [file for file in known if file.state is state]

    async def _with_files(self, repo: RecordRepo) -> list[StoredFile]:
        """Commit files with varied values; return them in the order of a page."""
        chance = Random(11)
        places = await local(repo), await cloud(repo)
        known = []
        for number in range(80):
            file = evolve(
                new_file(
                    *places[: 1 + number % 2],
                    file_id=f"{chance.choice(STRANGE_IDS)}{number}",
                    kind=chance.choice(list(FileKind)),
                    violation_id=chance.choice([None, "V1", "V2"]),
                    at=NOON + chance.randrange(4) * MINUTE,
                ),
                device_id=chance.choice([None, DeviceId("camera-1"), DeviceId("camera-2")]),
                state=chance.choice([FileState.AVAILABLE, *FileState]),
            )
            await store(repo, Unit((file,)))
            known.append(file)
        return sorted(known, key=lambda file: (file.created_at, file.file_id), reverse=True)

    # Counters

    async def test_usage_is_counted_by_store_and_kind(self, repo: RecordRepo) -> None:
        """usage: one row per store and kind of file, and one per kind."""
        here, there = await local(repo), await cloud(repo)
        image = new_file(here, there, size_bytes=1000)
        video = new_file(there, kind=FileKind.VIDEO, size_bytes=5000)
        other = new_file(here, size_bytes=100)
        for file in (image, video, other):
            await store(repo, Unit((file,)))
        assert await repo.usage() == CatalogueUsage(
            (
                StoreUsage(there.store_id, FileKind.IMAGE, 1, 1000),
                StoreUsage(there.store_id, FileKind.VIDEO, 1, 5000),
                StoreUsage(here.store_id, FileKind.IMAGE, 2, 1100),
            ),
            (FileUsage(FileKind.IMAGE, 2, 1100), FileUsage(FileKind.VIDEO, 1, 5000)),
        )

    async def test_a_file_with_several_replicas_counts_once(self, repo: RecordRepo) -> None:
        """usage: counts a file once, however many replicas it has, even if none is found."""
        here, there = await local(repo), await cloud(repo)
        file = new_file(here, size_bytes=1000)
        await store(repo, Unit((file,)))
        unit = new_restoration(file, there)
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.affected_ids)
        await repo.apply(CommitUnit(attempt.attempt_id, unit))
        usage = await repo.usage()
        assert [(row.store_id, row.replicas) for row in usage.stores] == [
            (there.store_id, 1),
            (here.store_id, 1),
        ]
        assert usage.files == (FileUsage(FileKind.IMAGE, 1, 1000),)
        assert await _mark(repo, file, ReplicaState.MISSING)
        assert (await repo.usage()).files == usage.files

    async def test_daily_usage_has_the_changes_of_the_counters(self, repo: RecordRepo) -> None:
        """daily_usage: "the change of the counters on each day (UTC)", of all or of one device."""
        place = await local(repo)
        device = DeviceId("camera-1")
        late = new_file(place, at=NOON + timedelta(days=2))
        units = (Unit((evolve(new_file(place), device_id=device),)), Unit((late,)))
        for unit in units:
            await store(repo, unit)
        file = units[0].files[0]
        change = ObserveReplica(
            file.file_id,
            file.replicas[0].replica_id,
            ReplicaState.MISSING,
            NOON + timedelta(days=1),
        )
        await repo.apply(change)
        first = CatalogueUsage(
            (StoreUsage(place.store_id, FileKind.IMAGE, 1, 1000),),
            (FileUsage(FileKind.IMAGE, 1, 1000),),
        )
        lost = CatalogueUsage((StoreUsage(place.store_id, FileKind.IMAGE, -1, -1000),))
        day = NOON.date()
        of_device = [DailyUsage(day, first), DailyUsage(day + _DAY, lost)]
        for _ in range(2):
            assert list(await repo.daily_usage(day, day + 2 * _DAY, device)) == of_device
            assert list(await repo.daily_usage(day, day + _DAY, DeviceId("camera-2"))) == []
            assert list(await repo.daily_usage(day + _DAY, day + _DAY)) == of_device[1:]
            everything = await repo.daily_usage(day, day + 2 * _DAY)
            assert _sum_of(everything) == await repo.usage()
            await repo.fold_counters()

    async def test_folding_does_not_change_readings(self, repo: RecordRepo) -> None:
        """fold_counters: "The results of `usage` and `daily_usage` stay the same"."""
        place = await local(repo)
        units = [new_evidence(new_record(), place) for _ in range(40)]
        done = asyncio.Event()

        async def fold() -> None:
            while not done.is_set():
                await repo.fold_counters()
                days = await repo.daily_usage(NOON.date() - _DAY, NOON.date() + _DAY)
                assert sum(one.change.violations for one in days) <= len(units)
                await asyncio.sleep(0)

        async def commit() -> None:
            for number, unit in enumerate(units):
                await store(repo, unit)
                assert (await repo.usage()).violations == number + 1
            done.set()

        await asyncio.gather(commit(), fold(), fold())
        before = await repo.usage(), await repo.daily_usage(NOON.date(), NOON.date())
        await asyncio.gather(*(repo.fold_counters() for _ in range(5)))
        assert (await repo.usage(), await repo.daily_usage(NOON.date(), NOON.date())) == before
        names = [name for unit in units for name in unit.names.files]
        assert list(before[0].stores) == await recount(repo, names)

    async def test_counters_equal_a_recount_under_sixteen_writers(self, repo: RecordRepo) -> None:
        """apply: the counters equal a recount after concurrent changes.

        The changes are commits, some with conflicting ids, and reports of corrupt or missing
        replicas.
        """
        places = [await local(repo), await cloud(repo)]
        shared = [f"shared-{number}" for number in range(30)]
        names: set[FileId] = set()

        async def work(writer: int) -> None:
            chance = Random(writer)
            for _ in range(12):
                record = new_record(chance.choice(shared) if chance.random() < 0.2 else None)
                unit = new_evidence(
                    record, chance.choice(places), kinds=_SEEN[: chance.randrange(3)]
                )
                names.update(unit.names.files)
                with suppress(IdsTaken):
                    await store(repo, unit)
                    await _mark_some(repo, chance, unit)

        async with asyncio.TaskGroup() as group:
            for writer in range(16):
                group.create_task(work(writer))
            for _ in range(4):
                group.create_task(repo.fold_counters())
        found = [name for name in names if name.endswith("~metadata") and await repo.file(name)]
        usage = await repo.usage()
        assert list(usage.stores) == await recount(repo, sorted(names))
        assert sum(row.files for row in usage.files) == len(
            [name for name in names if await repo.file(name)]
        )
        assert usage.violations == len(found)

    # Observations

    async def test_of_concurrent_observations_one_succeeds(self, repo: RecordRepo) -> None:
        """ObserveReplica: of concurrent reports of a corrupt replica, one changes the state."""
        file = new_file(await local(repo))
        await store(repo, Unit((file,)))
        marks = [_mark(repo, file, ReplicaState.CORRUPT, n) for n in range(10)]
        assert Counter(await asyncio.gather(*marks)) == {True: 1, False: 9}
        found = await repo.file(file.file_id)
        assert found
        assert found.replicas[0].state is ReplicaState.CORRUPT
        assert found.replicas[0].verified_at in [NOON + n * MINUTE for n in range(10)]
        assert not await _mark(repo, file, ReplicaState.MISSING)
        assert await repo.file(file.file_id) == found

    @pytest.mark.parametrize(
        ("state", "occupied"), [(ReplicaState.CORRUPT, 1), (ReplicaState.MISSING, 0)]
    )
    async def test_a_missing_replica_does_not_count_as_usage(
        self, repo: RecordRepo, state: ReplicaState, occupied: int
    ) -> None:
        """ObserveReplica: a corrupt replica counts in the usage of its store, a missing one not."""
        place = await local(repo)
        file = new_file(place)
        await store(repo, Unit((file,)))
        assert await _mark(repo, file, state)
        rows = (StoreUsage(place.store_id, FileKind.IMAGE, 1, 1000),) * occupied
        assert await repo.usage() == CatalogueUsage(rows, (FileUsage(FileKind.IMAGE, 1, 1000),))

    @pytest.mark.parametrize(
        ("state", "kind"),
        [
            (ReplicaState.CORRUPT, IncidentKind.CORRUPT_REPLICA),
            (ReplicaState.MISSING, IncidentKind.MISSING_REPLICA),
        ],
    )
    async def test_a_bad_replica_is_an_incident_until_it_is_present_again(
        self, repo: RecordRepo, state: ReplicaState, kind: IncidentKind
    ) -> None:
        """ObserveReplica: an incident is opened once, and closed when the replica is present."""
        file = new_file(await local(repo))
        await store(repo, Unit((file,)))
        await asyncio.gather(*(_mark(repo, file, state, n) for n in range(4)))
        (found,) = (await repo.incidents(IncidentsQuery())).items
        assert (found.kind, found.file_id, found.replica_id) == (
            kind,
            file.file_id,
            file.replicas[0].replica_id,
        )
        assert found.store_id == file.replicas[0].store_id
        assert await _mark(repo, file, ReplicaState.PRESENT, 9)
        assert (await repo.incidents(IncidentsQuery())).items == ()
        (closed,) = (await repo.incidents(IncidentsQuery(is_open=False))).items
        assert (closed.incident_id, closed.closed_at) == (found.incident_id, NOON + 9 * MINUTE)

    @pytest.mark.parametrize("state", [ReplicaState.CORRUPT, ReplicaState.MISSING])
    async def test_a_doubtful_replica_may_become_present_again(
        self, repo: RecordRepo, state: ReplicaState
    ) -> None:
        """ObserveReplica: makes a corrupt or missing replica present again, and counts it."""
        place = await local(repo)
        file = new_file(place)
        await store(repo, Unit((file,)))
        assert not await _mark(repo, file, ReplicaState.PRESENT)
        assert await _mark(repo, file, state)
        marks = [_mark(repo, file, ReplicaState.PRESENT, n) for n in range(1, 5)]
        assert Counter(await asyncio.gather(*marks)) == {True: 1, False: 3}
        found = await repo.file(file.file_id)
        assert found
        assert found.readable == found.replicas
        assert found.replicas[0].verified_at in [NOON + n * MINUTE for n in range(1, 5)]
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])

    async def test_gone_and_unknown_replicas_are_not_changed(self, repo: RecordRepo) -> None:
        """ObserveReplica: does nothing for a replica that is gone, or unknown."""
        here, there = await local(repo), await cloud(repo)
        file = new_file(here, there)
        gone = evolve(file.replicas[1], state=ReplicaState.GONE)
        file = evolve(file, replicas=(file.replicas[0], gone))
        await store(repo, Unit((file,)))
        for replica_id in (gone.replica_id, uuid7_at(NOON)):
            for state in (ReplicaState.MISSING, ReplicaState.PRESENT):
                assert not await repo.apply(ObserveReplica(file.file_id, replica_id, state, NOON))
        absent = evolve(file, file_id=FileId("absent"))
        assert not await _mark(repo, absent, ReplicaState.CORRUPT)
        assert await repo.file(file.file_id) == file

    async def test_an_observation_of_another_state_is_refused(self, repo: RecordRepo) -> None:
        """ObserveReplica: ForbiddenTransition for other states than present, corrupt and missing."""
        file = new_file(await local(repo))
        await store(repo, Unit((file,)))
        with pytest.raises(ForbiddenTransition):
            await _mark(repo, file, ReplicaState.GONE)
        assert await repo.file(file.file_id) == file

    # Restorations

    async def test_a_restoration_adds_a_replica(self, repo: RecordRepo) -> None:
        """CommitUnit: adds replicas to the stored files in `unit.restored`, and nothing else."""
        here, there = await local(repo), await cloud(repo)
        file = new_file(here)
        await store(repo, Unit((file,)))
        assert await _mark(repo, file, ReplicaState.MISSING)
        unit = new_restoration(file, there)
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.affected_ids)
        await repo.apply(CommitUnit(attempt.attempt_id, unit))
        await repo.apply(CommitUnit(attempt.attempt_id, unit))
        found = await repo.file(file.file_id)
        assert found
        assert found.readable == unit.restored[0].replicas
        assert [copy.state for copy in found.doubtful] == [ReplicaState.MISSING]
        assert evolve(found, replicas=file.replicas) == file
        assert await repo.usage() == CatalogueUsage(
            (StoreUsage(there.store_id, FileKind.IMAGE, 1, 1000),),
            (FileUsage(FileKind.IMAGE, 1, 1000),),
        )

    async def test_a_restoration_of_an_absent_file_is_refused(self, repo: RecordRepo) -> None:
        """CommitUnit: AttemptCondemned if a file to which replicas are added does not exist."""
        place = await local(repo)
        unit = new_restoration(new_file(place), place)
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.affected_ids)
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnit(attempt.attempt_id, unit))
        assert await repo.usage() == NOTHING
        assert await repo.condemn(LATER) == [attempt]

    # Stores

    async def test_the_catalogue_keeps_its_id(self, repo: RecordRepo) -> None:
        """catalogue_id: never changes, not even by an upgrade."""
        made = await repo.catalogue_id()
        assert made
        await repo.upgrade()
        assert await repo.catalogue_id() == made

    async def test_a_store_is_registered_once(self, repo: RecordRepo) -> None:
        """register: may be repeated; a registered store does not change."""
        new = RegisteredStore(StoreId("s1"), Tier.CLOUD, "Straße/ñ", NOON, intended=FIRST)
        await asyncio.gather(*(repo.register(new) for _ in range(5)))
        await repo.register(evolve(new, location="elsewhere", intended=SECOND))
        assert await repo.registered(StoreId("s1")) == new
        assert await repo.registered(StoreId("s2")) is None

    async def test_an_incarnation_is_intended_and_confirmed(self, repo: RecordRepo) -> None:
        """exchange: replaces the row of a store if the row is the expected one."""
        place = await local(repo)
        file = new_file(place)
        await store(repo, Unit((file,)))
        intending = place.intending(FIRST, NOON + MINUTE)
        confirmed = intending.confirming("/elsewhere", NOON + 2 * MINUTE)
        assert await repo.exchange(place, intending)
        assert await repo.registered(place.store_id) == intending
        assert await repo.exchange(intending, confirmed)
        assert await repo.registered(place.store_id) == confirmed
        assert confirmed.location == "/elsewhere"
        assert await repo.file(file.file_id) == file

    async def test_an_exchange_from_an_older_state_changes_nothing(self, repo: RecordRepo) -> None:
        """exchange: returns False and changes nothing if the store's row is not the expected one.

        Returns True if the row already is the new one.
        """
        place = await local(repo)
        intending = place.intending(FIRST, NOON)
        confirmed = intending.confirming("/here", NOON)
        assert await repo.exchange(place, intending)
        assert await repo.exchange(place, intending), "the row already is the new one"
        assert await repo.exchange(intending, confirmed)
        assert not await repo.exchange(place, place.intending(SECOND, NOON))
        assert not await repo.exchange(intending, intending.intending(SECOND, NOON))
        assert await repo.registered(place.store_id) == confirmed
        absent = evolve(place, store_id=StoreId("absent"))
        assert not await repo.exchange(absent, absent.intending(SECOND, NOON))
        assert await repo.registered(absent.store_id) is None

    async def test_of_concurrent_exchanges_one_succeeds(self, repo: RecordRepo) -> None:
        """exchange: of concurrent calls that expect the same row of a store, one replaces it."""
        place = await local(repo)
        wanted = [place.intending(Incarnation(f"i{number}"), NOON) for number in range(20)]
        went = await asyncio.gather(*(repo.exchange(place, one) for one in wanted))
        assert sum(went) == 1
        assert await repo.registered(place.store_id) == wanted[went.index(True)]

    async def test_confirmed_stores_are_found_by_location(self, repo: RecordRepo) -> None:
        """registered_at: returns the stores confirmed at a location, the latest confirmed last."""
        confirmed = []
        for minutes, name in ((3, "a"), (1, "b"), (2, "c")):
            new = RegisteredStore(StoreId(name), Tier.LOCAL, "/new", NOON, intended=FIRST)
            await repo.register(new)
            confirmed.append(new.confirming("/data/ñ", NOON + minutes * MINUTE))
            assert list(await repo.registered_at(Tier.LOCAL, "/new")) == []
            assert await repo.exchange(new, confirmed[-1])
        found = list(await repo.registered_at(Tier.LOCAL, "/data/ñ"))
        assert found == [confirmed[1], confirmed[2], confirmed[0]]
        assert list(await repo.registered_at(Tier.CLOUD, "/data/ñ")) == []

    async def test_a_unit_with_an_unregistered_store_is_refused(self, repo: RecordRepo) -> None:
        """CommitUnit: AttemptCondemned if a file has a replica in an unregistered store."""
        stranger = RegisteredStore(StoreId("cloud-2"), Tier.CLOUD, "b", NOON)
        unit = new_evidence(new_record(), await local(repo), stranger)
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnit(attempt.attempt_id, unit))
        assert not await is_whole(repo, unit)
        assert await repo.condemn(LATER) == [attempt]

    # Upgrade and closing

    async def test_an_upgrade_does_not_change_rows(self, repo: RecordRepo) -> None:
        """upgrade: may be called concurrently; does not change existing rows."""
        unit = await store(repo, new_evidence(new_record(), await local(repo)))
        assert list(await repo.pending()) == []
        await asyncio.gather(*(repo.upgrade() for _ in range(4)))
        assert await is_whole(repo, unit)

    async def test_aclose_waits_for_running_calls(self, repo: RecordRepo) -> None:
        """aclose: waits until running calls end; may be called twice."""
        place = await local(repo)
        units = [new_evidence(new_record(), place) for _ in range(20)]
        running = [asyncio.ensure_future(store(repo, unit)) for unit in units]
        await asyncio.gather(*(repo.ping() for _ in range(3)))
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        await repo.aclose()
        assert list(await asyncio.gather(*running)) == units
        await repo.aclose()


_SEEN = (FileKind.IMAGE, FileKind.VIDEO)


def _mark(
    repo: RecordRepo, file: StoredFile, state: ReplicaState, minutes: int = 0
) -> Awaitable[bool]:
    copy = file.replicas[0]
    at = NOON + minutes * MINUTE
    return repo.apply(ObserveReplica(file.file_id, copy.replica_id, state, at))


async def _mark_some(repo: RecordRepo, chance: Random, unit: Unit) -> None:
    for file in unit.files:
        if chance.random() < 0.3:
            await _mark(repo, file, chance.choice([ReplicaState.CORRUPT, ReplicaState.MISSING]))


def _meets(violation: StoredViolation, query: ViolationQuery) -> bool:
    record, at = violation.record, violation.occurred_at
    wanted = {
        record.device_id: query.device_id,
        record.violation_type: query.violation_type,
        record.vehicle_class: query.vehicle_class,
    }
    low = 0 if query.min_confidence is None else query.min_confidence
    high = 1 if query.max_confidence is None else query.max_confidence
    return (
        all(value in (None, have) for have, value in wanted.items())
        and low <= record.confidence <= high
        and (query.start_time is None or query.start_time <= at)
        and (query.end_time is None or at < query.end_time)
    )


def _is_after(violation: StoredViolation, cursor: Cursor | None) -> bool:
    if cursor is None:
        return True
    age, cursor_age = NOON - violation.occurred_at, NOON - cursor.at
    return (age, violation.violation_id) > (cursor_age, cursor.row_id)


def _is_asked(file: StoredFile, query: FilesQuery) -> bool:
    return (
        query.kind in (None, file.kind)
        and query.device_id in (None, file.device_id)
        and query.violation_id in (None, file.violation_id)
        and (query.start_time is None or query.start_time <= file.created_at)
        and (query.end_time is None or file.created_at < query.end_time)
        and file.state is query.state
    )


def _is_later(file: StoredFile, cursor: Cursor | None) -> bool:
    return cursor is None or (file.created_at, file.file_id) < (cursor.at, cursor.row_id)


class _Raised:
    """The outcome of a call that raised an error; equal to another error of the same class."""

    def __init__(self, error: TrafficStorageError) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Raised) and type(other.error) is type(self.error)

    __hash__ = None  # type: ignore[assignment]


_NAMES = ["V1", "V2", "v1", "V10"]
_DEVICES = ["camera-1", "Kamera Ñ 速度"]
_PLACES = ["/evidence", "endpoint/bucket", "elsewhere"]
_STORES = ["local-1", "cloud-1", "cloud-2"]
_incarnations = st.sampled_from([None, *map(Incarnation, "ab")])
_minutes = st.integers(-1, 4).map(lambda n: NOON + n * MINUTE)


class RecordRepoMachine(RuleBasedStateMachine):
    """Random sequences of calls: results and errors are those of the in-memory catalogue.

    Define a subclass whose `make` returns an open, empty catalogue, and run its `TestCase`. The
    machine awaits `make` on its own event loop.
    """

    make: ClassVar[Callable[[], Awaitable[RecordRepo]]]

    tries: Bundle[tuple[Attempt, Unit]] = Bundle("tries")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._repos = (self._runner.run(self._made()), InMemoryRecordRepo())

    async def _made(self) -> RecordRepo:
        return await type(self).make()

    @initialize()
    def register_the_first(self) -> None:
        """Register the two stores in which the stored files have replicas."""
        self._both(local)
        self._both(cloud)

    @rule(
        target=tries,
        name=st.sampled_from(_NAMES),
        twice=st.booleans(),
        record=values.records(device_id=st.sampled_from(_DEVICES), timestamp=_minutes),
        kinds=st.sets(st.sampled_from(_SEEN)),
        deadline=_minutes,
    )
    def begin_evidence(
        self,
        name: str,
        *,
        twice: bool,
        record: ViolationRecord,
        kinds: set[FileKind],
        deadline: datetime,
    ) -> tuple[Attempt, Unit]:
        """Begin to store a violation with its files."""
        places = _places(twice=twice)
        unit = new_evidence(evolve(record, violation_id=name), *places, kinds=sorted(kinds))
        return self._begin(unit, deadline)

    @rule(
        target=tries,
        name=st.sampled_from([*_NAMES, "V1~image"]),
        violation=st.none() | st.sampled_from(_NAMES),
        kind=values.kinds(),
        deadline=_minutes,
        twice=st.booleans(),
    )
    def begin_file(
        self, name: str, violation: str | None, kind: FileKind, deadline: datetime, *, twice: bool
    ) -> tuple[Attempt, Unit]:
        """Begin to store one file."""
        file = new_file(
            *_places(twice=twice), file_id=name, kind=kind, violation_id=violation, at=deadline
        )
        return self._begin(Unit((file,)), deadline)

    @rule(target=tries, name=st.sampled_from(_NAMES), kind=values.kinds(), deadline=_minutes)
    def begin_completion(
        self, name: str, kind: FileKind, deadline: datetime
    ) -> tuple[Attempt, Unit]:
        """Begin to add a file to a violation, which may not exist."""
        file = new_evidence_file(ViolationId(name), kind, *_places(twice=False))
        return self._begin(Unit((file,), completes=ViolationId(name)), deadline)

    @rule(target=tries, tried=tries, deadline=_minutes)
    def begin_restoration(
        self, tried: tuple[Attempt, Unit], deadline: datetime
    ) -> tuple[Attempt, Unit]:
        """Begin to add a replica to a file, which may not exist."""
        file, _ = next(tried[1].replicas)
        there = self._runner.run(self._repos[1].file(file.file_id))
        return self._begin(new_restoration(there or file, *_places(twice=False)), deadline)

    def _begin(self, unit: Unit, deadline: datetime) -> tuple[Attempt, Unit]:
        attempt = new_attempt(unit, deadline)
        self._both(lambda repo: repo.begin(attempt, unit.affected_ids))
        return attempt, unit

    @rule(tried=tries)
    def commit(self, tried: tuple[Attempt, Unit]) -> None:
        """Commit the file or violation of an earlier `begin_…` call, perhaps repeatedly."""
        attempt, unit = tried
        self._both(lambda repo: repo.apply(CommitUnit(attempt.attempt_id, unit)))

    @rule(now=_minutes, limit=st.integers(1, 3) | st.just(100))
    def condemn(self, now: datetime, limit: int) -> None:
        """Forbid the commit of the tries to store files whose deadline has passed.

        Both catalogues return tries of the same deadline in the order of their ids.
        """
        self._both(lambda repo: repo.condemn(now, limit))

    @rule(tried=tries)
    def forget(self, tried: tuple[Attempt, Unit]) -> None:
        """Remove the record of an earlier `begin_…` call, whatever happened since."""
        self._both(lambda repo: repo.forget(tried[0].attempt_id))

    @rule(tried=tries, state=st.sampled_from([*OBSERVATIONS]), at=_minutes, last=st.booleans())
    def mark(
        self, tried: tuple[Attempt, Unit], state: ReplicaState, at: datetime, *, last: bool
    ) -> None:
        """Report a state of a replica, which may not be visible."""
        file, copy = list(tried[1].replicas)[-1 if last else 0]
        change = ObserveReplica(file.file_id, copy.replica_id, state, at)
        self._both(lambda repo: repo.apply(change))

    @rule(place=st.sampled_from(_PLACES), tier=st.sampled_from(Tier), name=st.sampled_from(_STORES))
    def register(self, place: str, tier: Tier, name: str) -> None:
        """Register a store, perhaps repeatedly."""
        new = RegisteredStore(StoreId(name), tier, place, NOON)
        self._both(lambda repo: repo.register(new))

    @rule(
        name=st.sampled_from(_STORES),
        was=st.tuples(_incarnations, _incarnations),
        becomes=st.tuples(_incarnations, _incarnations),
        place=st.sampled_from(_PLACES),
        at=st.none() | _minutes,
    )
    def exchange(
        self,
        name: str,
        was: tuple[Incarnation | None, Incarnation | None],
        becomes: tuple[Incarnation | None, Incarnation | None],
        place: str,
        at: datetime | None,
    ) -> None:
        """Replace the row of a store by one with other incarnations, which may not succeed.

        An incarnation is a random id that a store renews. The row fits only if its incarnations are
        the expected ones.
        """
        there = self._runner.run(self._repos[1].registered(StoreId(name)))
        base = there or RegisteredStore(StoreId(name), Tier.LOCAL, place, NOON)
        expected = evolve(base, incarnation=was[0], intended=was[1])
        wanted = evolve(
            base, location=place, incarnation=becomes[0], intended=becomes[1], confirmed_at=at
        )
        self._both(lambda repo: repo.exchange(expected, wanted))

    @rule(place=st.sampled_from(_PLACES), tier=st.sampled_from(Tier))
    def look_for_stores(self, place: str, tier: Tier) -> None:
        """Query the stores at a location."""
        self._both(lambda repo: repo.registered_at(tier, place))

    @rule(
        query=values.queries(st.sampled_from(_DEVICES), _minutes),
        after=st.none() | st.builds(Cursor, _minutes, st.sampled_from(_NAMES)),
    )
    def ask(self, query: ViolationQuery, after: Cursor | None) -> None:
        """Query a page of violations."""
        self._both(lambda repo: repo.violations(evolve(query, after=after)))

    @rule(
        query=values.file_queries(
            st.sampled_from(_DEVICES), st.sampled_from([*map(ViolationId, _NAMES)]), _minutes
        ),
        state=st.just(FileState.AVAILABLE) | values.file_states(),
    )
    def ask_for_files(self, query: FilesQuery, state: FileState) -> None:
        """Query a page of files."""
        self._both(lambda repo: repo.files(evolve(query, state=state)))

    @invariant()
    def all_counts_agree(self) -> None:
        """Compare the counters with the in-memory catalogue, which counts its rows at each call."""
        self._both(lambda repo: repo.usage())

    @rule()
    def fold(self) -> None:
        """Add the recorded changes of the counters to their totals."""
        self._both(lambda repo: repo.fold_counters())

    @rule(device=st.none() | st.sampled_from(_DEVICES).map(DeviceId))
    def look_at_days(self, device: DeviceId | None) -> None:
        """Query the changes of the counters on each day."""
        self._both(lambda repo: repo.daily_usage(date(2000, 1, 1), date(2100, 1, 1), device))

    def teardown(self) -> None:
        """Compare all rows, and close both catalogues."""
        try:
            for name in map(ViolationId, _NAMES):
                self._look_at(name)
            for store_id in map(StoreId, _STORES):
                self._both(methodcaller("registered", store_id))
            self._both(lambda repo: repo.condemn(NOON + 9 * MINUTE, 1000))
        finally:
            for repo in self._repos:
                self._runner.run(repo.aclose())
            self._runner.close()

    def _look_at(self, name: ViolationId) -> None:
        self._both(methodcaller("violation", name))
        self._both(methodcaller("files_of", name))
        for file_id in (FileId(name), *(evidence_file_id(name, kind) for kind in FileKind)):
            self._both(methodcaller("file", file_id))

    def _both(self, call: Callable[[RecordRepo], Awaitable[object]]) -> None:
        """Assert that a call has the same outcome on both catalogues."""
        ours, model = (self._runner.run(_outcome(call(repo))) for repo in self._repos)
        assert ours == model


async def _outcome(call: Awaitable[object]) -> object:
    try:
        found = await call
    except TrafficStorageError as error:
        return _Raised(error)
    return list(found) if isinstance(found, list | tuple) else found


def _places(*, twice: bool) -> Sequence[RegisteredStore]:
    places = LOCAL, CLOUD
    return places if twice else places[:1]
