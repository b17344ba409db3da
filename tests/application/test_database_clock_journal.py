"""Hosts whose clocks differ: deadlines of attempts are judged by the database's clock alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from attrs import evolve
from dependency_injector.providers import Object

from tests.crash.later import LaterClock
from tests.support.servers import Database
from tests.support.setups import config
from traffic_storage import StorageService
from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows, Unit
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.seal import Sealed
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.units import new_attempt, new_file
from traffic_storage.ports.errors import AttemptCondemned

TWELVE = timedelta(minutes=12)
LASTS = timedelta(minutes=10)


@asynccontextmanager
async def host(folder: Path, database: Database, ahead: timedelta) -> AsyncIterator[Container]:
    """A service on a host of its own, whose clock is ahead of the database's."""
    container = build(config(folder, database=database, workers=0), StorageStrategy.LOCAL_ONLY)
    container.clock.override(Object(LaterClock(ahead)))
    try:
        yield container
    finally:
        await container.runtime().aclose()


async def begun(container: Container, lasts: timedelta) -> tuple[Attempt, Unit]:
    """An attempt that a service has begun, with the deadline that its own clock gives."""
    unit = Unit((new_file(await local(container._record_repo()), file_id=str(uuid4())),))
    attempt = evolve(new_attempt(unit), deadline=container.clock().now() + lasts)
    await container._ingest_journal().begin(attempt, ClaimedIds(()))
    return attempt, unit


@pytest.mark.parametrize(
    ("one", "other"),
    [(TWELVE, -TWELVE), (-TWELVE, TWELVE), (TWELVE, timedelta()), (-TWELVE, TWELVE * 9)],
)
async def test_hosts_whose_clocks_differ_undo_only_what_is_over(
    no_leaks: None,
    catalogue_database: Database,
    tmp_path: Path,
    one: timedelta,
    other: timedelta,
) -> None:
    async with (
        host(tmp_path / "one", catalogue_database, one) as here,
        host(tmp_path / "other", catalogue_database, other) as there,
    ):
        attempt, unit = await begun(here, LASTS)
        over, lost = await begun(here, -LASTS)
        assert await there.recover()() == 1
        assert await here.recover()() == 0
        repo = here._record_repo()
        assert await repo.apply(CommitUnit(attempt.attempt_id, unit))
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnit(over.attempt_id, lost))


async def test_a_clock_that_is_set_while_the_service_runs_counts_at_once(
    no_leaks: None, catalogue_database: Database, tmp_path: Path
) -> None:
    async with (
        host(tmp_path / "one", catalogue_database, timedelta()) as here,
        host(tmp_path / "other", catalogue_database, timedelta()) as there,
    ):
        await begun(here, LASTS)
        await there.recover()()
        clocks = here.clock(), there.clock()
        assert isinstance(clocks[0], LaterClock)
        assert isinstance(clocks[1], LaterClock)
        clocks[0].pass_time(-TWELVE)
        clocks[1].pass_time(TWELVE)
        await begun(here, LASTS)
        assert await there.recover()() == 0


async def test_a_host_that_was_suspended_reads_the_clock_of_the_database_anew(
    no_leaks: None,
    catalogue_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with host(tmp_path, catalogue_database, timedelta()) as here:
        await begun(here, LASTS)
        repo, clock = here._record_repo(), here.clock()
        read = repo.database_time

        async def later() -> datetime:
            return await read() + TWELVE

        # Both clocks have gone on, and the monotonic one has not.
        monkeypatch.setattr(repo, "database_time", later)
        assert isinstance(clock, LaterClock)
        clock.pass_time(TWELVE)
        attempt, _ = await begun(here, LASTS)
        condemned = await repo.condemn(await later() + LASTS / 2)
        assert attempt.attempt_id not in {one.attempt_id for one in condemned}


async def test_a_caller_gets_deadlines_of_its_own_clock(
    no_leaks: None, catalogue_database: Database, tmp_path: Path
) -> None:
    async with host(tmp_path, catalogue_database, TWELVE) as here:
        attempt, _ = await begun(here, -LASTS)
        journal = here._ingest_journal()
        (found,) = await journal.condemn(here.clock().now())
        assert abs(found.deadline - attempt.deadline) < timedelta(minutes=1)
        await journal.forget(attempt.attempt_id)
        assert not await journal.condemn(here.clock().now())


async def test_what_never_ends_is_condemned_before_a_seal(
    no_leaks: None, catalogue_database: Database, tmp_path: Path
) -> None:
    async with host(tmp_path, catalogue_database, -TWELVE) as here:
        attempt, unit = await begun(here, LASTS)
        await here.sealing().seal("tester", "moved elsewhere")
        with pytest.raises((AttemptCondemned, Sealed)):
            await here._record_repo().apply(CommitUnit(attempt.attempt_id, unit))


@pytest.mark.parametrize(("one", "other"), [(TWELVE, -TWELVE), (-TWELVE, TWELVE)])
async def test_an_upload_goes_on_while_another_host_recovers(
    no_leaks: None,
    catalogue_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one: timedelta,
    other: timedelta,
) -> None:
    service = StorageService(config(tmp_path / "one", database=catalogue_database, workers=0))
    container = service.parts.container
    container.clock.override(Object(LaterClock(one)))
    async with service, host(tmp_path / "other", catalogue_database, other) as there:
        repo, undone = container._record_repo(), list[int]()
        begin = repo.begin

        async def begin_and_be_judged(attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
            existing = await begin(attempt, ids)
            undone.append(await there.recover()())
            return existing

        monkeypatch.setattr(repo, "begin", begin_and_be_judged)
        await service.store_metadata(data={"vehicles": 7}, file_id="M")
        assert undone == [0]
        assert (await service.retrieve_file("M"))[0] == b'{"vehicles":7}'
