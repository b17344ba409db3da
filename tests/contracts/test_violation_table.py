"""Every catalogue keeps the contract of the table of violations; PostgreSQL on a real server."""

from tests.support.catalogues import InMemory, InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.violation_table import ViolationTableContract


class TestMemory(InMemory, ViolationTableContract):
    pass


class TestFailing(InMemoryFailing, ViolationTableContract):
    pass


class TestSqlite(OnSqlite, ViolationTableContract):
    pass


class TestPostgres(OnPostgres, ViolationTableContract):
    pass
