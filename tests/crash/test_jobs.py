"""Workers that are killed or stopped: no job is lost, no effect happens twice, poison ends."""

import asyncio
from pathlib import Path

import pytest

from tests.crash.job_loop import DATABASES, JobLoop, database_of, run, run_with_restarts
from traffic_storage.domain.jobs import JobState

# `python -m tests.crash.job_loop --kills N` does more.
KILLS = 4
RESTARTS = 3
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("database", DATABASES)
def test_no_job_is_lost_or_done_twice_when_workers_are_killed(database: str) -> None:
    found = run(database, KILLS)
    assert (found.kills, found.broken) == (KILLS, [])
    assert found.done > KILLS


def test_workers_survive_restarts_of_the_database() -> None:
    found = run_with_restarts(RESTARTS)
    assert (found.kills, found.broken) == (RESTARTS, [])


def test_a_job_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with database_of("sqlite", tmp_path) as database:
        job = asyncio.run(JobLoop(database, tmp_path, seed=1).poison())
    assert (job.state, job.attempts) == (JobState.DEAD, 2)
    assert "did not renew its lease" in job.error
