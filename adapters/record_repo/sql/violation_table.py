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

    def renders(self, form: TableForm) -> bool:
        return isinstance(self._driver, CsvDriver) and form.decimal == "."

    async def page_end(self, query: ViolationQuery, rows: int) -> Cursor | None:
        statement, args = table_pages.key_at(query, rows)
        found = await self._driver.read(statement, [args])
        return _cursor_of(found[0]) if found else None

    async def rendered_page(
        self,
        query: ViolationQuery,
        columns: Sequence[Column],
        last: Cursor | None,
        form: TableForm,
    ) -> RenderedBatch:
        driver = self._driver
        if not isinstance(driver, CsvDriver) or not self.renders(form):
            raise NotImplementedError
        statement, args = table_pages.rendered_page(query, columns, last, form)
        return RenderedBatch(*await driver.csv(statement, args, form.zone.key))


def _cursor_of(row: rows.Row) -> Cursor:
    return Cursor(rows.moment(row[0]), row[1])
