"""ViolationTable: the violations as a table, in the order of an export, by large pages.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.tabular import Batch, Column, RenderedBatch, TableForm


class RenderedPages(Protocol):
    """Pages of rows as CSV that the database itself writes, in one form.

    A page is bounded before it is read, so that several can be read at the same time.
    """

    @abstractmethod
    async def end(self, query: ViolationQuery, rows: int) -> Cursor | None:
        """Return the position of the row number `rows` behind `query.after`; None if there is none."""

    @abstractmethod
    async def page(
        self, query: ViolationQuery, columns: Sequence[Column], last: Cursor | None
    ) -> RenderedBatch:
        """Return the rows behind `query.after`, up to `last` or the end.

        The fields are as `domain.tabular.cell_texts` gives them, but that a number of 10¹⁵ or more
        may have an exponent. Lines end with a line feed.
        """


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
    def rendered_pages(self, form: TableForm) -> RenderedPages | None:
        """Return the pages of CSV that the database itself writes; None if it can't in this form."""
