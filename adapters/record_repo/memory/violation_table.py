"""The violations in the memory of this process as a table."""

from abc import abstractmethod
from collections.abc import Sequence

from attrs import evolve

from traffic_storage.domain.query import MAX_LIMIT, Page, ViolationQuery
from traffic_storage.domain.tabular import Batch, Column, TableForm, batch_of
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.violation_table import RenderedPages


class InMemoryViolationTable:
    """Reads the table of violations from the catalogue's pages."""

    @abstractmethod
    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        """Implement `Catalogue.violations`."""

    async def table_page(
        self, query: ViolationQuery, columns: Sequence[Column], rows: int
    ) -> Batch:
        page = await self.violations(evolve(query, limit=min(rows, MAX_LIMIT)))
        return batch_of(page.items, columns, page.next)

    def rendered_pages(self, form: TableForm) -> RenderedPages | None:  # noqa: ARG002
        return None
