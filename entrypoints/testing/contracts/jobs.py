"""Tests of any adapter of the ports `JobQueue` and `JobSource`, the jobs of a catalogue."""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from attrs import evolve

from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.files import Tier
from traffic_storage.domain.frozen_json import frozen_json
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.jobs import (
    Cancelled,
    Claim,
    Dead,
    Done,
    Job,
    JobKind,
    JobState,
    NewJob,
    Postponed,
    Priority,
    Progress,
    Retry,
    Run,
    RunEnd,
    Schedule,
)
from traffic_storage.domain.query import JobsQuery
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.units import new_attempt, new_file
from traffic_storage.ports.errors import IdsTaken, LeaseLost
from traffic_storage.ports.record_repo import RecordRepo

COPY, CHECK = JobKind("copy"), JobKind("check")
LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)

Later = Callable[[timedelta], Awaitable[None]]
"""Lets time pass for the jobs of a catalogue."""


def new_job(kind: JobKind = COPY, **more: object) -> NewJob:
    """Return a job with a new id."""
    return NewJob(uuid4(), kind, **more)  # type: ignore[arg-type]


def a_claim(limit: int = 10, *kinds: JobKind, owner: str = "worker") -> Claim:
    """Return a claim of jobs of these kinds; of any kind if none is given."""
    return Claim(uuid4(), owner, kinds or (COPY, CHECK), limit, LEASE)


async def run_of(repo: RecordRepo, job: NewJob) -> Run:
    """Write a job and claim it."""
    await repo.enqueue([job])
    (run,) = await repo.claim(a_claim())
    return run


async def found(repo: RecordRepo, job: NewJob) -> Job:
    """Return a job that exists."""
    held = await repo.job(job.job_id)
    assert held is not None
    return held


def ids(runs: Sequence[Run]) -> list[UUID]:
    """Return the ids of the jobs of these runs."""
    return [run.job_id for run in runs]


