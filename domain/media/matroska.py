"""Matroska and WebM (RFC 9559) over EBML (RFC 8794).

A document is an EBML header and a Segment. An element is an ID of 1 to 4 bytes, a size of 1 to 8
bytes and as many bytes of content as the size states. A size of all ones means an unknown size;
live streams write it for Segment and Clusters (RFC 8794, sections 5 and 6).
"""

import struct
from contextlib import suppress

from attrs import define

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.script import Part, Script, ScriptedWalker, Skip, Take
from traffic_storage.domain.media.walker import ContainerInfo, MalformedMedia

EBML_MAGIC = b"\x1a\x45\xdf\xa3"
"""The ID of the EBML header, the first bytes of each document."""

_DOC_TYPE = b"\x42\x82"
_SEGMENT = b"\x18\x53\x80\x67"
_INFO = b"\x15\x49\xa9\x66"
_TIMESTAMP_SCALE = b"\x2a\xd7\xb1"
_DURATION = b"\x44\x89"
_TRACKS = b"\x16\x54\xae\x6b"
_TRACK_ENTRY = b"\xae"
_TRACK_TYPE = b"\x83"
_CODEC_ID = b"\x86"
_VIDEO = b"\xe0"
_PIXEL_WIDTH = b"\xb0"
_PIXEL_HEIGHT = b"\xba"
_CLUSTER = b"\x1f\x43\xb6\x75"
_SIMPLE_BLOCK = b"\xa3"
_BLOCK_GROUP = b"\xa0"
_BLOCK = b"\xa1"
# Track number, relative time (2 bytes) and flags come before the frame.
_BLOCK_HEADER = 4
_GLOBAL = frozenset({b"\xec", b"\xbf"})  # Void and CRC-32 may occur anywhere.

_NEEDED = {
    _TRACKS: "Tracks",
    _CLUSTER: "a Cluster",
    _SIMPLE_BLOCK: "a frame: no Cluster has a Block with content",
}
_LONGEST_ID = 4
_LONGEST_SIZE = 8
_LONGEST_TEXT = 64
_VIDEO_TRACK = 1
_DEFAULT_SCALE_NS = 1_000_000
_FLOATS = {4: ">f", 8: ">d"}

_DOC_TYPES = {b"matroska": ContentType.MATROSKA, b"webm": ContentType.WEBM}


@define
class _Track:
    kind: int = 0
    codec: bytes = b""
    width: int = 0
    height: int = 0


