"""Export: the violations as a file of a table, as a stream or at a place of the caller.

The rows are read by pages of the catalogue's key, each in a short transaction. So an export of any
length holds no lock and no snapshot: it has each violation that exists throughout exactly once, and
of those that come or go meanwhile some. While one page is written, the next ones are read.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

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
from traffic_storage.ports.violation_table import RenderedPages, ViolationTable

_FIRST_ROWS = 500
_MOST_ROWS = 2_000
_MOST_RENDERED_ROWS = 16_000
_PAGE_BYTES = 2 * 1024 * 1024
"""Of this size are pages that the database renders, as far as the rows of earlier ones tell."""

_RENDERED_AT_ONCE = 2
"""A database renders one page on one of its processors, and more slowly than we take it in."""

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

    def _pages(self, request: TableRequest) -> AsyncGenerator[Batch | RenderedBatch, None]:
        csv = request.format is ExportFormat.CSV
        if csv and (rendered := self._table.rendered_pages(request.form)) is not None:
            return _in_advance(rendered, request)
        return self._read_pages(request)

    async def _read_pages(self, request: TableRequest) -> AsyncGenerator[Batch, None]:
        """Yield the pages; the next one is being read while its predecessor is used."""
        rows, query, columns = _FIRST_ROWS, request.query, request.columns
        reading = asyncio.ensure_future(self._table.table_page(query, columns, rows))
        try:
            while True:
                page = await reading
                if page.next is None:
                    break
                rows = min(rows * 2, _MOST_ROWS)
                query = evolve(query, after=page.next)
                reading = asyncio.ensure_future(self._table.table_page(query, columns, rows))
                yield page
            yield page
        finally:
            await _ended([reading])


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


async def _in_advance(
    pages: RenderedPages, request: TableRequest
) -> AsyncGenerator[RenderedBatch, None]:
    """Yield the pages; the next ones are being rendered while their predecessor is used."""
    rows, query = _FIRST_ROWS, request.query
    rendering: deque[asyncio.Future[RenderedBatch]] = deque()
    page: RenderedBatch | None = None
    is_last = False
    try:
        while rendering or not is_last:
            while not is_last and len(rendering) < _RENDERED_AT_ONCE:
                last = await pages.end(query, rows)
                coming = pages.page(query, request.columns, last)
                rendering.append(asyncio.ensure_future(coming))
                query, is_last = evolve(query, after=last), last is None
            if page is not None:
                yield page
            page = await rendering.popleft()
            rows = _next_rows(page, rows)
        if page is not None:
            yield page
    finally:
        await _ended(rendering)


def _next_rows(page: RenderedBatch, rows: int) -> int:
    """Return the number of rows of a page to come: more, unless the rows are large in bytes."""
    fitting = _PAGE_BYTES * page.rows // max(1, len(page.data))
    return max(_FIRST_ROWS, min(rows * 2, fitting, _MOST_RENDERED_ROWS))


async def _ended(readings: Iterable[asyncio.Future[Any]]) -> None:
    for one in readings:
        one.cancel()
    await asyncio.gather(*readings, return_exceptions=True)
