"""Ids that are the same in every run."""

from random import Random

from traffic_storage.adapters.clock.system import RandomIds
from traffic_storage.ports.clock import Clock


class SeededIds(RandomIds):
    """UUIDs version 7 whose chance comes from `seed`; with a manual clock all is repeatable."""

    def __init__(self, clock: Clock, seed: int = 0) -> None:
        super().__init__(clock, Random(seed).randbytes)
