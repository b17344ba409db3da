"""An event is never passed over because its transaction ends after that of a later one."""

import asyncpg

from tests.support.adapter_settings import postgres_settings
from tests.support.servers import Database
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.domain.holds import HeldFile, PlaceHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.entrypoints.testing.contracts.deletions import all_events, new_hold

_INSERT = "INSERT INTO event (at, kind, details) VALUES (0, 'pressure', '{}')"


async def test_a_slow_transaction_holds_later_events_back(postgres_database: Database) -> None:
    repo = postgres_repo(postgres_settings(postgres_database))
    await repo.upgrade()
    slow = await asyncpg.connect(postgres_database.dsn)
    try:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(_INSERT)
        await repo.apply(PlaceHold(new_hold(HeldFile(FileId("F")))))
        for _ in range(3):
            assert await repo.events() == []
        await transaction.commit()
        shown = (await all_events(repo))[:2]
        assert [one.event.kind for one in shown] == ["pressure", "hold_placed"]
    finally:
        await slow.close()
        await repo.aclose()
