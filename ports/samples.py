"""Samples: what an analysis reads of the catalogue; its cost does not grow with the number of files.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import date
from typing import Protocol

from traffic_storage.domain.duplicates import Content
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.usage import DailyUsage, DeviceUsage
from traffic_storage.domain.violation import StoredViolation


class Samples(Protocol):
    """Random samples of rows, the newest rows, and counters by device."""

    @abstractmethod
    async def device_usage(self) -> Sequence[DeviceUsage]:
        """Return the totals of the counters of each device, ordered by device id.

        They add up to those of `Catalogue.usage`. The cost grows with the number of devices.
        """

    @abstractmethod
    async def daily_received(self, first: date, last: date) -> Sequence[DailyUsage]:
        """Return what was added on each day (UTC) of `first` to `last`, oldest first.

        It is the sum of the positive changes of the counters, while `Catalogue.daily_usage` also
        subtracts what was removed; what moved to another device is not counted. Both days are
        included; days without an addition are left out.
        """

    @abstractmethod
    async def sample_files(self, kind: FileKind, limit: int, seed: int) -> Sequence[StoredFile]:
        """Return at most `limit` available files of a kind, drawn at random, with their replicas.

        Each available file of the kind has the same chance. The same seed gives the same files
        while the catalogue is unchanged. The cost is bounded: at most 50 rows are looked at for each
        file asked for, or 50,000 entries of an index; so fewer than `limit` may be returned of a
        kind that a very small share of the files has. `limit` is 1 to 10,000.
        """

    @abstractmethod
    async def sample_violations(self, limit: int, seed: int) -> Sequence[StoredViolation]:
        """Return at most `limit` available violations, drawn at random as `sample_files` does."""

    @abstractmethod
    async def newest_contents(self, kind: FileKind, limit: int) -> Sequence[Content]:
        """Return the digests of the newest available files of a kind, at most 10,000."""
