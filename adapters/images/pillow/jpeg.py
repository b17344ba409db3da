"""Reads JPEG with Pillow (libjpeg) so that a file with missing pixels is an error.

libjpeg invents grey blocks when a marker ends a scan early. It gets therefore no marker behind the last
scan: a scan that is too short waits for more bytes, and Pillow calls the file truncated. An end marker
is not needed. Marker names and section numbers: ITU-T T.81.
"""

import io
import re
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from attrs import Factory, define
from PIL import Image
from PIL._imaging import jpeg_decoder
from PIL.ImageFile import PyDecoder
from PIL.JpegImagePlugin import JpegImageFile

from traffic_storage.adapters.images.pillow.turns import Turn
from traffic_storage.domain.errors import TooLarge, UnsupportedMedia

if TYPE_CHECKING:
    from PIL._imaging import ImagingCore

_SOI, _EOI, _SOS, _DRI = 0xD8, 0xD9, 0xDA, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_PROGRESSIVE = {0xC2, 0xCA}
_ARITHMETIC = {0xC9, 0xCA}
# Of the application segments, only JFIF and Adobe (their colours) tell the decoder anything.
_SEGMENTS = {*_FRAMES, 0xC4, 0xCC, *range(0xDA, 0xE0), 0xE0, 0xEE}
_PASSED_OVER = {*range(0xE0, 0xF0), 0xFE}
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_PIECE_BYTES = 64 * 1024
_END = bytes((0xFF, _EOI))

# The decoder reads 57 bits ahead. All ones are no code (C.2), so they decode as two blocks at most.
_AHEAD = b"\xff\0" * 10
_ZEROS_AHEAD = 16

# Cameras write some twenty segments; a profile has up to 255, and a long XMP or a thermal image hundreds.
_MOST_SEGMENTS = 4096
# Encoders write 10 to 20 scans. Each takes time for all blocks of its components, however few its bytes:
# all together may have as many blocks as 30 pictures of the largest size in one component.
_MOST_SCANS = 100
_MOST_PASSES = 30
_BLOCK_PIXELS = 64
# Passing over a block takes an eighth of the time of decoding one.
_PASS_PIXELS = _BLOCK_PIXELS // 8


