"""Every format of tables is read back equal, each by another library than wrote it."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from traffic_storage.domain.tabular import CellType, Column, ExportFormat, TableForm, neutral
from traffic_storage.entrypoints.container import open_table as every_table
from traffic_storage.entrypoints.testing.contracts.table_writer import (
    Row,
    TableWriterContract,
    batch_of_rows,
    written,
)
from traffic_storage.ports.table_writer import OpenTable

csv.field_size_limit(2**24)


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
