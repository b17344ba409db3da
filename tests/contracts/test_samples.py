"""Every catalogue keeps the contract of samples; PostgreSQL on a real server."""

from tests.support.catalogues import InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.samples import SamplesContract


class TestMemory(InMemoryFailing, SamplesContract):
    pass


class TestSqlite(OnSqlite, SamplesContract):
    pass


class TestPostgres(OnPostgres, SamplesContract):
    pass
