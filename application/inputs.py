"""What callers hand in: sources of bytes, arrays, and what they say about them."""

from collections.abc import AsyncIterable, Mapping
from datetime import datetime
from os import PathLike
from typing import TypeAlias

from attrs import field, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.domain.identifiers import (
    MAX_FILE_ID,
    MAX_VIOLATION_ID,
    id_problem,
    text_problem,
)
from traffic_storage.domain.pixels import ChannelOrder, Pixels
from traffic_storage.domain.times import parse_time
from traffic_storage.ports.images import Encoding
from traffic_storage.ports.spool import Body

Source: TypeAlias = bytes | PathLike[str] | AsyncIterable[bytes] | Body
"""Bytes at hand, a file, a stream, or a body that the spool took in already."""


@frozen
class Upload:
    """Encoded bytes as they came; stored byte for byte.

    `content_type` and `sha256` are what the caller declares; bytes that contradict them are
    refused. None declares nothing. A `Body` as source is released by whoever stores it.
    """

    source: Source = field(repr=False)
    content_type: str | None = None
    sha256: Sha256 | None = None


@frozen
class ArrayImage:
    """An image as an array; `encoding` None takes the configured one."""

    pixels: Pixels = field(repr=False)
    channel_order: ChannelOrder = ChannelOrder.RGB
    encoding: Encoding | None = None


@frozen
class Labels:
    """What a caller says about a file; `of` checks it.

    `captured_at` may be naive; it starts the retention.
    """

    file_id: str | None = None
    device_id: str | None = None
    violation_id: str | None = None
    captured_at: datetime | None = None
    metadata: Mapping[str, Json] | None = None

    @classmethod
    def of(
        cls,
        *,
        file_id: str | None = None,
        device_id: str | None = None,
        violation_id: str | None = None,
        metadata: Mapping[str, Json | datetime] | None = None,
    ) -> "Labels":
        """Labels from arguments and from what the caller's metadata says.

        `device_id`, `violation_id` and `timestamp` in the metadata count like arguments.

        Raises:
            InvalidInput: one of them can't be read, or contradicts its argument.
        """
        if metadata is None:
            return _checked(cls(file_id, device_id, violation_id))
        if not isinstance(metadata, Mapping):
            raise InvalidInput.of("metadata", "is not an object", 'give {"key": "value"}')
        stamp = metadata.get("timestamp")
        labels = cls(
            file_id=file_id,
            device_id=_agreed("device_id", device_id, metadata.get("device_id")),
            violation_id=_agreed("violation_id", violation_id, metadata.get("violation_id")),
            captured_at=None if stamp is None else parse_time(stamp, "metadata.timestamp"),
            metadata={name: _plain(value) for name, value in metadata.items()},
        )
        return _checked(labels)


def _checked(labels: Labels) -> Labels:
    checks = (
        labels.file_id is not None and id_problem("file_id", labels.file_id, MAX_FILE_ID),
        labels.violation_id is not None
        and id_problem("violation_id", labels.violation_id, MAX_VIOLATION_ID),
        labels.device_id is not None and text_problem("device_id", labels.device_id),
    )
    if problems := [problem for problem in checks if problem]:
        raise InvalidInput(problems)
    return labels


def _plain(value: "Json | datetime") -> Json:
    return value.isoformat() if isinstance(value, datetime) else value


def _agreed(name: str, argument: str | None, stated: "Json | datetime") -> str | None:
    if stated is None:
        return argument
    if not isinstance(stated, str):
        raise InvalidInput.of(f"metadata.{name}", "is not a text", "give a text")
    if argument is not None and argument != stated:
        problem = FieldProblem(
            f"metadata.{name}",
            f"{stated!a:.80} contradicts {name} {argument!a:.80}",
            "say it once, or say the same",
        )
        raise InvalidInput([problem])
    return stated
