"""A whole service without disk, network or time of its own: every adapter is an in-memory one."""

from datetime import UTC, datetime
from pathlib import Path

from dependency_injector.providers import Object

from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.cache.memory import InProcessCache
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.spool.memory import InMemorySpool
from traffic_storage.domain.files import Tier
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.settings import StorageConfig

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


def in_memory_container(
    strategy: StorageStrategy = StorageStrategy.LOCAL_ONLY,
    settings: StorageConfig | None = None,
) -> Container:
    """A container whose catalogue, stores, cache, spool and clock live in memory.

    Its clock stands at noon (UTC) of 14 March 2026 until it is advanced. `local_store()` and
    `cloud_stores()` give the in-memory stores; override further providers as you like, before
    the first use.
    """
    container = Container(
        settings=settings
        or StorageConfig(
            local_base_path=Path("/nonexistent"), url_signing_key="in-memory-" + "k" * 32
        ),
        strategy=strategy,
    )
    clock = ManualClock(NOON)
    container.clock.override(Object(clock))
    container.catalogue.override(Object(InMemoryRecordRepo()))
    container.cache.override(Object(InProcessCache(64 * 1024 * 1024, 1024 * 1024, clock)))
    container.spool.override(Object(InMemorySpool()))
    container.local_store.override(
        Object(InMemoryBlobStore(clock, tier=Tier.LOCAL, location="memory:/local"))
    )
    cloud = InMemoryBlobStore(clock, tier=Tier.CLOUD, location="memory:/cloud")
    container.cloud_stores.override(Object([(cloud, None)]))
    container.cached_cloud_stores.override(Object([(cloud, None)]))
    return container
