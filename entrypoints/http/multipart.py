"""A parser of `multipart/form-data` (RFC 7578) that parses a body while it arrives.

No part is held in memory as a whole. The parser of python-multipart calls back for each piece; this
module converts the callbacks to parts that the caller reads one by one. The numbers of parts and of
headers and the sizes of headers are limited.
"""

from collections import deque
from collections.abc import AsyncIterator
from enum import Enum, auto

from attrs import frozen
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from traffic_storage.domain.file_names import file_name_of
from traffic_storage.entrypoints.http.errors import BadMultipart, UnsupportedRequest

MAX_PART_HEADERS = 8
MAX_HEADER_BYTES = 4096
MAX_PARTS = 64
_MAX_BOUNDARY = 70
_REMEDY = "send a complete multipart/form-data body, as curl -F does"
_CODINGS = frozenset({b"", b"binary", b"8bit", b"7bit"})


class _Mark(Enum):
    BEGIN = auto()
    HEADER = auto()
    HEADERS_END = auto()
    DATA = auto()
    END = auto()
    LAST = auto()


@frozen
class PartHead:
    """The headers of a part. Header names are in lower case; `file_name` has no folders."""

    name: str
    headers: dict[bytes, bytes]
    file_name: str | None = None

    @property
    def content_type(self) -> str | None:
        """The declared media type, or None."""
        value = self.headers.get(b"content-type")
        return value.decode("latin-1") if value else None


def boundary_of(content_type: str | None, *, or_json: bool = False) -> bytes:
    """Return the boundary in a `Content-Type`.

    `or_json`: the route takes JSON too, which the error then names.

    Raises:
        UnsupportedRequest: the media type is not multipart/form-data.
        BadMultipart: the boundary is missing, or longer than the 70 characters that RFC 2046,
            section 5.1.1 allows.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        found = f"is {content_type!a:.100}" if content_type else "is missing"
        if or_json:
            raise UnsupportedRequest.of(
                "Content-Type",
                f"{found}, but must be multipart/form-data or application/json",
                f"{_REMEDY}, or a JSON object without files",
            )
        raise UnsupportedRequest.of(
            "Content-Type", f"{found}, but must be multipart/form-data", _REMEDY
        )
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY:
        raise BadMultipart.of(
            "Content-Type",
            f"must have a boundary of 1 to {_MAX_BOUNDARY} characters, not {len(boundary)}",
            _REMEDY,
        )
    return boundary


class Multipart:
    """A reader of the parts of a body, in their order.

    `next_part` returns the headers of the next part, then `chunks` yields its bytes. The caller
    must read all of them before it calls `next_part` again.

    Raises (all methods):
        BadMultipart: the body is malformed, or ends before its closing boundary.
    """

    def __init__(self, boundary: bytes, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._events: deque[tuple[_Mark, bytes]] = deque()
        self._name = bytearray()
        self._value = bytearray()
        self._parts = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": lambda: self._events.append((_Mark.HEADERS_END, b"")),
                "on_part_data": self._part_data,
                "on_part_end": lambda: self._events.append((_Mark.END, b"")),
                "on_end": lambda: self._events.append((_Mark.LAST, b"")),
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )

    async def next_part(self) -> PartHead | None:
        """Return the headers of the next part.

        After the last part read the rest of the body and return None.
        """
        headers: dict[bytes, bytes] = {}
        while True:
            mark, data = await self._event()
            match mark:
                case _Mark.BEGIN:
                    headers = {}
                case _Mark.HEADER:
                    name, _, value = data.partition(b":")
                    if name in headers:
                        raise _broken(f"has a part with the header {name!a} twice")
                    headers[name] = value
                case _Mark.HEADERS_END:
                    return _head_of(headers)
                case _Mark.LAST:
                    await self._read_epilogue()
                    return None
                case _:
                    raise _broken("has bytes where a part should begin")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the part that `next_part` returned last."""
        while True:
            mark, data = await self._event()
            if mark is not _Mark.DATA:
                return
            yield data

    async def _event(self) -> tuple[_Mark, bytes]:
        while not self._events:
            chunk = await anext(self._source, None)
            if chunk is None:
                raise _broken("ends before its closing boundary")
            self._feed(chunk)
        return self._events.popleft()

    async def _read_epilogue(self) -> None:
        async for _ in self._source:
            pass

    def _feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(str(error)) from error

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _broken(f"has more than {MAX_PARTS} parts")
        self._events.append((_Mark.BEGIN, b""))

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        line = bytes(self._name).lower() + b":" + bytes(self._value).strip(b" \t")
        self._events.append((_Mark.HEADER, line))
        self._name.clear()
        self._value.clear()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append((_Mark.DATA, data[start:end]))


def _file_name(options: dict[bytes, bytes]) -> str | None:
    name = options.get(b"filename")
    return file_name_of(name.decode("utf-8", "replace")) if name else None


def _head_of(headers: dict[bytes, bytes]) -> PartHead:
    kind, options = parse_options_header(headers.get(b"content-disposition"))
    name = options.get(b"name")
    if kind != b"form-data" or not name:
        raise _broken("has a part without Content-Disposition: form-data and a name")
    if headers.get(b"content-transfer-encoding", b"").lower() not in _CODINGS:
        raise _broken("has a part with a Content-Transfer-Encoding, which RFC 7578 deprecates")
    return PartHead(name.decode("utf-8", "replace"), headers, _file_name(options))


def _broken(why: str) -> BadMultipart:
    return BadMultipart.of("body", why, _REMEDY)
