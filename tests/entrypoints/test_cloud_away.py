"""A18 on SQLite, local disk and a real bucket: the cloud is away for three days.

The clock is put forward by hours. The pauses of jobs are the database's and stay short,
so the store is seen to be away before the first copy is tried.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.application.rig import film, violation_record
from tests.crash.later import LaterClock
from tests.support.servers import Bucket
from tests.support.setups import config
from tests.support.stall import StallProxy
from traffic_storage import StorageStrategy
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import StoredFile, Tier
from traffic_storage.domain.query import FilesQuery
from traffic_storage.entrypoints.container import Container, build, running

STEP = 3
HOURS = range(0, 72, STEP)
AT_ONCE = 4
"""Copies that a synchronisation begins at a time: so much may their order differ."""


@pytest.fixture
def proxy(s3_bucket: Bucket) -> Iterator[StallProxy]:
    """What stands between the service and the bucket."""
    address = urlsplit(s3_bucket.endpoint)
    assert address.hostname is not None
    assert address.port is not None
    with StallProxy(address.hostname, address.port) as proxy:
        yield proxy


async def all_files(container: Container) -> list[StoredFile]:
    """All files, the newest first."""
    found: list[StoredFile] = []
    after = None
    while True:
        page = await container.find().files(FilesQuery(limit=100, after=after))
        found += page.items
        after = page.next
        if after is None:
            return found


async def until(container: Container, *, away: bool) -> None:
    """Ask the bucket until it is seen to be away, or back."""
    (cloud,) = [one.store for one in container.stores() if one.store.tier is Tier.CLOUD]
    while bool(cloud.unavailable_reason()) is not away:
        with suppress(StorageUnavailable):
            await cloud.marker()
        await asyncio.sleep(0)


async def test_what_came_while_the_cloud_was_away_for_72_hours_is_sent_evidence_first(
    tmp_path: Path, s3_bucket: Bucket, proxy: StallProxy, no_leaks: None
) -> None:
    settings = config(
        tmp_path,
        bucket=s3_bucket.at(f"http://{proxy.host}:{proxy.port}"),
        workers=0,
        accept_unknown_video=True,
        hybrid_local_kinds=("image", "metadata", "video"),
        max_local_size_gb=4e-5,
        high_water=0.5,
        low_water=0.2,
        copy_parallel=1,
    )
    container = build(settings, StorageStrategy.HYBRID)
    clock = LaterClock(timedelta())
    container.clock.override(clock)
    async with running(container):
        proxy.refuse()
        await until(container, away=True)
        for hour in HOURS:
            clock.pass_time(timedelta(hours=STEP))
            video = Upload(film(hour, 200))
            await container.store_files().video(video, FileAttributes.of(file_id=f"X{hour}"))
            await container.store_evidence()(
                violation_record(f"V{hour}"), None, Upload(film(1000 + hour, 50))
            )
            done = await container.sync_backends()()
            assert (done.copied, done.moved, done.remaining) == (0, 0, 3 * (hour // STEP + 1))
        kept = await all_files(container)
        assert len(kept) == 3 * len(HOURS)
        assert all([one.tier for one in file.readable] == [Tier.LOCAL] for file in kept)
        proxy.forward()
        await until(container, away=False)
        assert (await container.sync_backends()()).copied == 3 * len(HOURS)
        sent = sorted(
            await all_files(container), key=lambda file: str(file.replicas[-1].replica_id)
        )
        wanted = [f"V{hour}" for hour in HOURS for _ in range(2)]
        wanted += [f"X{hour}" for hour in HOURS]
        for place, file in enumerate(sent):
            near = wanted[max(0, place - AT_ONCE) : place + AT_ONCE + 1]
            assert file.file_id.partition("~")[0] in near
        for file in sent:
            assert {one.tier for one in file.readable} == {Tier.LOCAL, Tier.CLOUD}
        # Now that all of it is safe, local disk is brought below its mark.
        assert (await container.sync_backends()()).moved > 0
        statistics = await container.statistics()()
        assert statistics.local.used_bytes <= 0.5 * 4e-5 * 1e9


async def test_what_came_while_a_renamed_bucket_was_away_is_sent_to_it_when_it_is_back(
    tmp_path: Path, s3_bucket: Bucket, proxy: StallProxy, no_leaks: None
) -> None:
    """The catalogue knows the bucket by another endpoint, so it can't know which one is away."""
    settings = config(tmp_path, bucket=s3_bucket, workers=0, accept_unknown_video=True)
    async with running(build(settings, StorageStrategy.HYBRID)) as container:
        large = await container.store_files().video(Upload(film(0, 200)), FileAttributes.of())
        (known,) = [one.store_id for one in large.file.replicas]
    renamed = s3_bucket.at(f"http://{proxy.host}:{proxy.port}")
    settings = config(tmp_path, bucket=renamed, workers=0, accept_unknown_video=True)
    proxy.refuse()
    async with running(build(settings, StorageStrategy.HYBRID)) as container:
        await container.store_evidence()(violation_record("V1"), None, Upload(film(1, 50)))
    async with running(build(settings, StorageStrategy.HYBRID)) as container:
        await container.store_evidence()(violation_record("V2"), None, Upload(film(2, 50)))
        assert (await container.sync_backends()()).remaining == 4
        proxy.forward()
        await until(container, away=False)
        await container.runtime().sweep()
        done = await container.sync_backends()()
        assert (done.copied, done.remaining) == (4, 0)
        for file in await all_files(container):
            assert [one.store_id for one in file.readable if one.tier is Tier.CLOUD] == [known]
