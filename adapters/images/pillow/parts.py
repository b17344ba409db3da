"""Bounds the parts of a WebP or AVIF file before a library reads them.

The libraries keep each part in memory, and look some of them up one by one: a file of millions of small
parts would take minutes and gigabytes. Real files have a few dozen.
"""

from collections.abc import Iterator
from typing import BinaryIO

from traffic_storage.adapters.images.pillow.turns import Turn
from traffic_storage.domain.errors import TooLarge

_MOST_PARTS = 2048
_RIFF_HEADER = 12
_HEADER = 8
# ISO/IEC 14496-12, 8.11: boxes with boxes in them → the bytes before the first.
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6}
# What the library looks items up for, one by one → the largest size in bytes.
_TABLES = {b"iref": 1 << 16, b"ipma": 1 << 16, b"iloc": 1 << 18, b"grpl": 1 << 16}


def check_chunks(stream: BinaryIO, turn: Turn) -> None:
    """Check the number of chunks of a WebP file (RFC 9649, 2.3); the position is then 0.

    Raises:
        TooLarge: more than any image has.
    """
    at, count = _RIFF_HEADER, 0
    while len(head := _head(stream, at)) == _HEADER:
        turn.check()
        count = _counted(count, "a WebP file", "chunks")
        size = int.from_bytes(head[4:], "little")
        at += _HEADER + size + size % 2
    stream.seek(0)


def check_items(stream: BinaryIO, turn: Turn) -> None:
    """Check the number of boxes of an AVIF file, and its tables of items; the position is then 0.

    Raises:
        TooLarge: more boxes, or a larger table, than any image has.
    """
    count = 0
    for kind, size in _boxes(stream, 0, stream.seek(0, 2)):
        turn.check()
        count = _counted(count, "an AVIF file", "boxes")
        if size > _TABLES.get(kind, size):
            raise _too_large(f"is an AVIF file with a table {kind.decode()} of {size} bytes")
    stream.seek(0)


def _boxes(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield the type and the size of each box from `start` to `end`, and of those inside."""
    while start < end and len(head := _head(stream, start)) == _HEADER:
        size, kind, header = int.from_bytes(head[:4]), head[4:], _HEADER
        if size == 1:
            size, header = int.from_bytes(stream.read(8)), 2 * _HEADER
        elif size == 0:
            size = end - start
        if size < header:
            # The library refuses it.
            return
        yield kind, size
        if kind in _CONTAINERS:
            inside = start + header + _CONTAINERS[kind]
            if kind == b"iinf":
                stream.seek(start + header)
                inside += 2 if stream.read(1) != b"\0" else 0
            yield from _boxes(stream, inside, min(end, start + size))
        start += size


def _head(stream: BinaryIO, at: int) -> bytes:
    stream.seek(at)
    return stream.read(_HEADER)


def _counted(count: int, what: str, parts: str) -> int:
    if count >= _MOST_PARTS:
        raise _too_large(f"is {what} of more than {_MOST_PARTS} {parts}")
    return count + 1


def _too_large(message: str) -> TooLarge:
    return TooLarge.of("image", message, "send the picture in a file that is written anew")
