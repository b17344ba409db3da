"""XLSX, for Excel and other spreadsheets. Needs xlsxwriter, of the extra `export`."""

import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.errors import InvalidInput, TooLarge
from traffic_storage.domain.tabular import Batch, Cell, CellType, Column, TableForm, time_in
from traffic_storage.ports.table_writer import TableWriter

try:
    import xlsxwriter
except ImportError as error:
    raise InvalidInput.of(
        "format",
        "xlsx needs the package xlsxwriter, which is not installed",
        "install traffic-storage[export], or choose csv",
    ) from error

MOST_ROWS = 1_048_575
"""The rows of a sheet without its header."""
MOST_CHARACTERS = 32_767
"""The longest text of a cell, in UTF-16 code units."""
_CHUNK_BYTES = 1024 * 1024
_REMEDY = "choose csv, ndjson or parquet, a shorter time, or fewer columns"


class XlsxTable(TableWriter):
    """Writes one sheet of violations. Texts are never formulas.

    Numbers have 16 significant digits. Times are dates of the spreadsheet in the zone of the form,
    without an offset, to the millisecond; a second sheet (`about`) and the property *comments* of the
    file name the zone, so that headers stay names of columns. A row is written to a temporary file
    when the next one begins, and the archive is made at the end.
    """

    def __init__(self, columns: Sequence[Column], form: TableForm) -> None:
        self._columns = columns
        self._form = form
        self._threads = Threads(1, "table-writer")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._book: Any = None
        self._sheet: Any = None
        self._writes: list[Callable[[int, int, Any], Any]] = []
        self._rows = 0

    async def begin(self) -> bytes:
        await self._threads.run(self._begin)
        return b""

    async def add(self, batch: Batch) -> bytes:
        await self._threads.run(self._add, batch)
        return b""

    async def end(self) -> AsyncGenerator[bytes, None]:
        await self._threads.run(self._finish)
        start = 0
        while data := await self._threads.run(self._read, start):
            yield data
            start += len(data)

    async def aclose(self) -> None:
        await self._threads.run(self._discard)
        await self._threads.aclose()

    def _begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="traffic-storage-export-")
        self._book = xlsxwriter.Workbook(
            str(self._path), {"constant_memory": True, "tmpdir": self._folder.name}
        )
        zone = f"Times are in {self._form.zone.key}"
        self._book.set_properties({"comments": zone})
        self._sheet = self._book.add_worksheet("violations")
        self._book.add_worksheet("about").write_string(0, 0, zone)
        self._sheet.freeze_panes(1, 0)
        for place, column in enumerate(self._columns):
            self._sheet.write_string(0, place, column.name)
        self._writes = [self._write_of(column) for column in self._columns]

    @property
    def _path(self) -> Path:
        assert self._folder is not None  # noqa: S101 - `begin` comes first
        return Path(self._folder.name) / "violations.xlsx"

    def _write_of(self, column: Column) -> Callable[[int, int, Any], Any]:
        """Return the function that writes a cell of this column."""
        sheet = self._sheet
        if column.type is CellType.TIME:
            date = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
            at = time_in(self._form.zone)
            return lambda row, place, cell: sheet.write_datetime(
                row, place, at(cell).replace(tzinfo=None), date
            )
        if column.type is CellType.NUMBER:
            return sheet.write_number  # type: ignore[no-any-return]
        if column.type is CellType.FLAG:
            return sheet.write_boolean  # type: ignore[no-any-return]
        return lambda row, place, cell: sheet.write_string(row, place, _fitting(cell, column))

    def _add(self, batch: Batch) -> None:
        if self._rows + batch.rows > MOST_ROWS:
            raise TooLarge.of("format", f"a sheet of xlsx has at most {MOST_ROWS} rows", _REMEDY)
        for cells in zip(*batch.columns, strict=True):
            self._rows += 1
            self._row(cells)

    def _row(self, cells: Sequence[Cell]) -> None:
        for place, (write, cell) in enumerate(zip(self._writes, cells, strict=True)):
            if cell is not None and cell != "":
                write(self._rows, place, cell)

    def _finish(self) -> None:
        book, self._book = self._book, None
        book.close()

    def _read(self, start: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(_CHUNK_BYTES)

    def _discard(self) -> None:
        if self._book is not None:
            # xlsxwriter closes its temporary files only with the archive.
            self._finish()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _fitting(text: str, column: Column) -> str:
    """Return the text if a cell can hold it.

    Raises:
        TooLarge: it is too long.
    """
    units = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
    if units > MOST_CHARACTERS:
        raise TooLarge.of(
            "format",
            f"a cell of xlsx holds at most {MOST_CHARACTERS} characters, and one of the column "
            f"{column.name} has {units}",
            _REMEDY,
        )
    return text
