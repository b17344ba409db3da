"""Tables: the columns of an export of violations, how a violation becomes a row, texts of cells.

A table is exported by columns (`Batch`), because a column has one type. Times are microseconds
since 1970 (UTC) until a format writes them; JSON stays the text that the catalogue stores.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from attrs import field, frozen
from orjson import OPT_SORT_KEYS, dumps, loads

from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.query import Cursor
from traffic_storage.domain.violation import StoredViolation

Cell: TypeAlias = str | int | float | bool | None
"""A value of a table, by the type of its column: see `CellType`. None means that it has no value."""

FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001 - the full-width forms, which Excel takes too
"""A spreadsheet takes a text that begins with one of these for a formula, or may do so."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UTC = ZoneInfo("UTC")


class ExportFormat(StrEnum):
    """A file format of tables."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    XLSX = "xlsx"
    GEOJSON = "geojson"

    @property
    def media_type(self) -> str:
        """The media type of a file in this format."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.NDJSON: "application/x-ndjson",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ExportFormat.GEOJSON: "application/geo+json",
}


class CellType(StrEnum):
    """The type of the cells of a column.

    TEXT is a `str`, NUMBER a finite `float`, TIME an `int` of microseconds since 1970 (UTC), JSON
    the `str` of a JSON value, FLAG a `bool`.
    """

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    JSON = "json"
    FLAG = "flag"


@frozen
class Column:
    """A column: its name, the type of its cells, and how its cell is taken from a violation."""

    name: str
    type: CellType
    cell: Callable[[StoredViolation], Cell] = field(eq=False, repr=False)


def micros(moment: datetime) -> int:
    """Return a time as microseconds since 1970 (UTC), exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def json_text(value: Json) -> str:
    """Return a JSON value as text without spaces, its keys sorted: equal records have equal rows."""
    try:
        return dumps(value, default=dict, option=OPT_SORT_KEYS).decode()
    except TypeError:  # An integer beyond 64 bits.
        return canonical_json(value).decode()


def _state_of(file_id: str | None, state: str) -> str | None:
    return state if file_id else None


VIOLATION_COLUMNS: tuple[Column, ...] = (
    Column("violation_id", CellType.TEXT, lambda one: one.record.violation_id),
    Column("device_id", CellType.TEXT, lambda one: one.record.device_id),
    Column("violation_type", CellType.TEXT, lambda one: one.record.violation_type),
    Column("timestamp", CellType.TIME, lambda one: micros(one.occurred_at)),
    Column("zone_assumed", CellType.TEXT, lambda one: one.zone_assumed),
    Column("vehicle_bbox", CellType.JSON, lambda one: json_text(tuple(one.record.vehicle_bbox))),
    Column("vehicle_class", CellType.TEXT, lambda one: one.record.vehicle_class),
    Column("confidence", CellType.NUMBER, lambda one: float(one.record.confidence)),
    Column("image_path", CellType.TEXT, lambda one: one.image_file_id),
    Column("video_path", CellType.TEXT, lambda one: one.video_file_id),
    Column("camera_info", CellType.JSON, lambda one: json_text(one.record.camera_info)),
    Column("processing_time_ms", CellType.NUMBER, lambda one: float(one.record.processing_time_ms)),
    Column("model_versions", CellType.JSON, lambda one: json_text(one.record.model_versions)),
    Column("received_at", CellType.TIME, lambda one: micros(one.received_at)),
    Column("incomplete", CellType.FLAG, lambda one: one.incomplete),
    Column(
        "image_state",
        CellType.TEXT,
        lambda one: _state_of(one.image_file_id, one.image_state.value),
    ),
    Column(
        "video_state",
        CellType.TEXT,
        lambda one: _state_of(one.video_file_id, one.video_state.value),
    ),
)
"""The columns of an export of violations, with the names that the other interfaces use.

