"""Pace: limits how many bytes, or files, a process copies per second."""

import asyncio
from collections.abc import Awaitable, Callable

from traffic_storage.ports.clock import Clock


class Pace:
    """Makes callers wait in turn, so that on average `per_second` units are begun; 0: no limit.

    The units are bytes or files. A caller takes all of one file at once: the average is limited,
    not the speed at which a single file is sent.
    """

    def __init__(
        self,
        per_second: int,
        clock: Clock,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = float("-inf")

    async def take(self, amount: int) -> None:
        """Wait until this amount may be begun."""
        if not self._per_second:
            return
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + amount / self._per_second
        if begin > now:
            await self._sleep(begin - now)
