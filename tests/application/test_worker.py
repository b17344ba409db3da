"""Worker: what becomes of a job when its handler succeeds, fails, hangs, or its worker stops."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import TypeAlias

import pytest

from traffic_storage.adapters.clock.system import RandomIds, SystemClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.worker import GivenUp, Handler, Outcome, Worker
from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.jobs import (
    Job,
    JobKind,
    JobState,
    NewJob,
    Priority,
    Progress,
    Run,
    Schedule,
)
from traffic_storage.domain.query import JobsQuery
from traffic_storage.entrypoints.testing.faults.plans import Fault
from traffic_storage.entrypoints.testing.faults.record_repo import FailingRecordRepo

WORK, RARE = JobKind("work"), JobKind("rare")
LEASE = timedelta(seconds=0.3)
Start: TypeAlias = Callable[..., Worker]


@pytest.fixture
def repo() -> FailingRecordRepo:
    return FailingRecordRepo(InMemoryRecordRepo())


@pytest.fixture
async def work(repo: FailingRecordRepo) -> AsyncIterator[Start]:
    """Starts workers with one handler; stops them at the end."""
    started: list[Worker] = []

    def start(
        handler: Handler,
        *,
        slots: int = 4,
        schedules: tuple[Schedule, ...] = (),
        numerous: tuple[JobKind, ...] = (),
    ) -> Worker:
        worker = Worker(
            source=repo,
            ids=RandomIds(SystemClock()),
            handlers={WORK: handler, RARE: succeed},
            numerous=numerous,
            schedules=lambda: schedules,
            stores=lambda: (),
            slots=slots,
            owner=f"worker-{len(started)}",
            lease=LEASE,
        )
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        await worker.aclose()


def new_job(**more: object) -> NewJob:
    return NewJob(RandomIds(SystemClock()).uuid7(), WORK, **more)  # type: ignore[arg-type]


async def ended(repo: FailingRecordRepo, job: NewJob, state: JobState, error: str = "") -> Job:
    """Wait until a job has a state and an error with this text; return it."""
    async with asyncio.timeout(10):
        while True:
            held = await repo.inner.job(job.job_id)
            if held is not None and held.state is state and error in held.error:
                return held
            await asyncio.sleep(0.01)


async def succeed(run: Run, report: Callable[[Progress], None]) -> Outcome:
    report(Progress(1, 1))
    return Outcome()


def hang(begun: asyncio.Event, ended: asyncio.Event) -> Handler:
    async def hanging(run: Run, report: Callable[[Progress], None]) -> Outcome:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return Outcome()

    return hanging


async def test_a_job_is_done(repo: FailingRecordRepo, work: Start) -> None:
    work(succeed)
    job = new_job()
    await repo.enqueue([job])
    assert (await ended(repo, job, JobState.DONE)).attempts == 1


async def test_many_jobs_of_one_kind_leave_slots_to_others(
    repo: FailingRecordRepo, work: Start
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    many = [new_job(priority=Priority.URGENT) for _ in range(20)]
    rare = NewJob(RandomIds(SystemClock()).uuid7(), RARE)
    await repo.enqueue([*many, rare])
    work(hang(begun, over), numerous=(WORK,))
    await ended(repo, rare, JobState.DONE)
    assert begun.is_set()
    running = await repo.inner.jobs(JobsQuery(JobState.RUNNING))
    assert len(running.items) == 3


async def test_what_is_kept_for_other_kinds_is_not_awaited(
    repo: FailingRecordRepo, work: Start
) -> None:
    """Three of eight slots are free: too few to claim copies, enough for another kind."""
    begun, over = asyncio.Event(), asyncio.Event()
    many = [new_job() for _ in range(5)]
    rare = NewJob(RandomIds(SystemClock()).uuid7(), RARE)
    await repo.enqueue(many)
    work(hang(begun, over), slots=8, numerous=(WORK,))
    for job in many:
        await ended(repo, job, JobState.RUNNING)
    await repo.enqueue([rare])
    await ended(repo, rare, JobState.DONE)
    assert not over.is_set()


async def test_a_failed_job_is_tried_again(repo: FailingRecordRepo, work: Start) -> None:
    async def fail(run: Run, report: Callable[[Progress], None]) -> Outcome:
        raise StorageFull("the disk is full")

    job, last = new_job(), new_job(max_attempts=1)
    await repo.enqueue([job, last])
    work(fail)
    assert "the disk is full" in (await ended(repo, last, JobState.DEAD)).error
    await ended(repo, job, JobState.READY, "the disk is full")


async def test_a_job_whose_store_is_away_is_postponed(repo: FailingRecordRepo, work: Start) -> None:
    async def away(run: Run, report: Callable[[Progress], None]) -> Outcome:
        raise StorageUnavailable("the cable is cut")

    job = new_job(max_attempts=1)
    await repo.enqueue([job])
    work(away)
    held = await ended(repo, job, JobState.READY, "the cable is cut")
    assert (held.attempts, held.run_at > held.created_at) == (0, True)


async def test_a_defect_in_a_handler_fails_the_job_alone(
    repo: FailingRecordRepo, work: Start
) -> None:
    async def broken(run: Run, report: Callable[[Progress], None]) -> Outcome:
        if run.arguments["broken"]:
            raise KeyError("file_id")
        return Outcome()

    bad = new_job(arguments={"broken": True}, max_attempts=1)
    good = new_job(arguments={"broken": False})
    await repo.enqueue([bad, good])
    work(broken)
    assert (await ended(repo, bad, JobState.DEAD)).error == "KeyError: 'file_id'"
    await ended(repo, good, JobState.DONE)


async def test_a_job_that_can_not_succeed_is_given_up(repo: FailingRecordRepo, work: Start) -> None:
    async def give_up(run: Run, report: Callable[[Progress], None]) -> Outcome:
        raise GivenUp("the file was purged")

    job = new_job()
    await repo.enqueue([job])
    work(give_up)
    held = await ended(repo, job, JobState.DEAD)
    assert (held.attempts, held.error) == (1, "the file was purged")


async def test_a_running_job_is_cancelled_within_a_beat(
    repo: FailingRecordRepo, work: Start
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    work(hang(begun, over))
    job = new_job()
    await repo.enqueue([job])
    await begun.wait()
    assert await repo.cancel_job(job.job_id)
    await asyncio.wait_for(over.wait(), 5)
    await ended(repo, job, JobState.CANCELLED)


async def test_a_long_job_keeps_its_lease(repo: FailingRecordRepo, work: Start) -> None:
    async def slow(run: Run, report: Callable[[Progress], None]) -> Outcome:
        report(Progress(1, 2, message="half"))
        await asyncio.sleep(3 * LEASE.total_seconds())
        return Outcome()

    work(slow)
    work(slow)
    job = new_job()
    await repo.enqueue([job])
    held = await ended(repo, job, JobState.DONE)
    assert (held.attempts, held.progress.message) == (1, "half")


async def test_a_worker_that_stops_gives_its_jobs_back(
    repo: FailingRecordRepo, work: Start
) -> None:
    begun, over = asyncio.Event(), asyncio.Event()
    worker = work(hang(begun, over))
    job = new_job()
    await repo.enqueue([job])
    await begun.wait()
    await worker.aclose()
    assert over.is_set()
    assert (await ended(repo, job, JobState.READY)).attempts == 0
    work(succeed)
    await ended(repo, job, JobState.DONE)


async def test_a_worker_that_lost_its_lease_does_not_end_the_job(
    repo: FailingRecordRepo, work: Start
) -> None:
    ends: list[int] = []
    second = asyncio.Event()

    async def slow_at_first(run: Run, report: Callable[[Progress], None]) -> Outcome:
        if run.attempt == 1:
            await second.wait()
        second.set()
        ends.append(run.attempt)
        return Outcome()

    repo.plan(Fault("renew", times=100))
    work(slow_at_first, slots=1)
    job = new_job()
    await repo.enqueue([job])
    await ended(repo, job, JobState.RUNNING)
    work(slow_at_first, slots=1)
    assert (await ended(repo, job, JobState.DONE)).attempts == 2
    assert ends[0] == 2


async def test_jobs_survive_an_outage_of_the_database(repo: FailingRecordRepo, work: Start) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def waiting(run: Run, report: Callable[[Progress], None]) -> Outcome:
        begun.set()
        await gate.wait()
        return Outcome()

    work(waiting, slots=1)
    first, second = new_job(), new_job()
    await repo.enqueue([first, second])
    await begun.wait()
    repo.go_down()
    gate.set()
    await asyncio.sleep(0)
    repo.come_back()
    await ended(repo, first, JobState.DONE)
    await ended(repo, second, JobState.DONE)


async def test_no_more_jobs_run_than_there_are_slots(repo: FailingRecordRepo, work: Start) -> None:
    running: list[int] = [0, 0]

    async def counted(run: Run, report: Callable[[Progress], None]) -> Outcome:
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0.005)
        running[0] -= 1
        return Outcome()

    jobs = [new_job() for _ in range(20)]
    await repo.enqueue(jobs)
    work(counted, slots=3)
    for job in jobs:
        await ended(repo, job, JobState.DONE)
    assert running[1] == 3


async def test_a_schedule_is_kept(repo: FailingRecordRepo, work: Start) -> None:
    ran = asyncio.Event()

    async def run_once(run: Run, report: Callable[[Progress], None]) -> Outcome:
        ran.set()
        return Outcome()

    work(run_once, schedules=(Schedule(WORK, timedelta(days=1)),))
    await asyncio.wait_for(ran.wait(), 5)
    assert len((await repo.jobs(JobsQuery())).items) == 1
