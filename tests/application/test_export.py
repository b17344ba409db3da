"""Exports: all rows once, read in advance by pages, and a file that appears only when it is whole."""

import asyncio
import csv
import io
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from attrs import define, field

from tests.application.rig import Rig, violation_record
from traffic_storage.adapters.export_target.memory import InMemoryTargets
from traffic_storage.adapters.table_writer.ndjson import NdjsonTable
from traffic_storage.application.export import Export, Exported, Piece, TableRequest
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.tabular import (
    Batch,
    Column,
    ExportFormat,
    RenderedBatch,
    TableForm,
    columns_named,
)
from traffic_storage.entrypoints.container import open_table
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.violation_table import RenderedPages, ViolationTable

START = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = columns_named(["violation_id"])


@define
class Table(ViolationTable, RenderedPages):
    """A table of `count` rows, `width` bytes each; the database fails behind row `fails_at`."""

    count: int
    is_rendering: bool = True
    fails_at: int | None = None
    width: int = 8
    asked: list[int] = field(factory=list)

    async def table_page(
        self, query: ViolationQuery, columns: Sequence[Column], rows: int
    ) -> Batch:
        self.asked.append(rows)
        first = _row_behind(query.after)
        end = min(first + rows, self.count)
        ids = self._ids(first, end)
        return Batch((ids,), len(ids), Cursor(START, str(end)) if end < self.count else None)

    def rendered_pages(self, form: TableForm) -> RenderedPages | None:
        return self if self.is_rendering else None

    async def end(self, query: ViolationQuery, rows: int) -> Cursor | None:
        self.asked.append(rows)
        end = _row_behind(query.after) + rows
        return Cursor(START, str(end)) if end <= self.count else None

    async def page(
        self, query: ViolationQuery, columns: Sequence[Column], last: Cursor | None
    ) -> RenderedBatch:
        end = self.count if last is None else _row_behind(last)
        ids = self._ids(_row_behind(query.after), end)
        return RenderedBatch("".join(f"{one}\n" for one in ids).encode(), len(ids))

    def _ids(self, first: int, end: int) -> list[str]:
        if self.fails_at is not None and end > self.fails_at:
            raise CatalogueUnavailable("gone")
        return [f"{number:0{self.width}}" for number in range(first, end)]


def _row_behind(position: Cursor | None) -> int:
    return 0 if position is None else int(position.row_id)


def export_of(table: ViolationTable) -> tuple[Export, InMemoryTargets]:
    targets = InMemoryTargets()
    return Export(table=table, open_table=open_table, targets=targets), targets


@pytest.mark.parametrize("renders", [True, False])
@pytest.mark.parametrize("count", [0, 1, 500, 501, 20_000])
async def test_each_row_is_exported_once(count: int, renders: bool) -> None:
    export, targets = export_of(Table(count, renders))
    seen: list[int] = []
    request = TableRequest(ExportFormat.CSV, columns=COLUMNS)
    done = await export.to_place(request, "one", report=seen.append)
    data = targets.files["one"]
    assert done == Exported("one", count, len(data), sha256_of(data))
    header, *rows = csv.reader(io.StringIO(data.decode()))
    assert header == ["violation_id"]
    assert [row[0] for row in rows] == [f"{number:08}" for number in range(count)]
    assert seen == sorted(seen)
    assert seen[-1] == count
    assert targets.open_targets == 0


async def test_pages_grow_until_they_are_large() -> None:
    table = Table(80_000)
    export, _ = export_of(table)
    await export.to_place(TableRequest(ExportFormat.CSV, columns=COLUMNS), "one")
    assert table.asked[:7] == [500, 500, 1000, 2000, 4000, 8000, 16000]
    assert max(table.asked) == 16000
    wide = Table(9000, width=4000)
    export, _ = export_of(wide)
    await export.to_place(TableRequest(ExportFormat.CSV, columns=COLUMNS), "one")
    assert max(wide.asked) < 1000
    values = Table(30_000)
    export, _ = export_of(values)
    await export.to_place(TableRequest(ExportFormat.NDJSON, columns=COLUMNS), "one")
    assert max(values.asked) == 2000


async def test_two_pages_are_rendered_at_once_and_no_more() -> None:
    most = 0

    class Slow(Table):
        now = 0

        async def page(
            self, query: ViolationQuery, columns: Sequence[Column], last: Cursor | None
        ) -> RenderedBatch:
            nonlocal most
            self.now += 1
            most = max(most, self.now)
            for _ in range(20):
                await asyncio.sleep(0)
            self.now -= 1
            return await Table.page(self, query, columns, last)

    export, targets = export_of(Slow(20_000))
    await export.to_place(TableRequest(ExportFormat.CSV, columns=COLUMNS), "one")
    assert most == 2
    assert targets.files["one"].decode().split()[1:] == [f"{number:08}" for number in range(20_000)]


async def test_an_export_that_fails_leaves_no_file() -> None:
    export, targets = export_of(Table(10_000, fails_at=5_000))
    with pytest.raises(CatalogueUnavailable):
        await export.to_place(TableRequest(ExportFormat.CSV, columns=COLUMNS), "one")
    assert targets.files == {}
    assert targets.open_targets == 0


async def test_an_existing_file_is_replaced_only_if_that_is_wanted() -> None:
    export, targets = export_of(Table(3))
    request = TableRequest(ExportFormat.NDJSON, columns=COLUMNS)
    await export.to_place(request, "one")
    with pytest.raises(InvalidInput, match="exists already"):
        await export.to_place(request, "one")
    await export.to_place(request, "one", overwrite=True)
    assert len(targets.files["one"].splitlines()) == 3


async def test_a_stream_that_is_left_early_reads_no_further(no_leaks: None) -> None:
    table = Table(100_000)
    export, _ = export_of(table)
    pieces: list[Piece] = []
    async with aclosing(export.pieces(TableRequest(ExportFormat.CSV, columns=COLUMNS))) as stream:
        async for piece in stream:
            pieces.append(piece)
            if piece.rows:
                break
    assert len(table.asked) <= 3


async def test_violations_that_match_are_exported_newest_first() -> None:
    rig = Rig()
    async with rig.running() as service:
        for number in range(4):
            at = START + timedelta(hours=number)
            device = f"cam-{number % 2}"
            record = violation_record(f"V{number}", timestamp=at, device_id=device)
            await service.evidence(record)
        export = service.container.export()
        query = ViolationQuery(device_id="cam-1", end_time=START + timedelta(hours=9))
        request = TableRequest(ExportFormat.NDJSON, query, COLUMNS)
        async with aclosing(export.pieces(request)) as stream:
            data = b"".join([piece.data async for piece in stream])
    assert data == b'{"violation_id":"V3"}\n{"violation_id":"V1"}\n'


async def test_a_writer_is_closed_although_the_first_page_fails(no_leaks: None) -> None:
    closed: list[bool] = []

    class Watched(NdjsonTable):
        async def aclose(self) -> None:
            closed.append(True)
            await super().aclose()

    export = Export(
        table=Table(1, fails_at=0),
        open_table=lambda _, columns, form: Watched(columns, form),
        targets=InMemoryTargets(),
    )
    with pytest.raises(CatalogueUnavailable):
        await export.to_place(TableRequest(ExportFormat.NDJSON, columns=COLUMNS), "one")
    assert closed == [True]
