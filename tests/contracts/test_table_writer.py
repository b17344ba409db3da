"""Every format of tables is read back equal, each by another library than wrote it."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.escape import unescape
from pyarrow import parquet

from traffic_storage.domain.errors import InvalidInput, TooLarge
from traffic_storage.domain.tabular import (
    Batch,
    CellType,
    Column,
    ExportFormat,
    TableForm,
    columns_named,
    neutral,
)
from traffic_storage.entrypoints.container import open_table as every_table
from traffic_storage.entrypoints.testing.contracts.table_writer import (
    FORM,
    Row,
    TableWriterContract,
    batch_of_rows,
    written,
)
from traffic_storage.ports.table_writer import OpenTable

csv.field_size_limit(2**24)
MILLISECOND = timedelta(milliseconds=1)


def parsed(column: Column, text: str) -> Any:
    """What a field of CSV says."""
    match column.type:
        case CellType.TIME:
            return datetime.fromisoformat(text)
        case CellType.NUMBER:
            return float(text)
        case CellType.FLAG:
            return {"true": True, "false": False}[text]
        case CellType.JSON:
            return json.loads(text)
        case CellType.TEXT:
            return text


class Opened:
    @pytest.fixture
    def open_table(self) -> OpenTable:
        return every_table


class TestCsv(Opened, TableWriterContract):
    file_format = ExportFormat.CSV

    def read(self, data: bytes, columns: Sequence[Column]) -> list[Row]:
        header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
        assert header == [column.name for column in columns]
        return [
            tuple(parsed(column, text) for column, text in zip(columns, row, strict=True))
            for row in rows
        ]

    def same(self, column: Column, found: Any, said: Any) -> bool:
        if column.type is CellType.TEXT:
            return bool(found == neutral(said or ""))
        return bool(found == said)

    async def test_a_decimal_comma_brings_a_semicolon(self, open_table: OpenTable) -> None:
        number = Column("number", CellType.NUMBER, lambda _: None)
        text = Column("text", CellType.TEXT, lambda _: None)
        batches = [batch_of_rows([(1.5, "a;b"), (-2.0, "=c")], [number, text])]
        form = TableForm(decimal=",", neutralise=False)
        data = await written(open_table, self.file_format, batches, [number, text], form)
        assert data == b'number;text\n1,5;"a;b"\n-2;=c\n'


class TestNdjson(Opened, TableWriterContract):
    file_format = ExportFormat.NDJSON

    def read(self, data: bytes, columns: Sequence[Column]) -> list[Row]:
        objects = [json.loads(line) for line in data.decode().split("\n")[:-1]]
        for one in objects:
            assert list(one) == [column.name for column in columns]
        return [
            tuple(
                datetime.fromisoformat(one[column.name])
                if column.type is CellType.TIME
                else one[column.name]
                for column in columns
            )
            for one in objects
        ]


class TestParquet(Opened, TableWriterContract):
    file_format = ExportFormat.PARQUET

    def read(self, data: bytes, columns: Sequence[Column]) -> list[Row]:
        table = parquet.read_table(io.BytesIO(data))
        assert table.column_names == [column.name for column in columns]
        read = (
            [json.loads(one) if column.type is CellType.JSON else one for one in cells]
            for column, cells in zip(columns, (one.to_pylist() for one in table), strict=True)
        )
        return list(zip(*read, strict=True))

    async def test_rows_come_in_groups(self, open_table: OpenTable) -> None:
        """The memory that is used does not grow with the number of rows."""
        number = [Column("number", CellType.NUMBER, lambda _: None)]
        batches = [batch_of_rows([(float(one),) for one in range(50_000)], number)] * 4
        data = await written(open_table, self.file_format, batches, number)
        found = parquet.ParquetFile(io.BytesIO(data))
        assert (found.num_row_groups, found.metadata.num_rows) == (4, 200_000)


class TestXlsx(Opened, TableWriterContract):
    file_format = ExportFormat.XLSX

    def read(self, data: bytes, columns: Sequence[Column]) -> list[Row]:
        sheet, about = openpyxl.load_workbook(io.BytesIO(data), read_only=True).worksheets
        assert [*about.iter_rows(values_only=True)] == [(f"Times are in {FORM.zone.key}",)]
        header, *rows = sheet.iter_rows(values_only=True)
        assert list(header) == [column.name for column in columns]
        return [
            tuple(self._said(column, cell) for column, cell in zip(columns, row, strict=True))
            for row in rows
        ]

    def _said(self, column: Column, cell: Any) -> Any:
        if column.type is CellType.TIME:
            return cell.replace(tzinfo=FORM.zone)
        # xlsxwriter escapes what looks like an escape; openpyxl leaves that to its caller.
        said = unescape(cell) if isinstance(cell, str) else cell
        return json.loads(said) if column.type is CellType.JSON else said

    def same(self, column: Column, found: Any, said: Any) -> bool:
        if column.type is CellType.TIME:
            # The second 2:30 of a day on which clocks are set back has no form of its own.
            return bool(abs(found.replace(tzinfo=None) - said.replace(tzinfo=None)) < MILLISECOND)
        if column.type is CellType.NUMBER:
            return bool(found == pytest.approx(said, rel=1e-14, abs=1e-300))
        return bool((found or None) == (said or None))

    async def test_what_a_sheet_can_not_hold_is_refused(self, open_table: OpenTable) -> None:
        """`TooLarge`: the format can't hold as many rows."""
        text = [Column("text", CellType.TEXT, lambda _: None)]
        for batch in (
            batch_of_rows([("x" * 32_768,)], text),
            batch_of_rows([("😀" * 16_384,)], text),
            Batch(((None,),), 1_048_576),
        ):
            with pytest.raises(TooLarge, match="xlsx"):
                await written(open_table, self.file_format, [batch], text)
        fits = batch_of_rows([("x" * 32_767,)], text)
        data = await written(open_table, self.file_format, [fits], text)
        assert self.read(data, text) == [("x" * 32_767,)]


