"""Every catalogue keeps the contract of verifications and incidents; PostgreSQL on a real server."""

import pytest

from tests.support.catalogues import InMemory, InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.adapters.record_repo.sql import fixity
from traffic_storage.domain.fixity import StoreCoverage
from traffic_storage.entrypoints.testing.contracts.fixity import DAY, FixityContract, stored_at
from traffic_storage.entrypoints.testing.contracts.record_repo import cloud, local
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.record_repo import RecordRepo


class TestMemory(InMemory, FixityContract):
    pass


class TestFailing(InMemoryFailing, FixityContract):
    pass


class InDatabase:
    async def test_more_overdue_copies_than_are_counted_are_estimated(
        self, repo: RecordRepo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """coverage: "more than `MOST_COUNTED` overdue copies of a store may be estimated"."""
        monkeypatch.setattr(fixity, "MOST_COUNTED", 2)
        place, other = await local(repo), await cloud(repo)
        for at in (NOON, NOON - 40 * DAY, NOON - 35 * DAY, None):
            await stored_at(repo, place, at)
        await stored_at(repo, other, None)
        # The sample draws all of so few.
        assert list(await repo.coverage(NOON - 30 * DAY)) == [
            StoreCoverage(other.store_id, 1, 0, 0, 1, None),
            StoreCoverage(place.store_id, 4, 0, 0, 3, None, is_estimated=True),
        ]


class TestSqlite(OnSqlite, FixityContract, InDatabase):
    pass


class TestPostgres(OnPostgres, FixityContract, InDatabase):
    pass
