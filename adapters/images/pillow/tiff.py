"""Bounds a TIFF file and checks that all its strips or tiles are there, before Pillow decodes it.

Numbers of fields are those of TIFF 6.0; BigTIFF has the same with longer offsets. One picture without
loss is accepted: Pillow decodes it itself, or lets libtiff do it in one call.
"""

import io
import struct
from collections.abc import Mapping
from typing import BinaryIO

from attrs import frozen
from PIL.TiffImagePlugin import TiffImageFile

from traffic_storage.adapters.images.pillow.turns import Turn
from traffic_storage.domain.errors import TooLarge, UnsupportedMedia

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANES = (
    273,
    274,
    277,
    278,
    279,
    284,
)
_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES, _FORMAT = 322, 323, 324, 325, 339
_READ = frozenset(
    {
        *(_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _SAMPLES, _ROWS_PER_STRIP),
        *(_STRIP_BYTES, _PLANES, _TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES, _FORMAT),
    }
)
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_RAW_BYTES = {1, 2, 7}
_PLAIN = 1
_COMPRESSIONS = {_PLAIN, 5, 8, 32773, 32946}
"""Without loss: none, LZW, Deflate, PackBits, Deflate by its old number."""
_PHOTOMETRICS = {0, 1, 2, 3, 5}
"""White is zero, black is zero, RGB, palette, CMYK."""
_CHUNKY, _PLANAR = 1, 2
_UNSIGNED = 1
_DEPTHS = {1, 2, 4, 8, 12, 16}
_MOST_SAMPLES = 5

# A scanner or a camera writes some thirty fields, and a strip of 8 KiB or one for each row.
_MOST_FIELDS = 512
_MOST_FIELD_BYTES = 16 * 1024 * 1024
_MOST_VALUES = 262_144
# A tile may reach beyond the picture, by less than itself.
_FREE_TILE_PIXELS = 1024 * 1024

_REMEDY = "send one picture of 1 to 16 bits a sample, without compression or with LZW, Deflate or PackBits"
_Fields = Mapping[int, tuple[int, ...]]


class BoundedTiffFile(TiffImageFile):
    """Pillow's TIFF file, whose fields were checked. Its orientation is not applied."""

    def __init__(self, stream: BinaryIO, turn: Turn) -> None:
        directory = _Directory.of(stream)
        fields = directory.fields(turn)
        _check(fields, directory.size_bytes, turn)
        self.sample_bits = fields[_BITS][0] if _BITS in fields else 1
        stream.seek(0)
        super().__init__(stream)

    def _setup(self) -> None:
        self.tag_v2.pop(_ORIENTATION, None)
        super()._setup()

    def load_end(self) -> None:
        """Do nothing: Pillow would read further fields and turn the picture."""


@frozen
class _Directory:
    """The first image file directory of a file: where it is, and how its numbers are written."""

    stream: BinaryIO
    order: str
    is_big: bool
    at: int
    size_bytes: int

    @classmethod
    def of(cls, stream: BinaryIO) -> "_Directory":
        """Read the header of a file."""
        stream.seek(0)
        head = stream.read(16)
        order = "<" if head[:2] == b"II" else ">"
        is_big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
        at = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", head, 8 if is_big else 4)[0]
        return cls(stream, order, is_big, at, stream.seek(0, io.SEEK_END))

    def fields(self, turn: Turn) -> _Fields:
        """Return the numbers of the fields that describe the pixels.

        Raises:
            ValueError, struct.error: the directory is cut or not valid.
            TooLarge: it has more fields or values than any picture.
            UnsupportedMedia: another directory follows.
        """
        count = self._number("Q" if self.is_big else "H", self.at)
        if count > _MOST_FIELDS:
            raise _too_large(f"has {count} fields")
        size = 20 if self.is_big else 12
        entries = self.at + (8 if self.is_big else 2)
        found: dict[int, tuple[int, ...]] = {}
        left_bytes, left_values = _MOST_FIELD_BYTES, _MOST_VALUES
        for place in range(entries, entries + count * size, size):
            turn.check()
            field, kind, values = self._entry(place)
            left_bytes -= values * _SIZES.get(kind, 1)
            left_values -= 0 if kind in _RAW_BYTES else values
            if min(left_bytes, left_values) < 0:
                raise _too_large(f"has too many values in its fields, such as {field}")
            if values * _SIZES.get(kind, 1) > self._inline_bytes:
                self._check_inside(place, values * _SIZES.get(kind, 1))
            if field in _READ and kind in _NUMBERS:
                found[field] = self._values(place, kind, values)
        if self._number("Q" if self.is_big else "I", entries + count * size):
            raise UnsupportedMedia.of("image", "is a TIFF of more than one picture", _REMEDY)
        return found

    def _entry(self, place: int) -> tuple[int, int, int]:
        field, kind, values = struct.unpack(
            self.order + ("HHQ" if self.is_big else "HHI"),
            self._bytes(place, 12 if self.is_big else 8),
        )
        return field, kind, values

    @property
    def _inline_bytes(self) -> int:
        return 8 if self.is_big else 4

    def _check_inside(self, place: int, count: int) -> None:
        # Pillow leaves out what it can't read, even the colours of a palette.
        if self._offset(place) + count > self.size_bytes:
            raise OSError("image file is truncated")

    def _offset(self, place: int) -> int:
        return self._number("Q" if self.is_big else "I", place + (12 if self.is_big else 8))

    def _values(self, place: int, kind: int, count: int) -> tuple[int, ...]:
        form = f"{self.order}{count}{_NUMBERS[kind]}"
        size = struct.calcsize(form)
        is_inline = size <= self._inline_bytes
        at = place + (12 if self.is_big else 8) if is_inline else self._offset(place)
        return struct.unpack(form, self._bytes(at, size))

    def _number(self, form: str, at: int) -> int:
        number: int = struct.unpack(self.order + form, self._bytes(at, struct.calcsize(form)))[0]
        return number

    def _bytes(self, at: int, count: int) -> bytes:
        if at >= 1 << 62:
            raise ValueError("an offset is not valid")
        self.stream.seek(at)
        return self.stream.read(count)


