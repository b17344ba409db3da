"""A process that writes blobs to a disk for ever, and says what was acknowledged.

    python -m tests.crash.disk_writer ours /disk busy|paced

Busy, several write at once. Paced, one writes a blob for each line of input, so that nothing that
follows makes durable what went before. A line a blob, written when the store has answered:
`+key size` was put, `-key` is about to be deleted, `=key` was deleted, `.` a step is done.
"""

import asyncio
import itertools
import os
import random
import sys
from collections import deque
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

import obstore
from obstore.store import LocalStore as ObstoreLocalStore

from tests.crash.careless import FROZEN_SECONDS, CarelessDiskBlobStore
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.files import FileKind
from traffic_storage.entrypoints.testing.blobs import NEVER, Blob, random_blob
from traffic_storage.ports.spool import FileBody

MIB = 1024 * 1024
WRITERS = 8
KEPT = 20
KEPT_PACED = 2
SIZES = (0, 1, 3_000, 200_000, 200_000, 4 * MIB + 1)
FIRST_DAY = date(2024, 1, 1)
DAYS = 400


class Disk(Protocol):
    """Where blobs are written."""

    async def put(self, blob: Blob) -> None: ...

    async def delete(self, blob: Blob) -> None: ...


class Ours:
    """Our store, or a careless one of ours."""

    def __init__(self, store: LocalDiskBlobStore) -> None:
        self._store = store

    async def put(self, blob: Blob) -> None:
        if random.random() < 0.5:
            await self._store.put(blob.key, blob.body, blob.manifest, deadline=NEVER)
            return
        self._store.root.mkdir(exist_ok=True)
        fd = os.open(self._store.root, os.O_TMPFILE | os.O_RDWR, 0o600)
        try:
            os.pwrite(fd, blob.data, 0)
            body = FileBody(fd, blob.digests)
            await self._store.put(blob.key, body, blob.manifest, deadline=NEVER)
        finally:
            os.close(fd)

    async def delete(self, blob: Blob) -> None:
        await self._store.delete(blob.key)


def _poor(root: Path) -> LocalDiskBlobStore:
    """Our store on a file system without attributes and without unnamed files."""
    return LocalDiskBlobStore(
        root, SystemClock(), attributes=False, unnamed=False, timeout_seconds=FROZEN_SECONDS
    )


class Obstore:
    """A control: obstore's local store."""

    def __init__(self, root: Path) -> None:
        self._store = ObstoreLocalStore(root, mkdir=True)

    async def put(self, blob: Blob) -> None:
        await obstore.put_async(self._store, blob.key, blob.data)

    async def delete(self, blob: Blob) -> None:
        await obstore.delete_async(self._store, blob.key)


DISKS: dict[str, Callable[[Path], Disk]] = {
    "ours": lambda root: Ours(
        LocalDiskBlobStore(root, SystemClock(), timeout_seconds=FROZEN_SECONDS)
    ),
    "ours, poor": lambda root: Ours(_poor(root)),
    "careless": lambda root: Ours(CarelessDiskBlobStore(root)),
    "obstore": Obstore,
}


async def write(disk: Disk, *, paced: bool) -> None:
    """Put blobs of all sizes on many days; when there are enough delete the oldest."""
    kept: deque[Blob] = deque()
    kinds = itertools.cycle(FileKind)

    async def put() -> None:
        day = FIRST_DAY + timedelta(days=random.randrange(DAYS))
        blob = random_blob(random.choice(SIZES), kind=next(kinds), day=day)
        await disk.put(blob)
        _say(f"+{blob.key} {len(blob.data)}")
        kept.append(blob)

    async def delete() -> None:
        oldest = kept.popleft()
        _say(f"-{oldest.key}")
        await disk.delete(oldest)
        _say(f"={oldest.key}")

    async def one() -> None:
        while not paced or await asyncio.to_thread(_told):
            await (delete() if len(kept) > (KEPT_PACED if paced else KEPT) else put())
            _say(".")

    await asyncio.gather(*(one() for _ in range(1 if paced else WRITERS)))


def _told() -> bool:
    return sys.stdin.readline() != ""


def _say(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    asyncio.run(write(DISKS[sys.argv[1]](Path(sys.argv[2])), paced=sys.argv[3] == "paced"))
