"""A full catalogue: violations with their metadata files, and the queries for it.

The product's migrations make the tables, and functions of the adapter make the rows, which COPY and
`executemany` insert. A full catalogue is kept in a folder for the next run.
"""

import asyncio
import hashlib
import inspect
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import attrs
from attrs import frozen
from sqlalchemy import Table

from benchmarks import data
from tests.support.servers import Database, PostgresServer, process_keeper
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.adapters.record_repo.sql import rows, tables
from traffic_storage.adapters.record_repo.sql.postgres_opening import pass_uuids_as_bytes
from traffic_storage.domain.digests import Digests, Sha256
from traffic_storage.domain.files import (
    Coding,
    FileKind,
    MediaInfo,
    PlacementNote,
    ReplicaState,
    StoredFile,
)
from traffic_storage.domain.identifiers import (
    DeviceId,
    FileId,
    ViolationId,
    evidence_file_id,
)
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.retention import RetentionPolicy
from traffic_storage.domain.retention_rules import RetentionFacts
from traffic_storage.domain.violation import StoredViolation

COLUMNS = tuple(column.name for column in tables.violation.columns)
"""The columns of a page."""

_BATCH = 20_000
_YEAR = 365 * 86_400 * 1_000_000  # microseconds
_NOBODY = Sha256("0" * 64)


@frozen
class Ask:
    """A query for the newest page of violations before a time, with at most one filter."""

    end: datetime
    filters: Mapping[str, str]

    @property
    def end_micros(self) -> int:
        """The time as the tables store it, in microseconds."""
        return rows.micros(self.end)

    @property
    def query(self) -> ViolationQuery:
        """The query of the domain."""
        return ViolationQuery(
            device_id=self.filters.get("device_id"),
            violation_type=self.filters.get("violation_type"),
            end_time=self.end,
            limit=data.PAGE,
        )


def ask(number: int, filled: int) -> Ask:
    """Return a query; a third each has no filter, a device, a type. Times cover the later half."""
    spread = 1 - (number * 0.618033988749895 % 1) * 0.5
    filters: tuple[dict[str, str], ...] = (
        {},
        {"device_id": data.device(number)},
        {"violation_type": data.violation_type(number)},
    )
    return Ask(data.moment(int(filled * spread)), filters[number % 3])


def sqlite_filled(cache: Path, count: int) -> Path:
    """Return the folder of a service whose SQLite catalogue holds `count` violations."""
    folder = cache / f"sqlite-{count}-{_form()}"
    if not folder.exists():
        draft = folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        _say(f"filling {count:,} violations into SQLite; kept in {folder}")
        asyncio.run(make_tables(config(draft)))
        with closing(sqlite3.connect(draft / "catalogue.sqlite3")) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            (number,) = connection.execute("SELECT number FROM store").fetchone()
            for table, batch in batches([number], count):
                marks = ", ".join("?" * len(table.columns))
                connection.executemany(f"INSERT INTO {table.name} VALUES ({marks})", batch)
            connection.commit()
        draft.rename(folder)
    return folder


@contextmanager
def postgres_filled(cache: Path, count: int) -> Iterator[Database]:
    """Run a PostgreSQL server (durable) with a catalogue that holds `count` violations."""
    folder = cache / f"postgres-{count}-{_form()}"
    server = PostgresServer()
    try:
        if folder.exists():
            kept = json.loads((folder / "address.json").read_text())
            server.address = attrs.evolve(server.address, **kept["address"])
            server.folder.mkdir(mode=0o711)
            _copy(folder / "data", server.folder)
            name = kept["database"]
            server.start()
        else:
            _say(f"filling {count:,} violations into PostgreSQL; kept in {folder}")
            server.start()
            name = server.create_database().name
            asyncio.run(_fill_postgres(server.address.database(name), count))
            server.address.execute("VACUUM ANALYZE", name)
            _keep(server, name, folder)
        yield server.address.database(name)
    finally:
        server.close()


def _keep(server: PostgresServer, database: str, folder: Path) -> None:
    server.stop()
    draft = folder.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    _copy(server.folder / "data", draft)
    address = {
        name: getattr(server.address, name) for name in ("user", "password", "superuser_password")
    }
    note = draft / "address.json"
    note.touch(mode=0o600)
    note.write_text(json.dumps({"address": address, "database": database}))
    draft.rename(folder)
    server.start()


def _copy(source: Path, target: Path) -> None:
    # cp keeps the owner: if this process is root, the server's files belong to another user.
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


async def make_tables(settings: StorageConfig) -> None:
    """Make the tables and register the local store."""
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY):
        pass


