"""Ids that are the same in every run."""

from datetime import datetime
from random import Random
from uuid import UUID

from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.clock.system import RandomIds
from traffic_storage.ports.clock import Clock


class SeededIds(RandomIds):
    """UUIDs version 7 whose chance comes from `seed`; with a manual clock all is repeatable."""

    def __init__(self, clock: Clock, seed: int = 0) -> None:
        super().__init__(clock, Random(seed).randbytes)


def uuid7_at(moment: datetime) -> UUID:
    """A new, random UUIDv7 with the timestamp `moment`."""
    return RandomIds(ManualClock(moment)).uuid7()
