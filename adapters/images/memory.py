"""Images without an image library: every array is written as plain PNG, nothing else is read."""

import os
import zlib
from collections.abc import Iterator

import numpy as np

from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.errors import TooLarge, UndecodableMedia, UnsupportedMedia
from traffic_storage.domain.media import ContentType, sniff
from traffic_storage.domain.pixels import (
    ChannelOrder,
    Dimensions,
    Pixels,
    dimensions_of,
    pixel_sha256,
)
from traffic_storage.ports.images import DecodedImage, EncodedImage, ImageInfo, Images
from traffic_storage.ports.spool import Body, MemoryBody

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour types of PNG (third edition, 11.2.1) by number of channels, all of 8 bits.
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_CHANNELS = {colour_type: channels for channels, colour_type in _COLOUR_TYPES.items()}


class PlainImages(Images):
    """Writes whatever encoding is asked for as uncompressed PNG, and reads what it has written.

    For tests: exact pixels, any viewer shows them, and nothing leaves the event loop. A JPEG or a
    PNG of another's making is refused as unsupported.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels

    async def encode(
        self,
        image: Pixels,
        order: ChannelOrder,
        encoding: Encoding,  # noqa: ARG002 - one for all
    ) -> EncodedImage:
        dimensions = dimensions_of(image, max_pixels=self._max_pixels)
        data = _png(_reordered(image, order), dimensions)
        return EncodedImage(
            body=MemoryBody(data, digests_of(data)),
            content_type=ContentType.PNG,
            dimensions=dimensions,
            pixel_sha256=pixel_sha256(image, order),
        )

    async def inspect(self, body: Body) -> ImageInfo:
        if isinstance(body, MemoryBody):
            data = body.data
        else:
            data = os.pread(body.fd, body.digests.size_bytes, 0)
        pixels = self._read(data)
        return ImageInfo(ContentType.PNG, dimensions_of(pixels, max_pixels=self._max_pixels))

    async def decode(
        self, data: bytes, order: ChannelOrder, channels: int | None = None
    ) -> DecodedImage:
        pixels = _reordered(self._read(data), order)
        return DecodedImage(_with_channels(pixels, channels, order), order)

    async def aclose(self) -> None:
        return None

    def _read(self, data: bytes) -> Pixels:
        kind = sniff(data)
        if kind is not ContentType.PNG:
            raise UnsupportedMedia.of("image", f"is {kind or 'no image'}", "send plain PNG")
        try:
            chunks = dict(_chunks(data))
            width, height, channels = _header(chunks[b"IHDR"])
            if width * height > self._max_pixels:
                raise TooLarge.of(
                    "image", f"has {width * height} pixels", f"send at most {self._max_pixels}"
                )
            stride = width * channels
            packed = chunks[b"IDAT"]
            flat = zlib.decompressobj().decompress(packed, height * (stride + 1))
            rows = np.frombuffer(flat, np.uint8).reshape(height, stride + 1)
        except (TooLarge, UnsupportedMedia):
            raise
        except (LookupError, ValueError, zlib.error) as error:
            raise UndecodableMedia.of(
                "image", f"is not a whole image/png file: {error}", "send it whole"
            ) from error
        if rows[:, 0].any():
            raise UnsupportedMedia.of("image", "is a PNG with filters", "send plain PNG")
        shape = (height, width) if channels == 1 else (height, width, channels)
        return rows[:, 1:].reshape(shape).copy()


def _png(image: Pixels, dimensions: Dimensions) -> bytes:
    rows = np.zeros((dimensions.height, 1 + dimensions.width * dimensions.channels), np.uint8)
    rows[:, 1:] = image.reshape(dimensions.height, -1)
    size = dimensions.width.to_bytes(4) + dimensions.height.to_bytes(4)
    header = size + bytes([8, _COLOUR_TYPES[dimensions.channels], 0, 0, 0])
    data = zlib.compress(rows.tobytes(), 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks up to IEND, their checksums verified."""
    at, name = len(_SIGNATURE), b""
    while name != b"IEND":
        length = int.from_bytes(data[at : at + 4])
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if _chunk(name, content) != data[at : at + length + 12]:
            raise ValueError("a chunk is broken or missing")
        yield name, content
        at += length + 12


def _header(chunk: bytes) -> tuple[int, int, int]:
    width, height = int.from_bytes(chunk[:4]), int.from_bytes(chunk[4:8])
    depth, colour_type, *rest = chunk[8:]
    if not width or not height:
        raise ValueError("it has no pixels")
    if depth != 8 or colour_type not in _CHANNELS or any(rest):
        raise UnsupportedMedia.of("image", "is a PNG of another kind", "send plain PNG")
    return width, height, _CHANNELS[colour_type]


def _reordered(image: Pixels, order: ChannelOrder) -> Pixels:
    """From RGB to `order`, or back."""
    if image.ndim == 2 or order is ChannelOrder.RGB:
        return image
    return np.ascontiguousarray(image[..., [2, 1, 0, *range(3, image.shape[2])]])


def _with_channels(pixels: Pixels, channels: int | None, order: ChannelOrder) -> Pixels:
    found = 1 if pixels.ndim == 2 else pixels.shape[2]
    match channels or found:
        case wanted if wanted == found:
            return pixels
        case 1:
            # ITU-R BT.601 luma, as Pillow's.
            rgb = _reordered(pixels[..., :3], order).astype(np.uint32)
            luma: Pixels = (rgb @ np.array([19595, 38470, 7471], np.uint32) + 0x8000 >> 16).astype(
                np.uint8
            )
            return luma
        case wanted:
            colour = np.dstack([pixels] * 3) if found == 1 else pixels[..., :3]
            opaque = np.full(colour.shape[:2], 255, np.uint8)
            return np.ascontiguousarray(colour if wanted == 3 else np.dstack([colour, opaque]))
