"""The operating system's clock, and ids made of it and of chance."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from uuid import UUID

from traffic_storage.ports.clock import Clock, Ids

_COUNTER_BITS = 42
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1


class SystemClock(Clock):
    """The time as the operating system tells it."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class RandomIds(Ids):
    """UUIDs version 7 by a clock. Safe to use from several threads.

    Within a process each is greater than the one before, also when the clock stands still or
    goes back (RFC 9562, section 6.2, method 1): 48 bits of milliseconds, a counter of 42 bits
    that begins at a random value below its half in each new millisecond, 32 random bits.

    `random_bytes` gives that many bytes of chance; tests hand in a seeded source.
    """

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._lock = Lock()
        self._milliseconds = -1
        self._counter = 0

    def uuid7(self) -> UUID:
        now = int(self._clock.now().timestamp() * 1000)
        chance = int.from_bytes(self._random_bytes(10))
        with self._lock:
            self._advance(now, chance >> 39)
            milliseconds, counter = self._milliseconds, self._counter
        return _uuid7(milliseconds, counter, chance & 0xFFFF_FFFF)

    def _advance(self, now: int, fresh_counter: int) -> None:
        if now > self._milliseconds:
            self._milliseconds, self._counter = now, fresh_counter
        elif self._counter < _COUNTER_MAX:
            self._counter += 1
        else:
            self._milliseconds, self._counter = self._milliseconds + 1, fresh_counter


def _uuid7(milliseconds: int, counter: int, tail: int) -> UUID:
    """The layout of RFC 9562, section 5.7, with the counter on both sides of the variant."""
    high, low = counter >> 30, counter & ((1 << 30) - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low << 32 | tail)