async def _fill_postgres(database: Database, count: int) -> None:
    await make_tables(config(process_keeper().folder / "filling", database=database))
    connection = await asyncpg.connect(database.dsn)
    await pass_uuids_as_bytes(connection)
    try:
        number = await connection.fetchval("SELECT number FROM store")
        for table, batch in batches([number], count):
            await connection.copy_records_to_table(
                table.name, records=batch, columns=[column.name for column in table.columns]
            )
    finally:
        await connection.close()


def batches(stores: Sequence[int], count: int) -> Iterator[tuple[Table, list[Sequence[Any]]]]:
    """Yield rows: violations, their metadata files, and a replica of each file in each of `stores`.

    `stores` are numbers of stores. The order of the batches satisfies the foreign keys.
    """
    template = _Template()
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        yield tables.file, [template.file(number) for number in numbers]
        yield tables.replica, [replica(number, store) for number in numbers for store in stores]
        yield tables.violation, [template.violation(number) for number in numbers]


class _Template:
    """Rows of one violation, made by the adapter; a new row replaces only the values that differ."""

    def __init__(self) -> None:
        violation = _violation()
        file = _file(violation)
        self._violation = dict(zip(COLUMNS, rows.violation_row(violation), strict=True))
        self._file = dict(zip(_names(tables.file), rows.file_row(file), strict=True))

    def violation(self, number: int) -> Sequence[Any]:
        """The violation."""
        fields = data.fields(number)
        happened = data.moment(number)
        return _with(
            self._violation,
            violation_id=fields["violation_id"],
            device_id=fields["device_id"],
            violation_type=fields["violation_type"],
            confidence=fields["confidence"],
            occurred_at=rows.micros(happened),
            timestamp=happened.isoformat(),
            received_at=rows.micros(happened) + 1_000_000,
            vehicle_bbox=json.dumps(fields["vehicle_bbox"]),
            record_sha256=bytes.fromhex(_digest(number)),
            metadata_file_id=_metadata_id(number),
        )

    def file(self, number: int) -> Sequence[Any]:
        """Its metadata file."""
        happened = rows.micros(data.moment(number))
        return _with(
            self._file,
            file_id=_metadata_id(number),
            sha256=bytes.fromhex(_digest(number)),
            created_at=happened + 1_000_000,
            captured_at=happened,
            keep_until=happened + _YEAR,
            device_id=data.device(number),
            violation_id=data.violation_id(number),
        )


def replica(number: int, store: int) -> Sequence[Any]:
    """Return the row of a replica of a metadata file in the store with this number."""
    taken = rows.micros(data.moment(number))
    replica_id = (taken // 1000) << 80 | 7 << 76 | 2 << 62 | store << 40 | number
    return replica_id.to_bytes(16), _metadata_id(number), store, ReplicaState.PRESENT.value, taken


def _names(table: Table) -> Iterable[str]:
    return [column.name for column in table.columns]


def _with(template: Mapping[str, Any], **changed: object) -> tuple[Any, ...]:
    return tuple({**template, **changed}.values())


def _digest(number: int) -> Sha256:
    return Sha256(hashlib.sha256(str(number).encode()).hexdigest())


def _metadata_id(number: int) -> FileId:
    return evidence_file_id(ViolationId(data.violation_id(number)), FileKind.METADATA)


def _violation() -> StoredViolation:
    record = data.record(0)
    happened = data.moment(0)
    return StoredViolation(record, record.sha256(), happened, None, happened, _metadata_id(0))


def _file(violation: StoredViolation) -> StoredFile:
    digests = Digests(600, _NOBODY)
    now = violation.received_at
    retention = RetentionPolicy().retention(RetentionFacts(FileKind.METADATA), now, now)
    return StoredFile(
        file_id=violation.metadata_file_id,
        kind=FileKind.METADATA,
        content_type="application/json",
        content=digests,
        stored=digests,
        coding=Coding.IDENTITY,
        created_at=now,
        captured_at=now,
        device_id=DeviceId(violation.record.device_id),
        violation_id=violation.violation_id,
        media=MediaInfo(),
        placement=PlacementNote("local", "LOCAL_ONLY keeps everything on the local disk"),
        metadata=None,
        replicas=(),
        keep_until=retention.keep_until,
        retention_rule=retention.rule,
        retention_basis=retention.basis,
    )


def _form() -> str:
    """Return a digest that changes when the tables or the rows change."""
    template = _Template()
    shown = [inspect.getsource(tables), inspect.getsource(data.fields)]
    shown += [repr(row) for row in (template.violation(1), template.file(1), replica(1, 1))]
    return hashlib.sha256("".join(shown).encode()).hexdigest()[:8]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
