"""The violations as a table, read from a database (`table_pages`)."""

from collections.abc import Callable, Sequence
from typing import Any

from traffic_storage.adapters.record_repo.sql import rows, table_pages
from traffic_storage.adapters.record_repo.sql.driver import CsvDriver, Driver
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.tabular import (
    Batch,
    Cell,
    CellType,
    Column,
    RenderedBatch,
    TableForm,
)
from traffic_storage.ports.violation_table import RenderedPages

_READ: dict[CellType, Callable[[Any], Cell]] = {CellType.FLAG: bool, CellType.NUMBER: float}
"""What SQLite gives as another type: a truth value as a number, a whole number as an integer."""


class SqlViolationTable:
    """Reads the table of violations from the database of `driver`."""

    _driver: Driver

    async def table_page(
        self, query: ViolationQuery, columns: Sequence[Column], rows: int
    ) -> Batch:
        statement, args = table_pages.values_page(query, columns, rows + 1)
        found = await self._driver.read(statement, [args])
        following = _cursor_of(found[rows - 1]) if len(found) > rows else None
        shown = found[:rows]
        keyed = tuple(zip(*shown, strict=True)) or ((),) * (2 + len(columns))
        cells = (
            [*map(_READ[column.type], values)] if column.type in _READ else values
            for column, values in zip(columns, keyed[2:], strict=True)
        )
        return Batch(tuple(cells), len(shown), following)

    def rendered_pages(self, form: TableForm) -> RenderedPages | None:
        driver = self._driver
        if not isinstance(driver, CsvDriver) or form.decimal != ".":
            return None
        return _CsvPages(driver, form)


class _CsvPages(RenderedPages):
    def __init__(self, driver: CsvDriver, form: TableForm) -> None:
        self._driver = driver
        self._form = form

    async def end(self, query: ViolationQuery, rows: int) -> Cursor | None:
        statement, args = table_pages.key_at(query, rows)
        found = await self._driver.read(statement, [args])
        return _cursor_of(found[0]) if found else None

    async def page(
        self, query: ViolationQuery, columns: Sequence[Column], last: Cursor | None
    ) -> RenderedBatch:
        statement, args = table_pages.rendered_page(query, columns, last, self._form)
        return RenderedBatch(*await self._driver.csv(statement, args, self._form.zone.key))


def _cursor_of(row: rows.Row) -> Cursor:
    return Cursor(rows.moment(row[0]), row[1])
