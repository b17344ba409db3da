"""Inputs of the use cases: sources of bytes, arrays, and their attributes."""

from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Mapping
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from traffic_storage.domain.canonical import Json, canonical_json, json_copy
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.errors import FieldProblem, InvalidInput, UnsupportedMedia, shown
from traffic_storage.domain.file_names import file_name_problem
from traffic_storage.domain.identifiers import (
    MAX_FILE_ID,
    MAX_VIOLATION_ID,
    id_problem,
    text_problem,
)
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.labels import ADDABLE
from traffic_storage.domain.media import ContentType, same_family
from traffic_storage.domain.times import parse_time
from traffic_storage.ports.spool import Body

if TYPE_CHECKING:
    from traffic_storage.domain.pixels import Pixels

MAX_METADATA_BYTES = 1024 * 1024
"""Largest size of a file's metadata as canonical JSON."""

Source: TypeAlias = bytes | PathLike[str] | AsyncIterable[bytes] | Body
"""Bytes in memory, the path of a file, a stream, or a body that the spool took in already."""


@frozen
class Upload:
    """Encoded bytes, stored byte for byte.

    `content_type` and `sha256` are the caller's declarations, or None; bytes that contradict them
    are refused. `original_name` is the file's name at its origin, without folders;
    `FileAttributes.original_name` takes precedence. If `source` is a body (bytes that the spool has
    taken in), the caller also passes the exit stack on which it entered the body, as the argument
    `bodies` of the use case. `accept_damaged_video` accepts a video that is cut or
    damaged behind its first frame, whatever the setting is. `gone`, if given, waits until the sender is gone, and raises an error then:
    a long decoding is not finished for nobody.

    Raises:
        InvalidInput: `original_name` is not printable, too long, or a path.
    """

    source: Source = field(repr=False)
    content_type: str | None = None
    sha256: Sha256 | None = None
    original_name: str | None = None
    accept_damaged_video: bool = False
    gone: Callable[[], Coroutine[Any, Any, None]] | None = field(default=None, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        name = self.original_name
        if name is not None and (problem := file_name_problem("filename", name)):
            raise InvalidInput([problem])

    def held(self) -> "Upload":
        """Return this upload with a mutable buffer copied, so that later changes have no effect."""
        if isinstance(self.source, bytearray | memoryview):
            return evolve(self, source=bytes(self.source))
        return self


@frozen
class ArrayImage:
    """An image as an array. `encoding` None selects the configured encoding.

    A use case copies the array before it first waits; afterwards the caller may change the array.
    """

    pixels: "Pixels" = field(repr=False)
    channel_order: ChannelOrder = ChannelOrder.RGB
    encoding: Encoding | None = None

    def held(self, max_pixels: int) -> "ArrayImage":
        """Return this image with its pixels copied, at most once.

        Raises:
            InvalidInput: the array does not have the shape and type of an image.
            TooLarge: more than `max_pixels` pixels.
        """
        from traffic_storage.domain.pixels import dimensions_of, unchanging

        dimensions_of(self.pixels, max_pixels=max_pixels)
        return evolve(self, pixels=unchanging(self.pixels))


@frozen
class FileAttributes:
    """The attributes that a caller gives for a file. `of` also reads the caller's metadata.

    Attributes:
        captured_at: when the file was captured; may be naive. Retention counts from it if it is
            plausible (`domain.retention`).
        historic: states that a capture time long before receipt is correct.
        original_name: the file's name at its origin: printable, at most 255 characters, no path.
        given_by: who gives the file; empty: this service.
        may_add: the labels that are added if the file is stored already and lacks them.

    Raises:
        InvalidInput: an id or a name breaks its rules.
    """

    file_id: str | None = None
    device_id: str | None = None
    violation_id: str | None = None
    captured_at: datetime | None = None
    metadata: Mapping[str, Json] | None = None
    historic: bool = False
    original_name: str | None = None
    given_by: str = ""
    may_add: Collection[str] = ADDABLE

    def __attrs_post_init__(self) -> None:
        problems = _problems(self.file_id, self.device_id, self.violation_id, self.original_name)
        if problems:
            raise InvalidInput(problems)

    @classmethod
    def of(
        cls,
        *,
        file_id: str | None = None,
        device_id: str | None = None,
        violation_id: str | None = None,
        captured_at: datetime | None = None,
        metadata: Mapping[str, Json | datetime] | None = None,
        historic: bool = False,
        original_name: str | None = None,
        given_by: str = "",
        may_add: Collection[str] = ADDABLE,
    ) -> "FileAttributes":
        """Make attributes from arguments and the caller's metadata.

        `device_id`, `violation_id` and `timestamp` (`captured_at`) in the metadata count like
        arguments.

        Raises:
            InvalidInput: one of them is invalid or contradicts its argument, or the metadata is not
                a JSON object or larger than `MAX_METADATA_BYTES`. Every problem is named.
        """
        reading = _Reading(metadata)
        device_id = reading.agreed("device_id", device_id)
        violation_id = reading.agreed("violation_id", violation_id)
        captured_at, plain = reading.time("timestamp", captured_at), reading.plain()
        checked = _problems(file_id, device_id, violation_id, original_name)
        if problems := [*reading.problems, *checked]:
            raise InvalidInput(problems)
        return cls(
            file_id=file_id,
            device_id=device_id,
            violation_id=violation_id,
            captured_at=captured_at,
            metadata=plain,
            historic=historic,
            original_name=original_name,
            given_by=given_by,
            may_add=may_add,
        )


@frozen
class EvidenceAttributes(FileAttributes):
    """The attributes of a violation's own file, whose id a caller can't give.

    They come from a violation record, which was checked, and are not checked again.
    """

    def __attrs_post_init__(self) -> None:
        pass


def check_declared_type(field: str, declared: str | None, found: ContentType | None) -> None:
    """Check that the type found in the bytes agrees with the declared type, if both are known.

    Raises:
        UnsupportedMedia: the types differ.
    """
    if declared and found and not same_family(declared, found):
        raise UnsupportedMedia.of(
            field,
            f"is declared as {declared!a:.80}, but its bytes are {found}",
            "declare the actual type, or omit the declaration",
        )


class _Reading:
    """Reads the metadata that a caller gives with a file, and collects all problems in it."""

    def __init__(self, metadata: object) -> None:
        self.problems: list[FieldProblem] = []
        self._metadata: Mapping[str, Json | datetime] = {}
        self._given = isinstance(metadata, Mapping)
        if isinstance(metadata, Mapping):
            self._metadata = metadata
        elif metadata is not None:
            self._wrong("metadata", "is not an object", 'give {"key": "value"}')

    def agreed(self, name: str, argument: str | None) -> str | None:
        """Return the text given by the argument or the metadata. If both give it, they must agree."""
        stated = self._metadata.get(name)
        if stated is None:
            return argument
        if not isinstance(stated, str):
            self._wrong(f"metadata.{name}", "is not a text", "give a text")
            return argument
        if argument is not None and argument != stated:
            self._wrong(
                f"metadata.{name}",
                f"{shown(stated)} contradicts {name} {shown(argument)}",
                "give it once, or give the same value twice",
            )
        return stated

    def time(self, name: str, argument: datetime | None) -> datetime | None:
        """Return the time given by the argument or the metadata. If both give it, they must agree."""
        stated = self._metadata.get(name)
        try:
            read = argument if stated is None else parse_time(stated, f"metadata.{name}")
        except InvalidInput as error:
            self.problems += error.problems
            return argument
        if argument is not None and read != argument:
            self._wrong(
                f"metadata.{name}",
                f"{shown(stated)} contradicts {name} {argument.isoformat()}",
                "give it once, or give the same value twice",
            )
        return read

    def plain(self) -> Mapping[str, Json] | None:
        """Return a deep copy of the metadata as JSON, with times as ISO 8601 texts."""
        if not self._given:
            return None
        copy: Any = json_copy({name: _plain(value) for name, value in self._metadata.items()})
        plain: Mapping[str, Json] = copy
        try:
            metadata_text(plain)
        except InvalidInput as error:
            self.problems += error.problems
            return None
        return plain

    def _wrong(self, field_name: str, message: str, remedy: str) -> None:
        self.problems.append(FieldProblem(field_name, message, remedy))


def metadata_text(metadata: Mapping[str, Json]) -> str:
    """Return a file's metadata as canonical JSON.

    Raises:
        InvalidInput: it is not a JSON object, or larger than `MAX_METADATA_BYTES`.
    """
    text = canonical_json(metadata)
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidInput.of(
            "metadata",
            f"has {len(text)} bytes",
            f"use at most {MAX_METADATA_BYTES}, or store it as a file of its own",
        )
    return text.decode()


def _problems(
    file_id: str | None,
    device_id: str | None,
    violation_id: str | None,
    original_name: str | None,
) -> list[FieldProblem]:
    checks = (
        file_id is not None and id_problem("file_id", file_id, MAX_FILE_ID),
        violation_id is not None and id_problem("violation_id", violation_id, MAX_VIOLATION_ID),
        device_id is not None and text_problem("device_id", device_id),
        original_name is not None and file_name_problem("filename", original_name),
    )
    return [problem for problem in checks if problem]


def _plain(value: "Json | datetime") -> Json:
    return value.isoformat() if isinstance(value, datetime) else value
