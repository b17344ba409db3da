"""Tests of any adapter of the change `CommitUnits`, which makes many units visible at once."""

import asyncio
from datetime import datetime

import pytest
from attrs import evolve

from traffic_storage.domain.changes import CommitUnits
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.files import FileKind, blob_key
from traffic_storage.domain.identifiers import AttemptId, FileId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Attempt, ClaimedIds, Unit
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.domain.query import JobsQuery
from traffic_storage.entrypoints.testing import strategies as values
from traffic_storage.entrypoints.testing.contracts.deletions import all_events
from traffic_storage.entrypoints.testing.contracts.record_repo import (
    CLOUD,
    NOTHING,
    cloud,
    examples,
    is_whole,
    local,
    recount,
)
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import (
    LATER,
    NOON,
    new_attempt,
    new_evidence,
    new_file,
    new_record,
    store,
)
from traffic_storage.ports.errors import AttemptCondemned, IdsTaken
from traffic_storage.ports.record_repo import RecordRepo

MANY = 70
"""So many rows are copied into the tables of PostgreSQL; fewer are inserted."""


async def begun(repo: RecordRepo, units: list[Unit], deadline: datetime = LATER) -> Attempt:
    """Enter the attempt of a change into the journal, and return it."""
    files = Unit(tuple(file for unit in units for file in unit.files))
    attempt = new_attempt(files, deadline)
    await repo.begin(attempt, ClaimedIds(()))
    return attempt


async def committed(repo: RecordRepo, units: list[Unit]) -> bool:
    """Commit units; return what `apply` returns."""
    attempt = await begun(repo, units)
    return await repo.apply(CommitUnits(attempt.attempt_id, tuple(units)))


def violations(place: RegisteredStore, count: int = MANY) -> list[Unit]:
    """Return violations without media."""
    return [new_evidence(new_record(), place, kinds=()) for _ in range(count)]


async def names_of(repo: RecordRepo) -> list[str | None]:
    """Return the violations and files that the events of storing name, in order."""
    events = [one.event for one in await all_events(repo) if one.event.kind is EventKind.STORED]
    return [event.violation_id or event.file_id for event in events]


