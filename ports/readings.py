"""Readings: what metrics and health read of the catalogue. The cost of each call has a bound.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind
from traffic_storage.domain.pressure import RecordedPressure
from traffic_storage.domain.readings import DueRetention, WaitingJobs


class Readings(Protocol):
    """Reads figures along indexes, of at most `MOST_COUNTED` rows each."""

    @abstractmethod
    async def waiting_jobs(self, kinds: Sequence[JobKind]) -> Sequence[WaitingJobs]:
        """Return the jobs that are ready, running or dead, for each of these kinds, in their order."""

    @abstractmethod
    async def due_retention(self, as_of: datetime) -> DueRetention:
        """Return how many available files are kept until `as_of` or less long."""

    @abstractmethod
    async def recorded_pressures(self) -> Mapping[StoreId, RecordedPressure]:
        """Return the pressure on each registered store, as it was noted last."""
