"""The container: plain objects take the place of adapters, and its maker closes it."""

from pathlib import Path
from typing import Any

import pytest

from traffic_storage import (
    CatalogueUnavailable,
    Container,
    StorageConfig,
    StorageService,
    StorageStrategy,
    build,
    running,
)
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.domain.errors import ConfigurationError, Unavailable
from traffic_storage.domain.files import Tier
from traffic_storage.entrypoints.testing.containers import NOON, in_memory_container
from traffic_storage.entrypoints.testing.faults.record_repo import FailingRecordRepo

CLOCK = ManualClock(NOON)


def written(container: Container) -> dict[str, bool]:
    """Which stores a strategy writes."""
    return {
        bound.store.location: bound.configured.written
        for bound in container.stores()
        if bound.configured.written
    }


@pytest.mark.parametrize(
    ("strategy", "stores"),
    [
        ("LOCAL_ONLY", {"memory:/local"}),
        ("CLOUD_ONLY", {"memory:/cloud"}),
        ("CLOUD_WITH_CACHE", {"memory:/cached"}),
        ("LOCAL_THEN_CLOUD", {"memory:/local", "memory:/cloud"}),
        ("HYBRID", {"memory:/local", "memory:/cloud"}),
    ],
)
def test_each_strategy_writes_its_stores(strategy: str, stores: set[str]) -> None:
    cached = InMemoryBlobStore(CLOCK, tier=Tier.CLOUD, location="memory:/cached")
    container = in_memory_container(StorageStrategy(strategy), cached_cloud_stores=[(cached, None)])
    assert set(written(container)) == stores


async def test_a_plain_object_takes_the_place_of_an_adapter(tmp_path: Path) -> None:
    store = InMemoryBlobStore(CLOCK, tier=Tier.LOCAL, location="memory:/mine")
    container = build(StorageConfig(local_base_path=tmp_path), "LOCAL_ONLY", local_store=store)
    async with running(container), StorageService(container=container) as storage:
        await storage.store_metadata({"a": 1}, "x")
        assert [entry.key async for entry in store.list()]
    assert not (tmp_path / "blobs").exists()


def test_an_adapter_of_an_unknown_name_is_refused(tmp_path: Path) -> None:
    given: Any = {"local_stores": None}
    with pytest.raises(TypeError, match="local_stores"):
        build(StorageConfig(local_base_path=tmp_path), **given)


def test_a_strategy_needs_a_bucket_unless_a_store_is_given(tmp_path: Path) -> None:
    settings = StorageConfig(local_base_path=tmp_path)
    with pytest.raises(ConfigurationError, match="s3_credentials"):
        build(settings, "HYBRID")
    cloud = InMemoryBlobStore(CLOCK, tier=Tier.CLOUD, location="memory:/cloud")
    assert build(settings, "HYBRID", cloud_stores=[(cloud, None)]).strategy() == "HYBRID"
    with pytest.raises(ConfigurationError, match="TWICE"):
        build(settings, "TWICE", cloud_stores=[(cloud, None)])


async def test_a_service_leaves_a_container_open_that_it_was_given() -> None:
    async with running(in_memory_container()) as container:
        storage = StorageService(container=container)
        for number in range(2):
            async with storage:
                await storage.store_metadata({"n": number}, f"n{number}")
        assert (await container.read_files().whole("n0"))[0] == b'{"n":0}'
    with pytest.raises(Unavailable, match="closed"):
        await storage.get_file("n0")


async def test_a_service_closes_the_container_that_it_made(tmp_path: Path) -> None:
    async with StorageService(StorageConfig(local_base_path=tmp_path)) as storage:
        await storage.store_metadata({"a": 1}, "x")
    with pytest.raises(Unavailable, match="closed"):
        await storage.get_file("x")


async def test_running_closes_what_failed_to_start() -> None:
    repo = FailingRecordRepo(InMemoryRecordRepo())
    container = in_memory_container(record_repo=repo)
    repo.go_down()
    with pytest.raises(CatalogueUnavailable):
        async with running(container):
            raise AssertionError("it has started")
    with pytest.raises(Unavailable, match="closed"):
        await container.runtime().start()
