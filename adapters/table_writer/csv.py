"""CSV (RFC 4180, but lines end with a line feed) in UTF-8, with a header of the columns' names."""

import csv
import io
from collections.abc import AsyncGenerator, Iterable, Sequence

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.tabular import Batch, Column, TableForm, cell_texts
from traffic_storage.ports.table_writer import TableWriter


class CsvTable(TableWriter):
    """Writes CSV. None and an empty text are both an empty field."""

    def __init__(self, columns: Sequence[Column], form: TableForm) -> None:
        self._columns = columns
        self._form = form
        self._threads = Threads(1, "table-writer")

    async def begin(self) -> bytes:
        return self._lines([[column.name for column in self._columns]])

    async def add(self, batch: Batch) -> bytes:
        return await self._threads.run(self._rows, batch)

    async def end(self) -> AsyncGenerator[bytes, None]:
        return
        yield

    async def aclose(self) -> None:
        await self._threads.aclose()

    def _rows(self, batch: Batch) -> bytes:
        texts = (
            cell_texts(column, cells, self._form)
            for column, cells in zip(self._columns, batch.columns, strict=True)
        )
        return self._lines(zip(*texts, strict=True))

    def _lines(self, rows: Iterable[Iterable[str | None]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self._form.delimiter, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()
