"""Storing very many records: `store_many`, raw COPY of the same rows, and COPY with the files."""

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import uuid4

import asyncpg
from attrs import evolve

from benchmarks import data
from benchmarks.contenders import Contender, Place
from benchmarks.ours import Embedded, settings
from traffic_storage import StorageStrategy, ViolationRecord
from traffic_storage.adapters.record_repo.sql import rows, statements
from traffic_storage.adapters.record_repo.sql.postgres import PostgresSettings, postgres_repo
from traffic_storage.adapters.record_repo.sql.postgres_opening import pass_uuids_as_bytes
from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.entrypoints.testing.units import NOON, new_evidence

AT_ONCE = 500
"""Records of one item: so many are given to one call, and copied in one transaction."""
_WRITERS = 4
_PLACE = RegisteredStore(StoreId("local-1"), Tier.LOCAL, "/files", NOON)
_NUMBER = 1
_TABLES = (
    (statements.INSERT_FILE, "file"),
    (statements.INSERT_REPLICA, "replica"),
    (statements.INSERT_VIOLATION, "violation"),
)


def _numbers(item: int) -> range:
    return range(item * AT_ONCE, (item + 1) * AT_ONCE)


class StoreMany(Embedded[Sequence[ViolationRecord]]):
    """Calls `store_many` with the records of an item."""

    def items(self, numbers: range) -> Sequence[Sequence[ViolationRecord]]:
        return [[data.record(one) for one in _numbers(item)] for item in numbers]

    async def do(self, item: Sequence[ViolationRecord]) -> None:
        async for result in self.storage.store_many(item):
            assert result.created


class Copy(Contender[tuple[Sequence[Sequence[Args]], Sequence[bytes]]]):
    """Copies rows that are ready into the same tables, in one transaction; writes the files before.

    Without a folder it writes no files.
    """

    def __init__(self, place: Place, *, with_files: bool) -> None:
        assert place.database is not None
        self._database = place.database
        self._folder = place.folder if with_files else None
        self._threads = ThreadPoolExecutor(_WRITERS)

    async def open(self) -> None:
        one = self._database
        repo = postgres_repo(
            PostgresSettings(
                host=one.host,
                port=one.port,
                database=one.name,
                user=one.user,
                password=one.password,
            )
        )
        await repo.upgrade()
        await repo.register(_PLACE)
        await repo.aclose()
        self._connection = await asyncpg.connect(one.dsn)
        await pass_uuids_as_bytes(self._connection)

    def items(self, numbers: range) -> Sequence[tuple[Sequence[Sequence[Args]], Sequence[bytes]]]:
        return [self._item(item) for item in numbers]

    async def do(self, item: tuple[Sequence[Sequence[Args]], Sequence[bytes]]) -> None:
        tables, texts = item
        if self._folder is not None:
            loop, size = asyncio.get_running_loop(), -(-len(texts) // _WRITERS)
            await asyncio.gather(
                *(
                    loop.run_in_executor(self._threads, self._write, texts[at : at + size])
                    for at in range(0, len(texts), size)
                )
            )
        async with self._connection.transaction():
            for (statement, table), records in zip(_TABLES, tables, strict=True):
                assert statement.copied is not None
                columns = statement.copied.columns
                await self._connection.copy_records_to_table(
                    table, records=records, columns=columns
                )

    async def aclose(self) -> None:
        await self._connection.close()
        self._threads.shutdown()

    def _item(self, item: int) -> tuple[Sequence[Sequence[Args]], Sequence[bytes]]:
        files, replicas, violations, texts = [], [], [], []
        for number in _numbers(item):
            unit = new_evidence(data.record(number), _PLACE, kinds=())
            ((file, copy),) = unit.replicas
            files.append(rows.file_row(evolve(file, kind=FileKind.METADATA)))
            replica_id, file_id, _, _, state, verified_at = rows.replica_row(file.file_id, copy)
            replicas.append((replica_id, file_id, _NUMBER, state, verified_at))
            assert unit.violation is not None
            violations.append(rows.violation_row(unit.violation))
            fields = data.fields(number)
            texts.append(json.dumps(fields, default=datetime.isoformat, sort_keys=True).encode())
        return (files, replicas, violations), texts

    def _write(self, texts: Sequence[bytes]) -> None:
        """Write files and make them durable: one sync of each, then one of the folder."""
        assert self._folder is not None
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            opened = []
            for text in texts:
                file = os.open(str(uuid4()), os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=folder)
                os.write(file, text)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                opened.append(file)
            for file in opened:
                os.fsync(file)
                os.close(file)
            os.fsync(folder)
        finally:
            os.close(folder)


def store_many(place: Place) -> StoreMany:
    """Return the job: records and their metadata files."""
    return StoreMany(settings(place), StorageStrategy.LOCAL_ONLY)


def copy(place: Place) -> Copy:
    """Return the job: rows alone."""
    return Copy(place, with_files=False)


def copy_and_files(place: Place) -> Copy:
    """Return the job: rows, and a file for each record."""
    return Copy(place, with_files=True)