class JobsContract:
    """The tests; a subclass provides the fixtures `repo` and `later`."""

    @pytest.fixture
    @abstractmethod
    async def later(self, repo: RecordRepo) -> Later:
        """Return a function that lets time pass for the jobs of `repo`."""

    async def test_a_job_is_returned_as_it_was_written(self, repo: RecordRepo) -> None:
        """enqueue, job: a job has the values that it was written with."""
        job = new_job(
            arguments={"file_id": "a", "list": [1, None, "ä"]},
            key="one",
            priority=Priority.URGENT,
            delay=SECOND,
            max_attempts=3,
        )
        await repo.enqueue([job])
        held = await found(repo, job)
        assert held == job.written(held.created_at)
        assert await repo.job(uuid4()) is None

    async def test_a_job_is_written_once(self, repo: RecordRepo) -> None:
        """enqueue: a job whose id exists is left out, others of the call are written."""
        job, other = new_job(arguments={"n": 1}), new_job()
        await repo.enqueue([job])
        await repo.enqueue([NewJob(job.job_id, CHECK), other])
        assert (await found(repo, job)).kind == COPY
        assert len((await repo.jobs(JobsQuery())).items) == 2

    async def test_a_key_is_unique_among_live_jobs(self, repo: RecordRepo) -> None:
        """enqueue: a job whose key a live job has is left out."""
        first, second, third = (new_job(key="k") for _ in range(3))
        await repo.enqueue([first, second, new_job(key="other"), new_job(), new_job()])
        assert await repo.job(second.job_id) is None
        assert len((await repo.jobs(JobsQuery())).items) == 4
        assert await repo.cancel_job(first.job_id)
        await repo.enqueue([third])
        assert (await found(repo, third)).state is JobState.READY

    async def test_jobs_are_claimed_by_priority_then_age(
        self, repo: RecordRepo, later: Later
    ) -> None:
        """claim: jobs of a higher priority first, then the oldest; at most `limit`."""
        jobs = []
        for priority in (Priority.BACKGROUND, Priority.NORMAL, Priority.URGENT, Priority.NORMAL):
            jobs.append(new_job(priority=priority))
            await repo.enqueue(jobs[-1:])
            await later(SECOND)
        order = [jobs[n].job_id for n in (2, 1, 3, 0)]
        assert ids(await repo.claim(a_claim(3))) == order[:3]
        assert ids(await repo.claim(a_claim(3))) == order[3:]
        assert await repo.claim(a_claim()) == []

    async def test_a_claim_has_its_kinds_only(self, repo: RecordRepo) -> None:
        """claim: only jobs of the kinds that the worker has handlers for."""
        copy, check = new_job(COPY), new_job(CHECK)
        await repo.enqueue([copy, check])
        assert ids(await repo.claim(a_claim(10, CHECK))) == [check.job_id]
        assert ids(await repo.claim(a_claim(10, JobKind("other")))) == []
        assert ids(await repo.claim(a_claim(10, JobKind("other"), COPY))) == [copy.job_id]

    async def test_a_job_of_a_store_is_claimed_where_the_store_is(self, repo: RecordRepo) -> None:
        """claim: a job that needs a store is left to the workers that can reach it."""
        disk, other = StoreId("disk"), StoreId("other")
        on_disk, anywhere = new_job(store_id=disk), new_job()
        await repo.enqueue([on_disk, anywhere])
        assert (await found(repo, on_disk)).store_id == disk
        assert ids(await repo.claim(evolve(a_claim(), stores=(other,)))) == [anywhere.job_id]
        assert ids(await repo.claim(evolve(a_claim(), stores=(other, disk)))) == [on_disk.job_id]

    async def test_a_job_of_two_stores_is_claimed_where_both_are(self, repo: RecordRepo) -> None:
        """claim: a job "waits, without an attempt, while a store that it needs is not" there."""
        disk, bucket = StoreId("disk"), StoreId("bucket")
        copy, further = (new_job(store_id=disk, target_id=bucket) for _ in range(2))
        back = new_job(store_id=bucket, target_id=disk, priority=Priority.URGENT)
        await repo.enqueue([copy, further, back])
        written = await found(repo, copy)
        assert (written.store_id, written.target_id) == (disk, bucket)
        for stores in [(), (disk,), (bucket,), (disk, StoreId("other"))]:
            assert ids(await repo.claim(evolve(a_claim(), stores=stores))) == []
        assert await found(repo, copy) == written
        both = evolve(a_claim(2), stores=(disk, bucket))
        first, second = ids(await repo.claim(both))
        assert first == back.job_id
        rest = evolve(a_claim(2), stores=(bucket, disk))
        assert {second, *ids(await repo.claim(rest))} == {copy.job_id, further.job_id}

    async def test_a_job_that_names_a_store_twice_is_claimed_where_it_is(
        self, repo: RecordRepo
    ) -> None:
        """claim: as the one above; a copy within a store needs that store alone."""
        disk = StoreId("disk")
        within = new_job(store_id=disk, target_id=disk)
        await repo.enqueue([within])
        assert ids(await repo.claim(evolve(a_claim(), stores=(StoreId("other"),)))) == []
        assert ids(await repo.claim(evolve(a_claim(), stores=(disk,)))) == [within.job_id]

    async def test_jobs_that_wait_for_another_bucket_get_another_target(
        self, repo: RecordRepo
    ) -> None:
        """retarget: ready jobs of a store whose target is a cloud store that is not kept."""
        disk, other, bucket, gone, new = map(StoreId, ("disk", "other", "bucket", "gone", "new"))
        for tier, store_id in (
            *((Tier.LOCAL, one) for one in (disk, other)),
            *((Tier.CLOUD, one) for one in (bucket, gone)),
        ):
            await repo.register(RegisteredStore(store_id, tier, "somewhere", NOON))
        waiting = [new_job(key=f"k{n}", store_id=disk, target_id=gone) for n in range(5)]
        running = new_job(store_id=disk, target_id=gone, priority=Priority.URGENT)
        others = [
            new_job(store_id=disk, target_id=bucket),
            new_job(store_id=disk, target_id=other),
            new_job(store_id=disk, target_id=StoreId("unregistered")),
            new_job(store_id=disk),
            new_job(store_id=other, target_id=gone),
        ]
        await repo.enqueue([*waiting, running, *others])
        assert ids(await repo.claim(evolve(a_claim(1), stores=(disk, gone)))) == [running.job_id]
        before = {job.job_id: await found(repo, job) for job in (*waiting, running, *others)}
        assert await repo.retarget(disk, [bucket], new, 3)
        assert not await repo.retarget(disk, [bucket], new, 3)
        assert not await repo.retarget(disk, [bucket], new)
        for job in waiting:
            assert await found(repo, job) == evolve(before[job.job_id], target_id=new)
        for job in (running, *others):
            assert await found(repo, job) == before[job.job_id]
        at_new = evolve(a_claim(9), stores=(disk, new))
        assert {job.job_id for job in waiting} <= set(ids(await repo.claim(at_new)))

    async def test_live_jobs_are_listed_by_age(self, repo: RecordRepo) -> None:
        """live_jobs: those of a kind that are ready or running, the oldest first, in pages."""
        jobs = [new_job(COPY, max_attempts=1) for _ in range(6)]
        for job in jobs:
            await repo.enqueue([job, new_job(CHECK)])
        (run, failed) = await repo.claim(a_claim(2, COPY))
        await repo.finish(failed, Dead("no"))
        claimed = {run.job_id, failed.job_id}
        cancelled = next(job.job_id for job in jobs if job.job_id not in claimed)
        assert await repo.cancel_job(cancelled)
        gone = {failed.job_id, cancelled}
        expected = [job.job_id for job in jobs if job.job_id not in gone]
        assert run.job_id in expected
        written = [await found(repo, job) for job in jobs if job.job_id in expected]
        written.sort(key=lambda job: (job.created_at, job.job_id))
        by_age = [job.job_id for job in written]
        page = await repo.live_jobs(COPY)
        assert ([job.job_id for job in page.items], page.next) == (by_age, None)
        seen, after = [], None
        while True:
            page = await repo.live_jobs(COPY, after, 3)
            seen += [job.job_id for job in page.items]
            after = page.next
            if after is None:
                break
        assert seen == by_age
        assert (await repo.live_jobs(JobKind("other"))).items == ()

    async def test_a_job_waits_for_its_delay(self, repo: RecordRepo, later: Later) -> None:
        """claim: a job is not claimed before its delay has passed."""
        job = new_job(delay=10 * SECOND)
        await repo.enqueue([job])
        assert await repo.claim(a_claim()) == []
        await later(11 * SECOND)
        assert ids(await repo.claim(a_claim())) == [job.job_id]

    async def test_concurrent_claims_get_different_jobs(self, repo: RecordRepo) -> None:
        """claim: concurrent calls claim different jobs, together all of them."""
        jobs = [new_job() for _ in range(40)]
        await repo.enqueue(jobs)
        claims = await asyncio.gather(*(repo.claim(a_claim(7)) for _ in range(8)))
        claimed = [job_id for runs in claims for job_id in ids(runs)]
        assert len(claimed) == len(set(claimed))
        while runs := await repo.claim(a_claim(7)):
            claimed += ids(runs)
        assert sorted(claimed) == sorted(job.job_id for job in jobs)

    async def test_a_run_has_what_the_handler_needs(self, repo: RecordRepo) -> None:
        """claim: a run has the arguments and counts the attempts; the job shows its owner."""
        job = new_job(arguments={"file_id": "a"}, max_attempts=3)
        await repo.enqueue([job])
        claim = a_claim(1, owner="host/7")
        (run,) = await repo.claim(claim)
        assert run == Run(job.job_id, claim.lease_id, COPY, job.arguments, 1, 3)
        held = await found(repo, job)
        assert (held.state, held.attempts, held.owner) == (JobState.RUNNING, 1, "host/7")
        assert held.leased_until is not None

    async def test_a_job_whose_lease_has_passed_is_claimed_again(
        self, repo: RecordRepo, later: Later
    ) -> None:
        """claim: a job whose lease has passed is ready again, after a pause."""
        job = new_job()
        run = await run_of(repo, job)
        await later(LEASE + SECOND)
        assert await repo.claim(a_claim()) == []
        held = await found(repo, job)
        assert held.state is JobState.READY
        assert "did not renew its lease" in held.error
        await later(10 * SECOND)
        (again,) = await repo.claim(a_claim())
        assert (again.job_id, again.attempt) == (job.job_id, 2)
        assert again.lease_id != run.lease_id

    async def test_a_job_that_kills_its_workers_is_given_up(
        self, repo: RecordRepo, later: Later
    ) -> None:
        """claim: a job whose last attempt's lease has passed is dead."""
        job = new_job(max_attempts=2)
        await repo.enqueue([job])
        for attempt in (1, 2):
            (run,) = await repo.claim(a_claim())
            assert run.attempt == attempt
            await later(LEASE + SECOND)
            await repo.claim(a_claim())
            await later(10 * SECOND)
        held = await found(repo, job)
        assert held.state is JobState.DEAD
        assert held.ended_at is not None

    async def test_a_renewed_lease_lasts(self, repo: RecordRepo, later: Later) -> None:
        """renew: the lease counts anew, and the progress is seen from outside."""
        job = new_job()
        run = await run_of(repo, job)
        progress = Progress(3, 10, 4096, "third")
        for _ in range(3):
            await later(LEASE * 0.6)
            renewal = await repo.renew({job.job_id: progress}, run.lease_id, LEASE)
            assert (renewal.lost, renewal.cancelling) == (frozenset(), frozenset())
        assert await repo.claim(a_claim()) == []
        assert (await found(repo, job)).progress == progress

    async def test_the_end_has_progress_and_result(self, repo: RecordRepo) -> None:
        """finish: a job that is done shows how far it came at its end, and what it has made."""
        job, other = new_job(), new_job()
        await repo.enqueue([job, other])
        claim = a_claim()
        runs = {run.job_id: run for run in await repo.claim(claim)}
        reported = Progress(3, 10, 4096, "third")
        await repo.renew(dict.fromkeys(runs, reported), claim.lease_id, LEASE)
        at_end, result = Progress(10, None, 8192, ""), {"rows": 10, "of": ["ä", None]}
        await repo.finish(runs[job.job_id], Done(at_end, result))
        held = await found(repo, job)
        assert (held.progress, held.result) == (at_end, frozen_json(result))
        await repo.finish(runs[other.job_id], Done())
        held = await found(repo, other)
        assert (held.progress, held.result) == (reported, None)

    async def test_a_lost_lease_is_told(self, repo: RecordRepo, later: Later) -> None:
        """renew: names the jobs whose lease was lost, and changes nothing of them."""
        job, other = new_job(), new_job()
        await repo.enqueue([job, other])
        claim = a_claim()
        run, _ = await repo.claim(claim)
        await repo.finish(run, Done())
        renewed = {job_id: Progress(1) for job_id in (job.job_id, other.job_id)}
        renewal = await repo.renew(renewed, claim.lease_id, LEASE)
        assert renewal.lost == {run.job_id}
        await later(LEASE + SECOND)
        await repo.claim(a_claim())
        assert (await repo.renew(renewed, claim.lease_id, LEASE)).lost == renewed.keys()

    @pytest.mark.parametrize(
        ("end", "state", "error"),
        [
            (Done(), JobState.DONE, ""),
            (Dead("broken"), JobState.DEAD, "broken"),
            (Cancelled(), JobState.CANCELLED, ""),
            (Retry("away", 10 * SECOND), JobState.READY, "away"),
            (Postponed("away", 10 * SECOND), JobState.READY, "away"),
        ],
    )
    async def test_a_run_ends(
        self, repo: RecordRepo, end: RunEnd, state: JobState, error: str
    ) -> None:
        """finish: the job has the state and the error of the end."""
        job = new_job()
        run = await run_of(repo, job)
        await repo.finish(run, end)
        held = await found(repo, job)
        assert (held.state, held.error) == (state, error)
        assert (held.ended_at is None) is (state is JobState.READY)
        assert await repo.claim(a_claim()) == []

    async def test_a_retry_waits_for_its_pause(self, repo: RecordRepo, later: Later) -> None:
        """finish: a job that failed is claimed again after the pause, until no attempt is left."""
        job = new_job(max_attempts=2)
        await repo.finish(await run_of(repo, job), Retry("away", 10 * SECOND))
        assert await repo.claim(a_claim()) == []
        await later(11 * SECOND)
        (again,) = await repo.claim(a_claim())
        await repo.finish(again, Retry("still away", 10 * SECOND))
        held = await found(repo, job)
        assert (held.state, held.error, held.attempts) == (JobState.DEAD, "still away", 2)

    async def test_a_postponed_run_is_no_attempt(self, repo: RecordRepo, later: Later) -> None:
        """finish: a postponed job is claimed again after the pause, however often."""
        job = new_job(max_attempts=1)
        run = await run_of(repo, job)
        for _ in range(3):
            await repo.finish(run, Postponed("the cloud is away", 10 * SECOND))
            assert await repo.claim(a_claim()) == []
            await later(11 * SECOND)
            (run,) = await repo.claim(a_claim())
            assert run.attempt == 1

    async def test_a_worker_that_comes_back_is_refused(
        self, repo: RecordRepo, later: Later
    ) -> None:
        """finish: LeaseLost if the job was taken back, also when it runs again."""
        job = new_job()
        run = await run_of(repo, job)
        await later(LEASE + SECOND)
        await repo.claim(a_claim())
        with pytest.raises(LeaseLost):
            await repo.finish(run, Done())
        await later(10 * SECOND)
        (again,) = await repo.claim(a_claim())
        with pytest.raises(LeaseLost):
            await repo.finish(run, Dead("late"))
        await repo.finish(again, Done())
        with pytest.raises(LeaseLost):
            await repo.finish(again, Done())
        assert (await found(repo, job)).state is JobState.DONE

    async def test_the_effect_and_the_end_are_one(self, repo: RecordRepo) -> None:
        """finish: the effect on the catalogue is applied with the end."""
        unit = Unit((new_file(await local(repo)),))
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        job = new_job()
        await repo.finish(await run_of(repo, job), Done(), CommitUnit(attempt.attempt_id, unit))
        assert (await found(repo, job)).state is JobState.DONE
        assert await repo.file(unit.files[0].file_id) is not None

    async def test_without_the_lease_there_is_no_effect(
        self, repo: RecordRepo, later: Later
    ) -> None:
        """finish: LeaseLost leaves the effect out, too."""
        unit = Unit((new_file(await local(repo)),))
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        run = await run_of(repo, new_job())
        await later(LEASE + SECOND)
        await repo.claim(a_claim())
        with pytest.raises(LeaseLost):
            await repo.finish(run, Done(), CommitUnit(attempt.attempt_id, unit))
        assert await repo.file(unit.files[0].file_id) is None

    async def test_an_effect_that_fails_does_not_end_the_run(self, repo: RecordRepo) -> None:
        """finish: an error of the effect leaves the run as it is."""
        file = new_file(await local(repo))
        unit = Unit((file,))
        first, attempt = new_attempt(unit), new_attempt(unit)
        for one in (first, attempt):
            await repo.begin(one, unit.names)
        await repo.apply(CommitUnit(first.attempt_id, unit))
        job = new_job()
        run = await run_of(repo, job)
        with pytest.raises(IdsTaken):
            await repo.finish(run, Done(), CommitUnit(attempt.attempt_id, unit))
        assert (await found(repo, job)).state is JobState.RUNNING
        await repo.finish(run, Done())

    async def test_jobs_are_written_with_the_change_that_causes_them(
        self, repo: RecordRepo
    ) -> None:
        """apply: the jobs of a change are written if, and only if, the change is."""
        store = await local(repo)
        unit, job, other = Unit((new_file(store),)), new_job(key="k"), new_job()
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        await repo.apply(CommitUnit(attempt.attempt_id, unit, (job, new_job(key="k"))))
        assert [one.job_id for one in (await repo.jobs(JobsQuery())).items] == [job.job_id]
        late = new_attempt(unit)
        await repo.begin(late, unit.names)
        with pytest.raises(IdsTaken):
            await repo.apply(CommitUnit(late.attempt_id, unit, (other,)))
        assert await repo.job(other.job_id) is None

    async def test_jobs_of_an_effect_are_written_with_the_end(self, repo: RecordRepo) -> None:
        """finish: the jobs of the effect are written too."""
        unit, job = Unit((new_file(await local(repo)),)), new_job()
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        run = await run_of(repo, new_job())
        await repo.finish(run, Done(), CommitUnit(attempt.attempt_id, unit, (job,)))
        assert (await found(repo, job)).state is JobState.READY

    async def test_a_ready_job_is_cancelled_at_once(self, repo: RecordRepo) -> None:
        """cancel_job: a ready job is cancelled; one that has ended is not."""
        job = new_job()
        await repo.enqueue([job])
        assert await repo.cancel_job(job.job_id)
        assert (await found(repo, job)).state is JobState.CANCELLED
        assert not await repo.cancel_job(job.job_id)
        assert not await repo.cancel_job(uuid4())
        assert await repo.claim(a_claim()) == []

    async def test_the_worker_of_a_running_job_is_asked_to_end_it(self, repo: RecordRepo) -> None:
        """cancel_job, renew: a running job is cancelled by its worker."""
        job = new_job()
        run = await run_of(repo, job)
        assert await repo.cancel_job(job.job_id)
        renewal = await repo.renew({job.job_id: Progress()}, run.lease_id, LEASE)
        assert renewal.cancelling == {job.job_id}
        await repo.finish(run, Cancelled())
        assert (await found(repo, job)).state is JobState.CANCELLED

    async def test_a_cancelled_job_whose_worker_died_is_not_repeated(
        self, repo: RecordRepo, later: Later
    ) -> None:
        """claim: a job that was to be cancelled is cancelled when its lease has passed."""
        job = new_job()
        await run_of(repo, job)
        await repo.cancel_job(job.job_id)
        await later(LEASE + SECOND)
        await repo.claim(a_claim())
        assert (await found(repo, job)).state is JobState.CANCELLED

    async def test_a_dead_job_can_be_requeued(self, repo: RecordRepo) -> None:
        """requeue_job: a dead or cancelled job is ready again, with all its attempts."""
        job = new_job(max_attempts=1)
        await repo.finish(await run_of(repo, job), Dead("broken"))
        assert await repo.requeue_job(job.job_id)
        (run,) = await repo.claim(a_claim())
        assert (run.job_id, run.attempt) == (job.job_id, 1)
        assert not await repo.requeue_job(job.job_id)
        await repo.finish(run, Done())
        assert not await repo.requeue_job(job.job_id)
        assert not await repo.requeue_job(uuid4())

    async def test_a_job_is_not_requeued_beside_one_with_its_key(self, repo: RecordRepo) -> None:
        """requeue_job: False if a live job has the key."""
        job, other = new_job(key="k"), new_job(key="k")
        await repo.enqueue([job])
        await repo.cancel_job(job.job_id)
        await repo.enqueue([other])
        assert not await repo.requeue_job(job.job_id)
        assert (await found(repo, job)).state is JobState.CANCELLED

    async def test_a_schedule_writes_one_job_a_slot(self, repo: RecordRepo, later: Later) -> None:
        """write_due: one job for each slot, whoever is first, and none while one is live."""
        schedule = Schedule(COPY, timedelta(hours=1), {"n": 1})
        written = await asyncio.gather(*(repo.write_due({uuid4(): schedule}) for _ in range(5)))
        assert sum(written) == 1
        (run,) = await repo.claim(a_claim())
        assert run.arguments == {"n": 1}
        await repo.finish(run, Done())
        await later(timedelta(hours=1))
        assert await repo.write_due({uuid4(): schedule}) == 1
        assert len(await repo.claim(a_claim())) == 1
        await later(timedelta(hours=1))
        await repo.write_due({uuid4(): schedule})
        assert len((await repo.jobs(JobsQuery(JobState.READY))).items) == 0

    async def test_each_store_has_slots_of_its_own(self, repo: RecordRepo) -> None:
        """write_due: schedules of different stores are independent."""
        stores = [StoreId("one"), StoreId("two"), None]
        for _ in range(2):
            for store in stores:
                schedule = Schedule(COPY, timedelta(hours=1), store_id=store)
                await repo.write_due({uuid4(): schedule})
        written = (await repo.jobs(JobsQuery())).items
        assert {job.store_id for job in written} == set(stores)
        assert len(written) == len(stores)

    async def test_old_ended_jobs_are_forgotten(self, repo: RecordRepo, later: Later) -> None:
        """forget_jobs: the jobs that ended before a time, oldest first; live ones stay."""
        jobs = [new_job() for _ in range(3)]
        for job in jobs:
            await repo.finish(await run_of(repo, job), Done())
            await later(SECOND)
        live = new_job()
        await repo.enqueue([live])
        last = (await found(repo, jobs[2])).ended_at
        assert last is not None
        await repo.forget_jobs(last, 1)
        assert [await repo.job(job.job_id) is None for job in jobs] == [True, False, False]
        await repo.forget_jobs(last, 10)
        assert [await repo.job(job.job_id) is None for job in jobs] == [True, True, False]
        assert await repo.job(live.job_id) is not None

    async def test_pages_have_every_job_once(self, repo: RecordRepo, later: Later) -> None:
        """jobs: pages, newest first, of a state and a kind."""
        jobs = []
        for number in range(7):
            jobs.append(new_job(COPY if number % 2 else CHECK))
            await repo.enqueue(jobs[-1:])
            await later(SECOND)
        seen, after = [], None
        while True:
            page = await repo.jobs(JobsQuery(limit=3, after=after))
            seen += [job.job_id for job in page.items]
            after = page.next
            if after is None:
                break
        assert seen == [job.job_id for job in reversed(jobs)]
        await repo.cancel_job(jobs[1].job_id)
        ready = await repo.jobs(JobsQuery(JobState.READY, COPY))
        assert [job.job_id for job in ready.items] == [jobs[5].job_id, jobs[3].job_id]

    async def test_the_time_of_the_database_is_that_of_its_rows(self, repo: RecordRepo) -> None:
        """database_time: the clock by which jobs are written."""
        before = await repo.database_time()
        job = new_job()
        await repo.enqueue([job])
        # SQLite's clock has milliseconds.
        assert before - timedelta(milliseconds=1) <= (await found(repo, job)).created_at
        assert (await found(repo, job)).created_at <= await repo.database_time()

    async def test_a_waiting_worker_wakes(self, repo: RecordRepo) -> None:
        """wait_for_jobs: returns when a job was written, or when the time has passed."""
        await repo.wait_for_jobs(0.01)
        waiting = asyncio.ensure_future(repo.wait_for_jobs(30))
        await asyncio.sleep(0)
        await repo.enqueue([new_job()])
        await asyncio.wait_for(waiting, 5)
