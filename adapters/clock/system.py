"""The clock of the operating system, and UUIDs made from a clock and random bits."""

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
    """The wall clock and the monotonic clock of the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class RandomIds(Ids):
    """Makes UUIDs version 7. Thread-safe.

    Each id that a `RandomIds` makes is greater than the id before, even if the clock stands still
    or goes back (RFC 9562, section 6.2, method 1). An id has 48 bits of milliseconds, a counter of
    42 bits and 32 random bits. In each new millisecond the counter starts at a random value below
    half of its range.

    `random_bytes(n)` returns `n` random bytes; tests pass a function with a fixed seed.
    """

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._lock = Lock()
        self._milliseconds = -1
        self._counter = 0

    def uuid7(self) -> UUID:
        now = int(self._clock.now().timestamp() * 1000)
        random_bits = int.from_bytes(self._random_bytes(10))
        with self._lock:
            self._advance(now, random_bits >> 39)
            milliseconds, counter = self._milliseconds, self._counter
        return _uuid7(milliseconds, counter, random_bits & 0xFFFF_FFFF)

    def _advance(self, now: int, fresh_counter: int) -> None:
        if now > self._milliseconds:
            self._milliseconds, self._counter = now, fresh_counter
        elif self._counter < _COUNTER_MAX:
            self._counter += 1
        else:
            self._milliseconds, self._counter = self._milliseconds + 1, fresh_counter


def _uuid7(milliseconds: int, counter: int, tail: int) -> UUID:
    """Build a UUID (RFC 9562, section 5.7); the variant bits are in the middle of the counter."""
    high, low = counter >> 30, counter & ((1 << 30) - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low << 32 | tail)
