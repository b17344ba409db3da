"""Decodes JPEG, PNG, WebP, AVIF, BMP, TIFF and HEIC in bounded memory; malformed bytes raise `UndecodableMedia`.

The first bytes of a file decide which one of Pillow's plugins decodes it. The plugins of other
formats are never tried. Pillow's global limits and warnings about the number of pixels do not
apply.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from traffic_storage.adapters.images.pillow.bmp import BoundedBmpFile
from traffic_storage.adapters.images.pillow.jpeg import WholeJpegFile
from traffic_storage.adapters.images.pillow.parts import check_chunks, check_items
from traffic_storage.adapters.images.pillow.png import WatchedPngFile, check_whole, readable
from traffic_storage.adapters.images.pillow.tiff import BoundedTiffFile
from traffic_storage.adapters.images.pillow.turns import Turn
from traffic_storage.domain.errors import (
    TooLarge,
    TrafficStorageError,
    UndecodableMedia,
    UnsupportedMedia,
)
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.domain.media import SNIFF_BYTES, ContentType, StillFormat, sniff
from traffic_storage.ports.errors import StorageUnavailable
from traffic_storage.ports.images import DecodedImage, ImageInfo
from traffic_storage.ports.spool import Body, MemoryBody

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from traffic_storage.domain.pixels import Pixels


_BUFFER_BYTES = 64 * 1024
_BAND_ROWS = 64
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# Exceptions of Pillow's plugins for malformed bytes; Warning, if a filter makes it an error.
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
)


def inspect(body: Body, turn: Turn, formats: Sequence[StillFormat]) -> ImageInfo:
    """Return the format and dimensions of an encoded image; reads and checks all its data.

    Raises:
        UnsupportedMedia: the format is none of `formats`; also as `decode`.
        UndecodableMedia, TooLarge: as `decode`.
    """
    with _stream(body) as stream, _opened(stream, turn, formats) as (kind, picture):
        width, height = picture.size
        channels = _channels(picture)
        if kind is not ContentType.PNG:
            # At an eighth of the size a JPEG takes a third of the time, and every byte is still
            # entropy-decoded. The omitted inverse transform never detects an error.
            picture.draft(None, (max(1, width // 8), max(1, height // 8)))
            _load(kind, picture)
        return ImageInfo(kind, Dimensions(width, height, channels))


def glance(body: Body, turn: Turn, formats: Sequence[StillFormat]) -> ImageInfo | None:
    """Return the format and dimensions of an image whose header and end are there; None: unknown.

    Only of a JPEG. Raises as `inspect`, where the header tells it.
    """
    with _stream(body) as stream, _opened(stream, turn, formats) as (kind, picture):
        if not isinstance(picture, WholeJpegFile) or not picture.has_end(body.digests.size_bytes):
            return None
        width, height = picture.size
        return ImageInfo(kind, Dimensions(width, height, _channels(picture)))


def decode(data: bytes, order: ChannelOrder, channels: int | None, turn: Turn) -> DecodedImage:
    """Return the pixels of an encoded image.

    Raises:
        UnsupportedMedia: the format is not known, or the image is an animation.
        UndecodableMedia: the bytes are not a complete image.
        TooLarge: the image has more pixels than `turn.max_pixels`.
    """
    with _opened(io.BytesIO(data), turn, tuple(StillFormat)) as (kind, picture):
        _load(kind, picture)
        mode = _MODES[channels or _channels(picture)]
        return DecodedImage(_pixels(_converted(picture, mode), order), order)


def _load(kind: ContentType, picture: ImageFile) -> None:
    """Decode the pixels.

    Raises:
        ValueError: a HEIC has other pixels than its header says; pillow-heif takes over the number.
    """
    said = picture.size
    picture.load()
    if kind is ContentType.HEIC and picture.size != said:
        raise ValueError(
            f"its header says {said[0]} × {said[1]} pixels, and there are "
            f"{picture.width} × {picture.height}"
        )


@contextmanager
def _opened(
    stream: BinaryIO, turn: Turn, formats: Sequence[StillFormat]
) -> Iterator[tuple[ContentType, ImageFile]]:
    """Open the image in a stream without decoding it; reserve its pixels of `turn` in the block.

    Yields the format and the opened image.
    """
    kind = _kind(stream, formats)
    with _translated(kind):
        picture, effort = _OPENERS[kind](stream, turn)
        _check_still(picture)
        pixels = picture.width * picture.height
        turn.check_pixels(pixels)
        with turn.taken(pixels, pixels + effort):
            if kind is ContentType.PNG:
                check_whole(stream, turn)
            yield kind, picture
            picture.close()


def _jpeg(stream: BinaryIO, turn: Turn) -> tuple[ImageFile, int]:
    picture = WholeJpegFile(stream, turn)
    return picture, picture.effort


def _png(stream: BinaryIO, turn: Turn) -> tuple[ImageFile, int]:
    return WatchedPngFile(readable(stream, turn), turn), 0


def _webp(stream: BinaryIO, turn: Turn) -> tuple[ImageFile, int]:
    check_chunks(stream, turn)
    return WebPImageFile(stream), 0


def _avif(stream: BinaryIO, turn: Turn) -> tuple[ImageFile, int]:
    check_items(stream, turn)
    return AvifImageFile(stream), 0


def _bmp(stream: BinaryIO, turn: Turn) -> tuple[ImageFile, int]:
    picture = BoundedBmpFile(stream, turn)
    return picture, picture.effort


def _tiff(stream: BinaryIO, turn: Turn) -> tuple[ImageFile, int]:
    return BoundedTiffFile(stream, turn), 0


def _heic(stream: BinaryIO, turn: Turn) -> tuple[ImageFile, int]:
    check_items(stream, turn)
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError as error:
        raise UnsupportedMedia.of(
            "image", "is HEIC, which nothing here can decode", "install traffic-storage[heic]"
        ) from error
    return cast(Callable[[BinaryIO], ImageFile], HeifImageFile)(stream), 0


_OPENERS: dict[ContentType, Callable[[BinaryIO, Turn], tuple[ImageFile, int]]] = {
    ContentType.JPEG: _jpeg,
    ContentType.PNG: _png,
    ContentType.WEBP: _webp,
    ContentType.AVIF: _avif,
    ContentType.BMP: _bmp,
    ContentType.TIFF: _tiff,
    ContentType.HEIC: _heic,
}
"""Format → what opens a file of it; also the pixels of a plain image that would take as long beside."""


def _kind(stream: BinaryIO, formats: Sequence[StillFormat]) -> ContentType:
    kind = sniff(stream.read(SNIFF_BYTES))
    stream.seek(0)
    if kind not in _OPENERS or kind not in {one.content_type for one in formats}:
        found = f"is {kind}" if kind else "is not an image of a known format"
        raise UnsupportedMedia.of("image", found, _remedy(kind, formats))
    return kind


def _remedy(kind: ContentType | None, formats: Sequence[StillFormat]) -> str:
    """Return what to do about an image that is none of `formats`."""
    *others, last = (one.shown for one in formats)
    remedy = f"send {', '.join(others)} or {last}" if others else f"send {last}"
    known = next((one for one in StillFormat if one.content_type is kind), None)
    return f"{remedy}, or add {known} to the setting image_formats" if known else remedy


@contextmanager
def _translated(kind: ContentType) -> Iterator[None]:
    try:
        yield
    except TrafficStorageError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge.of("image", str(error), "send a smaller image") from error
    except _BROKEN as error:
        raise UndecodableMedia.of(
            "image",
            f"is not a complete, valid {kind} file: {_reason(error)}",
            "send the file unchanged, as the camera wrote it",
        ) from error


def _reason(error: Exception) -> str:
    # Pillow tells how many bytes it has not processed, which is not how many are missing.
    if isinstance(error, OSError) and "truncated" in str(error):
        return "the file ends before its last pixels"
    return f"{str(error) or type(error).__name__!a:.200}"


def _check_still(picture: ImageFile) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames != 1:
        raise UnsupportedMedia.of(
            "image", f"is an animation of {frames} frames", "send a still image, or a video"
        )


def _channels(picture: Image.Image) -> int:
    """Return how many channels (1, 3 or 4) the decoded array has if the caller asks for none."""
    if picture.has_transparency_data:
        return 4
    return 1 if picture.mode in {"1", "L"} or picture.mode.startswith(("I", "F")) else 3


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I"):
        picture = _of_8_bits(picture, with_alpha=mode == "RGBA")
    if picture.mode == "La":
        picture = picture.convert("LA")
    return picture if picture.mode == mode else picture.convert(mode)


def _of_8_bits(picture: Image.Image, *, with_alpha: bool) -> Image.Image:
    """Return the high bits of grey samples: Pillow's conversion clips them at 255 instead.

    With alpha, samples that equal the transparent one of a PNG are transparent.
    """
    import numpy as np

    samples = np.asarray(picture)
    grey = (samples >> (getattr(picture, "sample_bits", 16) - 8)).astype(np.uint8)
    transparent = picture.info.get("transparency")
    if not with_alpha or not isinstance(transparent, int):
        return Image.fromarray(grey)
    alpha = np.where(samples == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _pixels(picture: Image.Image, order: ChannelOrder) -> "Pixels":
    import numpy as np

    width, height = picture.size
    raw_mode, shape = {
        "L": ("L", (height, width)),
        "RGB": (str(order), (height, width, 3)),
        "RGBA": (f"{order}A", (height, width, 4)),
    }[picture.mode]
    # By bands: all bytes at once, and a copy of them that can be written to, would be two more
    # buffers of the size of the image, whose fresh pages cost more than the copying.
    pixels = np.empty(shape, np.uint8)
    for top in range(0, height, _BAND_ROWS):
        bottom = min(height, top + _BAND_ROWS)
        band = picture.crop((0, top, width, bottom)).tobytes("raw", raw_mode)
        pixels[top:bottom] = np.frombuffer(band, np.uint8).reshape(bottom - top, *shape[1:])
    return pixels


def _stream(body: Body) -> BinaryIO:
    if isinstance(body, MemoryBody):
        return io.BytesIO(body.data)
    return io.BufferedReader(_Window(body.fd, body.digests.size_bytes), _BUFFER_BYTES)


class _Window(io.RawIOBase):
    """A readable stream over a file descriptor that stays open; its file position is not moved."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        rest = max(0, self._size_bytes - self._position)
        try:
            count = os.preadv(self._fd, [memoryview(buffer)[:rest]], self._position)
        except OSError as error:
            raise StorageUnavailable(
                f"the spool can't be read: {error.strerror}", remedy="check the disk of the spool"
            ) from error
        self._position += count
        return count
