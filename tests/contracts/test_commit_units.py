"""Every RecordRepo commits many units as it commits one; PostgreSQL on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.catalogues import InMemory, OnPostgres
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.contracts.commit_units import CommitUnitsContract
from traffic_storage.ports.record_repo import RecordRepo


class TestMemory(InMemory, CommitUnitsContract):
    pass


class TestSqlite(CommitUnitsContract):
    @pytest.fixture
    async def repo(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[RecordRepo]:
        repo = sqlite_repo(SqliteSettings(tmp_path / "catalogue.sqlite3", PATIENT_SECONDS))
        await repo.upgrade()
        yield repo
        await repo.aclose()


class TestPostgres(OnPostgres, CommitUnitsContract):
    pass
