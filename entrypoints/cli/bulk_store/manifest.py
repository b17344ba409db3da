"""Reads a manifest: a table (CSV) or lines (JSON) that name files and violations to be stored."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from attrs import frozen

from traffic_storage.domain.canonical import Json, parse_json, parse_json_object
from traffic_storage.domain.errors import InvalidInput, TrafficStorageError, shown

FILE_FIELDS = frozenset(
    {
        *("path", "kind", "file_id", "captured_at", "metadata", "sha256"),
        *("device_id", "violation_id", "historic", "duration_seconds"),
    }
)
VIOLATION_FIELDS = frozenset(
    {
        *("violation_id", "device_id", "violation_type", "timestamp", "vehicle_bbox"),
        *("vehicle_class", "confidence", "camera_info", "processing_time_ms", "model_versions"),
        *("image", "video", "historic", "duration_seconds"),
    }
)
FIELDS = FILE_FIELDS | VIOLATION_FIELDS
OF_FILES = FILE_FIELDS - VIOLATION_FIELDS
OF_VIOLATIONS = VIOLATION_FIELDS - FILE_FIELDS

MOST_CHARACTERS = 2 * 1024 * 1024
"""The longest row of a manifest, and the longest field of one."""
_DELIMITERS = ",;\t"
_JSON_FIELDS = frozenset({"metadata", "camera_info", "model_versions"})
_NUMBER_FIELDS = frozenset({"confidence", "processing_time_ms", "duration_seconds"})
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@frozen
class ManifestRow:
    """A row of a manifest: the line where it begins, from 1, and its fields, or what is wrong.

    A field that is empty is left out.
    """

    line: int
    fields: Mapping[str, Json] | TrafficStorageError


def rows_in(path: Path) -> Iterator[ManifestRow]:
    """Yield the rows of a manifest, which is CSV with a header, or JSON Lines.

    Whoever reads it to its end before anything is stored refuses one that is cut or damaged.

    Raises:
        InvalidInput: it can't be read, or is not a manifest at all; the error names the line.
    """
    suffix = path.suffix.lower()
    with _opened(path) as file:
        if suffix == ".csv":
            yield from _rows_of_csv(file)
        elif suffix in {".jsonl", ".ndjson"}:
            yield from _rows_of_json(file)
        else:
            raise _wrong(f"has the name {shown(path.name)}", "give a file named .csv or .jsonl")


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise _wrong(f"can't be read: {error.strerror}", "give a readable file") from error
    except UnicodeDecodeError as error:
        raise _wrong(
            f"is not UTF-8 (byte {error.object[error.start]:#04x})", "save it as UTF-8"
        ) from error


def _rows_of_json(file: TextIO) -> Iterator[ManifestRow]:
    for number, line in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        try:
            value = parse_json_object(line, "row")
            _check_names(value)
        except InvalidInput as error:
            yield ManifestRow(number, error)
        else:
            given = {name: one for name, one in value.items() if one is not None}
            yield ManifestRow(number, given)


def _rows_of_csv(file: TextIO) -> Iterator[ManifestRow]:
    lines = _lines(file)
    first = next(lines, "")
    delimiter = _delimiter_of(first)
    csv.field_size_limit(MOST_CHARACTERS)
    reader = csv.reader(_chained(first, lines), delimiter=delimiter, strict=True)
    begin = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header)
        begin = reader.line_num + 1
        for values in reader:
            if any(value.strip() for value in values):
                yield ManifestRow(begin, _fields_of(header, values))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise _wrong(
            f"line {begin} is not CSV: {error}", "quote fields with commas, quotes and line ends"
        ) from error


def _chained(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _lines(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; none longer than the limit is read whole."""
    number = 0
    while line := file.readline(MOST_CHARACTERS + 1):
        number += 1
        if len(line) > MOST_CHARACTERS:
            raise _wrong(
                f"line {number} has more than {MOST_CHARACTERS} characters",
                "store long metadata as files of their own",
            )
        yield line


def _delimiter_of(header: str) -> str:
    """Return the delimiter with which the header has the most names; spreadsheets use several."""

    def names(delimiter: str) -> int:
        return sum(one.strip().strip('"') in FIELDS for one in header.strip().split(delimiter))

    return max(_DELIMITERS, key=names)


def _check_header(header: Sequence[str]) -> None:
    if unknown := [name for name in header if name not in FIELDS]:
        raise _wrong(
            f"line 1: the header has the unknown column {shown(unknown[0])}",
            f"give a first line with names of {', '.join(sorted(FIELDS))}",
        )
    if len(set(header)) != len(header):
        raise _wrong("line 1: the header has a column twice", "leave one of them out")
    if not header:
        raise _wrong("is empty", "give a first line with the names of the columns")


def _check_names(fields: Mapping[str, Json]) -> None:
    if unknown := [name for name in fields if name not in FIELDS]:
        raise InvalidInput.of(
            "row", f"has the unknown field {shown(unknown[0])}", f"use {', '.join(sorted(FIELDS))}"
        )


def _fields_of(
    header: Sequence[str], values: Sequence[str]
) -> Mapping[str, Json] | TrafficStorageError:
    if len(values) != len(header):
        return InvalidInput.of(
            "row",
            f"has {len(values)} fields, but the header has {len(header)}",
            "quote fields that contain the delimiter",
        )
    given = zip(header, (value.strip() for value in values), strict=True)
    try:
        return {name: _value_of(name, text) for name, text in given if text}
    except InvalidInput as error:
        return error


def _value_of(name: str, text: str) -> Json:
    """Return the value of a field of CSV, which is text, as JSON would give it."""
    if name in _JSON_FIELDS:
        return parse_json_object(text, name)
    if name == "vehicle_bbox":
        if text.startswith("["):
            return parse_json(text, name)
        return [_number(name, part) for part in text.replace(",", " ").replace(";", " ").split()]
    if name in _NUMBER_FIELDS:
        return _number(name, text)
    if name == "historic":
        if text.lower() not in _WORDS:
            raise InvalidInput.of(name, f"is {shown(text)}", "give true or false")
        return _WORDS[text.lower()]
    return text


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise InvalidInput.of(name, f"is {shown(text)}, not a number", "give a number") from error
    return int(number) if number.is_integer() else number


def _wrong(message: str, remedy: str) -> InvalidInput:
    return InvalidInput.of("manifest", message, remedy)
