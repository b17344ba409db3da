"""Tests of any adapter of the changes `AddReplica` and `ReleaseReplica`, and of the port `Copies`."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from attrs import evolve

from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.copies import AddReplica, RefuteCopy, ReleaseReplica
from traffic_storage.domain.events import event_of_refuted_copy
from traffic_storage.domain.files import (
    FileState,
    ForbiddenTransition,
    Replica,
    ReplicaState,
    StoredFile,
    blob_key,
)
from traffic_storage.domain.identifiers import AttemptId, FileId, StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Attempt, ClaimedIds, Unit
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.domain.query import JobsQuery
from traffic_storage.entrypoints.testing.contracts.deletions import all_events
from traffic_storage.entrypoints.testing.contracts.record_repo import CLOUD, cloud, local, recount
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import LATER, NOON, new_file, store
from traffic_storage.ports.errors import AttemptCondemned
from traffic_storage.ports.record_repo import RecordRepo

MINUTE = timedelta(minutes=1)
NOT_AVAILABLE = [state for state in FileState if state is not FileState.AVAILABLE]


def verified_file(*places: RegisteredStore, at: datetime = NOON) -> StoredFile:
    """Return a file with a present and verified replica in each of `places`."""
    file = new_file(*places, at=at)
    verified = (evolve(copy, state=ReplicaState.PRESENT, verified_at=at) for copy in file.replicas)
    return evolve(file, replicas=tuple(verified))


async def stored(repo: RecordRepo, *places: RegisteredStore, at: datetime = NOON) -> StoredFile:
    """Store a file with a present and verified replica in each of `places`; return it."""
    file = verified_file(*places, at=at)
    await store(repo, Unit((file,)))
    return file


def copy_in(file: StoredFile, place: RegisteredStore, at: datetime = NOON) -> Replica:
    """Return a further replica of a file, verified at `at`."""
    key = blob_key(file.kind, uuid7_at(at), file.stored.sha256)
    return Replica(place.store_id, place.tier, key, ReplicaState.PRESENT, at)


async def addition(
    repo: RecordRepo,
    file: StoredFile,
    copy: Replica,
    *,
    replaces: UUID | None = None,
    jobs: tuple[NewJob, ...] = (),
) -> AddReplica:
    """Enter an attempt for a copy in the journal; return the change that adds the copy."""
    attempt = Attempt(AttemptId(str(uuid4())), "test", LATER, ((copy.store_id, copy.key),))
    await repo.begin(attempt, ClaimedIds(()))
    return AddReplica(attempt.attempt_id, file.file_id, copy, replaces, jobs)


async def mark(repo: RecordRepo, file: StoredFile, copy: Replica, state: ReplicaState) -> None:
    """Record the state in which a replica was found."""
    assert await repo.apply(ObserveReplica(file.file_id, copy.replica_id, state, NOON))


def a_job() -> NewJob:
    """Return a job of a kind that nothing does."""
    return NewJob(uuid4(), JobKind("after the change"))


async def jobs_of(repo: RecordRepo) -> set[UUID]:
    """Return the ids of all jobs."""
    return {job.job_id for job in (await repo.jobs(JobsQuery())).items}


class CopiesContract:
    """A catalogue keeps these promises of the changes of copies, and of the port `Copies`."""

    # AddReplica

    async def test_a_copy_is_added(self, repo: RecordRepo) -> None:
        """AddReplica: adds the copy, deletes the entry in the journal, writes the jobs, counts."""
        here, there = await local(repo), await cloud(repo)
        file, job = await stored(repo, here), a_job()
        copy = copy_in(file, there)
        change = await addition(repo, file, copy, jobs=(job,))
        assert await repo.apply(change)
        found = await repo.file(file.file_id)
        assert found == evolve(file, replicas=(*file.replicas, copy))
        assert await repo.condemn(LATER) == []
        assert await jobs_of(repo) == {job.job_id}
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])

    async def test_a_repeated_addition_changes_nothing(self, repo: RecordRepo) -> None:
        """apply: "False if the same change was applied before"."""
        here, there = await local(repo), await cloud(repo)
        file = await stored(repo, here)
        change = await addition(repo, file, copy_in(file, there), jobs=(a_job(),))
        assert await repo.apply(change)
        found, usage, jobs = await repo.file(file.file_id), await repo.usage(), await jobs_of(repo)
        assert not await repo.apply(change)
        assert not await repo.apply(change)
        assert await repo.file(file.file_id) == found
        assert (await repo.usage(), await jobs_of(repo)) == (usage, jobs)

    async def test_a_copy_of_a_condemned_attempt_is_refused(self, repo: RecordRepo) -> None:
        """AddReplica: AttemptCondemned if recovery cancelled the copy; its entry stays."""
        here, there = await local(repo), await cloud(repo)
        file = await stored(repo, here)
        change = await addition(repo, file, copy_in(file, there), jobs=(a_job(),))
        assert [one.attempt_id for one in await repo.condemn(LATER)] == [change.attempt]
        await self._check_refused(repo, file, change)
        assert [one.attempt_id for one in await repo.condemn(LATER)] == [change.attempt]

    async def test_a_copy_without_an_attempt_is_refused(self, repo: RecordRepo) -> None:
        """AddReplica: AttemptCondemned if the journal has no entry of the attempt."""
        here, there = await local(repo), await cloud(repo)
        file = await stored(repo, here)
        change = await addition(repo, file, copy_in(file, there))
        await repo.forget(change.attempt)
        await self._check_refused(repo, file, change)

    @pytest.mark.parametrize("state", NOT_AVAILABLE)
    async def test_a_file_that_is_not_available_gets_no_copy(
        self, repo: RecordRepo, state: FileState
    ) -> None:
        """AddReplica: "only if the file is available at that moment"."""
        here, there = await local(repo), await cloud(repo)
        file = evolve(verified_file(here), state=state, state_at=NOON)
        await store(repo, Unit((file,)))
        await self._check_refused(repo, file, await addition(repo, file, copy_in(file, there)))

    async def test_an_unknown_file_or_store_gets_no_copy(self, repo: RecordRepo) -> None:
        """AddReplica: AttemptCondemned for a file that does not exist, or an unregistered store."""
        here = await local(repo)
        file = await stored(repo, here)
        elsewhere = evolve(here, store_id=StoreId("unregistered"))
        change = await addition(repo, file, copy_in(file, elsewhere))
        await self._check_refused(repo, file, change)
        absent = evolve(file, file_id=FileId("absent"))
        with pytest.raises(AttemptCondemned):
            await repo.apply(await addition(repo, absent, copy_in(absent, here)))
        assert await repo.file(absent.file_id) is None

    async def test_a_refuted_copy_is_condemned_with_an_event(self, repo: RecordRepo) -> None:
        """RefuteCopy: "recovery brings its bytes to the quarantine; an event is recorded"."""
        here, there = await local(repo), await cloud(repo)
        file = await stored(repo, here)
        change = await addition(repo, file, copy_in(file, there))
        event = event_of_refuted_copy(file, change.replica, NOON, "has 3 bytes instead of 5")
        refutation = RefuteCopy(change.attempt, event)
        assert await repo.apply(refutation)
        assert not await repo.apply(refutation)
        assert [one.event for one in await all_events(repo)].count(event) == 1
        assert [one.attempt_id for one in await repo.condemn(NOON)] == [change.attempt]
        with pytest.raises(AttemptCondemned):
            await repo.apply(change)
        assert await repo.file(file.file_id) == file

    async def test_of_concurrent_copies_to_one_store_one_is_added(self, repo: RecordRepo) -> None:
        """AddReplica: "only if the file … has no present replica in the store of the new one"."""
        here, there = await local(repo), await cloud(repo)
        file = await stored(repo, here)
        changes = [await addition(repo, file, copy_in(file, there)) for _ in range(8)]
        results = await asyncio.gather(*map(repo.apply, changes), return_exceptions=True)
        assert Counter(type(one) for one in results) == {bool: 1, AttemptCondemned: 7}
        found = await repo.file(file.file_id)
        assert found
        assert [copy.store_id for copy in found.replicas] == [here.store_id, there.store_id]
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])
        condemned = {one.attempt_id for one in await repo.condemn(LATER)}
        won = next(
            one for one, result in zip(changes, results, strict=True) if isinstance(result, bool)
        )
        assert condemned == {one.attempt for one in changes} - {won.attempt}

    @pytest.mark.parametrize("state", [ReplicaState.CORRUPT, ReplicaState.MISSING])
    async def test_a_copy_replaces_a_bad_one(self, repo: RecordRepo, state: ReplicaState) -> None:
        """AddReplica: "the corrupt or missing replica with this id becomes `gone` too"."""
        here, there = await local(repo), await cloud(repo)
        file = await stored(repo, here, there)
        bad = file.replicas[0]
        await mark(repo, file, bad, state)
        copy = copy_in(file, here, NOON + MINUTE)
        change = await addition(repo, file, copy, replaces=bad.replica_id)
        assert await repo.apply(change)
        assert not await repo.apply(change)
        found = await repo.file(file.file_id)
        assert found
        assert {one.replica_id: one.state for one in found.replicas} == {
            bad.replica_id: ReplicaState.GONE,
            copy.replica_id: ReplicaState.PRESENT,
            file.replicas[1].replica_id: ReplicaState.PRESENT,
        }
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])

    async def test_a_good_replica_is_not_replaced(self, repo: RecordRepo) -> None:
        """AddReplica: "only … if the replaced one is still corrupt or missing"."""
        here, there = await local(repo), await cloud(repo)
        file = await stored(repo, here)
        for replaces in (file.replicas[0].replica_id, uuid7_at(NOON)):
            change = await addition(repo, file, copy_in(file, there), replaces=replaces)
            await self._check_refused(repo, file, change)

    async def test_a_replica_that_becomes_good_meanwhile_is_not_replaced(
        self, repo: RecordRepo
    ) -> None:
        """AddReplica, while the bad replica is found present: one of both happens."""
        here, there = await local(repo), await cloud(repo)
        for _ in range(5):
            file = await stored(repo, here, there)
            bad = file.replicas[0]
            await mark(repo, file, bad, ReplicaState.MISSING)
            change = await addition(repo, file, copy_in(file, here), replaces=bad.replica_id)
            observed = ObserveReplica(file.file_id, bad.replica_id, ReplicaState.PRESENT, NOON)
            results = await asyncio.gather(
                repo.apply(change), repo.apply(observed), return_exceptions=True
            )
            found = await repo.file(file.file_id)
            assert found
            added = results[0] is True
            assert added is not (results[1] is True)
            assert len(found.replicas) == 2 + added
            assert len(found.readable) == 2

    @pytest.mark.parametrize(
        ("state", "verified_at"), [(ReplicaState.MISSING, NOON), (ReplicaState.PRESENT, None)]
    )
    def test_a_copy_that_was_not_verified_is_no_change(
        self, state: ReplicaState, verified_at: datetime | None
    ) -> None:
        """AddReplica: ForbiddenTransition for a replica that is not present and verified."""
        file = verified_file(CLOUD)
        copy = evolve(copy_in(file, CLOUD), state=state, verified_at=verified_at)
        with pytest.raises(ForbiddenTransition):
            AddReplica(AttemptId("a"), file.file_id, copy)

    # ReleaseReplica

    async def test_a_replica_goes_while_another_is_proven_good(self, repo: RecordRepo) -> None:
        """ReleaseReplica: one goes, the verification of the other is recorded, jobs are written."""
        file = await stored(repo, await local(repo), await cloud(repo))
        goes, kept = file.replicas
        job, at = a_job(), NOON + MINUTE
        change = ReleaseReplica(file.file_id, goes.replica_id, kept.replica_id, at, (job,))
        assert await repo.apply(change)
        found = await repo.file(file.file_id)
        gone, stays = evolve(goes, state=ReplicaState.GONE), evolve(kept, verified_at=at)
        assert found == evolve(file, replicas=(gone, stays))
        assert await jobs_of(repo) == {job.job_id}
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])
        usage = await repo.usage()
        assert not await repo.apply(change)
        assert (await repo.file(file.file_id), await repo.usage()) == (found, usage)

    @pytest.mark.parametrize("state", [ReplicaState.CORRUPT, ReplicaState.MISSING])
    async def test_no_replica_goes_while_the_other_is_bad(
        self, repo: RecordRepo, state: ReplicaState
    ) -> None:
        """ReleaseReplica: "only if … `kept` is present at that moment"."""
        file = await stored(repo, await local(repo), await cloud(repo))
        goes, kept = file.replicas
        await mark(repo, file, kept, state)
        await self._check_kept(repo, file, goes, kept)

    @pytest.mark.parametrize("state", [ReplicaState.CORRUPT, ReplicaState.MISSING])
    async def test_a_bad_replica_goes_too(self, repo: RecordRepo, state: ReplicaState) -> None:
        """ReleaseReplica: "if the one that goes is not gone"; a missing one was not counted."""
        file = await stored(repo, await local(repo), await cloud(repo))
        goes, kept = file.replicas
        await mark(repo, file, goes, state)
        change = ReleaseReplica(file.file_id, goes.replica_id, kept.replica_id, NOON + MINUTE)
        assert await repo.apply(change)
        found = await repo.file(file.file_id)
        assert found
        assert [copy.state for copy in found.replicas] == [ReplicaState.GONE, ReplicaState.PRESENT]
        assert list((await repo.usage()).stores) == await recount(repo, [file.file_id])

    async def test_no_replica_goes_for_one_that_was_never_verified(self, repo: RecordRepo) -> None:
        """ReleaseReplica: "if `kept` was verified when it was written, or later"."""
        file = verified_file(await local(repo), await cloud(repo))
        goes, kept = file.replicas
        file = evolve(file, replicas=(goes, evolve(kept, verified_at=None)))
        await store(repo, Unit((file,)))
        await self._check_kept(repo, file, goes, kept)

    async def test_a_verification_older_than_the_recorded_one_proves_nothing(
        self, repo: RecordRepo
    ) -> None:
        """ReleaseReplica: `kept` was verified "not after `at`"."""
        file = await stored(repo, await local(repo), await cloud(repo))
        goes, kept = file.replicas
        await self._check_kept(repo, file, goes, kept, NOON - MINUTE)

    async def test_the_only_replica_never_goes(self, repo: RecordRepo) -> None:
        """ReleaseReplica: not for itself, for an unknown replica, or for one of another file."""
        here = await local(repo)
        file, other = await stored(repo, here), await stored(repo, here)
        (goes,) = file.replicas
        for kept in (goes, copy_in(file, here), other.replicas[0]):
            await self._check_kept(repo, file, goes, kept)

    @pytest.mark.parametrize("state", NOT_AVAILABLE)
    async def test_no_replica_of_a_file_that_is_not_available_goes(
        self, repo: RecordRepo, state: FileState
    ) -> None:
        """ReleaseReplica: "a present replica of an available file"."""
        file = evolve(
            verified_file(await local(repo), await cloud(repo)), state=state, state_at=NOON
        )
        await store(repo, Unit((file,)))
        goes, kept = file.replicas
        await self._check_kept(repo, file, goes, kept)

    async def test_of_two_replicas_that_go_for_each_other_one_stays(self, repo: RecordRepo) -> None:
        """ReleaseReplica: "the last good replica of a file never goes"."""
        here, there = await local(repo), await cloud(repo)
        for _ in range(10):
            file = await stored(repo, here, there)
            one, other = (copy.replica_id for copy in file.replicas)
            results = await asyncio.gather(
                repo.apply(ReleaseReplica(file.file_id, one, other, NOON)),
                repo.apply(ReleaseReplica(file.file_id, other, one, NOON)),
            )
            assert sorted(results) == [False, True]
            found = await repo.file(file.file_id)
            assert found
            assert len(found.readable) == 1

    async def test_a_replica_does_not_go_while_the_other_is_found_bad(
        self, repo: RecordRepo
    ) -> None:
        """ReleaseReplica: with concurrent observations, a file keeps a replica that is not gone."""
        here, there = await local(repo), await cloud(repo)
        names = []
        for _ in range(10):
            file = await stored(repo, here, there)
            names.append(file.file_id)
            goes, kept = file.replicas
            release = ReleaseReplica(file.file_id, goes.replica_id, kept.replica_id, NOON)
            found_bad = ObserveReplica(
                file.file_id, kept.replica_id, ReplicaState.CORRUPT, NOON + MINUTE
            )
            released, observed = await asyncio.gather(repo.apply(release), repo.apply(found_bad))
            found = await repo.file(file.file_id)
            assert found
            assert observed
            states = [copy.state for copy in found.replicas]
            left = ReplicaState.GONE if released else ReplicaState.PRESENT
            assert states == [left, ReplicaState.CORRUPT]
            assert list((await repo.usage()).stores) == await recount(repo, names)

    # Copies

    async def test_replicas_are_listed_by_their_age(self, repo: RecordRepo) -> None:
        """oldest_in: the files with a present replica in the store, the oldest first, in pages."""
        here, there = await local(repo), await cloud(repo)
        files = [
            await stored(repo, *places, at=NOON + number * MINUTE)
            for number, places in enumerate([(here,), (there, here), (there,), (here,), (here,)])
        ]
        await mark(repo, files[3], files[3].replicas[0], ReplicaState.MISSING)
        late = verified_file(here, at=NOON - MINUTE)
        late = evolve(late, state=FileState.TOMBSTONED, state_at=NOON)
        await store(repo, Unit((late,)))
        expected = [late, files[0], files[1], files[4]]
        found = await repo.oldest_in(here.store_id)
        assert [file.file_id for file in found] == [file.file_id for file in expected]
        assert [await repo.file(file.file_id) for file in expected] == list(found)
        pages, after = [], None
        while page := await repo.oldest_in(here.store_id, after, 2):
            pages.append([file.file_id for file in page])
            after = next(
                copy.replica_id for copy in page[-1].readable if copy.store_id == here.store_id
            )
        assert pages == [[one.file_id for one in expected[n : n + 2]] for n in (0, 2)]
        assert not await repo.oldest_in(StoreId("unregistered"))

    async def _check_refused(self, repo: RecordRepo, file: StoredFile, change: AddReplica) -> None:
        usage = await repo.usage()
        with pytest.raises(AttemptCondemned):
            await repo.apply(change)
        assert await repo.file(file.file_id) == file
        assert (await repo.usage(), await jobs_of(repo)) == (usage, set())

    async def _check_kept(
        self,
        repo: RecordRepo,
        file: StoredFile,
        goes: Replica,
        kept: Replica,
        at: datetime = NOON + MINUTE,
    ) -> None:
        before, usage = await repo.file(file.file_id), await repo.usage()
        change = ReleaseReplica(file.file_id, goes.replica_id, kept.replica_id, at, (a_job(),))
        assert not await repo.apply(change)
        assert await repo.file(file.file_id) == before
        assert (await repo.usage(), await jobs_of(repo)) == (usage, set())