def _check(fields: _Fields, size_bytes: int, turn: Turn) -> None:
    """Check that a picture with these fields is accepted, bounded and complete.

    Raises:
        ValueError, LookupError: a field is missing or wrong.
        OSError: pixels are missing.
        TooLarge: it has too many pixels.
        UnsupportedMedia: its pixels are coded in a way that is not accepted.
    """
    width, length = _one(fields, _WIDTH), _one(fields, _LENGTH)
    if not width or not length:
        raise ValueError(f"its size is {width} × {length} pixels")
    turn.check_pixels(width * length)
    samples = _check_coding(fields)
    planes = samples if _one(fields, _PLANES, _CHUNKY) == _PLANAR else 1
    row_bits = sum(_depths(fields, samples)) // planes
    if _TILES in fields:
        across, down = _one(fields, _TILE_WIDTH), _one(fields, _TILE_LENGTH)
        offsets, counts, rows = fields[_TILES], fields.get(_TILE_BYTES, ()), [down]
        tiles = -(-width // max(1, across)) * -(-length // max(1, down)) * planes
        if (
            not across
            or not down
            or across * down * tiles > (4 * width * length * planes + _FREE_TILE_PIXELS)
        ):
            raise ValueError(f"its tiles have {across} × {down} pixels")
    else:
        across, offsets, counts = width, fields[_STRIPS], fields.get(_STRIP_BYTES, ())
        down = min(length, max(1, _one(fields, _ROWS_PER_STRIP, length)))
        tiles = -(-length // down) * planes
        rows = [down] * (-(-length // down) - 1) + [length - (-(-length // down) - 1) * down]
    if len(offsets) < tiles or len(counts) < len(offsets):
        raise OSError("image file is truncated")
    is_plain = _one(fields, _COMPRESSION, _PLAIN) == _PLAIN
    for place, (at, count) in enumerate(zip(offsets, counts, strict=False)):
        turn.check()
        needed = rows[place % len(rows)] * -(-across * row_bits // 8) if is_plain else 1
        if at + count > size_bytes or count < needed:
            raise OSError("image file is truncated")


def _check_coding(fields: _Fields) -> int:
    """Return how many samples a pixel has."""
    compression = _one(fields, _COMPRESSION, _PLAIN)
    if compression not in _COMPRESSIONS:
        raise UnsupportedMedia.of("image", f"is a TIFF with the compression {compression}", _REMEDY)
    photometric = _one(fields, _PHOTOMETRIC, 0)
    if photometric not in _PHOTOMETRICS:
        raise UnsupportedMedia.of("image", f"is a TIFF of the colour space {photometric}", _REMEDY)
    samples = _one(fields, _SAMPLES, 1)
    if not 1 <= samples <= _MOST_SAMPLES:
        raise UnsupportedMedia.of("image", f"is a TIFF of {samples} samples a pixel", _REMEDY)
    odd = [depth for depth in _depths(fields, samples) if depth not in _DEPTHS]
    if photometric == 0 and max(_depths(fields, samples)) > 8:
        raise UnsupportedMedia.of(
            "image", "is a TIFF of 16 bits a sample in which white is zero", _REMEDY
        )
    if odd:
        raise UnsupportedMedia.of("image", f"is a TIFF of {odd[0]} bits a sample", _REMEDY)
    if any(form != _UNSIGNED for form in fields.get(_FORMAT, ())):
        raise UnsupportedMedia.of("image", "is a TIFF of signed or floating-point samples", _REMEDY)
    return samples


def _depths(fields: _Fields, samples: int) -> tuple[int, ...]:
    given = fields.get(_BITS, (1,))
    return given * samples if len(given) == 1 else given[:samples]


def _one(fields: _Fields, field: int, otherwise: int | None = None) -> int:
    if field not in fields and otherwise is None:
        raise LookupError(f"it has no field {field}")
    return (fields.get(field) or (otherwise or 0,))[0]


def _too_large(message: str) -> TooLarge:
    return TooLarge.of(
        "image", f"is a TIFF that {message}", "send the picture in a file that is written anew"
    )
