"""Redis is stopped (SIGSTOP), continued, killed and started again under a steady load of reads.

    python -m tests.load.redis_away [--rate 200] [--window 5]

Reads come at a fixed rate whether or not the last ones are answered, so that a stall can't hide
by slowing the load. Each answer is compared byte for byte. Exit status 1 on a wrong answer, or
when the cache is not picked up again: found healthy, and read from.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
from attrs import frozen

from tests.support.servers import RedisServer, S3Server
from tests.support.setups import config
from traffic_storage import StorageService, StorageStrategy
from traffic_storage.entrypoints.container import build, running
from traffic_storage.entrypoints.http import create_storage_app

FILES = 50
RECOVERY_SECONDS = 15.0


@frozen
class Window:
    """One phase of the load.

    Its latencies in milliseconds, how many answers were wrong, and how many came from the cache.
    """

    name: str
    latencies_ms: list[float]
    wrong: int
    cache_hits: int

    @property
    def p99_ms(self) -> float:
        """The 99th percentile."""
        return float(np.percentile(self.latencies_ms, 99))


@frozen
class Report:
    """What was seen."""

    windows: list[Window]
    recovered_after_seconds: float | None
    degraded_was_seen: bool

    @property
    def wrong(self) -> int:
        """Wrong answers in all windows."""
        return sum(window.wrong for window in self.windows)

    @property
    def picked_up_again(self) -> bool:
        """Whether the cache answered before all, and again at the end."""
        return self.recovered_after_seconds is not None and all(
            window.cache_hits for window in (self.windows[0], self.windows[-1])
        )

    @property
    def added_p99_ms(self) -> float:
        """By how much the worst window's p99 exceeds that of the first."""
        return max(window.p99_ms for window in self.windows) - self.windows[0].p99_ms


async def measure(rate: float, window_seconds: float, folder: Path) -> Report:
    """Run the load through all phases."""
    with S3Server() as s3, RedisServer() as redis:
        settings = config(folder, bucket=s3.create_bucket(), redis=redis.address)
        container = build(settings, StorageStrategy.CLOUD_ONLY)
        app = create_storage_app(container=container)
        async with (
            running(container),
            StorageService(container=container) as service,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost"
            ) as client,
        ):
            files = await _store(service)
            if await _cache_recovers(client) is None:
                raise RuntimeError("the cache was not healthy to begin with")

            async def phase(name: str, change: Callable[[], object] | None = None) -> Window:
                if change:
                    await asyncio.to_thread(change)
                return await _load(service, files, name, rate, window_seconds)

            windows = [await phase("before"), await phase("stopped", redis.stall)]
            degraded = not await _cache_healthy(client)
            windows += [await phase("continued", redis.resume), await phase("killed", redis.kill)]
            degraded &= not await _cache_healthy(client)
            await asyncio.to_thread(redis.start)
            recovered = await _cache_recovers(client)
            windows.append(await phase("after"))
    return Report(windows, recovered, degraded)


async def _store(service: StorageService) -> dict[str, bytes]:
    chance = np.random.default_rng(1)
    files = {}
    for number in range(FILES):
        image = chance.integers(0, 256, (96, 128, 3), np.uint8)
        stored = await service.store_image(image, f"image-{number}")
        files[stored["file_id"]], _ = await service.retrieve_file(stored["file_id"])
    return files


async def _load(
    service: StorageService, files: dict[str, bytes], name: str, rate: float, seconds: float
) -> Window:
    latencies: list[float] = []
    wrong = 0

    async def one(file_id: str) -> None:
        nonlocal wrong
        begun = time.perf_counter()
        data, _ = await service.retrieve_file(file_id)
        latencies.append((time.perf_counter() - begun) * 1000)
        wrong += data != files[file_id]

    ids = list(files)
    hits = await _cache_hits(service)
    begun = time.perf_counter()
    reads: list[Awaitable[None]] = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        reads.append(asyncio.create_task(one(ids[number % len(ids)])))
    await asyncio.gather(*reads)
    return Window(name, latencies, wrong, await _cache_hits(service) - hits)


async def _cache_hits(service: StorageService) -> int:
    return (await service.get_storage_statistics())["operation_stats"]["cache_hits"]


async def _cache_healthy(client: httpx.AsyncClient) -> bool:
    parts = (await client.get("/readyz")).json()["components"]
    return bool(next(part["healthy"] for part in parts if part["name"] == "cache"))


async def _cache_recovers(client: httpx.AsyncClient) -> float | None:
    """Seconds until /readyz called the cache healthy; None: it did not in time."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < RECOVERY_SECONDS:
        if await _cache_healthy(client):
            return time.perf_counter() - begun
        await asyncio.sleep(0.05)
    return None


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="reads a second")
    parser.add_argument("--window", type=float, default=5.0, help="seconds a phase")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(measure(given.rate, given.window, Path(folder)))
    print(f"{given.rate:g} reads/s of {FILES} small files, {given.window:g} s a phase")
    for window in report.windows:
        print(
            f"  {window.name:10} {len(window.latencies_ms)} reads, p50 "
            f"{np.percentile(window.latencies_ms, 50):.1f} ms, p99 {window.p99_ms:.1f} ms, "
            f"{window.wrong} wrong, {window.cache_hits} from the cache"
        )
    print(f"  added p99: {report.added_p99_ms:.1f} ms; wrong answers: {report.wrong}")
    print(
        f"  /readyz degraded: {report.degraded_was_seen}; recovered after "
        f"{report.recovered_after_seconds} s"
    )
    return int(bool(report.wrong) or not report.picked_up_again)


if __name__ == "__main__":
    sys.exit(main())
