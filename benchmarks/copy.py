"""Copies from local disk to S3: verified on both ends, against obstore's put with a hash.

    python -m benchmarks.copy

The floor reads each file, hashes it and puts it with obstore, `copy_parallel` files at once.
`sync` does the jobs of copies that are due: it reads and verifies the source, writes the journal,
puts, reads the copy back and hashes it at the target, and commits. Contenders alternate; prints
megabytes a second and the median of the ratios of the rounds.
"""

import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from uuid import uuid4

import obstore
from obstore.store import S3Store

from tests.support.servers import Bucket, S3Server
from tests.support.setups import config
from traffic_storage import StorageStrategy
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.entrypoints.container import Container, build, running

_ROUNDS = 5
_PARALLEL = 4
_SIZES = ((200_000, 150), (16_000_000, 6))
"""The size of the files, and how many of them are copied in a round."""


async def in_parallel(
    items: Sequence[Path], work: Callable[[Path], Awaitable[None]], at_once: int
) -> None:
    """Do the work for all items, some at once."""
    left = iter(items)

    async def lane() -> None:
        for item in left:
            await work(item)

    await asyncio.gather(*(lane() for _ in range(at_once)))


async def floor(bucket: Bucket, folder: Path, size: int, count: int) -> float:
    """Return the seconds that hashing and putting the files takes."""
    store = S3Store(
        bucket.name,
        endpoint=bucket.endpoint,
        access_key_id=bucket.access_key,
        secret_access_key=bucket.secret_key,
        region=bucket.region,
        client_options={"allow_http": True},
    )
    paths = [folder / str(uuid4()) for _ in range(count)]
    for path in paths:
        path.write_bytes(os.urandom(size))

    def read(path: Path) -> bytes:
        data = path.read_bytes()
        hashlib.sha256(data).digest()
        return data

    async def put(path: Path) -> None:
        await obstore.put_async(store, path.name, await asyncio.to_thread(read, path))

    start = time.perf_counter()
    await in_parallel(paths, put, _PARALLEL)
    return time.perf_counter() - start


async def stored(container: Container, size: int, count: int) -> None:
    """Store files whose copies are due."""
    for _ in range(count):
        data = os.urandom(size)

        await container.store_files().video(Upload(data), FileAttributes.of())


async def ours(container: Container, size: int, count: int) -> float:
    """Return the seconds that the copies of new files take."""
    await stored(container, size, count)
    start = time.perf_counter()
    done = await container.sync_backends()()
    if done.copied != count:
        raise RuntimeError(f"{done} instead of {count} copies")
    return time.perf_counter() - start


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place, S3Server() as s3:
        folder, bucket = Path(place), s3.create_bucket()
        settings = config(
            folder / "base",
            bucket=bucket,
            workers=0,
            copy_parallel=_PARALLEL,
            accept_unknown_video=True,
            hybrid_local_kinds=("video",),
        )
        async with running(build(settings, StorageStrategy.HYBRID)) as container:
            for size, count in _SIZES:
                rounds = [
                    (
                        await floor(bucket, folder, size, count),
                        await ours(container, size, count),
                    )
                    for _ in range(_ROUNDS)
                ]
                _print(size, count, rounds)


def _print(size: int, count: int, rounds: Sequence[tuple[float, float]]) -> None:
    megabytes = size * count / 1e6
    floors, own = zip(*rounds, strict=True)
    ratio = statistics.median(one / other for one, other in rounds)
    print(
        f"{size / 1e6:g} MB: put with hash {megabytes / statistics.median(floors):.0f} MB/s, "
        f"copy {megabytes / statistics.median(own):.0f} MB/s, ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    asyncio.run(main())
