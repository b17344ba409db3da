"""HYBRID while the local disk hangs: what is stored goes to the bucket, and no request waits for long."""

import asyncio
from pathlib import Path

import pytest

from tests.application.rig import film
from tests.support.hanging import hanging
from traffic_storage import StorageConfig, StorageService
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.adapters.files import blobs
from traffic_storage.domain.files import Tier
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import build
from traffic_storage.testing import InMemoryBlobStore

SOON = 30.0
"""Nothing may take longer; what waited for the disk would take a minute."""


async def test_hybrid_goes_on_in_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StorageConfig(
        local_base_path=tmp_path,
        local_reserve_gb=0,
        disk_timeout_seconds=0.5,
        accept_unknown_video=True,
        workers=0,
    )
    bucket = InMemoryBlobStore(SystemClock(), tier=Tier.CLOUD, location="memory:/bucket")
    container = build(settings, StorageStrategy.HYBRID, cloud_stores=[(bucket, None)])
    service = StorageService(container=container)
    await service.store_metadata({"number": 0}, "before")
    with hanging(monkeypatch, blobs, "publish"), hanging(monkeypatch, blobs, "read_all"):
        async with asyncio.timeout(SOON):
            stored = [
                await service.store_metadata({"number": number}, f"M{number}")
                for number in range(3)
            ]
            stored.append(await service.store_video_segment(film(), "V"))
            for view in stored:
                assert [replica["tier"] for replica in view["replicas"]] == ["cloud"]
                assert (await service.retrieve_file(view["file_id"]))[1] == view
            health = await container.runtime().health()
            assert health.ready
            assert "does not answer" in health.components[1].detail
            await container.runtime().aclose()
