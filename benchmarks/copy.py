"""Copies from local disk to S3: verified on both ends, against obstore's put with a hash.

    python -m benchmarks.copy [--latency MS]

Two programs by hand, `copy_parallel` files at once: "put" reads each file, hashes it and puts it with
obstore; "put and read back" then also gets the object and hashes it. `sync` does the jobs of copies
that are due: it reads and verifies the source, writes the journal, puts, reads the copy back and
hashes it at the target, and commits. Contenders alternate; prints megabytes a second and the median
of the ratios of the rounds.

The S3 server runs on the same machine, and takes part of its cores. With `--latency`, a proxy holds
each 64 KiB back for so many milliseconds in each direction, as a network does.
"""

import argparse
import asyncio
import hashlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from operator import truediv
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.store import S3Store

from tests.support.servers import Bucket, S3Server
from tests.support.setups import config
from tests.support.stall import StallProxy
from traffic_storage import StorageStrategy
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.entrypoints.container import Container, build, running

_ROUNDS = 5
PARALLEL = 4
_SIZES = ((200_000, 150), (2_000_000, 30), (16_000_000, 6))
"""The size of the files, and how many of them are copied in a round."""


@contextmanager
def far(bucket: Bucket, latency_seconds: float) -> Iterator[Bucket]:
    """The bucket behind a proxy in a process of its own, which delays what passes."""
    if not latency_seconds:
        yield bucket
        return
    near, other = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_delay, args=(bucket.endpoint, latency_seconds, other)
    )
    process.start()
    try:
        yield bucket.at(near.recv())
    finally:
        near.send(None)
        process.join()


def _delay(endpoint: str, latency_seconds: float, pipe: Connection) -> None:
    place = urlsplit(endpoint)
    with StallProxy(str(place.hostname), place.port or 80) as proxy:
        proxy.delay(latency_seconds)
        pipe.send(f"http://{proxy.host}:{proxy.port}")
        pipe.recv()


async def in_parallel(
    items: Sequence[Path], work: Callable[[Path], Awaitable[None]], at_once: int
) -> None:
    """Do the work for all items, some at once."""
    left = iter(items)

    async def lane() -> None:
        for item in left:
            await work(item)

    await asyncio.gather(*(lane() for _ in range(at_once)))


async def by_hand(bucket: Bucket, folder: Path, sizes: Sequence[int], *, reads_back: bool) -> float:
    """Return the seconds that hashing and putting files of these sizes takes, and reading them back."""
    store = S3Store(
        bucket.name,
        endpoint=bucket.endpoint,
        access_key_id=bucket.access_key,
        secret_access_key=bucket.secret_key,
        region=bucket.region,
        client_options={"allow_http": True},
    )
    paths = [folder / str(uuid4()) for _ in sizes]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(os.urandom(size))

    def read(path: Path) -> bytes:
        data = path.read_bytes()
        hashlib.sha256(data).digest()
        return data

    async def put(path: Path) -> None:
        await obstore.put_async(store, path.name, await asyncio.to_thread(read, path))
        if reads_back:
            answer = await obstore.get_async(store, path.name)
            data = await answer.bytes_async()
            await asyncio.to_thread(lambda: hashlib.sha256(data).digest())

    start = time.perf_counter()
    await in_parallel(paths, put, PARALLEL)
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


async def main(latency_seconds: float) -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory() as place,
        S3Server() as s3,
        far(s3.create_bucket(), latency_seconds) as bucket,
    ):
        folder = Path(place)
        settings = config(
            folder / "base",
            bucket=bucket,
            workers=0,
            copy_parallel=PARALLEL,
            accept_unknown_video=True,
            hybrid_local_kinds=("video",),
        )
        async with running(build(settings, StorageStrategy.HYBRID)) as container:
            for size, count in _SIZES:
                rounds = [
                    (
                        await by_hand(bucket, folder, [size] * count, reads_back=False),
                        await by_hand(bucket, folder, [size] * count, reads_back=True),
                        await ours(container, size, count),
                    )
                    for _ in range(_ROUNDS)
                ]
                print_rounds("copy", size, count, rounds)


def print_rounds(
    name: str, size: int, count: int, rounds: Sequence[tuple[float, float, float]]
) -> None:
    """Print the rates of three contenders, of which `name` is the third, and its ratios."""
    megabytes = size * count / 1e6
    puts, read_back, own = zip(*rounds, strict=True)
    rates = [megabytes / statistics.median(seconds) for seconds in (puts, read_back, own)]
    ratios = [statistics.median(map(truediv, hand, own)) for hand in (puts, read_back)]
    print(
        f"{size / 1e6:g} MB: put {rates[0]:.0f} MB/s, put and read back {rates[1]:.0f} MB/s, "
        f"{name} {rates[2]:.0f} MB/s: {ratios[0]:.2f} and {ratios[1]:.2f} of them"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copy", description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds (0)")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(_arguments().latency / 1000))
