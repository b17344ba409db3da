"""NDJSON: one JSON object per line, with the columns as its keys."""

from collections.abc import AsyncGenerator, Sequence

import orjson

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.tabular import (
    Batch,
    Cell,
    CellType,
    Column,
    TableForm,
    time_in,
    time_text,
)
from traffic_storage.ports.table_writer import TableWriter


class NdjsonTable(TableWriter):
    """Writes NDJSON. A JSON cell becomes a JSON value, a time a text with its offset."""

    def __init__(self, columns: Sequence[Column], form: TableForm) -> None:
        self._columns = columns
        self._form = form
        self._threads = Threads(1, "table-writer")

    async def begin(self) -> bytes:
        return b""

    async def add(self, batch: Batch) -> bytes:
        return await self._threads.run(self._lines, batch)

    async def end(self) -> AsyncGenerator[bytes, None]:
        return
        yield

    async def aclose(self) -> None:
        await self._threads.aclose()

    def _lines(self, batch: Batch) -> bytes:
        names = [column.name for column in self._columns]
        values = (
            _json_values(column, cells, self._form)
            for column, cells in zip(self._columns, batch.columns, strict=True)
        )
        write, option = orjson.dumps, orjson.OPT_APPEND_NEWLINE
        return b"".join(
            write(dict(zip(names, row, strict=True)), option=option)
            for row in zip(*values, strict=True)
        )


def _json_values(column: Column, cells: Sequence[Cell], form: TableForm) -> Sequence[object]:
    if column.type is CellType.JSON:
        return [None if cell is None else orjson.Fragment(str(cell)) for cell in cells]
    if column.type is CellType.TIME:
        at = time_in(form.zone)
        return [None if cell is None else time_text(at(int(cell))) for cell in cells]
    return cells
