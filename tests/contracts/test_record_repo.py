"""Every RecordRepo keeps the contract; PostgreSQL on a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.catalogues import InMemory, OnPostgres
from tests.support.servers import PostgresAddress
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.domain.ingest import Unit
from traffic_storage.entrypoints.testing.contracts.record_repo import (
    RecordRepoContract,
    RecordRepoMachine,
    is_whole,
    local,
)
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.entrypoints.testing.faults.record_repo import FailingRecordRepo
from traffic_storage.entrypoints.testing.units import new_file, store
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown
from traffic_storage.ports.record_repo import RecordRepo

MACHINE = settings(max_examples=12, stateful_step_count=30, deadline=None)


class TestMemory(InMemory, RecordRepoContract):
    pass


class TestSqlite(RecordRepoContract):
    @pytest.fixture
    async def repo(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[RecordRepo]:
        repo = sqlite_repo(SqliteSettings(tmp_path / "new" / "catalogue.sqlite3", PATIENT_SECONDS))
        await repo.upgrade()
        yield repo
        await repo.aclose()


class TestPostgres(OnPostgres, RecordRepoContract):
    pass


class TestFailing(RecordRepoContract):
    """A decorator for faults without faults, and with them."""

    @pytest.fixture
    async def repo(self, no_leaks: None) -> AsyncIterator[FailingRecordRepo]:
        repo = FailingRecordRepo(InMemoryRecordRepo())
        yield repo
        await repo.aclose()

    async def test_it_fails_before_or_after_the_work(self, repo: FailingRecordRepo) -> None:
        repo.plan(
            Fault("apply", nth=2),
            Fault("apply", lambda: OutcomeUnknown("on purpose"), nth=3, when=When.AFTER),
        )
        place = await local(repo)
        units = [Unit((new_file(place),)) for _ in range(3)]
        await store(repo, units[0])
        for unit, error in zip(units[1:], (CatalogueUnavailable, OutcomeUnknown), strict=True):
            with pytest.raises(error):
                await store(repo, unit)
        assert [await is_whole(repo, unit) for unit in units] == [True, False, True]
        assert repo.unmet() == []
        assert repo.calls["apply"] == 3

    async def test_it_tells_of_faults_that_no_call_met(self, repo: FailingRecordRepo) -> None:
        hidden, late = Fault("ping"), Fault("ping", nth=2)
        repo.plan(Fault("ping"), hidden, late)
        with pytest.raises(CatalogueUnavailable):
            await repo.ping()
        assert repo.unmet() == [hidden, late]

    async def test_it_goes_down_and_comes_back(self, repo: FailingRecordRepo) -> None:
        repo.go_down("the cable is cut")
        for call in (repo.ping, repo.usage, repo.upgrade, repo.pending):
            with pytest.raises(CatalogueUnavailable, match="the cable is cut"):
                await call()
        repo.come_back()
        await repo.ping()

    async def test_it_fails_after_a_number_of_calls(self, no_leaks: None) -> None:
        repo = FailingRecordRepo(InMemoryRecordRepo(), after=2)
        await repo.ping()
        await repo.ping()
        for _ in range(2):
            with pytest.raises(CatalogueUnavailable):
                await repo.ping()

    async def test_it_waits(self, repo: FailingRecordRepo) -> None:
        gate = asyncio.Event()
        repo.plan(Fault("ping", None, gate=gate))
        waiting = asyncio.ensure_future(repo.ping())
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.set()
        await waiting


class MemoryMachine(RecordRepoMachine):
    @staticmethod
    async def make() -> RecordRepo:
        return InMemoryRecordRepo()


MemoryMachine.TestCase.settings = MACHINE
TestMemoryMachine = MemoryMachine.TestCase


def test_sqlite_machine(tmp_path: Path) -> None:
    class Machine(RecordRepoMachine):
        made = 0

        @classmethod
        async def make(cls) -> RecordRepo:
            cls.made += 1
            repo = sqlite_repo(SqliteSettings(tmp_path / f"{cls.made}.sqlite3", PATIENT_SECONDS))
            await repo.upgrade()
            return repo

    run_state_machine_as_test(Machine, settings=MACHINE)


def test_postgres_machine(postgres: PostgresAddress) -> None:
    class Machine(RecordRepoMachine):
        @staticmethod
        async def make() -> RecordRepo:
            repo = postgres_repo(postgres_settings(postgres.create_database()))
            await repo.upgrade()
            return repo

    run_state_machine_as_test(Machine, settings=MACHINE)
