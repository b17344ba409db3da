"""Every catalogue keeps the contract of added labels; PostgreSQL on a real server."""

from tests.support.catalogues import InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.labels import LabelsContract


class TestMemory(InMemoryFailing, LabelsContract):
    pass


class TestSqlite(OnSqlite, LabelsContract):
    pass


class TestPostgres(OnPostgres, LabelsContract):
    pass
