"""Samples from a database: ids are drawn by one statement, then their rows are looked up."""

import json
from collections.abc import Iterable, Sequence
from datetime import date
from hashlib import blake2b
from itertools import groupby
from math import ceil
from random import Random

from attrs import frozen

from traffic_storage.adapters.record_repo.sql import rows, sample_statements, statements
from traffic_storage.adapters.record_repo.sql.driver import LOOKED_UP, Driver, looked_up
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.duplicates import Content
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import DeviceId
from traffic_storage.domain.usage import DailyUsage, DeviceUsage
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.samples import Samples

_MOST_LOOKED_AT = 50
_FEW = 50_000
"""Of a rare kind with at most this many files, all ids are read: fewer rows than would be drawn."""
_DRAWN_PAGES = 8
"""How many rows of PostgreSQL's pages are drawn for each one that is kept."""
_DRAWN_ROWS = 1.25
"""How many rows of the kind are expected among SQLite's drawn numbers for each one that is kept."""
_DRAWN_AT_A_TIME = 1000
"""For how many rows that are kept one read of PostgreSQL draws pages."""
_AT_LEAST = 50
_ALL_PAGES = 100.0
"""The percentage of a whole table."""


@frozen
class _Population:
    """Rows from which a sample is drawn: how many are wanted, in a table of how many."""

    rows: int
    table: int

    def is_rare(self, limit: int) -> bool:
        """Whether reading all wanted rows takes less than drawing among all rows."""
        return self.rows <= _FEW and self.rows**2 < _DRAWN_ROWS * limit * self.table

    def numbers(self, last: int, limit: int, seed: int) -> Sequence[Sequence[int]]:
        """Return numbers of rows, 1 to `last`, of which a quarter more than `limit` are wanted ones."""
        count = _AT_LEAST + int(_DRAWN_ROWS * limit * last / max(1, self.rows))
        return drawn_numbers(last, min(count, _AT_LEAST + _MOST_LOOKED_AT * limit), seed)

    def percent(self, limit: int) -> float:
        """Return the percentage of pages to draw."""
        share = _DRAWN_PAGES * limit / max(1, self.rows)
        return _ALL_PAGES * min(1.0, share, _MOST_LOOKED_AT * limit / max(1, self.table))


class SqlSamples(Samples):
    """Reads samples and counters in the database of `driver`."""

    _driver: Driver

    async def device_usage(self) -> Sequence[DeviceUsage]:
        found = await self._driver.read(statements.DEVICES, [()])
        return [
            DeviceUsage(DeviceId(device) if device else None, rows.usage_of(row[1:] for row in own))
            for device, own in groupby(found, key=lambda row: row[0])
        ]

    async def daily_received(self, first: date, last: date) -> Sequence[DailyUsage]:
        between = rows.day_number(first), rows.day_number(last)
        return rows.days_of(await self._driver.read(statements.RECEIVED, [between]))

    async def sample_files(self, kind: FileKind, limit: int, seed: int) -> Sequence[StoredFile]:
        usage = rows.usage_of(await self._driver.read(statements.USAGE, [()]))
        counts = {row.kind: row.files for row in usage.files}
        population = _Population(counts.get(kind, 0), sum(counts.values()))
        if population.is_rare(limit):
            found = await self._driver.read(sample_statements.FILES_OF_KIND, [(kind.value, _FEW)])
            ids = _shuffled([row[0] for row in found], seed)[:limit]
            return rows.files_of(
                await looked_up(self._driver, statements.FILE, [(one,) for one in ids])
            )
        ids = await self._drawn(
            (sample_statements.SAMPLED_FILES, sample_statements.LAST_FILE),
            (population, limit, seed, kind.value),
        )
        return rows.files_of(
            await looked_up(self._driver, statements.FILE, [(one,) for one in ids])
        )

    async def sample_violations(self, limit: int, seed: int) -> Sequence[StoredViolation]:
        usage = rows.usage_of(await self._driver.read(statements.USAGE, [()]))
        population = _Population(usage.violations, usage.violations)
        ids = await self._drawn(
            (sample_statements.SAMPLED_VIOLATIONS, sample_statements.LAST_VIOLATION),
            (population, limit, seed, ""),
        )
        return rows.violations_of(
            await looked_up(self._driver, statements.VIOLATION, [(one,) for one in ids])
        )

    async def newest_contents(self, kind: FileKind, limit: int) -> Sequence[Content]:
        args = (kind.value, limit)
        found = await self._driver.read(sample_statements.NEWEST_CONTENTS, [args])
        return [
            Content(file_id, device_id, Sha256(sha256.hex()), size)
            for file_id, device_id, sha256, size in found
        ]

    async def _drawn(
        self, of: tuple[Statement, Statement], wanted: tuple[_Population, int, int, str]
    ) -> list[str]:
        (sampled, last), (population, limit, seed, kind) = of, wanted
        ((highest,),) = await self._driver.read(last, [()])
        parts = population.numbers(highest, limit, seed)
        if not highest:
            # PostgreSQL draws pages: few with each read, which may come from a slow disk. All pages of
            # a small table are one draw: of several that draw a share each, all may miss a page.
            is_whole = population.percent(limit) == _ALL_PAGES
            parts = [[]] * (1 if is_whole else ceil(limit / _DRAWN_AT_A_TIME))
        ids: set[str] = set()
        for place, part in enumerate(parts):
            share, own_seed = population.percent(limit) / len(parts), seed + place / len(parts)
            args = (kind, json.dumps(part), share, own_seed)
            ids |= {row[0] for row in await self._driver.read(sampled, [args])}
        return _shuffled(ids, seed)[:limit]


def drawn_numbers(last: int, count: int, seed: int) -> Sequence[Sequence[int]]:
    """Return up to `count` random numbers of rows, 1 to `last`, as one read looks them up.

    One empty part if `last` is 0, as it is on PostgreSQL, which draws all rows at once.
    """
    numbers = Random(seed).sample(range(1, last + 1), min(last, count))  # noqa: S311 - no secret
    parts = [numbers[at : at + LOOKED_UP] for at in range(0, len(numbers), LOOKED_UP)]
    return parts or [numbers]


def _shuffled(ids: Iterable[str], seed: int) -> list[str]:
    """Return ids of rows in an order by chance."""

    def place(row_id: str) -> bytes:
        return blake2b(f"{seed} {row_id}".encode(), digest_size=8).digest()

    return sorted(ids, key=place)
