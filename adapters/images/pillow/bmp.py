"""Bounds a BMP file and checks that it has all its rows, before Pillow decodes it.

Structures: BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER and its later versions (Windows GDI).
"""

import io
import struct
from typing import BinaryIO, cast

from attrs import frozen
from PIL.BmpImagePlugin import BmpImageFile

from traffic_storage.adapters.images.pillow.turns import Turn
from traffic_storage.domain.errors import TooLarge, UnsupportedMedia

_FILE_HEADER = 14
_CORE_HEADER = 12
_INFO_HEADER = 40
_PLAIN, _RUNS_OF_8_BITS, _RUNS_OF_4_BITS, _MASKS = 0, 1, 2, 3
_RUNS = {_RUNS_OF_8_BITS: 8, _RUNS_OF_4_BITS: 4}
_EMBEDDED = {4: "JPEG", 5: "PNG"}

# Pillow reads runs in Python. A run of two bytes takes as long as some hundred pixels of a plain image.
_MOST_RUN_BYTES = 4 * 1024 * 1024
_PIXELS_A_RUN_BYTE = 100


@frozen
class _Header:
    """What the headers tell; `height` is without its sign, `at` is the place of the first row."""

    at: int
    width: int
    height: int
    bits: int
    compression: int

    @classmethod
    def read(cls, stream: BinaryIO) -> "_Header":
        """Read the headers.

        Raises:
            ValueError: they are cut.
        """
        stream.seek(0)
        head = stream.read(_FILE_HEADER + _INFO_HEADER)
        if len(head) < _FILE_HEADER + _CORE_HEADER:
            raise ValueError("its header is cut")
        at, size = struct.unpack_from("<II", head, 10)
        if size == _CORE_HEADER:
            width, height, _, bits = struct.unpack_from("<HHHH", head, 18)
            return cls(at, width, height, bits, _PLAIN)
        if len(head) < _FILE_HEADER + _INFO_HEADER:
            raise ValueError("its header is cut")
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 18)
        return cls(at, width, abs(height), bits, compression)

    @property
    def needed_bytes(self) -> int:
        """How many bytes the file has at least. The last row may lack the bytes that fill it up."""
        row = self.width * self.bits
        return self.at + (self.height - 1) * ((row + 31) // 32 * 4) + (row + 7) // 8


class BoundedBmpFile(BmpImageFile):
    """Pillow's BMP file, whose headers were checked, and whose decoding ends with its turn.

    `effort` is the number of pixels of a plain image that take as long to decode.
    """

    def __init__(self, stream: BinaryIO, turn: Turn) -> None:
        size = stream.seek(0, io.SEEK_END)
        header = _Header.read(stream)
        self.effort = _checked(header, size)
        stream.seek(0)
        watched = cast(BinaryIO, _Watched(stream, turn)) if self.effort else stream
        super().__init__(watched)


def _checked(header: _Header, size_bytes: int) -> int:
    """Return the effort of decoding a file with this header and size.

    Raises:
        ValueError: it has no pixels, or lacks some.
        UnsupportedMedia: it contains an image of another format.
        TooLarge: its runs take too long to decode.
    """
    if inside := _EMBEDDED.get(header.compression):
        raise UnsupportedMedia.of("image", f"is a {inside} in a BMP file", f"send the {inside}")
    if header.width < 1 or header.height < 1:
        raise ValueError(f"its size is {header.width} × {header.height} pixels")
    if header.compression not in _RUNS:
        if header.needed_bytes > size_bytes:
            raise OSError("image file is truncated")
        return 0
    if header.bits != _RUNS[header.compression]:
        raise ValueError(f"its runs are of {header.bits} bits a pixel")
    runs = max(0, size_bytes - header.at)
    if runs > _MOST_RUN_BYTES:
        raise TooLarge.of(
            "image",
            f"is a BMP with {runs} bytes of runs",
            "send the picture as a BMP without compression, or as PNG",
        )
    return runs * _PIXELS_A_RUN_BYTE


class _Watched:
    """A stream whose reading ends with the turn: runs are read byte by byte."""

    def __init__(self, stream: BinaryIO, turn: Turn) -> None:
        self._stream = stream
        self._turn = turn
        self.seek = stream.seek
        self.tell = stream.tell
        self.close = stream.close

    def read(self, count: int = -1) -> bytes:
        self._turn.check()
        return self._stream.read(count)
