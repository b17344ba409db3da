"""Makes items to be stored from the rows of a manifest; says of each row what is wrong with it."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from attrs import evolve, frozen

from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_many import FileItem, Item, ViolationItem
from traffic_storage.domain.canonical import Json, parse_json_object
from traffic_storage.domain.digests import declared_sha256
from traffic_storage.domain.errors import InvalidInput, TooLarge, TrafficStorageError
from traffic_storage.domain.file_names import file_name_of
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.name_times import NamePattern
from traffic_storage.domain.times import parse_time
from traffic_storage.domain.violation import ViolationRecord, field_problems
from traffic_storage.entrypoints.cli.bulk_store.candidates import Candidate, examine
from traffic_storage.entrypoints.cli.bulk_store.manifest import (
    OF_FILES,
    OF_VIOLATIONS,
    VIOLATION_FIELDS,
    ManifestRow,
)

_OF_RECORDS = VIOLATION_FIELDS - {"image", "video", "historic", "duration_seconds"}


@frozen
class RowDefaults:
    """What holds for all rows that do not say otherwise, and where relative paths begin."""

    folder: Path
    kind: FileKind | None
    attributes: FileAttributes
    pattern: NamePattern | None
    accept_damaged_video: bool
    most_metadata_bytes: int


def item_of(row: ManifestRow, defaults: RowDefaults) -> Item:
    """Return the item of a row.

    Raises:
        TrafficStorageError: the row is wrong.
    """
    fields = row.fields
    if isinstance(fields, TrafficStorageError):
        raise fields
    of_violation = sorted(OF_VIOLATIONS & fields.keys())
    of_file = sorted(OF_FILES & fields.keys())
    if of_violation and of_file:
        raise InvalidInput.of(
            "row",
            f"has {of_file[0]}, which a file has, and {of_violation[0]}, which a violation has",
            "give a row to each; the files of a violation are its image and video",
        )
    return _violation(fields, defaults) if of_violation else _file(fields, defaults)


def _violation(fields: Mapping[str, Json], defaults: RowDefaults) -> ViolationItem:
    image, video = (_path_of(fields, name, defaults) for name in ("image", "video"))
    values: dict[str, Any] = {name: fields[name] for name in _OF_RECORDS & fields.keys()}
    if "device_id" not in values and defaults.attributes.device_id is not None:
        values["device_id"] = defaults.attributes.device_id
    timestamp = _time(fields, "timestamp", image or video, defaults)
    if timestamp is not None:
        values["timestamp"] = timestamp
    if problems := field_problems(values):
        raise InvalidInput(problems)
    return ViolationItem(
        ViolationRecord(**values),
        None if image is None else Upload(image, original_name=file_name_of(str(image))),
        None if video is None else _film(video, defaults),
        cast("float | None", fields.get("duration_seconds")),
        _flag(fields, "historic", default=defaults.attributes.historic),
    )


def _file(fields: Mapping[str, Json], defaults: RowDefaults) -> FileItem:
    path = _path_of(fields, "path", defaults)
    if path is None:
        raise InvalidInput.of(
            "path", "is missing", "give the path of a file, or the fields of a violation"
        )
    found = examine(path, _kind(fields) or defaults.kind)
    if found.error is not None:
        raise found.error
    attributes = _attributes(fields, path, defaults)
    if found.kind is FileKind.METADATA:
        return FileItem(FileKind.METADATA, _document(found, defaults), attributes)
    digest = _text(fields, "sha256")
    film = _film(path, defaults)
    upload = evolve(film, sha256=None if digest is None else declared_sha256(digest))
    assert found.kind is not None  # noqa: S101 - narrows the type: a file without a kind has an error
    seconds = cast("float | None", fields.get("duration_seconds"))
    return FileItem(found.kind, upload, attributes, seconds)


def _attributes(fields: Mapping[str, Json], path: Path, defaults: RowDefaults) -> FileAttributes:
    usual = defaults.attributes
    metadata = fields.get("metadata", usual.metadata)
    given = FileAttributes.of(
        file_id=_text(fields, "file_id"),
        device_id=_text(fields, "device_id") or usual.device_id,
        violation_id=_text(fields, "violation_id") or usual.violation_id,
        metadata=cast("Mapping[str, Json | datetime] | None", metadata),
        historic=_flag(fields, "historic", default=usual.historic),
        original_name=file_name_of(str(path)),
        given_by=usual.given_by,
    )
    if given.captured_at is not None and "captured_at" not in fields:
        return given
    at = _time(fields, "captured_at", path, defaults) or usual.captured_at
    if given.captured_at not in (None, at):
        raise InvalidInput.of(
            "captured_at", "contradicts the timestamp in the metadata", "give only one of them"
        )
    return evolve(given, captured_at=at)


def _time(
    fields: Mapping[str, Json], name: str, path: Path | None, defaults: RowDefaults
) -> datetime | None:
    """Return the time that a row gives, else that in the name of its file."""
    if name in fields:
        return parse_time(fields[name], name)
    if defaults.pattern is None or path is None:
        return None
    return defaults.pattern.time_in(path.name)


def _document(found: Candidate, defaults: RowDefaults) -> Mapping[str, Json]:
    if found.size_bytes > defaults.most_metadata_bytes:
        raise TooLarge.of(
            "file",
            f"has more than {defaults.most_metadata_bytes} bytes",
            "raise the setting max_metadata_bytes",
        )
    try:
        text = found.path.read_bytes()
    except OSError as error:
        raise InvalidInput.of("file", f"can't be read: {error.strerror}") from error
    return parse_json_object(text, "file")


def _film(path: Path, defaults: RowDefaults) -> Upload:
    return Upload(
        path,
        original_name=file_name_of(str(path)),
        accept_damaged_video=defaults.accept_damaged_video,
    )


def _path_of(fields: Mapping[str, Json], name: str, defaults: RowDefaults) -> Path | None:
    text = _text(fields, name)
    if text is None:
        return None
    if "\0" in text:
        raise InvalidInput.of(name, "has a NUL character", "give the path of a file")
    return defaults.folder / text


def _kind(fields: Mapping[str, Json]) -> FileKind | None:
    text = _text(fields, "kind")
    if text is None:
        return None
    if text not in {one.value for one in FileKind}:
        wanted = ", ".join(FileKind)
        raise InvalidInput.of("kind", f"is {text!a:.40}", f"give one of {wanted}, or leave it out")
    return FileKind(text)


def _text(fields: Mapping[str, Json], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput.of(name, f"is a {type(value).__name__}, not a text", "give a text")
    return value or None


def _flag(fields: Mapping[str, Json], name: str, *, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput.of(name, f"is a {type(value).__name__}", "give true or false")
    return value
