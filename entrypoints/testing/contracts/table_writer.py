"""Tests of any adapter of the port `TableWriter`."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traffic_storage.domain.tabular import (
    VIOLATION_COLUMNS,
    Batch,
    Cell,
    CellType,
    Column,
    ExportFormat,
    TableForm,
    columns_named,
    json_text,
    parsed_json,
    time_in,
)
from traffic_storage.ports.table_writer import OpenTable

_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    st.sampled_from(["=1+1", "+1", "-1", "@a", '"', "a,b;c", "a\nb", "", " a ", "'x", "_x0041_"]),
)
_JSON = st.dictionaries(_TEXTS, st.one_of(_TEXTS, st.integers(-99, 99), st.booleans()), max_size=3)
# Excel's calendar begins in 1900; the other formats have no bound in these years.
_TIMES = st.integers(0, 4_000_000_000_000_000)
_CELLS: dict[CellType, st.SearchStrategy[Cell]] = {
    CellType.TEXT: st.one_of(st.none(), _TEXTS),
    CellType.NUMBER: st.floats(-1e12, 1e12),
    CellType.TIME: _TIMES,
    CellType.JSON: st.builds(json_text, _JSON),
    CellType.FLAG: st.booleans(),
}
_ROWS = st.lists(
    st.tuples(*(_CELLS[column.type] for column in VIOLATION_COLUMNS)), min_size=0, max_size=5
)
FORM = TableForm(ZoneInfo("Europe/Madrid"))

Row = tuple[Any, ...]


async def written(
    open_table: OpenTable,
    file_format: ExportFormat,
    batches: Sequence[Batch],
    columns: Sequence[Column] = VIOLATION_COLUMNS,
    form: TableForm = FORM,
) -> bytes:
    """Return the whole file of a table."""
    async with aclosing(open_table(file_format, columns, form)) as table:
        parts = [await table.begin()]
        parts += [await table.add(batch) for batch in batches]
        async with aclosing(table.end()) as rest:
            parts += [data async for data in rest]
    return b"".join(parts)


def batch_of_rows(rows: Sequence[Row], columns: Sequence[Column] = VIOLATION_COLUMNS) -> Batch:
    """Return rows as a batch."""
    cells = tuple(zip(*rows, strict=True)) or tuple(() for _ in columns)
    return Batch(cells, len(rows))


def meaning(column: Column, cell: Any) -> Any:  # noqa: ANN401
    """Return what a cell says: of a time the moment, of JSON the value."""
    if cell is None:
        return None
    if column.type is CellType.TIME:
        return time_in(FORM.zone)(cell)
    return parsed_json(cell) if column.type is CellType.JSON else cell


class TableWriterContract:
    """Inherit from this, provide the fixture `open_table`, and read a file back."""

    file_format: ClassVar[ExportFormat]

    @abstractmethod
    def read(self, data: bytes, columns: Sequence[Column]) -> list[Row]:
        """Return the rows of a file: what each cell says, as `meaning` does."""

    def same(self, column: Column, found: Any, said: Any) -> bool:  # noqa: ANN401, ARG002
        """Return whether a cell was read back as the format promises."""
        return bool(found == said and isinstance(found, type(said)))

    @settings(max_examples=20, suppress_health_check=[*HealthCheck], deadline=None)
    @given(rows=_ROWS, more=_ROWS)
    async def test_what_was_written_is_read_back_equal(
        self, open_table: OpenTable, rows: list[Row], more: list[Row]
    ) -> None:
        """The bytes of all calls, one after the other, are the file."""
        batches = [batch_of_rows(rows), batch_of_rows(more)]
        data = await written(open_table, self.file_format, batches)
        found = self.read(data, VIOLATION_COLUMNS)
        assert len(found) == len(rows) + len(more)
        for got, row in zip(found, [*rows, *more], strict=True):
            for column, cell, was in zip(VIOLATION_COLUMNS, got, row, strict=True):
                expected = meaning(column, was)
                assert self.same(column, cell, expected), (column.name, cell, expected)

    async def test_columns_come_in_their_order(self, open_table: OpenTable) -> None:
        columns = columns_named(["camera_info", "timestamp", "violation_id"])
        row = ('{"a":1}', 1_761_998_400_000_001, "V001")
        batches = [batch_of_rows([row], columns)]
        data = await written(open_table, self.file_format, batches, columns)
        ((info, time, violation_id),) = self.read(data, columns)
        assert (info, violation_id) == ({"a": 1}, "V001")
        assert isinstance(time, datetime)
        assert abs(time.timestamp() - row[1] / 1e6) < 0.001

    async def test_a_table_that_is_not_ended_can_be_closed(self, open_table: OpenTable) -> None:
        """`aclose`: also of a table that was not ended."""
        async with aclosing(open_table(self.file_format, VIOLATION_COLUMNS, FORM)) as table:
            await table.begin()
            await table.add(batch_of_rows([]))
