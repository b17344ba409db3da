"""Whether a PNG file is whole: checksums, rows and end, which Pillow does not look at.

Pillow reads pixels without their checksums, takes rows that are missing for black ones, and does
not mind when the file stops after the last pixel. Sections are those of PNG, third edition.
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import starmap
from typing import BinaryIO

_SIGNATURE_BYTES = 8
_PIECE_BYTES = 256 * 1024
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7 (8.1): first column and row, and steps, of each pass.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_FILTERS = bytes(range(5))


def check_whole(stream: BinaryIO) -> None:
    """Read a file from its signature to IEND, in constant memory.

    All chunks have to be there, with their checksums (5.3), and all rows, each with a filter that
    exists (9.2). What follows IEND is not looked at. Leaves the stream somewhere.

    Raises:
        ValueError: something is cut off, missing or wrong.
        zlib.error, LookupError, struct.error: the same.
    """
    rows: _Rows | None = None
    for name, piece in _pieces(stream):
        if name == b"IHDR":
            rows = _Rows(piece)
        elif name == b"IDAT" and rows:
            rows.take(piece)
    if not rows or not rows.complete:
        raise ValueError("rows of pixels are missing")


def _pieces(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The contents of all chunks, large ones in pieces, each chunk's checksum compared."""
    stream.seek(_SIGNATURE_BYTES)
    name = b""
    while name != b"IEND":
        length = int.from_bytes(_exactly(stream, 4))
        name = _exactly(stream, 4)
        crc = zlib.crc32(name)
        while length:
            piece = _exactly(stream, min(length, _PIECE_BYTES))
            crc = zlib.crc32(piece, crc)
            length -= len(piece)
            yield name, piece
        if crc != int.from_bytes(_exactly(stream, 4)):
            raise ValueError(f"the checksum of chunk {name!r} is wrong")


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise ValueError("it ends before its last chunk")
    return data


class _Rows:
    """Counts the rows in the compressed data; the pixels are not kept."""

    def __init__(self, header: bytes) -> None:
        width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
        bits = depth * _SAMPLES[colour_type]
        passes = _PASSES if interlaced else ((0, 0, 1, 1),)

        def bytes_of(column: int, row: int, columns: int, rows: int) -> tuple[int, int]:
            """How many bytes a pass has, and each of its rows with the filter before it."""
            across, down = -((column - width) // columns), -((row - height) // rows)
            stride = 1 + -(-across * bits // 8)
            return (down * stride if across > 0 else 0), stride

        self._left = [one for one in starmap(bytes_of, passes) if one[0] > 0]
        self._seen = 0
        self._inflate = zlib.decompressobj()

    @property
    def complete(self) -> bool:
        """Whether all rows came."""
        return not self._left

    def take(self, compressed: bytes) -> None:
        """The next piece of compressed data; what comes after the last row is passed over."""
        while compressed and not self.complete and not self._inflate.eof:
            self._count(self._inflate.decompress(compressed, _PIECE_BYTES))
            compressed = self._inflate.unconsumed_tail

    def _count(self, data: bytes) -> None:
        while data and self._left:
            size, stride = self._left[0]
            part = data[: size - self._seen]
            if part[-self._seen % stride :: stride].translate(None, _FILTERS):
                raise ValueError("a row has a filter that does not exist")
            self._seen += len(part)
            data = data[len(part) :]
            if self._seen == size:
                self._seen = 0
                del self._left[0]
