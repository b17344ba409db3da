"""Schedules: which jobs the workers of this process write periodically, and for which stores."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from attrs import frozen

from traffic_storage.application.stores import Stores
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind, Priority, Schedule
from traffic_storage.domain.placement import UNKNOWN_STORE


@frozen
class PeriodicJob:
    """A kind of job that is written once in each period.

    `each_store` is whether it is written for each store that this process may change, with the
    store's id as its argument `store_id`. Otherwise it is written once for the first of them, the
    local folder where there is one: what one host alone can reach is then done on that host.
    """

    kind: JobKind
    every: timedelta
    each_store: bool = False
    priority: Priority = Priority.NORMAL


class Schedules:
    """The schedules of this process; they depend on the stores that it can reach."""

    def __init__(self, stores: Stores, periodic: Sequence[PeriodicJob]) -> None:
        self._stores = stores
        self._periodic = periodic

    def reachable(self) -> tuple[StoreId, ...]:
        """Return the ids of the stores that this process may change, the local one first."""
        trusted = [bound for bound in self._stores if bound.trusted]
        trusted.sort(key=lambda bound: bound.store.tier is not Tier.LOCAL)
        return tuple(bound.store_id for bound in trusted if bound.store_id is not None)

    def available(self) -> tuple[StoreId, ...]:
        """Return the ids of the stores that this process may change and that work now."""
        working = {bound.store_id for bound in self._stores if not bound.store.unavailable_reason()}
        return tuple(store_id for store_id in self.reachable() if store_id in working)

    def needs_met(self) -> tuple[StoreId, ...]:
        """Return what jobs that can be done now may need: the ids of `available`.

        `UNKNOWN_STORE` is one more while every cloud store of the strategy is available.
        """
        unknown = (UNKNOWN_STORE,) if self._stores.clouds_work() else ()
        return *self.available(), *unknown

    def __call__(self) -> Sequence[Schedule]:
        """Return the schedules; none while no store can be reached."""
        reachable = self.reachable()
        return [
            schedule for periodic in self._periodic for schedule in _schedules(periodic, reachable)
        ]


def _schedules(periodic: PeriodicJob, reachable: Sequence[StoreId]) -> Iterator[Schedule]:
    for store_id in reachable if periodic.each_store else reachable[:1]:
        yield Schedule(
            periodic.kind, periodic.every, {"store_id": store_id}, periodic.priority, store_id
        )
