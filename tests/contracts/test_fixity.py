"""Every catalogue keeps the contract of verifications and incidents; PostgreSQL on a real server."""

from tests.support.catalogues import InMemory, InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.fixity import FixityContract


class TestMemory(InMemory, FixityContract):
    pass


class TestFailing(InMemoryFailing, FixityContract):
    pass


class TestSqlite(OnSqlite, FixityContract):
    pass


class TestPostgres(OnPostgres, FixityContract):
    pass
