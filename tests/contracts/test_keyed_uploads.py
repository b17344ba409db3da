"""Every catalogue keeps the contract of keys of uploads; PostgreSQL on a real server."""

from tests.support.catalogues import InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.keyed_uploads import KeyedUploadsContract


class TestMemory(InMemoryFailing, KeyedUploadsContract):
    pass


class TestSqlite(OnSqlite, KeyedUploadsContract):
    pass


class TestPostgres(OnPostgres, KeyedUploadsContract):
    pass
