"""The jobs in SQLite against those in memory, step by step, on a clock that is moved."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.contracts.test_jobs import rewinding
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.jobs import (
    Cancelled,
    Claim,
    Dead,
    Done,
    Job,
    JobKind,
    NewJob,
    Postponed,
    Priority,
    Progress,
    Released,
    Retry,
    Run,
    RunEnd,
)
from traffic_storage.domain.query import JobsQuery
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.errors import LeaseLost
from traffic_storage.ports.record_repo import RecordRepo

T = TypeVar("T")
KINDS = [JobKind("copy"), JobKind("check")]
STORES = [None, StoreId("disk"), StoreId("cloud")]
BUCKETS = [StoreId("cloud"), StoreId("gone"), StoreId("new")]
LEASE = timedelta(seconds=30)
PAUSE = timedelta(seconds=10)
ENDS: list[RunEnd] = [
    Done(),
    Retry("failed", PAUSE),
    Dead("broken"),
    Cancelled(),
    Postponed("away", PAUSE),
    Released(),
]
EXAMPLES, STEPS = 20, 40


class JobsMachine(RuleBasedStateMachine):
    """Every call is made on both; what it returns and what is listed afterwards must be equal."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "catalogue.sqlite3"
        self.clock = ManualClock(NOON)
        self.memory = InMemoryRecordRepo(now=self.clock.now)
        self.sqlite = sqlite_repo(SqliteSettings(self.path))
        self.runner.run(self.sqlite.upgrade())
        for bucket in BUCKETS:
            registered = RegisteredStore(bucket, Tier.CLOUD, "bucket", NOON)
            self.both(lambda repo, new=registered: repo.register(new))  # type: ignore[misc]
        self.numbers = 0
        self.ids: list[UUID] = []
        self.runs: list[tuple[Run, Run]] = []

    def teardown(self) -> None:
        """Close both."""
        self.runner.run(self.sqlite.aclose())
        self.runner.close()
        self.folder.cleanup()

    def both(self, call: Callable[[RecordRepo], Awaitable[T]]) -> tuple[T, T]:
        """The results of a call on both."""

        async def run() -> tuple[T, T]:
            return await call(self.memory), await call(self.sqlite)

        return self.runner.run(run())

    def agree(self, call: Callable[[RecordRepo], Awaitable[T]]) -> T:
        """The one result of a call on both."""
        one, other = self.both(call)
        assert one == other
        return one

    def new_id(self) -> UUID:
        """The next id."""
        self.numbers += 1
        return UUID(int=self.numbers)

    @rule(
        kind=st.sampled_from(KINDS),
        key=st.sampled_from([None, "a", "b"]),
        priority=st.sampled_from(Priority),
        delay=st.sampled_from([timedelta(0), PAUSE]),
        attempts=st.integers(1, 3),
        store=st.sampled_from(STORES),
        bucket=st.sampled_from([None, *BUCKETS]),
    )
    def enqueue(self, **fields: Any) -> None:
        """A job is written."""
        job = NewJob(
            self.new_id(),
            fields["kind"],
            key=fields["key"],
            priority=fields["priority"],
            delay=fields["delay"],
            max_attempts=fields["attempts"],
            store_id=fields["store"],
            target_id=fields["bucket"] if fields["store"] == "disk" else None,
        )
        self.both(lambda repo: repo.enqueue([job]))
        self.ids.append(job.job_id)

    @rule(
        kinds=st.sets(st.sampled_from(KINDS), min_size=1),
        stores=st.sets(st.sampled_from([*STORES[1:], *BUCKETS[1:]])),
    )
    def claim(self, kinds: set[JobKind], stores: set[StoreId]) -> None:
        """A worker claims all that is due for it."""
        claim = Claim(self.new_id(), "worker", tuple(kinds), 1000, LEASE, tuple(stores))
        one, other = self.both(lambda repo: repo.claim(claim))
        by_id = {run.job_id: run for run in other}
        assert by_id == {run.job_id: run for run in one}
        assert [by_id[run.job_id] for run in one] == list(one)
        self.runs += [(run, by_id[run.job_id]) for run in one]

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), end=st.sampled_from(ENDS))
    def finish(self, data: st.DataObject, end: RunEnd) -> None:
        """A run ends, or was lost."""
        run, _ = data.draw(st.sampled_from(self.runs))

        async def finish(repo: RecordRepo) -> bool:
            try:
                await repo.finish(run, end)
            except LeaseLost:
                return False
            return True

        self.agree(finish)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), done=st.integers(0, 9))
    def renew(self, data: st.DataObject, done: int) -> None:
        """A worker renews a lease."""
        run, _ = data.draw(st.sampled_from(self.runs))
        progress = {run.job_id: Progress(done, 9, 10 * done, "on the way")}
        self.agree(lambda repo: repo.renew(progress, run.lease_id, LEASE))

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """An operator cancels a job."""
        job_id = data.draw(st.sampled_from(self.ids))
        self.agree(lambda repo: repo.cancel_job(job_id))

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        """An operator requeues a job."""
        job_id = data.draw(st.sampled_from(self.ids))
        self.agree(lambda repo: repo.requeue_job(job_id))

    @rule(others=st.sets(st.sampled_from(BUCKETS)), bucket=st.sampled_from(BUCKETS))
    def retarget(self, others: set[StoreId], bucket: StoreId) -> None:
        """What waits for other buckets than these gets another target."""
        kept = {bucket, *others}
        assert not self.agree(lambda repo: repo.retarget(StoreId("disk"), kept, bucket))

    @rule(delta=st.sampled_from([PAUSE, 1.1 * LEASE, timedelta(hours=1)]))
    def later(self, delta: timedelta) -> None:
        """Time passes."""
        self.clock.advance(delta)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(rewinding(delta))

    @invariant()
    def the_jobs_are_equal(self) -> None:
        """Both list the same jobs in the same states."""
        one, other = self.both(lambda repo: repo.jobs(JobsQuery(limit=1000)))
        assert _comparable(one.items) == _comparable(other.items)


def _comparable(jobs: tuple[Job, ...]) -> Mapping[UUID, Job]:
    """The jobs without their times, which are the system's in SQLite."""
    return {
        job.job_id: evolve(
            job,
            created_at=NOON,
            run_at=NOON,
            leased_until=job.leased_until and NOON,
            ended_at=job.ended_at and NOON,
        )
        for job in jobs
    }


TestJobsMachine = JobsMachine.TestCase
TestJobsMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
