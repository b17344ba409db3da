"""Export: the violations as a file of a table, as a stream or at a place of the caller.

The rows are read by pages of the catalogue's key, each in a short transaction. So an export of any
length holds no lock and no snapshot: it has each violation that exists throughout exactly once, and
of those that come or go meanwhile some. While one page is written, the next one is read.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from attrs import evolve, field, frozen

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.tabular import (
    VIOLATION_COLUMNS,
    Batch,
    Column,
    ExportFormat,
    RenderedBatch,
    TableForm,
)
from traffic_storage.ports.export_target import ExportTarget, ExportTargets
from traffic_storage.ports.table_writer import OpenTable, TableWriter
from traffic_storage.ports.violation_table import ViolationTable

_FIRST_ROWS = 500
_MOST_ROWS = 2_000
_MOST_RENDERED_ROWS = 16_000
_PAGE_BYTES = 2 * 1024 * 1024
"""With more bytes in a page, the next page has half as many rows."""

Report = Callable[[int], None]
"""Called with the number of rows that were written so far."""


def unreported(_rows: int) -> None:
    """Report nothing."""


@frozen
class TableRequest:
    """Which violations are exported, and how."""

    format: ExportFormat
    query: ViolationQuery = field(factory=ViolationQuery)
    columns: Sequence[Column] = VIOLATION_COLUMNS
    form: TableForm = field(factory=TableForm)


@frozen
class Piece:
    """The next bytes of an export, and the number of rows that they complete."""

    data: bytes = field(repr=False)
    rows: int = 0


@frozen
class Exported:
    """A file that was exported.

    Attributes:
        place: where it is.
        rows: the number of violations; of a file without a table, 0.
        size_bytes: its size.
        sha256: the SHA-256 of its bytes.
    """

    place: str
    rows: int
    size_bytes: int
    sha256: Sha256


class Export:
    """Exports violations.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
        InvalidInput: the format can't hold these columns, or needs a package that is not installed.
        TooLarge: the format can't hold as many rows, or a cell as long.
    """

    def __init__(
        self, *, table: ViolationTable, open_table: OpenTable, targets: ExportTargets
    ) -> None:
        self._table = table
        self._open_table = open_table
        self._targets = targets

    async def pieces(self, request: TableRequest) -> AsyncGenerator[Piece, None]:
        """Yield the bytes of the file; the first of them when rows of the database have been read.

        Close the iterator (`aclosing`) when leaving early.
        """
        writer = self._open_table(request.format, request.columns, request.form)
        try:
            head = await writer.begin()
            async with aclosing(self._pages(request)) as pages:
                async for page in pages:
                    yield Piece(head + await _bytes_of(writer, page), page.rows)
                    head = b""
            async with aclosing(writer.end()) as rest:
                async for data in rest:
                    yield Piece(data)
        finally:
            await writer.aclose()

    async def to_place(
        self,
        request: TableRequest,
        place: str,
        *,
        overwrite: bool = False,
        report: Report = unreported,
    ) -> Exported:
        """Write the file to a place, where it appears when it is complete.

        Raises:
            InvalidInput: a file is there, and `overwrite` is False.
            StorageUnavailable: the place can't be written.
            StorageFull: the place is full.
        """
        return await self.save(self.pieces(request), place, overwrite=overwrite, report=report)

    async def save(
        self,
        pieces: AsyncGenerator[Piece, None],
        place: str,
        *,
        overwrite: bool = False,
        report: Report = unreported,
    ) -> Exported:
        """Write any file to a place, as `to_place` does; `pieces` is closed."""
        target = self._targets.open(place, overwrite=overwrite)
        return await written(target, place, pieces, report)

    async def check(self, request: TableRequest) -> None:
        """Check what can be checked before a row is read.

        Raises:
            InvalidInput: the format can't hold these columns, or needs a package that is not
                installed.
        """
        await self._open_table(request.format, request.columns, request.form).aclose()

    async def _pages(self, request: TableRequest) -> AsyncGenerator[Batch | RenderedBatch, None]:
        """Yield the pages; the next one is being read while its predecessor is used."""
        rows = _FIRST_ROWS
        reading = asyncio.ensure_future(self._page(request, rows))
        try:
            while True:
                page = await reading
                if page.next is None:
                    break
                rows = _next_rows(page, rows)
                request = evolve(request, query=evolve(request.query, after=page.next))
                reading = asyncio.ensure_future(self._page(request, rows))
                yield page
            yield page
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()  # Seen, so that the loop does not report it.

    async def _page(self, request: TableRequest, rows: int) -> Batch | RenderedBatch:
        if request.format is ExportFormat.CSV:
            rendered = await self._table.rendered_page(
                request.query, request.columns, rows, request.form
            )
            if rendered is not None:
                return rendered
        return await self._table.table_page(request.query, request.columns, min(rows, _MOST_ROWS))


async def written(
    target: ExportTarget,
    place: str,
    pieces: AsyncGenerator[Piece, None],
    report: Report = unreported,
) -> Exported:
    """Write a file to a target, and close target and pieces. Errors are those of both."""
    rows = size = 0
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await target.write(piece.data)
                rows += piece.rows
                size += len(piece.data)
                report(rows)
        return Exported(place, rows, size, await target.publish())
    finally:
        await target.aclose()


async def _bytes_of(writer: TableWriter, page: Batch | RenderedBatch) -> bytes:
    return page.data if isinstance(page, RenderedBatch) else await writer.add(page)


def _next_rows(page: Batch | RenderedBatch, rows: int) -> int:
    """Return the number of rows of the next page: more, unless the pages are large in bytes."""
    if isinstance(page, Batch):
        return min(rows * 2, _MOST_ROWS)
    size = len(page.data)
    if size > _PAGE_BYTES:
        return max(_FIRST_ROWS, rows // 2)
    return min(rows * 2, _MOST_RENDERED_ROWS) if 2 * size <= _PAGE_BYTES else rows
