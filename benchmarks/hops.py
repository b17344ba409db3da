"""The cost of a hop to a thread and back, for `Threads` and for `ThreadPoolExecutor`.

    python -m benchmarks.hops

Each call hashes 200 KB. Prints the CPU time of a call minus that of the hashing: the minimum of
several rounds, in which the contenders alternate.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from traffic_storage.adapters.threads.pool import Threads

_DATA = bytes(200_000)
_CALLS, _ROUNDS, _SIZE = 1600, 12, 4


def work() -> bytes:
    """Hash the data: the work of each call."""
    return hashlib.sha256(_DATA).digest()


async def cost(call: Callable[[], Awaitable[bytes]], at_once: int) -> float:
    """Return the CPU seconds per call over `_CALLS` calls, `at_once` of them concurrently."""
    left = _CALLS

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    start = time.process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return (time.process_time() - start) / _CALLS


async def bare() -> bytes:
    """Work on the event loop, without a hop."""
    return work()


async def main() -> None:
    """Measure and print the costs."""
    threads, loop = Threads(_SIZE, "hops"), asyncio.get_running_loop()
    with ThreadPoolExecutor(_SIZE) as executor:
        ways: dict[str, Callable[[], Awaitable[bytes]]] = {
            "no hop": bare,
            "Threads": lambda: threads.run(work),
            "ThreadPoolExecutor": lambda: loop.run_in_executor(executor, work),
        }
        for at_once in (1, 16):
            best: dict[str, float] = {}
            for _ in range(_ROUNDS):
                for name, call in ways.items():
                    found = await cost(call, at_once)
                    best[name] = min(best.get(name, found), found)
            floor = best.pop("no hop")
            for name, found in best.items():
                microseconds = 1e6 * (found - floor)
                print(f"{at_once:2} at once, {name:18}: {microseconds:4.0f} us of CPU a hop")
    await threads.aclose()


if __name__ == "__main__":
    asyncio.run(main())
