"""Verification of copies and incidents by Python, on both set-ups."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import photograph, shipped_jpeg, video_of
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.domain.errors import InvalidInput, NoGoodReplica, NotFound, WrongState
from traffic_storage.domain.files import Tier
from traffic_storage.entrypoints.container import Container, build, running
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

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


@pytest.fixture
async def container(setup: Setup, no_leaks: None) -> AsyncIterator[Container]:
    """A service with both tiers, which makes copies only when it is told to."""
    async with running(build(setup(), StorageStrategy.HYBRID)) as container:
        yield container


async def damage(container: Container, file_id: str, tier: Tier, how: Damage) -> None:
    file = await container.find().file(file_id)
    (replica,) = [one for one in file.readable if one.tier is tier]
    (store,) = [one.store for one in container.stores() if one.store.tier is tier]
    await tamper(store, replica.key, how, at=5)


async def test_the_example_of_the_source(container: Container) -> None:
    storage = StorageService(container=container)
    await storage.store_image(photograph(), file_id="detection_001")

    integrity_results = await storage.verify_data_integrity()

    assert integrity_results["files_checked"] == 1
    assert set(integrity_results) == {
        *("files_checked", "replicas_checked", "corrupted", "missing"),
        *("healed", "unknown", "bytes_checked", "recorded"),
    }


async def test_bad_copies_are_found_healed_and_told(container: Container) -> None:
    storage = StorageService(container=container)
    names = [f"image-{number}" for number in range(8)]
    for number, name in enumerate(names):
        await storage.store_image(shipped_jpeg() + bytes([number]), file_id=name)
    await storage.sync_backends()
    harm = [(tier, how) for tier in Tier for how in Damage]
    for name, (tier, how) in zip(names, harm, strict=True):
        await damage(container, name, tier, how)

    found = await storage.verify_data_integrity(heal=False)
    assert (found["files_checked"], found["replicas_checked"]) == (8, 16)
    assert (found["corrupted"], found["missing"], found["healed"]) == (6, 2, 0)
    incidents = (await storage.find_incidents()).items
    assert {incident["file_id"] for incident in incidents} == set(names)

    healed = await storage.verify_data_integrity()
    assert healed["healed"] == 8
    assert (await storage.find_incidents()).items == ()
    assert len((await storage.find_incidents(open=False)).items) == 8
    assert (await storage.verify_data_integrity())["corrupted"] == 0
    fixity = await storage.get_fixity()
    assert fixity["coverage"]["summary"].startswith("100.0 % within 30 days")
    assert sum(day["healed"] for day in fixity["history"]) == 8
    for number, name in enumerate(names):
        data, view = await storage.retrieve_file(name)
        assert data == shipped_jpeg() + bytes([number])
        states = [one["state"] for one in view["replicas"] if one["state"] != "gone"]
        assert states == ["present", "present"]


async def test_an_incident_is_closed_by_a_person(container: Container) -> None:
    storage = StorageService(container=container)
    await storage.store_image(shipped_jpeg(), file_id="X")
    await damage(container, "X", Tier.LOCAL, Damage.FLIP)
    assert (await storage.verify_data_integrity(1))["corrupted"] == 1
    (incident,) = (await storage.find_incidents(file_id="X")).items
    with pytest.raises(InvalidInput, match="resolution"):
        await storage.close_incident(incident["incident_id"], " ")
    closed = await storage.close_incident(incident["incident_id"], "the original was found")
    assert (closed["resolution"], closed["closed_by"]) == ("the original was found", "python")
    with pytest.raises(WrongState):
        await storage.close_incident(incident["incident_id"], "again")
    with pytest.raises(NotFound):
        await storage.close_incident("0199a0c4-5d00-7000-8000-000000000000", "none")
    with pytest.raises(InvalidInput, match="sample"):
        await storage.verify_data_integrity(0)


async def test_evidence_is_verified_and_blocked(container: Container) -> None:
    """A23: one byte changed in a stored image that is then produced for court."""
    storage = StorageService(container=container)
    await storage.store_image(shipped_jpeg(), file_id="X")
    data, view = await storage.retrieve_file("X", evidence=True)
    assert (data, view["file_id"]) == (shipped_jpeg(), "X")
    await damage(container, "X", Tier.LOCAL, Damage.FLIP)
    with pytest.raises(NoGoodReplica) as raised:
        await storage.retrieve_file("X", evidence=True)
    names = [one["incident_id"] for one in (await storage.find_incidents()).items]
    assert raised.value.incident_id in names
    with pytest.raises(NoGoodReplica):
        await storage.open_file("X", evidence=True)


@pytest.mark.parametrize("content", [shipped_jpeg(), video_of(5_000_000)], ids=["small", "large"])
async def test_a_copy_in_the_cache_folder_becomes_the_replica(
    setup: Setup, no_leaks: None, content: bytes
) -> None:
    """The object in the bucket is corrupt; the local copy is verified and stored anew."""
    settings = setup(cache_item_bytes=0)
    async with running(build(settings, StorageStrategy.CLOUD_WITH_CACHE)) as container:
        storage = StorageService(container=container)
        if content == shipped_jpeg():
            await storage.store_image(content, file_id="X")
        else:
            await storage.store_video_segment(content, file_id="X")
        file = await container.find().file("X")
        (store,) = [one.store for one in container.stores() if one.store.tier is Tier.CLOUD]
        await tamper(store.uncached, file.readable[0].key, Damage.FLIP, at=5)
        assert (await storage.verify_data_integrity(heal=False))["corrupted"] == 1
        data, _ = await storage.retrieve_file("X")
        assert data == content
        now = await container.find().file("X")
        assert [one.key for one in now.readable] != [file.readable[0].key]
        assert len(now.readable) == 1
        assert (await storage.retrieve_file("X", evidence=True))[0] == content


async def test_copies_below_an_absent_folder_are_unknown(tmp_path: Path, no_leaks: None) -> None:
    """The folder may be a mount point that is not mounted: its copies are not called missing."""
    settings = config(tmp_path, workers=0)
    async with running(build(settings, StorageStrategy.LOCAL_ONLY)) as container:
        await StorageService(container=container).store_image(shipped_jpeg(), file_id="X")
    (tmp_path / "blobs" / "image").rename(tmp_path / "unmounted")
    async with running(build(settings, StorageStrategy.LOCAL_ONLY)) as container:
        storage = StorageService(container=container)
        found = await storage.verify_data_integrity()
        assert (found["missing"], found["unknown"]) == (0, 1)
        (tmp_path / "unmounted").rename(tmp_path / "blobs" / "image")
        assert (await storage.verify_data_integrity())["unknown"] == 0
