"""The process that is killed, or cut off: a service under writers that tell what was acknowledged.

    python -m tests.crash.writer ORDER.json

Standard output, one JSON line each: `{"start": true}`, `{"ready": true}` when the service is open,
`{"begin": seed}` before an item, `{"ack": {file_id: sha256}, "seed": seed}` after it. A seed
always gives the same item, so that a retry stores the same again. With `rounds`, all jobs run too,
and `tests.crash.lifecycle` says what else is told. On SIGUSR1 it writes to standard error where each
task waits, on SIGUSR2 where each thread is.
"""

import asyncio
import faulthandler
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from tests.crash.careless import CARELESS
from tests.crash.later import put_forward
from tests.crash.lifecycle import PASSING, Lifecycle
from tests.support.padding import padded
from traffic_storage import StorageConfig, StorageService, StorageStrategy, ViolationRecord
from traffic_storage.domain.canonical import Json
from traffic_storage.entrypoints.container import build, running
from traffic_storage.entrypoints.views import StoredFileView
from traffic_storage.ports.errors import DeadlinePassed

WRITERS = 4
RETRY_SECONDS = 0.05
CHUNK_BYTES = 256 * 1024
SEED_OF_MANY = 4
MANY = 80
"""One item in sixteen is so many violations, which are stored at once: on PostgreSQL by COPY."""
WHEN = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


def tell(**what: Any) -> None:
    """One line, in one write: whole or not there at all."""
    os.write(1, json.dumps(what).encode() + b"\n")


def is_large(seed: int) -> bool:
    """Whether the item of this seed has a large video: a segment (2) or a violation's (9)."""
    return seed % 16 in {2, 9}


@frozen
class Clips:
    """A short MP4, and how many bytes the large ones have that are made of it.

    One item in eight has a large one: in turn a segment and a violation's video. They are streamed
    in, so that they go by way of the spool's files.
    """

    short: bytes
    segment_bytes: int
    evidence_bytes: int

    def of(self, seed: int) -> bytes | AsyncIterator[bytes]:
        """The clip of the item that a seed stands for; no other has the same bytes."""
        filling = seed.to_bytes(8)
        if not is_large(seed):
            return padded(self.short, len(self.short) + 16, filling)
        size_bytes = self.evidence_bytes if seed % 4 == 1 else self.segment_bytes
        return streamed(padded(self.short, size_bytes, filling))


async def streamed(data: bytes) -> AsyncIterator[bytes]:
    """The bytes as they come from a network."""
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


def record_of(name: str, seed: int) -> ViolationRecord:
    """The record of an item."""
    return ViolationRecord(
        violation_id=name,
        device_id=f"cam_{seed % 7}",
        violation_type="speed",
        timestamp=WHEN,
        vehicle_bbox=[1, 2, 30, 40],
        vehicle_class="car",
        confidence=0.5,
    )


async def store_many(service: StorageService, seed: int) -> dict[str, str]:
    """Store items that a seed stands for at once; the ids and digests that were acknowledged."""
    records = [record_of(f"V{seed}-{number}", seed) for number in range(MANY)]
    views: list[StoredFileView] = []
    async for result in service.store_many(records):
        if result.error is not None:
            raise result.error
        views += result.files.values()
    return {view["file_id"]: view["sha256"] for view in views}


async def store_item(service: StorageService, seed: int, clips: Clips) -> dict[str, str]:
    """Store the item that a seed stands for; the ids and digests that were acknowledged."""
    if seed % 16 == SEED_OF_MANY:
        return await store_many(service, seed)
    chance = random.Random(seed)
    pixels = np.frombuffer(chance.randbytes(48 * 64 * 3), np.uint8).reshape(48, 64, 3)
    match seed % 4:
        case 0 | 1:
            stored = await service.store_violation_evidence(
                record_of(f"V{seed}", seed), pixels, clips.of(seed) if seed % 4 else None
            )
            views = list(stored.values())
        case 2:
            views = [await service.store_video_segment(clips.of(seed), f"video-{seed}")]
        case _:
            data: dict[str, Json] = {"seed": seed, "text": "so much " * chance.randrange(1000)}
            views = [await service.store_metadata(data, f"metadata-{seed}")]
    return {view["file_id"]: view["sha256"] for view in views}


@frozen
class Writer:
    """Stores items, and tells of them. `passing` errors are followed by another try.

    The attempts are short, so that recovery has work; a machine may be slower than they.
    """

    service: StorageService
    clips: Clips
    passing: tuple[type[Exception], ...] = (DeadlinePassed,)
    pause_seconds: float = 0.0
    remember: Callable[[dict[str, str]], None] = lambda _: None

    async def write(self, seeds: list[int]) -> None:
        """Store items until there are no more seeds (there always are: somebody kills us)."""
        while seeds:
            seed = seeds.pop(0)
            tell(begin=seed)
            try:
                stored = await store_item(self.service, seed, self.clips)
            except self.passing:
                seeds.insert(0, seed)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                tell(ack=stored, seed=seed)
                self.remember(stored)
                await asyncio.sleep(self.pause_seconds)


def show_tasks() -> None:
    """Write where each task waits, the innermost call last."""
    for task in asyncio.all_tasks():
        print(f"{task.get_name()}:", file=sys.stderr)
        waiting: Any = task.get_coro()
        while frame := getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None):
            print(*traceback.format_stack(frame, 1), sep="", end="", file=sys.stderr)
            waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    sys.stderr.flush()


async def main(order: dict[str, Any], short: bytes) -> None:
    """Retry what was begun and not acknowledged, then go on with new items."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show_tasks)
    faulthandler.register(signal.SIGUSR2)
    strategy = StorageStrategy(order["strategy"])
    container = build(StorageConfig(**order["settings"]), strategy)
    put_forward(container, timedelta(seconds=order["later_seconds"]))
    if careless := order.get("careless"):
        CARELESS[careless](container)
    clips = Clips(short, **order["large"])
    tell(start=True)
    seeds = [*order["retry"], *range(order["first"], order["first"] + 100_000)]
    # One writer has the large ones: however slow they are, they hold up no others.
    large = [seed for seed in seeds if is_large(seed)]
    small = [seed for seed in seeds if not is_large(seed)]
    async with running(container), StorageService(container=container) as service:
        tell(ready=True)
        rounds = order.get("rounds")
        if rounds is None:
            writer, others = Writer(service, clips), []
        else:
            pause = order["pause_seconds"]
            lifecycle = Lifecycle(container, service, tell, 5 * pause)
            writer = Writer(service, clips, PASSING, pause, lifecycle.remember)
            others = [lifecycle.rounds(rounds), lifecycle.reads()]
        writing = [writer.write(seeds) for seeds in (large, *[small] * (WRITERS - 1))]
        await asyncio.gather(*writing, *others)


def run(order: Path, told: Connection, log: Path) -> None:
    """Run in a process of its own: tell through `told` what a program tells on standard output."""
    os.dup2(told.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    given = json.loads(order.read_text())
    asyncio.run(main(given, Path(given["video"]).read_bytes()))


if __name__ == "__main__":
    told_on_stdout = json.loads(Path(sys.argv[1]).read_text())
    asyncio.run(main(told_on_stdout, Path(told_on_stdout["video"]).read_bytes()))
