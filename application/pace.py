"""Pace: limits how many bytes a process copies per second."""

import asyncio
from collections.abc import Awaitable, Callable

from traffic_storage.ports.clock import Clock


class Pace:
    """Makes callers wait in turn, so that on average `bytes_per_second` are begun; 0: no limit.

    A caller takes the bytes of one whole file at once: the average is limited, not the speed at
    which a single file is sent.
    """

    def __init__(
        self,
        bytes_per_second: int,
        clock: Clock,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = float("-inf")

    async def take(self, size_bytes: int) -> None:
        """Wait until these bytes may be begun."""
        if not self._bytes_per_second:
            return
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + size_bytes / self._bytes_per_second
        if begin > now:
            await self._sleep(begin - now)
