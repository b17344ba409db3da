"""A complete service whose adapters are all in memory: no disk, no network, no system clock."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.cache.memory import InProcessCache
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.export_target.memory import InMemoryKeptExports
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.spool.memory import InMemorySpool
from traffic_storage.domain.files import Tier
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Adapters, Container, build
from traffic_storage.entrypoints.settings import StorageConfig

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


def in_memory_container(
    strategy: StorageStrategy = StorageStrategy.LOCAL_ONLY,
    settings: StorageConfig | None = None,
    **adapters: Unpack[Adapters],
) -> Container:
    """Return a container whose catalogue, stores, cache, spool and clock are in memory.

    The clock stands at noon (UTC) of 14 March 2026 until the test advances it. `local_store()` and
    `cloud_stores()` of the container return the stores. `adapters` replace those in memory.
    Without `settings`, no jobs are done.
    """
    clock = ManualClock(NOON)
    cloud = InMemoryBlobStore(clock, tier=Tier.CLOUD, location="memory:/cloud")
    in_memory: Adapters = {
        "clock": clock,
        "record_repo": InMemoryRecordRepo(),
        "cache": InProcessCache(64 * 1024 * 1024, 1024 * 1024, clock),
        "spool": InMemorySpool(),
        "local_store": InMemoryBlobStore(clock, tier=Tier.LOCAL, location="memory:/local"),
        "cloud_stores": [(cloud, None)],
        "cached_cloud_stores": [(cloud, None)],
        "kept_exports": InMemoryKeptExports(clock),
        "snapshot_store": InMemoryBlobStore(clock, location="memory:/snapshots"),
    }
    usual = StorageConfig(
        local_base_path=Path("/nonexistent"), url_signing_key="in-memory-" + "k" * 32, workers=0
    )
    in_memory.update(adapters)
    return build(settings or usual, strategy, **in_memory)
