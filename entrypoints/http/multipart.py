"""`multipart/form-data` (RFC 7578), parsed while it arrives: no part is ever held as a whole.

The state machine is python-multipart's; here is what turns its callbacks into parts that are
pulled, with everything bounded.
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
_REMEDY = "send a whole multipart/form-data body, as curl -F does"
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
    """The header of a part; header names in lower case, `file_name` without folders."""

    name: str
    headers: dict[bytes, bytes]
    file_name: str | None = None

    @property
    def content_type(self) -> str | None:
        """The declared media type, or None."""
        value = self.headers.get(b"content-type")
        return value.decode("latin-1") if value else None


def boundary_of(content_type: str | None) -> bytes:
    """The boundary that a `Content-Type` names.

    Raises:
        UnsupportedRequest: another media type.
        BadMultipart: no boundary, or one that RFC 2046, section 5.1.1 forbids.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        found = f"is {content_type!a:.100}" if content_type else "is missing"
        raise UnsupportedRequest.of("Content-Type", f"{found}, not multipart/form-data", _REMEDY)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY:
        raise BadMultipart.of(
            "Content-Type", f"has a boundary of {len(boundary)} characters", _REMEDY
        )
    return boundary


class Multipart:
    """The parts of a body, one after the other.

    `next_part` gives the head of the next part, then `chunks` its bytes, which must be read to
    their end before the next part.

    Raises (all methods):
        BadMultipart: the body is not well formed, or ends before its closing boundary.
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
        """The head of the next part, or None after the last; the body is then read to its end."""
        headers: dict[bytes, bytes] = {}
        while True:
            mark, data = await self._event()
            match mark:
                case _Mark.BEGIN:
                    headers = {}
                case _Mark.HEADER:
                    name, _, value = data.partition(b":")
                    if name in headers:
                        raise _broken(f"a part has the header {name!a} twice")
                    headers[name] = value
                case _Mark.HEADERS_END:
                    return _head_of(headers)
                case _Mark.LAST:
                    await self._read_epilogue()
                    return None
                case _:
                    raise _broken("it holds bytes where a part should begin")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the part whose head was given last."""
        while True:
            mark, data = await self._event()
            if mark is not _Mark.DATA:
                return
            yield data

    async def _event(self) -> tuple[_Mark, bytes]:
        while not self._events:
            chunk = await anext(self._source, None)
            if chunk is None:
                raise _broken("it ends before its closing boundary")
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
            raise _broken(f"it has more than {MAX_PARTS} parts")
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
        raise _broken("a part has no Content-Disposition: form-data with a name")
    if headers.get(b"content-transfer-encoding", b"").lower() not in _CODINGS:
        raise _broken("a part has a Content-Transfer-Encoding; RFC 7578 deprecates it")
    return PartHead(name.decode("utf-8", "replace"), headers, _file_name(options))


def _broken(why: str) -> BadMultipart:
    return BadMultipart.of("body", why, _REMEDY)
