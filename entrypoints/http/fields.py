"""Text fields of forms and queries, read into what the application takes.

Wrong fields are gathered, so that a caller learns of all of them at once.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from attrs import evolve

from traffic_storage.application.inputs import FileAttributes
from traffic_storage.domain.canonical import Json, parse_json, parse_json_object
from traffic_storage.domain.digests import Sha256, declared_sha256
from traffic_storage.domain.errors import FieldProblem, InvalidInput, WrongFields
from traffic_storage.domain.times import instant, parse_time
from traffic_storage.domain.violation import ViolationRecord

T = TypeVar("T")

# Python's own float() reads "nan", "1_0" and digits of every script, too.
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)$", re.ASCII)
_WHOLE = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")

REQUIRED = (
    "violation_id",
    "device_id",
    "violation_type",
    "timestamp",
    "vehicle_bbox",
    "vehicle_class",
    "confidence",
)
OPTIONAL = ("processing_time_ms", "camera_info", "model_versions")

# What stands for a field that could not be read while the others are checked.
_STAND_INS: Mapping[str, object] = {
    "violation_id": "x",
    "device_id": "x",
    "violation_type": "x",
    "timestamp": datetime(2000, 1, 1, tzinfo=UTC),
    "vehicle_bbox": (0, 0, 1, 1),
    "vehicle_class": "x",
    "confidence": 0.5,
    "processing_time_ms": 0.0,
    "camera_info": {},
    "model_versions": {},
}


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Errors name fields as this resource's clients know them."""
    try:
        yield
    except WrongFields as error:
        if not any(problem.field in names for problem in error.problems):
            raise
        raise type(error)(
            evolve(problem, field=names.get(problem.field, problem.field))
            for problem in error.problems
        ) from error


class Reader:
    """Reads fields one by one and remembers what was wrong with each."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self.problems: list[FieldProblem] = []

    def optional(self, name: str, parse: Callable[[str, str], T]) -> T | None:
        """The field read by `parse`, or None when it is absent or wrong."""
        text = self._texts.get(name)
        if text is None:
            return None
        try:
            return parse(text, name)
        except InvalidInput as error:
            self.problems += error.problems
            return None

    def finish(self) -> None:
        """Report all that was wrong.

        Raises:
            InvalidInput: something was.
        """
        if self.problems:
            raise InvalidInput(self.problems)


def attributes_of(texts: Mapping[str, str], *, file_id: str | None = None) -> FileAttributes:
    """The attributes of a file: `device_id`, `violation_id` and `metadata` of a form or a query.

    Raises:
        InvalidInput: they can't be read.
    """
    reader = Reader(texts)
    metadata = reader.optional("metadata", parse_json_object)
    try:
        attributes = FileAttributes.of(
            file_id=file_id,
            device_id=texts.get("device_id"),
            violation_id=texts.get("violation_id"),
            metadata=metadata,
        )
    except InvalidInput as error:
        reader.problems += error.problems
        attributes = FileAttributes()
    reader.finish()
    return attributes


def sha256_field(texts: Mapping[str, str]) -> Sha256 | None:
    """The digest in the field `sha256`, or None."""
    text = texts.get("sha256")
    return None if text is None else declared_sha256(text)


def seconds_field(texts: Mapping[str, str]) -> float | None:
    """The field `duration_seconds`, or None."""
    text = texts.get("duration_seconds")
    return None if text is None else number(text, "duration_seconds")


def number(text: str, field: str) -> float:
    """A decimal number.

    Raises:
        InvalidInput: it is none.
    """
    if not _NUMBER.fullmatch(text):
        raise InvalidInput.of(field, f"is no number: {text!a:.60}", "send a decimal number")
    return float(text)


def whole_number(text: str, field: str) -> int:
    """A whole number of at most 18 digits.

    Raises:
        InvalidInput: it is none.
    """
    if not _WHOLE.fullmatch(text):
        raise InvalidInput.of(field, f"is no whole number: {text!a:.60}", "send digits only")
    return int(text)


def instant_in(zone: ZoneInfo) -> Callable[[str, str], datetime]:
    """A parser of a query's times; naive ones are read in `zone`.

    An unencoded `+` of an offset arrives as a space, and is understood.
    """

    def parse(text: str, field: str) -> datetime:
        with renamed({"timestamp": field}):
            return instant(parse_time(_LOST_PLUS.sub(r"+\1", text), field), zone).at

    return parse


def record_of(texts: Mapping[str, str]) -> ViolationRecord:
    """The violation that a form describes.

    Raises:
        InvalidInput: fields are missing or wrong; all of them are named at once.
    """
    reader = Reader(texts)
    read: dict[str, Any] = {
        "violation_id": reader.optional("violation_id", _text),
        "device_id": reader.optional("device_id", _text),
        "violation_type": reader.optional("violation_type", _text),
        "timestamp": reader.optional("timestamp", parse_time),
        "vehicle_bbox": reader.optional("vehicle_bbox", _box),
        "vehicle_class": reader.optional("vehicle_class", _text),
        "confidence": reader.optional("confidence", number),
        "processing_time_ms": reader.optional("processing_time_ms", number),
        "camera_info": reader.optional("camera_info", parse_json_object),
        "model_versions": reader.optional("model_versions", parse_json_object),
    }
    missing = [name for name in REQUIRED if name not in texts]
    reader.problems += [FieldProblem(name, "is missing", "send it") for name in missing]
    present = {name: value for name, value in read.items() if value is not None}
    try:
        record = ViolationRecord(**{**_STAND_INS, **present})
    except InvalidInput as error:
        raise InvalidInput([*reader.problems, *error.problems]) from error
    reader.finish()
    return record


def idempotency_key(lines: Sequence[str]) -> str | None:
    """The key that the `Idempotency-Key` headers of a request give, or None without one.

    Quotes around it are not part of it.

    Raises:
        InvalidInput: there are several; or it is empty, too long or not printable ASCII.
    """
    if not lines:
        return None
    if len(lines) > 1:
        raise InvalidInput.of("Idempotency-Key", "comes more than once", "send it once")
    bare = lines[0].strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        bare = bare[1:-1]
    if not _KEY.fullmatch(bare):
        raise InvalidInput.of(
            "Idempotency-Key",
            f"is no key: {lines[0]!a:.60}",
            "send 1 to 255 printable ASCII characters, as a UUID",
        )
    return bare


def _text(text: str, _field: str) -> str:
    return text


def _box(text: str, field: str) -> Json:
    box = parse_json(text, field)
    if not isinstance(box, list):
        raise InvalidInput.of(
            field, f"is not a box of four numbers: {text!a:.80}", "send [x1,y1,x2,y2]"
        )
    return box
