"""Tests of any adapter of the port `ViolationTable`."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from attrs import evolve

from traffic_storage.domain.files import FileKind
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.tabular import (
    FORMULA_STARTS,
    VIOLATION_COLUMNS,
    Batch,
    CellType,
    TableForm,
    batch_of,
    cell_texts,
    columns_named,
)
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.testing.contracts.record_repo import all_pages, local
from traffic_storage.entrypoints.testing.units import NOON, new_evidence, new_record, store
from traffic_storage.ports.record_repo import RecordRepo

MADRID = ZoneInfo("Europe/Madrid")
TEXTS = ("plain", "a,b;c", 'say "so"', "ñandú 車", "x" * 120, "'quoted", "Å")
FORMULAS = [f"{start}1+1" for start in FORMULA_STARTS if start.isprintable()]
KEYS = (None, "V-1", "+2", "=3", "@4", "-5")
TIMES = (
    NOON,
    NOON + timedelta(microseconds=1),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2025, 10, 26, 0, 30, tzinfo=UTC),
    datetime(2025, 10, 26, 1, 30, tzinfo=UTC),
    datetime(2025, 7, 1, 12, 0, 0, 500_000, timezone(timedelta(hours=5, minutes=30))),
)


async def filled(repo: RecordRepo) -> Sequence[StoredViolation]:
    """Store violations whose values are hard to write; return all, in the order of the table."""
    here = await local(repo)
    texts = (*TEXTS, *FORMULAS)
    for number, text in enumerate(texts):
        record = new_record(
            KEYS[number % len(KEYS)] and f"{KEYS[number % len(KEYS)]}.{number}",
            device_id=text,
            vehicle_class=texts[-number],
            violation_type=f"type-{number % 3}",
            timestamp=TIMES[number % len(TIMES)],
            confidence=(1.0, 0.5, 1e-7, 1 / 3)[number % 4],
            processing_time_ms=(0.0, 41.25, 123456789.0, 1e-5)[number % 4],
            camera_info={"text": text, "long": 10**30, "list": [1.5, None, True]},
            model_versions={"detector": text},
        )
        kinds = (FileKind.IMAGE, FileKind.VIDEO)[: number % 3]
        await store(repo, new_evidence(record, here, kinds=kinds))
    return await all_pages(repo, ViolationQuery())


async def read(repo: RecordRepo, query: ViolationQuery, rows: int) -> list[tuple[object, ...]]:
    """Return the rows of all pages of values."""
    found: list[tuple[object, ...]] = []
    while True:
        page = await repo.table_page(query, VIOLATION_COLUMNS, rows)
        assert page.rows <= rows
        found += rows_of(page)
        if page.next is None:
            return found
        query = evolve(query, after=page.next)


async def rendered(
    repo: RecordRepo, query: ViolationQuery, rows: int, form: TableForm
) -> list[list[str]] | None:
    """Return the fields of all pages of CSV; None if the database writes none."""
    pages = repo.rendered_pages(form)
    if pages is None:
        return None
    text = ""
    count = 0
    while True:
        last = await pages.end(query, rows)
        page = await pages.page(query, VIOLATION_COLUMNS, last)
        assert page.rows == rows if last else page.rows < rows
        count += page.rows
        text += page.data.decode()
        if last is None:
            break
        query = evolve(query, after=last)
    fields = list(csv.reader(io.StringIO(text, newline="")))
    assert len(fields) == count
    return fields


def rows_of(page: Batch) -> list[tuple[object, ...]]:
    """Return the rows of a page."""
    return list(zip(*page.columns, strict=True)) if page.rows else []


def expected(found: Sequence[StoredViolation]) -> list[tuple[object, ...]]:
    """Return the rows of violations."""
    return rows_of(batch_of(found, VIOLATION_COLUMNS, None))


def fields_of(found: Sequence[StoredViolation], form: TableForm) -> list[list[str]]:
    """Return the fields of violations in CSV."""
    batch = batch_of(found, VIOLATION_COLUMNS, None)
    texts = [
        cell_texts(column, cells, form)
        for column, cells in zip(VIOLATION_COLUMNS, batch.columns, strict=True)
    ]
    return [[text or "" for text in row] for row in zip(*texts, strict=True)]


class ViolationTableContract:
    """Inherit from this and provide the fixture `repo`: an empty catalogue."""

    async def test_rows_are_those_of_the_violations_whatever_the_page(
        self, repo: RecordRepo
    ) -> None:
        """`table_page`: as `batch_of`; each violation exactly once."""
        found = await filled(repo)
        for rows in (1, 4, len(found), 1000):
            page = await read(repo, ViolationQuery(), rows)
            assert page == expected(found)
            for row in page:
                kinds = {bool: CellType.FLAG, int: CellType.TIME, float: CellType.NUMBER}
                for cell, column in zip(row, VIOLATION_COLUMNS, strict=True):
                    assert cell is None or kinds.get(type(cell), column.type) is column.type

    async def test_the_database_writes_the_same_fields_or_none(self, repo: RecordRepo) -> None:
        """`rendered_pages`: the fields are as `cell_texts` gives them."""
        found = await filled(repo)
        for form in (TableForm(), TableForm(MADRID), TableForm(neutralise=False)):
            for rows in (4, len(found), 1000):
                fields = await rendered(repo, ViolationQuery(), rows, form)
                assert fields in (None, fields_of(found, form))

    async def test_filters_and_columns_are_applied(self, repo: RecordRepo) -> None:
        found = await filled(repo)
        for query in (
            ViolationQuery(device_id="plain"),
            ViolationQuery(violation_type="type-1"),
            ViolationQuery(device_id="plain", violation_type="type-0"),
            ViolationQuery(start_time=NOON - timedelta(days=9), end_time=NOON),
            ViolationQuery(violation_type="type-1", start_time=NOON),
            ViolationQuery(device_id="unknown"),
        ):
            met = await all_pages(repo, query)
            assert await read(repo, query, 2) == expected(met)
            fields = await rendered(repo, query, 2, TableForm())
            assert fields in (None, fields_of(met, TableForm()))
        some = columns_named(["confidence", "incomplete", "violation_id"])
        page = await repo.table_page(ViolationQuery(), some, 1000)
        assert rows_of(page) == rows_of(batch_of(found, some, None))
