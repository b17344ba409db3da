"""The service runs as an ordinary user, who may do less than root even to his own files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Twice: the first time loads all modules, which an ordinary user may not be able to read here.
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.entrypoints.testing.blobs import NEVER, random_blob

FILM = bytes(range(256)) * 40_000

async def film():
    for start in range(0, len(FILM), 1_000_000):
        yield FILM[start : start + 1_000_000]

async def put_once_more(folder):
    store, blob = LocalDiskBlobStore(Path(folder), SystemClock()), random_blob(5_000_000)
    with blob.spooled() as body:
        for _ in range(2):
            await store.put(blob.key, body, blob.manifest, deadline=NEVER)
            await store.delete(blob.key)
    await store.aclose()

async def use(base):
    settings = StorageConfig(local_base_path=base, local_reserve_gb=0, accept_unknown_video=True)
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as storage:
        await storage.store_metadata({"text": "so much " * 1000}, "M")
        await storage.store_video_segment(film(), "V")
        await storage.store_video_segment(film(), "V")
        assert (await storage.retrieve_file("V"))[0] == FILM
        assert storage.generate_access_url("V")
    await put_once_more(base + "/other")

asyncio.run(use(sys.argv[1] + "/first"))
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
asyncio.run(use(sys.argv[1] + "/ordinary"))
"""


def test_an_ordinary_user_stores_and_reads_and_writes_no_blob_again() -> None:
    # Not below pytest's own folder, which is closed to others.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, place], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        blobs = [
            path
            for name in ("first", "ordinary")
            for path in Path(place, name, "blobs").rglob("*")
            if path.is_file()
        ]
        assert {path.stat().st_mode & 0o777 for path in blobs} == {0o400}
        assert len(blobs) >= 4
        assert os.getuid() or {path.stat().st_uid for path in blobs} == {0, 65534}
