"""Apache Parquet, compressed with zstd. Needs pyarrow, of the extra `export`."""

import io
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.tabular import Batch, CellType, Column, TableForm
from traffic_storage.ports.table_writer import TableWriter

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise InvalidInput.of(
        "format",
        "parquet needs the package pyarrow, which is not installed",
        "install traffic-storage[export], or choose csv",
    ) from error

_ROWS_IN_GROUP = 32 * 1024
_GROUP_BYTES = 8 * 1024 * 1024


class ParquetTable(TableWriter):
    """Writes Parquet: texts as strings, times as microseconds with the zone, JSON as strings.

    Rows are collected for a row group of about 32 Ki rows or 8 MiB.
    """

    def __init__(self, columns: Sequence[Column], form: TableForm) -> None:
        self._schema = pa.schema([(one.name, _type_of(one.type, form)) for one in columns])
        self._threads = Threads(1, "table-writer")
        self._sink = _Sink()
        self._writer: Any = None
        self._waiting: list[Any] = []

    async def begin(self) -> bytes:
        return await self._threads.run(self._begin)

    async def add(self, batch: Batch) -> bytes:
        return await self._threads.run(self._add, batch)

    async def end(self) -> AsyncGenerator[bytes, None]:
        yield await self._threads.run(self._end)

    async def aclose(self) -> None:
        await self._threads.aclose()

    def _begin(self) -> bytes:
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        return self._sink.taken()

    def _add(self, batch: Batch) -> bytes:
        arrays = [
            pa.array(cells, kind)
            for cells, kind in zip(batch.columns, self._schema.types, strict=True)
        ]
        self._waiting.append(pa.record_batch(arrays, self._schema))
        rows = sum(one.num_rows for one in self._waiting)
        if rows >= _ROWS_IN_GROUP or sum(one.nbytes for one in self._waiting) >= _GROUP_BYTES:
            self._write_group()
        return self._sink.taken()

    def _end(self) -> bytes:
        self._write_group()
        self._writer.close()
        return self._sink.taken()

    def _write_group(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._writer.write_table(pa.Table.from_batches(waiting, self._schema))


class _Sink(io.RawIOBase):
    """Collects what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size_bytes

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        part = bytes(data)
        self._parts.append(part)
        self._size_bytes += len(part)
        return len(part)

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _type_of(kind: CellType, form: TableForm) -> Any:  # noqa: ANN401 - pyarrow has no types
    return {
        CellType.TEXT: pa.string(),
        CellType.JSON: pa.string(),
        CellType.NUMBER: pa.float64(),
        CellType.FLAG: pa.bool_(),
        CellType.TIME: pa.timestamp("us", tz=form.zone.key),
    }[kind]
