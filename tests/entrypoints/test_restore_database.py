"""A lost database: loaded from the service's own backup, or from one that an operator made."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from tests.crash.later import LaterClock
from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket, PostgresAddress, PostgresServer
from tests.support.setups import config, on_database
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.domain.changes import Change, CommitUnit
from traffic_storage.entrypoints.container import build, running


async def test_a_lost_database_comes_back_whole(
    own_postgres: PostgresServer, s3_bucket: Bucket, tmp_path: Path, no_leaks: None
) -> None:
    # A server of its own: the journal waits for the transactions of all who share one.
    lost, new = own_postgres.create_database(), own_postgres.create_database()
    settings = config(tmp_path, bucket=s3_bucket, database=lost, workers=0)
    async with StorageService(settings, StorageStrategy.CLOUD_ONLY) as service:
        for name in ("a", "held"):
            await service.store_image(shipped_jpeg(), file_id=name)
        made = await service.parts.container.create_snapshot()("daily")
        assert made.manifest.database is not None
        await service.store_image(shipped_jpeg(), file_id="later")
        await service.place_hold("C-1", "trial", file_id="held", actor="judge")
        # Placing it waits for the journal only as long as a person would.
        (bound,) = [one for one in service.parts.container.stores() if one.configured.written]
        assert bound.store_id is not None
        await service.parts.container.export_journal()(bound.store_id)
        before = {name: await service.get_file(name) for name in ("a", "held", "later")}
    target = evolve(settings, **on_database(new))
    container = build(target, StorageStrategy.CLOUD_ONLY)
    loaded = await container.restore_database()("daily")
    await container.runtime().aclose()
    assert (loaded.is_good, loaded.files, loaded.examples) == (True, 2, [])
    async with StorageService(target, StorageStrategy.CLOUD_ONLY) as service:
        rebuilt = await service.rebuild_catalogue()
        assert (rebuilt["files"], rebuilt["holds"], rebuilt["skipped"]) == (1, 1, {})
        after = {name: await service.get_file(name) for name in before}
        assert (after["a"], after["held"]) == (before["a"], before["held"])
        assert after["later"]["sha256"] == before["later"]["sha256"]
        assert (await service.retrieve_file("later"))[0] == shipped_jpeg()
        await service.store_image(shipped_jpeg(), file_id="new")


# No time need pass until the attempt in the backup is one of a dead process.
_OVERDUE = "UPDATE attempt SET deadline = 0"
Restore = Callable[[], StorageConfig]


def _sqlite_and_disk(
    tmp_path: Path,
) -> tuple[StorageConfig, StorageStrategy, Callable[[], Restore]]:
    settings = config(tmp_path / "store", workers=0)
    saved = tmp_path / "backup.sqlite3"

    def back_up() -> Restore:
        source = sqlite3.connect(settings.sqlite_file)
        with closing(source), closing(sqlite3.connect(saved)) as target:
            source.backup(target)

        def restore() -> StorageConfig:
            for name in settings.sqlite_file.parent.glob(f"{settings.sqlite_file.name}*"):
                name.unlink()
            with closing(sqlite3.connect(saved)) as backup:
                backup.execute(_OVERDUE)
                backup.commit()
            saved.rename(settings.sqlite_file)
            return settings

        return restore

    return settings, StorageStrategy.LOCAL_ONLY, back_up


def _postgres_and_s3(
    tmp_path: Path, postgres: PostgresAddress, bucket: Bucket
) -> tuple[StorageConfig, StorageStrategy, Callable[[], Restore]]:
    live = postgres.create_database()
    settings = config(tmp_path / "store", bucket=bucket, database=live, workers=0)

    def back_up() -> Restore:
        copy = postgres.copy_of(live.name)

        def restore() -> StorageConfig:
            postgres.execute(_OVERDUE, copy.name)
            return evolve(settings, **on_database(copy))

        return restore

    return settings, StorageStrategy.CLOUD_ONLY, back_up


@pytest.mark.parametrize("where", ["SQLite and disk", "PostgreSQL and S3"])
async def test_an_upload_in_flight_in_a_backup_is_never_deleted(
    where: str,
    tmp_path: Path,
    postgres: PostgresAddress,
    s3_bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The backup is restored, the store adopted, and the quarantine passes: the file is there."""
    if where == "SQLite and disk":
        settings, strategy, back_up = _sqlite_and_disk(tmp_path)
    else:
        settings, strategy, back_up = _postgres_and_s3(tmp_path, postgres, s3_bucket)
    backups: list[Restore] = []
    apply = SqlRecordRepo.apply

    async def backed_up_before(repo: SqlRecordRepo, change: Change) -> bool:
        if isinstance(change, CommitUnit):
            backups.append(await asyncio.to_thread(back_up))
        return await apply(repo, change)

    async with StorageService(settings, strategy) as service:
        with monkeypatch.context() as patched:
            patched.setattr(SqlRecordRepo, "apply", backed_up_before)
            await service.store_image(shipped_jpeg(), file_id="acknowledged")
    async with StorageService(settings, strategy) as service:
        assert (await service.retrieve_file("acknowledged"))[0] == shipped_jpeg()
    (restore,) = backups
    clock = LaterClock(timedelta())
    container = build(restore(), strategy)
    container.clock.override(clock)
    async with running(container):
        stores = container.stores()
        (bound,) = [one for one in stores if one.configured.written]
        assert "restored from an older backup" in bound.untrusted_reason
        await stores.adopt(bound)
        await stores.bind()
        assert bound.trusted
        for _ in range(5):
            clock.pass_time(timedelta(days=2))
            await container.sweep()()
            await container.reconcile()(lambda _store_id, _progress: None)
        file = await container.find().file("acknowledged")
        assert await container.replica_reader().read(file) == shipped_jpeg()
