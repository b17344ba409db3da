"""Jobs: work that is done later, outside of a request, and repeated until it has succeeded.

A job is written in the transaction of the change that causes it. A worker claims it for a limited
time (its lease), which it extends while it works. When a worker dies, its lease passes and another
worker claims the job again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NewType, TypeAlias
from uuid import UUID

from attrs import converters, evolve, field, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.frozen_json import frozen_json
from traffic_storage.domain.identifiers import StoreId

JobKind = NewType("JobKind", str)

MAX_ATTEMPTS = 8
"""How often a job is begun by default before it is given up."""

FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(hours=1)


class Priority(IntEnum):
    """Jobs of a higher priority are claimed first."""

    BACKGROUND = 0
    NORMAL = 1
    URGENT = 2


class JobState(StrEnum):
    """The state of a job. The first two are live: the job will be worked on, or is being so."""

    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


LIVE = frozenset({JobState.READY, JobState.RUNNING})

JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.READY: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.READY, JobState.DONE, JobState.DEAD, JobState.CANCELLED}),
    JobState.DEAD: frozenset({JobState.READY}),
    JobState.CANCELLED: frozenset({JobState.READY}),
    JobState.DONE: frozenset(),
}
"""The states that may follow each state."""


@frozen
class NewJob:
    """A job that is to be written.

    Attributes:
        job_id: a UUIDv7, which the caller creates; writing the same job again changes nothing.
        kind: the name of the handler that does the work.
        arguments: what the handler needs, as JSON.
        key: at most one live job has this key; a further one is not written. None: no limit.
        delay: how long after it was written the job is claimed at the earliest.
        max_attempts: how often the job is begun before it is given up (`dead`).
        store_id: the store that the worker must be able to reach, such as the folder of one host.
            None: any worker can do the job.
        target_id: a second store that it must be able to reach, such as the one to copy to.
    """

    job_id: UUID
    kind: JobKind
    arguments: Mapping[str, Json] = field(factory=dict, converter=frozen_json)
    key: str | None = None
    priority: Priority = Priority.NORMAL
    delay: timedelta = timedelta(0)
    max_attempts: int = MAX_ATTEMPTS
    store_id: StoreId | None = None
    target_id: StoreId | None = None

    def __attrs_post_init__(self) -> None:
        if self.target_id is not None and self.store_id is None:
            raise InvalidInput.of(
                "target_id", "is given without store_id", "give both, or store_id"
            )
        if self.delay < timedelta(0):
            raise InvalidInput.of("delay", "must not be negative", "give 0 or more")
        if self.max_attempts < 1:
            raise InvalidInput.of("max_attempts", "must be at least 1", "give 1 or more")

    def written(self, now: datetime) -> "Job":
        """Return the job as it is after it was written."""
        return Job(
            self.job_id,
            self.kind,
            self.arguments,
            self.key,
            self.priority,
            self.max_attempts,
            JobState.READY,
            0,
            now,
            now + self.delay,
            store_id=self.store_id,
            target_id=self.target_id,
        )


@frozen
class Progress:
    """How far a job has come. `total` is None while it is unknown."""

    done: int = 0
    total: int | None = None
    bytes: int = 0
    message: str = ""


@frozen
class Job:
    """A job as the catalogue holds it.

    Attributes:
        attempts: how often the job was begun.
        run_at: the earliest time at which it is claimed (again).
        owner: the worker that claimed it last; None before the first claim.
        leased_until: the end of the lease; None unless the job is running.
        cancelling: whether somebody asked to cancel the job while it was running.
        error: the reason of the last failure; empty if there was none.
        result: what a job that is done has made, as JSON; None if it made nothing of this kind.
        ended_at: when the job became done, dead or cancelled; None while it is live.
        store_id: the store that the worker must be able to reach; None: any worker can do the job.
        target_id: a second store that it must be able to reach, or None.
    """

    job_id: UUID
    kind: JobKind
    arguments: Mapping[str, Json]
    key: str | None
    priority: Priority
    max_attempts: int
    state: JobState
    attempts: int
    created_at: datetime
    run_at: datetime
    owner: str | None = None
    leased_until: datetime | None = None
    cancelling: bool = False
    progress: Progress = Progress()
    error: str = ""
    ended_at: datetime | None = None
    store_id: StoreId | None = None
    target_id: StoreId | None = None
    result: Mapping[str, Json] | None = None


@frozen
class Claim:
    """A worker's request for jobs.

    Attributes:
        lease_id: a new UUID for each claim; it is the fence: renewing or ending a run is refused if
            the job has been claimed again since, because it then has another `lease_id`.
        owner: the worker, for people to read: host, process, number.
        kinds: the kinds of jobs that the worker has handlers for.
        limit: the most jobs that are claimed.
        lease: how long the jobs belong to the worker unless it renews the lease.
        stores: the stores that the worker can reach now; jobs that need another one are left out.
    """

    lease_id: UUID
    owner: str
    kinds: tuple[JobKind, ...]
    limit: int
    lease: timedelta
    stores: tuple[StoreId, ...] = ()


@frozen
class Run:
    """A job that a worker has claimed. `attempt` counts the runs of the job from 1."""

    job_id: UUID
    lease_id: UUID
    kind: JobKind
    arguments: Mapping[str, Json]
    attempt: int
    max_attempts: int


@frozen
class Renewal:
    """What a worker learns when it renews the leases of its runs.

    Attributes:
        lost: jobs whose lease has passed; another worker may have claimed them.
        cancelling: jobs that somebody asked to cancel.
    """

    lost: frozenset[UUID]
    cancelling: frozenset[UUID]


@frozen
class Done:
    """The job has succeeded.

    Attributes:
        progress: how far it has come at its end; None: as far as was reported last.
        result: what it has made, as JSON; None if that is in the catalogue alone.
    """

    progress: Progress | None = None
    result: Mapping[str, Json] | None = field(
        default=None, converter=converters.optional(frozen_json)
    )


@frozen
class Retry:
    """The run has failed; the job is tried again after `pause`, if it has attempts left."""

    error: str
    pause: timedelta


@frozen
class Dead:
    """The job has failed for good; a person may requeue it."""

    error: str


@frozen
class Cancelled:
    """The run has ended because somebody asked to cancel the job."""


@frozen
class Postponed:
    """The job can't be done now for a reason outside of it, such as a store that is unavailable.

    It is tried again after `pause`; the run does not count as an attempt.
    """

    reason: str
    pause: timedelta


@frozen
class Released:
    """The worker gives the job back, because it stops; the run does not count as an attempt."""


RunEnd: TypeAlias = Done | Retry | Dead | Cancelled | Postponed | Released


def is_attempt(end: RunEnd) -> bool:
    """Return whether a run that ended so counts as an attempt."""
    return not isinstance(end, Postponed | Released)


def pause_after(end: RunEnd) -> timedelta:
    """Return how long the job waits before its next run."""
    return end.pause if isinstance(end, Retry | Postponed) else timedelta(0)


def error_of(end: RunEnd) -> str:
    """Return why the run did not succeed; empty if it did, or was stopped on request."""
    match end:
        case Retry(error) | Dead(error) | Postponed(error):
            return error
        case Done() | Cancelled() | Released():
            return ""


def state_after(end: RunEnd, attempt: int, max_attempts: int) -> JobState:
    """Return the state of a job after a run, the `attempt`-th of the job, has ended."""
    match end:
        case Done():
            return JobState.DONE
        case Cancelled():
            return JobState.CANCELLED
        case Dead():
            return JobState.DEAD
        case Retry():
            return JobState.READY if attempt < max_attempts else JobState.DEAD
        case Postponed() | Released():
            return JobState.READY


def pause_before(attempt: int, chance: float) -> timedelta:
    """Return how long a job waits after its `attempt`-th run has failed.

    The pause doubles with each attempt, from 2 s to at most an hour, and is shortened by up to half
    by `chance`, a random number in [0, 1), so that jobs that failed together are not repeated
    together.
    """
    whole = min(FIRST_PAUSE * (1 << min(attempt - 1, 20)), LONGEST_PAUSE)
    return whole * (1 - chance / 2)


def claimed(job: Job, claim: Claim, now: datetime) -> Job:
    """Return a ready job as it is after a worker has claimed it."""
    return evolve(
        job,
        state=JobState.RUNNING,
        attempts=job.attempts + 1,
        owner=claim.owner,
        leased_until=now + claim.lease,
    )


def taken_back(job: Job, now: datetime) -> Job:
    """Return a running job as it is after its lease has passed."""
    if job.cancelling:
        state = JobState.CANCELLED
    else:
        state = JobState.READY if job.attempts < job.max_attempts else JobState.DEAD
    return evolve(
        job,
        state=state,
        run_at=now + pause_before(job.attempts, 0),
        leased_until=None,
        error=f"{job.owner} stopped, or did not renew its lease in time",
        ended_at=None if state in LIVE else now,
    )


def ended(job: Job, end: RunEnd, now: datetime) -> Job:
    """Return a running job as it is after its run has ended."""
    state = state_after(end, job.attempts, job.max_attempts)
    done = end if isinstance(end, Done) else Done()
    return evolve(
        job,
        progress=done.progress or job.progress,
        result=done.result,
        state=state,
        attempts=job.attempts - (not is_attempt(end)),
        run_at=now + pause_after(end),
        leased_until=None,
        error=error_of(end),
        ended_at=None if state in LIVE else now,
    )


@frozen
class Schedule:
    """A kind of job that is written periodically.

    The time since 1970 is divided into slots of the length `every`; at most one job is written for
    each slot, by the worker that comes first, and none while an earlier one is live. Slots that
    passed while no worker ran are not made up.
    """

    kind: JobKind
    every: timedelta
    arguments: Mapping[str, Json] = field(factory=dict, converter=frozen_json)
    priority: Priority = Priority.NORMAL
    store_id: StoreId | None = None

    @property
    def name(self) -> str:
        """The name under which the newest slot is recorded: a store has slots of its own."""
        return self.kind if self.store_id is None else f"{self.kind}@{self.store_id}"

    def slot(self, now: datetime) -> int:
        """Return the number of the slot of a time."""
        return int((now - datetime(1970, 1, 1, tzinfo=UTC)) // self.every)

    def job(self, job_id: UUID) -> NewJob:
        """Return the job of a slot."""
        return NewJob(
            job_id,
            self.kind,
            self.arguments,
            key=f"schedule:{self.name}",
            priority=self.priority,
            store_id=self.store_id,
        )