@define
class _Frame:
    """What the frame header (B.2.2) and the scan headers (B.2.3) seen so far tell."""

    marker: int = 0
    components: int = 0
    missing_bits: dict[tuple[int, bool], int] = Factory(dict)
    several_scans: bool = False
    restart_interval: int = 0
    restarts_of_scan: int = 0
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = Factory(dict)

    def begin(self, marker: int, header: bytes) -> None:
        if len(header) < 6 or len(header) < 6 + 3 * header[5]:
            raise ValueError("its frame header is cut")
        self.marker, self.components = marker, header[5]
        if marker in _LOSSLESS or marker not in _DECODED:
            kind = "a lossless" if marker in _LOSSLESS else "a hierarchical"
            raise UnsupportedMedia.of("image", f"is {kind} JPEG", _REMEDY)
        if header[0] != 8:
            raise UnsupportedMedia.of("image", f"is a JPEG of {header[0]} bits a sample", _REMEDY)
        self.size = (int.from_bytes(header[3:5]), int.from_bytes(header[1:3]))
        for at in range(6, 6 + 3 * self.components, 3):
            self.missing_bits[header[at], False] = 1
            self.sampling[header[at]] = (header[at + 1] >> 4, header[at + 1] & 15)

    def scan(self, header: bytes) -> None:
        scanned = self._scanned(header)
        count = len(scanned)
        self.several_scans = self.marker in _PROGRESSIVE or count < self.components
        low_bit = header[3 + 2 * count] & 15 if self.marker in _PROGRESSIVE else 0
        for one in scanned:
            self.missing_bits[one, header[1 + 2 * count] > 0] = low_bit
        if self.restart_interval:
            self.restarts_of_scan = (self._units(scanned) - 1) // self.restart_interval

    def has_all(self, header: bytes) -> bool:
        """Return whether a scan with this header has all components of the frame."""
        return len(self._scanned(header)) >= self.components

    def blocks(self, header: bytes) -> int:
        """Return how many blocks of 8 × 8 samples a scan with this header has (A.2.2, A.2.3)."""
        scanned = self._scanned(header)
        if len(scanned) == 1:
            return self._units(scanned)
        factors = [self.sampling.get(one, (1, 1)) for one in scanned]
        return self._units(scanned) * sum(across * down for across, down in factors)

    def _scanned(self, header: bytes) -> list[int]:
        """Return the components of a scan."""
        count = header[0] if header else 0
        if not self.marker or len(header) < 4 + 2 * count:
            raise ValueError("a scan header is cut, or has no frame")
        return [header[1 + 2 * n] for n in range(count)]

    def _units(self, scanned: list[int]) -> int:
        """Return how many MCUs a scan of these components has (A.2)."""
        factors = [self.sampling.get(one, (1, 1)) for one in scanned]
        most = [max(1, *of) for of in zip((1, 1), *self.sampling.values(), strict=True)]
        units = 1
        for axis, pixels in enumerate(self.size):
            if len(scanned) == 1:
                samples = -(-pixels * factors[0][axis] // most[axis])
                units *= -(-samples // 8)
            else:
                units *= -(-pixels // (8 * most[axis]))
        return units


_REMEDY = "send a JPEG of 8 bits a sample, baseline or progressive, or PNG, WebP or AVIF"


class JpegFeed:
    """The bytes of a JPEG file that the decoder gets, piece by piece, and what it left of them."""

    def __init__(self, stream: BinaryIO, turn: Turn) -> None:
        self._stream = stream
        self._turn = turn
        self._segments = 0
        self.frame = _Frame()
        self.passed_blocks = 0
        self.zeros_became_pixels = False
        self.restarts_are_missing = False
        self.unread_bytes = 0
        self._pieces = self._all_pieces()
        pieces: list[bytes] = []
        for piece in self._pieces:
            pieces.append(piece)
            if piece[1] == _SOS:
                self._check_scans(piece[4:])
                break
        self.header = b"".join(pieces)
        self.plain_header = b"".join(one for one in pieces if one[1] not in _PASSED_OVER)

    def next_piece(self) -> bytes:
        """Return the next bytes behind `header`; empty if the file has no more."""
        self._turn.check()
        return next((piece for piece in self._pieces if piece), b"")

    def _check_scans(self, first: bytes) -> None:
        """Count the scans of the file, the first of which has this header, and their blocks.

        The position of the stream is afterwards as before.

        Raises:
            TooLarge: more scans or blocks than the decoder may pass over.
        """
        is_progressive = self.frame.marker in _PROGRESSIVE
        if not is_progressive and self.frame.has_all(first):
            return
        position, segments = self._stream.tell(), self._segments
        blocks, scans = 0, 0
        header: bytes | None = first
        while header is not None:
            scans, blocks = scans + 1, blocks + self.frame.blocks(header)
            if scans > _MOST_SCANS or blocks * _BLOCK_PIXELS > _MOST_PASSES * self._turn.max_pixels:
                raise _too_large(
                    f"is a JPEG of {scans} scans or more, with {blocks} blocks to pass over; at most "
                    f"{_MOST_SCANS} scans with {_MOST_PASSES} blocks for each 64 pixels of the "
                    "setting max_pixels are decoded"
                )
            header = self._next_scan()
        self.passed_blocks = blocks
        self._segments = segments
        self._stream.seek(position)

    def _next_scan(self) -> bytes | None:
        """Return the content of the next scan header; None if there is none."""
        while (marker := self._marker()) not in {None, _EOI}:
            segment = self._segment()
            if segment is None:
                return None
            if marker == _SOS:
                return segment[2:]
        return None

    def _all_pieces(self) -> Iterator[bytes]:
        yield self._stream.read(2)
        while (marker := self._marker()) not in {None, _EOI}:
            segment = self._segment()
            if marker in _PASSED_OVER and marker not in _SEGMENTS:
                continue
            if marker not in _SEGMENTS or segment is None:
                break
            if marker == _DRI and len(segment) >= 4:
                self.frame.restart_interval = int.from_bytes(segment[2:4])
            if marker in _FRAMES:
                self.frame.begin(marker, segment[2:])
            yield bytes((0xFF, marker)) + segment
            if marker == _SOS:
                self.frame.scan(segment[2:])
                yield from self._coded()
                if not self.frame.several_scans:
                    break
        yield from self._end()

    def _end(self) -> Iterator[bytes]:
        if self.frame.marker in _ARITHMETIC:
            yield b"\xff\xd9"
            return
        if self.zeros_became_pixels or self.restarts_are_missing:
            return
        yield _AHEAD
        missing = any(self.frame.missing_bits.values())
        if self.frame.several_scans and not missing and (yield from self._scan_is_whole()):
            yield b"\xff\xd9"

    def _scan_is_whole(self) -> Generator[bytes, None, bool]:
        """Yield a probe, and return whether the decoder is behind the scan; False for a single scan.

        A single scan needs no probe, for Pillow stops behind it. Behind a scan the decoder skips
        all bytes up to a marker. Within a scan it leaves bytes of a block that is not complete; if it
        has none left, it has less than 17 bits, and does not take one more byte without seven others.
        """
        if not self.frame.several_scans or self.unread_bytes:
            return False
        yield b"\0"
        return not self.unread_bytes

    def _marker(self) -> int | None:
        """Return the code of the next marker; None at the end of the file."""
        carried = self._stream.read(2)
        if not _MARKER.match(carried):
            piece = carried
            while not (found := _MARKER.search(piece)):
                self._turn.check()
                if not (read := self._stream.read(_PIECE_BYTES)):
                    return None
                piece = piece[-1:] + read
            self._stream.seek(found.end() - len(piece), io.SEEK_CUR)
            carried = found.group()
        self._segments += 1
        if self._segments > _MOST_SEGMENTS:
            raise _too_large(f"is a JPEG of more than {_MOST_SEGMENTS} segments")
        return carried[1]

    def _segment(self) -> bytes | None:
        """Return the length and the content of a segment; None if it is cut."""
        length = self._stream.read(2)
        size = int.from_bytes(length) - 2
        content = self._stream.read(max(0, size))
        return length + content if len(length) == 2 and len(content) == size else None

    def _coded(self) -> Iterator[bytes]:
        """Yield the coded bytes of a scan.

        The position of the stream is then at the marker behind the scan, or the end of the file.
        """
        zeros, carried, restarts = 0, b"", 0
        found = None
        while not found and (read := self._stream.read(_PIECE_BYTES)):
            piece = carried + read
            carried = b""
            if found := _END_OF_SCAN.search(piece):
                self._stream.seek(found.start() - len(piece), io.SEEK_CUR)
                piece = piece[: found.start()]
            elif piece.endswith(b"\xff"):
                piece, carried = piece[:-1], b"\xff"
            if self.frame.restart_interval:
                restarts += len(_RESTART.findall(piece))
            coded = piece.rstrip(b"\0")
            if coded:
                yield bytes(zeros) + coded
                zeros = 0
            zeros += len(piece) - len(coded)
        self.restarts_are_missing = restarts < self.frame.restarts_of_scan
        yield from self._zeros(zeros)

    def _zeros(self, count: int) -> Iterator[bytes]:
        """Yield the zeros at the end of a scan.

        In a plain area they can be pixels: then the decoder needs all of them. If it needs only some,
        they were written in place of pixels.
        """
        if count < 3 * _ZEROS_AHEAD:
            yield bytes(count)
            return
        yield bytes(_ZEROS_AHEAD)
        if (yield from self._scan_is_whole()):
            return
        self.zeros_became_pixels = True
        yield bytes(count - 2 * _ZEROS_AHEAD)
        if (yield from self._scan_is_whole()):
            return
        self.zeros_became_pixels = False
        yield bytes(_ZEROS_AHEAD)


def _too_large(message: str) -> TooLarge:
    return TooLarge.of("image", message, "send the picture as a baseline JPEG")


class _Decoder(PyDecoder):
    """Pillow's decoder, which tells the feed how many bytes it left."""

    _feed: JpegFeed

    def init(self, args: tuple[object, ...]) -> None:
        raw_mode, jpeg_mode, feed, *scale_and_draft = args
        self._feed = cast(JpegFeed, feed)
        self._inner = jpeg_decoder(self.mode, raw_mode, jpeg_mode, *scale_and_draft)

    def setimage(self, im: "ImagingCore", extents: object = None) -> None:
        self._inner.setimage(im, extents)

    def decode(self, buffer: "Image.DecoderInput") -> tuple[int, int]:
        used, error = self._inner.decode(buffer)
        self._feed.unread_bytes = len(cast(bytes, buffer)) - max(0, used)
        return used, error

    def cleanup(self) -> None:
        self._inner.cleanup()


_CODEC = "traffic_storage_jpeg"
Image.register_decoder(_CODEC, _Decoder)


class WholeJpegFile(JpegImageFile):
    """Pillow's JPEG file, whose pixels must all be there; application segments are not read."""

    def __init__(self, stream: BinaryIO, turn: Turn) -> None:
        self._turn = turn
        super().__init__(stream)

    @property
    def effort(self) -> int:
        """How many pixels of a plain image take as long to decode as the scans of this one."""
        return self._feed.passed_blocks * _PASS_PIXELS

    def has_end(self, size_bytes: int) -> bool:
        """Return whether the marker of the end is near the end of the file, which has so many bytes.

        Cameras append up to some kilobytes. The position in the file must be behind the header,
        where a thumbnail may have an end of its own; it is not kept.
        """
        stream = cast(BinaryIO, self.fp)
        stream.seek(max(stream.tell(), size_bytes - _PIECE_BYTES))
        return _END in stream.read(_PIECE_BYTES)

    def _open(self) -> None:
        stream = cast(BinaryIO, self.fp)
        self._feed = JpegFeed(stream, self._turn)
        self.fp = io.BytesIO(self._feed.plain_header)
        super()._open()
        self.fp = stream
        self._header: bytes | None = self._feed.header
        self.tile = [
            tile._replace(
                codec_name=_CODEC, args=(*cast(tuple[object, ...], tile.args), self._feed)
            )
            for tile in self.tile
        ]

    def _read_dpi_from_exif(self) -> None:
        return None

    def load_seek(self, pos: int) -> None:
        """The feed has the position."""

    def load_read(self, read_bytes: int) -> bytes:  # noqa: ARG002
        """Return the next bytes for the decoder."""
        header, self._header = self._header, None
        return header or self._feed.next_piece()

    def load_end(self) -> None:
        """Refuse zeros that were decoded as pixels."""
        if self._feed.zeros_became_pixels:
            raise OSError("image file is truncated: zeros are in place of its last pixels")
