"""ViolationTable: the violations as a table, in the order of an export, by large pages.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.tabular import Batch, Column, RenderedBatch, TableForm


class ViolationTable(Protocol):
    """Reads rows of the available violations, newest first, ties by id ascending.

    Of a query, `device_id`, `violation_type`, the times and `after` count. Each call is one short
    transaction. The pages reached through `next` contain each violation that exists throughout
    exactly once, and every page of as many rows costs the same.
    """

    @abstractmethod
    async def table_page(
        self, query: ViolationQuery, columns: Sequence[Column], rows: int
    ) -> Batch:
        """Return at most `rows` rows behind `query.after`, as `domain.tabular.batch_of` does."""

    @abstractmethod
    def renders(self, form: TableForm) -> bool:
        """Whether the database itself writes rows as CSV: `page_end` and `rendered_page`."""

    @abstractmethod
    async def page_end(self, query: ViolationQuery, rows: int) -> Cursor | None:
        """Return the position of the row number `rows` behind `query.after`; None if there is none.

        With it a page is bounded before it is read, so that several can be read at the same time.
        """

    @abstractmethod
    async def rendered_page(
        self,
        query: ViolationQuery,
        columns: Sequence[Column],
        last: Cursor | None,
        form: TableForm,
    ) -> RenderedBatch:
        """Return the rows behind `query.after`, up to `last` or the end, as CSV of the database.

        The fields are as `domain.tabular.cell_texts` gives them, but that a number of 10¹⁵ or more
        may have an exponent. Lines end with a line feed.

        Raises:
            NotImplementedError: `renders(form)` is False.
        """