class MatroskaWalker(ScriptedWalker):
    """Checks that each element of a Matroska file is complete and that Tracks and a frame exist.

    A Cluster of known size is skipped as soon as a frame was found. Bytes behind a Segment of known
    size are skipped. A Cluster of unknown size ends at the first
    element that can't be in a Cluster, so its elements are read one by one. A file may hold several
    documents; the properties of the first are returned. The duration is Info's Duration
    × TimestampScale; live streams have none.
    """

    def __init__(self) -> None:
        self.doc_type: ContentType | None = None
        self._seen: set[bytes] = set()
        self._scale_ns = _DEFAULT_SCALE_NS
        self._duration: float | None = None
        self._track = _Track()
        self._video: _Track | None = None
        super().__init__(ContentType.MATROSKA)

    def script(self) -> Script[ContainerInfo]:
        header = yield from self.part(None)
        if header is None:
            raise self.malformed("the file is empty")
        while header is not None:
            header = yield from self._document(header)
        return self._info()

    def part(self, limit: int | None) -> Script[Part | None]:
        return (yield from self._element(limit, may_be_open=b""))

    def name(self, kind: bytes) -> str:
        return f"element 0x{kind.hex().upper()}"

    def _element(self, limit: int | None, may_be_open: bytes) -> Script[Part | None]:
        """Read the next element header, as `part` does.

        Only an element of the kind `may_be_open` may have an unknown size.
        """
        if limit is not None and self.offset >= limit:
            return None
        start = self.offset
        # The shortest header has two bytes.
        head = yield Take(2, "an element header", may_end=limit is None)
        if not head:
            return None
        self.count_part()
        id_length = self._length(head[0], _LONGEST_ID, start)
        head += yield Take(id_length - 1, "an element header")
        size_length = self._length(head[id_length], _LONGEST_SIZE, start)
        rest = yield Take(size_length - 1, "an element header")
        unknown = (1 << 7 * size_length) - 1
        size = int.from_bytes(head[id_length:] + rest) & unknown
        kind, end = head[:id_length], self.offset + size
        if size == unknown:
            if kind != may_be_open:
                raise self.malformed(
                    f"{self.name(kind)} has an unknown size, which is not allowed there", start
                )
            return Part(kind, start, None)
        if limit is not None and end > limit:
            raise self.malformed(f"{self.name(kind)} is larger than the element around it", start)
        return Part(kind, start, end)

    def _length(self, first: int, longest: int, start: int) -> int:
        """Return the length of a variable-size integer by its first byte (RFC 8794, section 4)."""
        length = 9 - first.bit_length()
        if length > longest:
            raise self.malformed("there is no valid element header", start)
        return length

    def _document(self, header: Part) -> Script[Part | None]:
        """Read one document; return the header of the next one, or None at the end."""
        if header.kind != EBML_MAGIC:
            raise self.malformed("there is no EBML header", header.start)
        yield from self.inside(header, {_DOC_TYPE: self._read_doc_type})
        if self.doc_type is None:
            raise self.malformed("the EBML header names no DocType", header.start)
        segment = yield from self._top_level()
        if segment is None or segment.kind != _SEGMENT:
            raise self.malformed("no Segment follows the EBML header")
        return (yield from self._segment(segment))

    def _top_level(self) -> Script[Part | None]:
        while (element := (yield from self._element(None, _SEGMENT))) is not None:
            if element.kind not in _GLOBAL:
                return element
            yield from self.leave(element)
        return None

    def _segment(self, segment: Part) -> Script[Part | None]:
        visitors = {
            _INFO: self._segment_info,
            _TRACKS: self._tracks,
            _CLUSTER: self._cluster,
            _SIMPLE_BLOCK: self._block,
            _BLOCK_GROUP: self._block_group,
        }
        while (element := (yield from self._element(segment.end, _CLUSTER))) is not None:
            if element.kind == EBML_MAGIC and segment.end is None:
                return element
            if element.kind in {_TRACKS, _CLUSTER}:
                self._seen.add(element.kind)
            if element.end is None:
                # The elements in and after this Cluster are skipped in the same way.
                continue
            if visit := visitors.get(element.kind):
                yield from visit(element)
            yield from self.leave(element)
        return None if segment.end is None else (yield from self._next_document())

    def _next_document(self) -> Script[Part | None]:
        """Read the header of the next document; None at the end. Other bytes are skipped."""
        while True:
            start = self.offset
            head = yield Take(5, "an element header", may_be_short=True)
            if len(head) == 5 and head[:4] == EBML_MAGIC:
                self.count_part()
                length = self._length(head[4], _LONGEST_SIZE, start)
                rest = yield Take(length - 1, "an element header")
                size = int.from_bytes(head[4:] + rest) & ((1 << 7 * length) - 1)
                return Part(EBML_MAGIC, start, self.offset + size)
            if head[:4] != _CLUSTER:
                yield Skip(None, "the bytes after the last document")
                return None
            raise self.malformed("there is no EBML header", start)

    def _cluster(self, element: Part) -> Script[None]:
        """Look for the first frame; what follows it is skipped by the caller."""
        while _SIMPLE_BLOCK not in self._seen:
            part = yield from self.part(element.end)
            if part is None:
                return
            if part.kind == _SIMPLE_BLOCK:
                yield from self._block(part)
            elif part.kind == _BLOCK_GROUP:
                yield from self._block_group(part)
            yield from self.leave(part)

    def _block_group(self, element: Part) -> Script[None]:
        if _SIMPLE_BLOCK not in self._seen:
            yield from self.inside(element, {_BLOCK: self._block})

    def _block(self, element: Part) -> Script[None]:
        if (element.end or 0) - self.offset > _BLOCK_HEADER:
            self._seen.add(_SIMPLE_BLOCK)
        yield from ()

    def _value(self, element: Part, longest: int) -> Script[bytes | None]:
        """Read the content of an element; return None, unread, if it is longer than `longest`."""
        size = (element.end or 0) - self.offset
        return (yield Take(size, self.name(element.kind))) if size <= longest else None

    def _number(self, element: Part) -> Script[int]:
        return int.from_bytes((yield from self._value(element, 8)) or b"")

    def _read_doc_type(self, element: Part) -> Script[None]:
        value = yield from self._value(element, _LONGEST_TEXT)
        known = _DOC_TYPES.get((value or b"").rstrip(b"\0"))
        if known is None:
            raise self.malformed("the DocType is neither matroska nor webm", element.start)
        if self.doc_type is None:
            self.doc_type = self.container = known

    def _segment_info(self, element: Part) -> Script[None]:
        visitors = {_TIMESTAMP_SCALE: self._timestamp_scale, _DURATION: self._read_duration}
        yield from self.inside(element, visitors)

    def _timestamp_scale(self, element: Part) -> Script[None]:
        self._scale_ns = yield from self._number(element)

    def _read_duration(self, element: Part) -> Script[None]:
        value = yield from self._value(element, 8)
        if value is not None and len(value) in _FLOATS:
            (self._duration,) = struct.unpack(_FLOATS[len(value)], value)

    def _tracks(self, element: Part) -> Script[None]:
        yield from self.inside(element, {_TRACK_ENTRY: self._track_entry})

    def _track_entry(self, element: Part) -> Script[None]:
        self._track = _Track()
        visitors = {
            _TRACK_TYPE: self._track_type,
            _CODEC_ID: self._codec_id,
            _VIDEO: self._video_settings,
        }
        yield from self.inside(element, visitors)
        if self._video is None and self._track.kind == _VIDEO_TRACK:
            self._video = self._track

    def _track_type(self, element: Part) -> Script[None]:
        self._track.kind = yield from self._number(element)

    def _codec_id(self, element: Part) -> Script[None]:
        self._track.codec = (yield from self._value(element, _LONGEST_TEXT)) or b""

    def _video_settings(self, element: Part) -> Script[None]:
        visitors = {_PIXEL_WIDTH: self._pixel_width, _PIXEL_HEIGHT: self._pixel_height}
        yield from self.inside(element, visitors)

    def _pixel_width(self, element: Part) -> Script[None]:
        self._track.width = yield from self._number(element)

    def _pixel_height(self, element: Part) -> Script[None]:
        self._track.height = yield from self._number(element)

    def _info(self) -> ContainerInfo:
        for needed, what in _NEEDED.items():
            if needed not in self._seen:
                raise self.malformed(f"the file ends without {what}")
        return self._told()

    def salvaged(self) -> ContainerInfo | None:
        return self._told() if {_TRACKS, _SIMPLE_BLOCK} <= self._seen else None

    def _told(self) -> ContainerInfo:
        track = self._video or _Track()
        seconds = None if self._duration is None else self._duration * self._scale_ns / 1e9
        return ContainerInfo.claimed(
            self.container,
            duration_seconds=seconds,
            width=track.width,
            height=track.height,
            video_codec=track.codec,
        )


def doc_type(head: bytes) -> ContentType | None:
    """Return Matroska or WebM, as the EBML header in the first bytes states; None if neither."""
    walker = MatroskaWalker()
    with suppress(MalformedMedia):
        walker.feed(head)
    return walker.doc_type
