"""Reads the violation records in a file: JSON, NDJSON or GeoJSON, also the product's own exports."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import fields_dict, frozen

from traffic_storage.domain.canonical import Json, parse_json
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.tabular import VIOLATION_COLUMNS
from traffic_storage.domain.violation import DOCUMENT_SCHEMA, ViolationRecord

_OF_EXPORTS = {column.name for column in VIOLATION_COLUMNS} - set(fields_dict(ViolationRecord))
_WANTED = "give a JSON object, a list of them, one on each line (NDJSON), or a FeatureCollection"


@frozen
class FoundRecord:
    """One record of a file.

    Attributes:
        number: its position in the file, from 1; None if the file is one record.
        value: its raw fields, or why there are none.
        received_at: when it was received, if an export says it.
    """

    number: int | None
    value: Mapping[str, Json] | InvalidInput
    received_at: str | None = None

    @property
    def violation_id(self) -> str | None:
        """The id that the record gives, if that is a text."""
        given = None if isinstance(self.value, InvalidInput) else self.value.get("violation_id")
        return given if isinstance(given, str) else None


def records_in(path: Path) -> Iterator[FoundRecord]:
    """Yield the records in a file.

    Raises:
        InvalidInput: the file can't be read, or is not JSON.
    """
    try:
        data = path.read_bytes()
    except OSError as failed:
        raise InvalidInput.of("file", f"can't be read: {failed.strerror}") from failed
    try:
        value = parse_json(data, "file")
    except InvalidInput:
        lines = [line for line in data.splitlines() if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0]):
            raise
        yield from (_of_line(number, line) for number, line in enumerate(lines, 1))
        return
    if isinstance(value, Mapping) and isinstance(features := value.get("features"), list):
        yield from (_found(number, _properties(one)) for number, one in enumerate(features, 1))
    elif isinstance(value, list):
        yield from (_found(number, one) for number, one in enumerate(value, 1))
    else:
        yield _found(None, _properties(value))


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line, "line"), Mapping)
    except InvalidInput:
        return False


def _of_line(number: int, line: bytes) -> FoundRecord:
    try:
        return _found(number, parse_json(line, "record"))
    except InvalidInput as wrong:
        return FoundRecord(number, wrong)


def _properties(value: Json) -> Json:
    """Return the properties of a feature of GeoJSON; another value as it is."""
    is_feature = isinstance(value, Mapping) and value.get("type") == "Feature"
    return value.get("properties") if is_feature and isinstance(value, Mapping) else value


def _found(number: int | None, value: Json) -> FoundRecord:
    if not isinstance(value, Mapping):
        return FoundRecord(number, InvalidInput.of("record", "is not an object", _WANTED))
    inner = value.get("record")
    if value.get("schema") == DOCUMENT_SCHEMA and isinstance(inner, Mapping):
        return FoundRecord(number, inner)
    if _OF_EXPORTS.isdisjoint(value):
        return FoundRecord(number, value)
    received = value.get("received_at")
    # A row of an export has columns of its own, and null where a record has nothing.
    own = {name: one for name, one in value.items() if name not in _OF_EXPORTS and one is not None}
    return FoundRecord(number, own, received if isinstance(received, str) else None)
