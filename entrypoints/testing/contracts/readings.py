"""Tests of any adapter of the port `Readings`, and of the changes of pressure."""

from datetime import timedelta
from uuid import uuid4

from attrs import evolve

from traffic_storage.domain.events import EventKind
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import Claim, Dead, JobKind, NewJob
from traffic_storage.domain.pressure import (
    UNPRESSED,
    NotePressure,
    NoteUsageAlert,
    Pressure,
    PressureLevel,
    RecordedPressure,
)
from traffic_storage.domain.readings import DueRetention, WaitingJobs
from traffic_storage.entrypoints.testing.contracts.deletions import all_events
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.contracts.retention import stored
from traffic_storage.entrypoints.testing.units import NOON, new_file
from traffic_storage.ports.record_repo import RecordRepo

COPY, CHECK, OTHER = JobKind("copy"), JobKind("check"), JobKind("other")
DAY = timedelta(days=1)


def note(store_id: StoreId, level: PressureLevel, *, only_lowers: bool = False) -> NotePressure:
    """Return the change that records this level."""
    return NotePressure(store_id, Pressure(level, 10, 5.0, DAY), NOON, only_lowers)


def alert(store_id: StoreId, *, raised: bool) -> NoteUsageAlert:
    """Return the change that raises or clears the usage alert."""
    pressure = Pressure(PressureLevel.NONE, 10, 5.0, None, used_percent=91.0)
    return NoteUsageAlert(store_id, pressure, raised, NOON)


class ReadingsContract:
    """The tests; a subclass provides the fixture `repo`."""

    async def test_jobs_that_are_not_done_are_counted_by_kind_and_state(
        self, repo: RecordRepo
    ) -> None:
        """waiting_jobs: ready, running, dead; the oldest ready job; kinds in their order."""
        assert await repo.waiting_jobs([COPY]) == [WaitingJobs(COPY)]
        jobs = [NewJob(uuid4(), COPY) for _ in range(3)]
        for job in jobs:
            await repo.enqueue([job])
        await repo.enqueue([NewJob(uuid4(), CHECK), NewJob(uuid4(), CHECK)])
        runs = await repo.claim(Claim(uuid4(), "worker", (COPY,), 2, DAY))
        await repo.finish(runs[0], Dead("it can't succeed"))
        (claimed_first,) = {job.job_id for job in jobs} - {run.job_id for run in runs}
        left = await repo.job(claimed_first)
        assert left is not None
        other, copy, check = await repo.waiting_jobs([OTHER, COPY, CHECK])
        assert other == WaitingJobs(OTHER)
        assert copy == WaitingJobs(COPY, 1, 1, 1, left.created_at)
        assert (check.ready, check.running, check.dead) == (2, 0, 0)

    async def test_due_files_are_counted(self, repo: RecordRepo) -> None:
        """due_retention: available files that are kept until `as_of` or less long."""
        place = await local(repo)
        assert await repo.due_retention(NOON) == DueRetention()
        files = [
            evolve(new_file(place, size_bytes=size), keep_until=NOON + days * DAY)
            for size, days in ((100, 1), (200, 2), (400, 3))
        ]
        await stored(repo, *files)
        assert await repo.due_retention(NOON) == DueRetention()
        assert await repo.due_retention(NOON + 2 * DAY) == DueRetention(2, 300)

    async def test_a_level_is_recorded_once_with_its_event(self, repo: RecordRepo) -> None:
        """NotePressure: without effect, and without an event, if the level is recorded."""
        place = await local(repo)
        assert await repo.recorded_pressures() == {place.store_id: UNPRESSED}
        forecast = note(place.store_id, PressureLevel.FORECAST)
        assert await repo.apply(forecast)
        assert not await repo.apply(forecast)
        assert not await repo.apply(note(StoreId("unknown"), PressureLevel.FULL))
        recorded = await repo.recorded_pressures()
        assert recorded == {place.store_id: RecordedPressure(PressureLevel.FORECAST)}
        assert [one.event for one in await all_events(repo)] == [forecast.event]

    async def test_a_level_that_only_lowers_raises_nothing(self, repo: RecordRepo) -> None:
        """NotePressure: with only_lowers, only a higher recorded level is replaced."""
        place = await local(repo)
        lingering = note(place.store_id, PressureLevel.FORECAST, only_lowers=True)
        assert not await repo.apply(lingering)
        assert await repo.apply(note(place.store_id, PressureLevel.MOVE_OUT))
        assert await repo.apply(lingering)
        assert not await repo.apply(lingering)
        recorded = await repo.recorded_pressures()
        assert recorded[place.store_id].level is PressureLevel.FORECAST

    async def test_an_alert_is_raised_once_and_cleared_once(self, repo: RecordRepo) -> None:
        """NoteUsageAlert: beside the level; without effect if that is recorded."""
        place = await local(repo)
        await repo.apply(note(place.store_id, PressureLevel.FORECAST))
        for raised in (False, True, True, False, False, True):
            await repo.apply(alert(place.store_id, raised=raised))
        recorded = await repo.recorded_pressures()
        assert recorded[place.store_id] == RecordedPressure(PressureLevel.FORECAST, is_raised=True)
        events = [one.event for one in await all_events(repo)]
        told = [one.details["raised"] for one in events if one.kind is EventKind.USAGE_ALERT]
        assert told == [True, False, True]
