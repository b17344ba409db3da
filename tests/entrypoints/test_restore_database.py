"""The backup of the database, on PostgreSQL and S3: lost, loaded, rebuilt."""

from pathlib import Path

from attrs import evolve

from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket, PostgresServer
from tests.support.setups import config, on_database
from traffic_storage import StorageService, StorageStrategy
from traffic_storage.entrypoints.container import build


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
