"""Every catalogue keeps the contract of retention; PostgreSQL on a real server."""

from tests.support.catalogues import InMemory, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.retention import RetentionContract


class TestMemory(InMemory, RetentionContract):
    pass


class TestSqlite(OnSqlite, RetentionContract):
    pass


class TestPostgres(OnPostgres, RetentionContract):
    pass
