"""Every catalogue keeps the contract of copies; PostgreSQL on a real server."""

from tests.support.catalogues import InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.copies import CopiesContract


class TestMemory(InMemoryFailing, CopiesContract):
    pass


class TestSqlite(OnSqlite, CopiesContract):
    pass


class TestPostgres(OnPostgres, CopiesContract):
    pass
