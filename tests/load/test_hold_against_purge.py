"""A hold and a deletion of the same file: one wins, and the answer of the hold says which."""

from pathlib import Path

from tests.load.hold_against_purge import measure, on_sqlite
from tests.support.adapter_settings import postgres_settings
from tests.support.servers import Database
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo

ROUNDS = 100


async def test_on_sqlite(tmp_path: Path) -> None:
    async with on_sqlite(tmp_path) as (holder, remover):
        report = await measure(holder, remover, ROUNDS)
    assert report.broken == []
    assert sum(report.outcomes.values()) == ROUNDS


async def test_on_postgres(postgres_database: Database) -> None:
    repos = [postgres_repo(postgres_settings(postgres_database)) for _ in "ab"]
    await repos[0].upgrade()
    try:
        report = await measure(repos[0], repos[1], ROUNDS)
    finally:
        for repo in repos:
            await repo.aclose()
    assert report.broken == []
    assert len(report.outcomes) > 1, "one side wins always: the rounds do not interleave"
