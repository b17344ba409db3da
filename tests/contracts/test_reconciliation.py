"""Every catalogue keeps the contract of reconciliation; PostgreSQL on a real server."""

from tests.support.catalogues import InMemoryFailing, OnPostgres, OnSqlite
from traffic_storage.entrypoints.testing.contracts.reconciliation import ReconciliationContract


class TestMemory(InMemoryFailing, ReconciliationContract):
    pass


class TestSqlite(OnSqlite, ReconciliationContract):
    pass


class TestPostgres(OnPostgres, ReconciliationContract):
    pass
