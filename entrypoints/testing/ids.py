"""Ids for tests: repeatable ones, and ones with a given timestamp."""

from datetime import datetime
from random import Random
from uuid import UUID

from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.clock.system import RandomIds
from traffic_storage.ports.clock import Clock


class SeededIds(RandomIds):
    """UUIDs version 7 with random bits from `seed`; with a manual clock they are repeatable."""

    def __init__(self, clock: Clock, seed: int = 0) -> None:
        super().__init__(clock, Random(seed).randbytes)


def uuid7_at(moment: datetime) -> UUID:
    """Return a new random UUIDv7 with the timestamp `moment`."""
    return RandomIds(ManualClock(moment)).uuid7()
