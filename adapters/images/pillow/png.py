"""Checks the checksums, the rows and the end of a PNG file, which Pillow does not check.

Pillow ignores the checksums of pixel data, reads missing rows as black, and accepts a file that
stops after the last pixel. Section numbers refer to the PNG specification, third edition.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import starmap
from typing import BinaryIO

from PIL.PngImagePlugin import PngImageFile

from traffic_storage.adapters.images.pillow.turns import Turn
from traffic_storage.domain.errors import TooLarge

_SIGNATURE_BYTES = 8
_PIECE_BYTES = 256 * 1024
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7 (8.1), for each pass: first column, first row, column step, row step.
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
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
# Pillow reads at most 1 MiB of each.
_READABLE_TEXT_BYTES = 1024 * 1024
_MAX_TEXT_BYTES = 16 * 1024 * 1024


# A writer of small chunks has one for each row or each KiB of pixel data; others have a few dozen.
_FREE_CHUNKS = 8192
_BYTES_PER_CHUNK = 1024


class WatchedPngFile(PngImageFile):
    """Pillow's PNG file, whose decoding ends with its turn."""

    def __init__(self, stream: BinaryIO, turn: Turn) -> None:
        self._turn = turn
        super().__init__(stream)

    def load_read(self, read_bytes: int) -> bytes:
        """Return the next bytes for the decoder."""
        self._turn.check()
        return super().load_read(read_bytes)


def readable(stream: BinaryIO, turn: Turn) -> BinaryIO:
    """Return a PNG file that Pillow can open: the stream itself, or a copy without long texts.

    Texts and the colour profile do not affect the pixels. If they unpack to more than 1 MiB, which
    Pillow refuses, the copy has none of them.

    Raises:
        ValueError: they unpack to more than 16 MiB.
        TooLarge: the file has more chunks than its bytes have a use for.
    """
    kept, text_bytes, unpacked, chunks = [(0, _SIGNATURE_BYTES)], 0, 0, 0
    at = stream.seek(_SIGNATURE_BYTES)
    while len(head := stream.read(8)) == 8:
        turn.check()
        length, name = int.from_bytes(head[:4]), head[4:]
        chunks += 1
        if chunks > _FREE_CHUNKS + at // _BYTES_PER_CHUNK:
            raise TooLarge.of(
                "image",
                f"is a PNG with {chunks} chunks in its first {at} bytes, too many for these bytes",
                "send the picture in a file that is written anew",
            )
        if name in _TEXTS:
            content = stream.read(length)
            text_bytes += len(content)
            unpacked += _unpacked_bytes(name, content, _MAX_TEXT_BYTES - unpacked)
        else:
            kept.append((at, 12 + length))
        if name == b"IEND":
            break
        at = stream.seek(at + 12 + length)
    if text_bytes + unpacked <= _READABLE_TEXT_BYTES:
        stream.seek(0)
        return stream
    copy = io.BytesIO()
    for start, count in kept:
        stream.seek(start)
        copy.write(stream.read(count))
    copy.seek(0)
    return copy


def _unpacked_bytes(name: bytes, content: bytes, most: int) -> int:
    """Return the size of a compressed text or profile (sections 11.3.2.3, 11.3.3); else 0."""
    packed = content.partition(b"\0")[2]
    if name == b"iTXt":
        packed = packed[2:].partition(b"\0")[2].partition(b"\0")[2] if packed[:1] == b"\1" else b""
    elif name == b"tEXt":
        return 0
    elif packed[:1] != b"\0":
        # Pillow refuses any other compression method: leave it out like a long one.
        return _READABLE_TEXT_BYTES + 1
    else:
        packed = packed[1:]
    inflate, size = zlib.decompressobj(), 0
    try:
        while packed and not inflate.eof:
            size += len(inflate.decompress(packed, _PIECE_BYTES))
            packed = inflate.unconsumed_tail
            if size > most:
                raise ValueError(
                    f"its texts and colour profile unpack to more than {_MAX_TEXT_BYTES} bytes"
                )
    except zlib.error:
        # Not readable, as Pillow has it; the checksum of the chunk is checked apart from this.
        return size
    return size


def check_whole(stream: BinaryIO, turn: Turn) -> None:
    """Check that a PNG file is complete; read it from its signature to the chunk IEND.

    Every chunk must be complete and have a correct checksum (section 5.3). All rows must exist,
    each with a defined filter (section 9.2). Bytes after IEND are not read. Uses constant memory.
    The position of the stream is undefined afterwards.

    Raises:
        ValueError, zlib.error, LookupError, struct.error: the file is truncated or malformed.
    """
    rows: _Rows | None = None
    for name, piece in _pieces(stream):
        turn.check()
        if name == b"IHDR":
            rows = _Rows(piece)
        elif name == b"IDAT" and rows:
            rows.take(piece)
    if not rows or not rows.complete:
        raise ValueError("pixel rows are missing: the pixel data of the PNG ends early")


def _pieces(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and content of each PNG chunk, long content in pieces; check the checksums."""
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
            raise ValueError(f"the PNG chunk {name!r} has a wrong checksum")


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise ValueError("the PNG file ends before its last chunk")
    return data


class _Rows:
    """Counts the pixel rows in a PNG's compressed data and checks their filters."""

    def __init__(self, header: bytes) -> None:
        width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
        bits = depth * _SAMPLES[colour_type]
        passes = _PASSES if interlaced else ((0, 0, 1, 1),)

        def bytes_of(column: int, row: int, columns: int, rows: int) -> tuple[int, int]:
            """Return the size in bytes of an interlacing pass and of one row (with filter byte)."""
            across, down = -((column - width) // columns), -((row - height) // rows)
            stride = 1 + -(-across * bits // 8)
            return (down * stride if across > 0 else 0), stride

        self._left = [one for one in starmap(bytes_of, passes) if one[0] > 0]
        self._seen = 0
        self._inflate = zlib.decompressobj()

    @property
    def complete(self) -> bool:
        """Whether all rows of the image have been counted."""
        return not self._left

    def take(self, compressed: bytes) -> None:
        """Count the rows in the next piece of compressed data; ignore data after the last row."""
        while compressed and not self.complete and not self._inflate.eof:
            self._count(self._inflate.decompress(compressed, _PIECE_BYTES))
            compressed = self._inflate.unconsumed_tail

    def _count(self, data: bytes) -> None:
        while data and self._left:
            size, stride = self._left[0]
            part = data[: size - self._seen]
            if part[-self._seen % stride :: stride].translate(None, _FILTERS):
                raise ValueError("a pixel row has an undefined filter")
            self._seen += len(part)
            data = data[len(part) :]
            if self._seen == size:
                self._seen = 0
                del self._left[0]
