"""Rows by the hundred thousand, made from one value of the domain each."""

from collections.abc import Iterator, Mapping

from sqlalchemy import Table

from traffic_storage.adapters.record_repo.sql import rows, tables
from traffic_storage.adapters.record_repo.sql.statement import Args, Value
from traffic_storage.domain.files import FileKind, ReplicaState, StoredFile, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import NOON, new_file

STORE = RegisteredStore(StoreId("local-1"), Tier.LOCAL, "here", NOON)
_AT = rows.micros(NOON)
_YEAR = 365 * 24 * 3_600_000_000


def metadata_files(count: int) -> Iterator[Args]:
    """Files `V0~metadata`, `V1~metadata`, …, a microsecond apart, of 50 cameras."""
    row = _row(tables.file, rows.file_row(_file()))
    for number in range(count):
        changes: Mapping[str, Value] = {
            "file_id": f"V{number}~metadata",
            "created_at": _AT + number,
            "device_id": f"camera-{number % 50}",
            "violation_id": f"V{number}",
            "keep_until": _AT + _YEAR + number,
        }
        yield tuple({**row, **changes}.values())


def metadata_replicas(count: int) -> Iterator[Args]:
    """One copy of each."""
    for number in range(count):
        yield uuid7_at(NOON).bytes, f"V{number}~metadata", 1, ReplicaState.PRESENT.value, None


def _file() -> StoredFile:
    return new_file(STORE, kind=FileKind.METADATA)


def _row(table: Table, row: Args) -> dict[str, Value]:
    return dict(zip(table.c.keys(), row, strict=True))
