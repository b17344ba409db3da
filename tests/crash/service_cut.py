"""Power cuts of a whole service: four writers, the catalogue and the blobs on one disk.

After each cut a service is opened on what is left, an hour later, so that it undoes all that was
interrupted. Then everything is looked up, and what had begun is stored again.
"""

import asyncio
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

from tests.crash.audit import look_up
from tests.crash.careless import FROZEN_SECONDS
from tests.crash.cut_disk import LONGEST_PAUSE_SECONDS, Cut, Teller, cut_disk
from tests.crash.kill_loop import Record, settings_of
from tests.crash.later import AN_HOUR, put_forward
from tests.crash.writer import Clips, store_item
from tests.support.media import video
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.entrypoints.container import build, running

MIB = 1024 * 1024
LARGE = {"segment_bytes": 3 * MIB // 2, "evidence_bytes": 3 * MIB // 2}
"""More than the spool keeps in memory; the disk takes them from all writers of all its cuts."""
STRATEGY = StorageStrategy.LOCAL_ONLY
CUTS_OF_A_DISK = 5
MOST_LINES = 200
"""What a service tells before it is cut, at the most. The first on a disk is cut as it starts."""


def cut_service(cuts: int, *, careless: str | None = None, seed: int = 0) -> Iterator[Cut]:
    """Cut the current of a service so many times; now and then it begins on a new disk.

    A `careless` part of it, `blobs` or `catalogue`, acknowledges without a flush.
    """
    chance = random.Random(seed)
    for done in range(0, cuts, CUTS_OF_A_DISK):
        yield from _cut_on_a_disk(min(cuts - done, CUTS_OF_A_DISK), careless, chance)


def _cut_on_a_disk(cuts: int, careless: str | None, chance: random.Random) -> Iterator[Cut]:
    """Start the service, cut the current and kill it, again and again."""
    record = Record()
    clips = Clips(video(seconds=0.2), **LARGE)
    with cut_disk() as disk, settings_of("local", disk.folder) as settings:
        film, order = disk.place / "video.mp4", disk.place / "order.json"
        film.write_bytes(clips.short)
        rest = {
            "strategy": STRATEGY,
            "settings": settings | {"disk_timeout_seconds": FROZEN_SECONDS},
            "careless": careless,
            "large": LARGE,
            "later_seconds": 0,
        }
        for number in range(cuts):
            order.write_text(record.order(video=str(film), **rest))
            with closing(Teller(disk.log, "tests.crash.writer", str(order))) as service:
                service.wait(chance.randint(1, MOST_LINES) if number else 1)
                time.sleep(chance.random() * LONGEST_PAUSE_SECONDS)
                told = disk.cut(service.said)
            record.take(*told)
            with disk.left(disk.folder):
                lost = _lost(StorageConfig(**settings), record, clips)
            yield Cut(len(record.acknowledged), lost)
            record.take(*service.said()[len(told) :])


def _lost(settings: StorageConfig, record: Record, clips: Clips) -> tuple[tuple[str, str], ...]:
    """What is broken after a cut, each with the way it is broken."""
    try:
        broken = asyncio.run(_broken(settings, record, clips))
    except (TrafficStorageError, sqlite3.Error) as error:
        return (("the service", f"not opened: {error}"),)
    return tuple((what, way) for way, _, what in (line.partition(": ") for line in broken))


async def _broken(settings: StorageConfig, record: Record, clips: Clips) -> list[str]:
    container = build(settings, STRATEGY)
    put_forward(container, AN_HOUR)
    async with running(container), StorageService(container=container) as service:
        broken = await look_up(service, settings, record.acknowledged)
        for seed in record.begun:
            try:
                await store_item(service, seed, clips)
            except TrafficStorageError as error:
                broken.append(f"not stored again: {seed}, {error}")
    return broken
