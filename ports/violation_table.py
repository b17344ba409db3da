"""ViolationTable: the violations as a table, in the order of an export, by large pages.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from traffic_storage.domain.query import ViolationQuery
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
    async def rendered_page(
        self, query: ViolationQuery, columns: Sequence[Column], rows: int, form: TableForm
    ) -> RenderedBatch | None:
        """Return the same rows as CSV that the database itself writes; None if it can't.

        The fields are as `domain.tabular.cell_texts` gives them, but that a number of 10¹⁵ or more
        may have an exponent. Lines end with a line feed.
        """