@pytest.mark.asyncio
class CommitUnitsContract:
    """Inherit from this class, and define an async fixture `repo`, as for `RecordRepoContract`."""

    @pytest.mark.parametrize("count", [1, 3, MANY])
    async def test_all_units_become_visible(self, repo: RecordRepo, count: int) -> None:
        """CommitUnits: rows, counters and events are as after a `CommitUnit` for each."""
        places = [await local(repo), await cloud(repo)]
        units = [
            *violations(places[0], count),
            new_evidence(new_record(), *places, kinds=(FileKind.IMAGE, FileKind.VIDEO)),
            Unit((new_file(*places),)),
        ]
        assert await committed(repo, units)
        assert all([await is_whole(repo, unit) for unit in units])
        names = [name for unit in units for name in unit.names.files]
        assert list((await repo.usage()).stores) == await recount(repo, names)
        assert (await repo.usage()).violations == count + 1
        assert await names_of(repo) == [
            unit.names.violation or unit.files[0].file_id for unit in units
        ]
        assert not await repo.condemn(LATER)

    async def test_values_come_back_unchanged(self, repo: RecordRepo) -> None:
        """CommitUnits: any text, time, number and JSON in files and records."""
        place = await local(repo)
        units = []
        for number, drawn in enumerate(examples(values.stored_files(places=[place]), MANY)):
            copies = (
                evolve(copy, key=blob_key(drawn.kind, uuid7_at(NOON), drawn.stored.sha256))
                for copy in drawn.replicas
            )
            name = FileId(f"{drawn.file_id[:190]}.{number}")
            units.append(Unit((evolve(drawn, file_id=name, replicas=tuple(copies)),)))
        for number, given in enumerate(examples(values.records(), MANY)):
            record = evolve(given, violation_id=f"{given.violation_id[:170]}.{number}")
            units.append(new_evidence(record, place, kinds=()))
        assert await committed(repo, units)
        assert all([await is_whole(repo, unit) for unit in units])

    async def test_it_may_be_repeated(self, repo: RecordRepo) -> None:
        """CommitUnits: `apply` returns False from the second time on, and changes nothing."""
        units = violations(await local(repo))
        attempt = await begun(repo, units)
        change = CommitUnits(attempt.attempt_id, tuple(units))
        assert [await repo.apply(change) for _ in range(3)] == [True, False, False]
        assert (await repo.usage()).violations == MANY
        assert len(await names_of(repo)) == MANY

    @pytest.mark.parametrize("taken", ["file", "violation"])
    @pytest.mark.parametrize("count", [3, MANY])
    async def test_one_taken_id_refuses_all(self, repo: RecordRepo, taken: str, count: int) -> None:
        """CommitUnits: IdsTaken; nothing of any unit is visible, and the attempt stays."""
        place = await local(repo)
        units = violations(place, count)
        chosen = units[count // 2]
        (known,) = chosen.files
        if taken == "file":
            await store(repo, Unit((new_file(place, file_id=known.file_id),)))
        else:
            assert chosen.violation is not None
            other = new_file(place)
            violation = evolve(chosen.violation, metadata_file_id=other.file_id)
            await store(repo, Unit((other,), violation))
        before, events = await repo.usage(), await names_of(repo)
        attempt = await begun(repo, units)
        with pytest.raises(IdsTaken):
            await repo.apply(CommitUnits(attempt.attempt_id, tuple(units)))
        assert not any([await is_whole(repo, unit) for unit in units if unit is not chosen])
        assert await repo.usage() == before
        assert await names_of(repo) == events
        assert await repo.condemn(LATER) == [attempt]

    async def test_of_concurrent_changes_one_has_each_id(self, repo: RecordRepo) -> None:
        """CommitUnits: of concurrent ones with a common id, one is applied, whole."""
        place = await local(repo)
        record = new_record("V001")
        sides = [
            [*violations(place), new_evidence(record, place, kinds=()), *violations(place)]
            for _ in range(4)
        ]
        outcomes = await asyncio.gather(
            *(committed(repo, side) for side in sides), return_exceptions=True
        )
        assert sorted(type(one).__name__ for one in outcomes) == ["IdsTaken"] * 3 + ["bool"]
        winner = sides[outcomes.index(True)]
        assert all([await is_whole(repo, unit) for unit in winner])
        assert (await repo.usage()).violations == len(winner)

    @pytest.mark.parametrize("forgotten", [False, True])
    async def test_a_condemned_attempt_cannot_commit(
        self, repo: RecordRepo, *, forgotten: bool
    ) -> None:
        """CommitUnits: AttemptCondemned if recovery has condemned the attempt; nothing is visible."""
        units = violations(await local(repo), 3)
        attempt = await begun(repo, units)
        await repo.condemn(LATER)
        if forgotten:
            await repo.forget(attempt.attempt_id)
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnits(attempt.attempt_id, tuple(units)))
        assert not any([await is_whole(repo, unit) for unit in units])
        assert await repo.usage() == NOTHING

    async def test_an_attempt_must_be_entered(self, repo: RecordRepo) -> None:
        """CommitUnits: AttemptCondemned without an entry in the journal."""
        units = violations(await local(repo), 3)
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnits(AttemptId("never begun"), tuple(units)))

    @pytest.mark.parametrize("count", [3, MANY])
    async def test_an_unregistered_store_is_refused(self, repo: RecordRepo, count: int) -> None:
        """CommitUnits: AttemptCondemned if one file is in a store that is not registered."""
        units = [*violations(await local(repo), count), *violations(CLOUD, 1)]
        attempt = await begun(repo, units)
        with pytest.raises(AttemptCondemned):
            await repo.apply(CommitUnits(attempt.attempt_id, tuple(units)))
        assert not any([await is_whole(repo, unit) for unit in units])

    async def test_its_jobs_are_written_with_it(self, repo: RecordRepo) -> None:
        """CommitUnits: the jobs are written if it is applied, once."""
        units = violations(await local(repo), 3)
        job = NewJob(uuid7_at(NOON), JobKind("follow-up"), key="k")
        attempt = await begun(repo, units)
        change = CommitUnits(attempt.attempt_id, tuple(units), (job,))
        await repo.apply(change)
        await repo.apply(change)
        assert [one.kind for one in (await repo.jobs(JobsQuery())).items] == ["follow-up"]