class TestGeoJson(Opened, TableWriterContract):
    file_format = ExportFormat.GEOJSON

    def read(self, data: bytes, columns: Sequence[Column]) -> list[Row]:
        collection = json.loads(data)
        assert collection["type"] == "FeatureCollection"
        rows = []
        for feature in collection["features"]:
            row = feature["properties"]
            assert list(row) == [column.name for column in columns]
            rows.append(
                tuple(
                    datetime.fromisoformat(row[column.name])
                    if column.type is CellType.TIME
                    else row[column.name]
                    for column in columns
                )
            )
        return rows

    async def test_a_violation_is_where_its_camera_is(self, open_table: OpenTable) -> None:
        columns = columns_named(["violation_id", "camera_info"])
        rows = [("V1", '{"latitude":40.4,"longitude":-3.7}'), ("V2", "{}")]
        batches = [batch_of_rows([row], columns) for row in rows]
        data = await written(open_table, self.file_format, batches, columns)
        found = [one["geometry"] for one in json.loads(data)["features"]]
        assert found == [{"type": "Point", "coordinates": [-3.7, 40.4]}, None]
        with pytest.raises(InvalidInput, match="camera_info"):
            open_table(self.file_format, columns[:1], FORM)


@pytest.mark.parametrize(("name", "package"), [("parquet", "pyarrow"), ("xlsx", "xlsxwriter")])
def test_a_format_without_its_package_names_the_extra(name: str, package: str) -> None:
    """Run in a process of its own, in which the package is not there."""
    program = f"""
import sys
sys.modules[{package!r}] = None
from traffic_storage.domain.tabular import ExportFormat, TableForm
from traffic_storage.entrypoints.container import open_table
open_table(ExportFormat({name!r}), [], TableForm())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert f"{package}, which is not installed" in ran.stderr
    assert "traffic-storage[export]" in ran.stderr
