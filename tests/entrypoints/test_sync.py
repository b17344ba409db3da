"""`sync_backends` on both set-ups: what is due is copied, local disk is brought below its mark."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import photograph, shipped_jpeg, video_of
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy

Setup = Callable[..., StorageConfig]


@pytest.fixture(params=["embedded", "servers"])
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Setup:
    """A configuration with a cloud tier: the rest embedded, or on servers; without workers."""
    servers: dict[str, Any] = {"bucket": request.getfixturevalue("s3_bucket")}
    if request.param == "servers":
        servers["database"] = request.getfixturevalue("catalogue_database")
        servers["db_timeout_seconds"] = PATIENT_SECONDS
        servers["redis"] = request.getfixturevalue("redis_database")

    def made(**more: Any) -> StorageConfig:
        return config(tmp_path, **({"workers": 0} | servers | more))

    return made


def encoded_film(number: int) -> bytes:
    """One of the videos of 0.4 MB, each of another size."""
    return video_of(400_000 - number)


async def places(storage: StorageService, file_id: str) -> dict[str, str]:
    """The state of each replica by tier."""
    view = await storage.get_file(file_id)
    return {replica["tier"]: replica["state"] for replica in view["replicas"]}


async def test_hybrid_copies_what_is_due(setup: Setup, no_leaks: None) -> None:
    async with StorageService(setup(), StorageStrategy.HYBRID) as storage:
        await storage.store_image(shipped_jpeg(), file_id="image")
        await storage.store_metadata({"a": 1}, file_id="metadata")
        planned = await storage.sync_backends(dry_run=True)
        assert (planned["copied"], planned["remaining"]) == (0, 2)
        assert await places(storage, "image") == {"local": "present"}
        done = await storage.sync_backends()
        assert done == {
            "copied": 2,
            "moved": 0,
            "failed": 0,
            "bytes": planned["bytes"],
            "remaining": 0,
        }
        for name in ("image", "metadata"):
            assert await places(storage, name) == {"local": "present", "cloud": "present"}
        assert (await storage.sync_backends())["copied"] == 0
        data, _ = await storage.retrieve_file("image")
        assert data == shipped_jpeg()


async def test_local_then_cloud_moves_the_oldest(setup: Setup, no_leaks: None) -> None:
    films = [encoded_film(number) for number in range(5)]
    full = setup(max_local_size_gb=2e-3, high_water=1.0, evidence_reserve_share=0.0)
    urls = {}
    async with StorageService(full, StorageStrategy.LOCAL_THEN_CLOUD) as storage:
        for number in range(5):
            await storage.store_video_segment(films[number], file_id=f"film-{number}")
            urls[number] = storage.generate_access_url(f"film-{number}")
        before = await storage.get_storage_statistics()
        assert (await storage.sync_backends())["moved"] == 0
    lower = setup(max_local_size_gb=2e-3, high_water=0.5, low_water=0.5)
    async with StorageService(lower, StorageStrategy.LOCAL_THEN_CLOUD) as storage:
        done = await storage.sync_backends()
        assert (done["moved"], done["failed"], done["remaining"]) == (3, 0, 0)
        for number in range(5):
            states = await places(storage, f"film-{number}")
            moved = {"local": "gone", "cloud": "present"}
            assert states == (moved if number < 3 else {"local": "present"})
            data, metadata = await storage.retrieve_file(f"film-{number}")
            assert data == films[number]
            # A20, A21: what is known of the file and its address do not change.
            assert metadata["file_id"] == f"film-{number}"
            assert (
                storage.generate_access_url(f"film-{number}").split("/")[:4]
                == (urls[number].split("/")[:4])
            )
        after = await storage.get_storage_statistics()
        assert after["local_storage"]["used_bytes"] < before["local_storage"]["used_bytes"]


async def test_a_worker_copies_in_the_background(setup: Setup, no_leaks: None) -> None:
    async with StorageService(setup(workers=1), StorageStrategy.HYBRID) as storage:
        await storage.store_image(photograph(), file_id="X")
        while (await places(storage, "X")).get("cloud") != "present":
            await storage.get_storage_statistics()
        assert (await storage.sync_backends())["remaining"] == 0
