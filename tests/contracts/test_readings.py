"""Every catalogue keeps the contract of readings; PostgreSQL on a real server."""

from tests.support.catalogues import InMemory, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.readings import ReadingsContract


class TestMemory(InMemory, ReadingsContract):
    pass


class TestSqlite(OnSqlite, ReadingsContract):
    pass


class TestPostgres(OnPostgres, ReadingsContract):
    pass