`image_path` and `video_path` are the ids of the files, as everywhere.
"""

_BY_NAME = {column.name: column for column in VIOLATION_COLUMNS}


def columns_named(names: Sequence[str] | None) -> tuple[Column, ...]:
    """Return the columns with these names, in this order; all of them if `names` is None.

    Raises:
        InvalidInput: `names` is empty, has a name twice, or one that no column has.
    """
    if names is None:
        return VIOLATION_COLUMNS
    known = f"give some of {', '.join(_BY_NAME)}"
    if not names:
        raise InvalidInput.of("columns", "is empty", f"leave it out for all columns, or {known}")
    if unknown := [name for name in names if name not in _BY_NAME]:
        raise InvalidInput.of("columns", f"has no column {', '.join(map(repr, unknown))}", known)
    if len(set(names)) != len(names):
        raise InvalidInput.of("columns", "names a column twice", "name each column once")
    return tuple(_BY_NAME[name] for name in names)


@frozen
class TableForm:
    """How cells become texts.

    Attributes:
        zone: the zone in which times are written; each is written with its offset.
        decimal: the decimal separator of CSV. With a comma, a semicolon separates the fields.
        neutralise: whether a text in a CSV file that a spreadsheet may take for a formula gets an
            apostrophe in front.
    """

    zone: ZoneInfo = _UTC
    decimal: Literal[".", ","] = "."
    neutralise: bool = True

    def __attrs_post_init__(self) -> None:
        if self.decimal not in (".", ","):
            raise InvalidInput.of(
                "decimal", f"must be . or , and not {self.decimal!r}", "give a point or a comma"
            )

    @property
    def delimiter(self) -> str:
        """What separates the fields of a CSV file."""
        return ";" if self.decimal == "," else ","


@frozen
class Batch:
    """Some rows of a table, by columns. `next` is the position behind them; None at the end."""

    columns: tuple[Sequence[Cell], ...]
    rows: int
    next: Cursor | None = None


@frozen
class RenderedBatch:
    """Some rows of a table as CSV in UTF-8, without a header."""

    data: bytes = field(repr=False)
    rows: int


def batch_of(
    violations: Sequence[StoredViolation], columns: Sequence[Column], following: Cursor | None
) -> Batch:
    """Return the rows of violations."""
    cells = tuple([column.cell(one) for one in violations] for column in columns)
    return Batch(cells, len(violations), following)


def neutral(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: with an apostrophe if it might be one.

    OWASP, "CSV Injection", names the characters.
    """
    return f"'{text}" if text.startswith(tuple(FORMULA_STARTS)) else text


def time_in(zone: ZoneInfo) -> Callable[[int], datetime]:
    """Return a function from microseconds since 1970 (UTC) to the time in `zone`, exactly."""
    return lambda value: (_EPOCH + timedelta(0, 0, value)).astimezone(zone)


def time_text(at: datetime) -> str:
    """Return a time in ISO 8601 with its offset; fractions of a second without zeros at the end."""
    local = at.replace(tzinfo=None).isoformat()
    offset = at.isoformat()[len(local) :]
    return f"{local.rstrip('0') if at.microsecond else local}{offset}"


def number_text(number: float, decimal: str = ".") -> str:
    """Return the shortest decimal text that gives the same number; a whole one has no fraction."""
    text = repr(number).removesuffix(".0")
    return text if decimal == "." else text.replace(".", decimal)


def cell_texts(column: Column, cells: Sequence[Cell], form: TableForm) -> Sequence[str | None]:
    """Return the cells of a column as the texts of a CSV file."""
    write = _writer_of(column.type, form)
    return [None if cell is None else write(cell) for cell in cells]


def _writer_of(kind: CellType, form: TableForm) -> Callable[[Any], str]:
    """Return the function that writes a cell of this type."""
    if kind is CellType.TIME:
        at = time_in(form.zone)
        return lambda value: time_text(at(value))
    if kind is CellType.NUMBER:
        return lambda value: number_text(value, form.decimal)
    if kind is CellType.FLAG:
        return lambda value: "true" if value else "false"
    return neutral if kind is CellType.TEXT and form.neutralise else str


def coordinates(camera_info: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return longitude and latitude (degrees, WGS 84) of a `camera_info`; None if it has none.

    They are the numbers `longitude` and `latitude`, or `lon` and `lat`, of the object itself or of
    its object `location`. Numbers outside -180 to 180 and -90 to 90 count as none.
    """
    for place in (camera_info, camera_info.get("location")):
        if isinstance(place, Mapping):
            for names in (("longitude", "latitude"), ("lon", "lat")):
                longitude, latitude = (_degrees(place.get(name)) for name in names)
                if _within(longitude, 180) and _within(latitude, 90):
                    return longitude, latitude  # type: ignore[return-value]
    return None


def parsed_json(text: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value of a JSON cell. Integers beyond 64 bits become floats."""
    return loads(text)


def _degrees(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]


def _within(value: float | None, limit: float) -> bool:
    return value is not None and -limit <= value <= limit
