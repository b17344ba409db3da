"""Every catalogue keeps the contract of migrations; PostgreSQL on a real server."""

from tests.support.catalogues import InMemory, InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.migrations import MigrationsContract


class TestMemory(InMemory, MigrationsContract):
    pass


class TestFailing(InMemoryFailing, MigrationsContract):
    pass


class TestSqlite(OnSqlite, MigrationsContract):
    pass


class TestPostgres(OnPostgres, MigrationsContract):
    pass
