"""The rate at which stored files are verified, against `sha256sum` on all cores.

    python -m benchmarks.fixity [--files N] [--bytes N] [--rounds N] [--folder FOLDER]

Verifies all files of a local store with `BlobStore.examine`, in rounds that alternate with
`xargs -P CORES -n 64 sha256sum` over the same files. Before each lap, the pages of the files are
dropped from the system's cache, so that both read from the disk. `--warm` leaves them there for
`sha256sum`; `examine` always drops them itself.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey
from traffic_storage.entrypoints.testing.blobs import NEVER, random_blob

_PAGE = 512


async def fill(store: LocalDiskBlobStore, files: int, size: int) -> list[tuple[BlobKey, Digests]]:
    """Store files of random bytes; return their keys and digests."""
    blobs: list[tuple[BlobKey, Digests]] = []
    for start in range(0, files, 64):
        made = [random_blob(size) for _ in range(min(64, files - start))]
        await asyncio.gather(
            *(store.put(blob.key, blob.body, blob.manifest, deadline=NEVER) for blob in made)
        )
        blobs += [(blob.key, blob.digests) for blob in made]
    return blobs


def drop_pages(paths: Iterable[Path]) -> None:
    """Drop the pages of files from the system's cache."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


async def ours(store: LocalDiskBlobStore, blobs: Sequence[tuple[BlobKey, Digests]]) -> float:
    """Return the seconds that `examine` takes, in pages as a run reads them."""
    start = time.perf_counter()
    for first in range(0, len(blobs), _PAGE):
        found = await store.examine(blobs[first : first + _PAGE])
        if any(one.error or one.manifest is None for one in found):
            raise SystemExit("a file was not verified")
    return time.perf_counter() - start


def sha256sum(paths: Sequence[Path], *, warm: bool) -> float:
    """Return the seconds that `sha256sum` takes with a process for each core."""
    if not warm:
        drop_pages(paths)
    names = "\0".join(map(str, paths)).encode()
    command = ["xargs", "-0", "-P", str(os.cpu_count()), "-n", "64", "sha256sum"]
    start = time.perf_counter()
    subprocess.run(command, input=names, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


async def main() -> None:
    """Measure and print the rates."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="fixity-", dir=arguments.folder) as folder:
        store = LocalDiskBlobStore(Path(folder), SystemClock())
        blobs = await fill(store, arguments.files, arguments.bytes)
        paths = [Path(folder) / key for key, _ in blobs]
        laps: dict[str, list[float]] = {"ours": [], "sha256sum": []}
        for _ in range(arguments.rounds):
            laps["sha256sum"].append(sha256sum(paths, warm=arguments.warm))
            drop_pages(paths)
            laps["ours"].append(await ours(store, blobs))
        await store.aclose()
    for name, seconds in laps.items():
        median = statistics.median(seconds)
        rate = arguments.files * arguments.bytes / median / 1e6
        print(f"{name:10} {arguments.files / median:9,.0f} files/s {rate:9,.0f} MB/s")
    ratios = sorted(a / b for a, b in zip(laps["sha256sum"], laps["ours"], strict=True))
    print(f"ratio      {statistics.median(ratios):.2f} [{ratios[0]:.2f} – {ratios[-1]:.2f}]")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fixity", description=__doc__)
    parser.add_argument("--files", type=int, default=3000, help="number of files (3,000)")
    parser.add_argument("--bytes", type=int, default=200_000, help="bytes of each file (200,000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    parser.add_argument("--folder", help="where the files are written (the temporary folder)")
    parser.add_argument("--warm", action="store_true", help="sha256sum reads from the cache")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
