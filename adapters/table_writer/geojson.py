"""GeoJSON (RFC 7946): one feature per violation, at the coordinates of its camera."""

from collections.abc import AsyncGenerator, Sequence

import orjson

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.tabular import (
    Batch,
    CellType,
    Column,
    TableForm,
    coordinates,
    parsed_json,
    time_in,
    time_text,
)
from traffic_storage.ports.table_writer import TableWriter

_PLACE = "camera_info"


class GeoJsonTable(TableWriter):
    """Writes a FeatureCollection. A violation without coordinates has no geometry (null).

    The columns become properties, as in NDJSON. `domain.tabular.coordinates` says where the
    coordinates come from.
    """

    def __init__(self, columns: Sequence[Column], form: TableForm) -> None:
        self._columns = columns
        self._names = [column.name for column in columns]
        if _PLACE not in self._names:
            raise InvalidInput.of(
                "columns",
                f"lacks {_PLACE}, which has the coordinates of GeoJSON",
                f"add {_PLACE}, or choose another format",
            )
        self._place = self._names.index(_PLACE)
        self._form = form
        self._threads = Threads(1, "table-writer")
        self._is_first = True

    async def begin(self) -> bytes:
        return b'{"type":"FeatureCollection","features":['

    async def add(self, batch: Batch) -> bytes:
        data = await self._threads.run(self._features, batch)
        if not data:
            return b""
        separator, self._is_first = (b"\n" if self._is_first else b",\n"), False
        return separator + data

    async def end(self) -> AsyncGenerator[bytes, None]:
        yield b"\n]}\n"

    async def aclose(self) -> None:
        await self._threads.aclose()

    def _features(self, batch: Batch) -> bytes:
        rows = zip(*batch.columns, strict=True)
        return b",\n".join(self._feature(row) for row in rows)

    def _feature(self, row: Sequence[object]) -> bytes:
        found = coordinates(parsed_json(str(row[self._place])))
        values = (
            self._value(column, cell) for column, cell in zip(self._columns, row, strict=True)
        )
        return orjson.dumps(
            {
                "type": "Feature",
                "geometry": None if found is None else {"type": "Point", "coordinates": found},
                "properties": dict(zip(self._names, values, strict=True)),
            }
        )

    def _value(self, column: Column, cell: object) -> object:
        if isinstance(cell, str) and column.type is CellType.JSON:
            return orjson.Fragment(cell)
        if isinstance(cell, int) and column.type is CellType.TIME:
            return time_text(time_in(self._form.zone)(cell))
        return cell
