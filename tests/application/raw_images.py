"""Pictures as plain arrays behind a short head: no codec, no thread, and so no chance."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.errors import UndecodableMedia, UnsupportedMedia
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.domain.pixels import Pixels, dimensions_of, pixel_sha256
from traffic_storage.ports.images import DecodedImage, EncodedImage, ImageInfo, Images
from traffic_storage.ports.spool import Body, MemoryBody

MAGIC = b"RAW!"
CONTENT_TYPE = "image/png"
_HEAD = len(MAGIC) + 6
T = TypeVar("T")


def raw_picture(pixels: Pixels, note: bytes = b"") -> bytes:
    """The encoded form; `note` lets one picture have several."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    head = bytes([height, width, channels, len(note), 0, 0])
    return MAGIC + head + note + pixels.tobytes()


class RawImages(Images):
    """Encodes small arrays as they are; each encoding of it differs, as an encoder's may."""

    def __init__(self, max_pixels: int = 10_000) -> None:
        self._max_pixels = max_pixels

    async def encode(self, image: Pixels, order: ChannelOrder, encoding: Encoding) -> EncodedImage:
        dimensions = dimensions_of(image, max_pixels=self._max_pixels)
        data = raw_picture(image, hashlib.sha256(str(encoding).encode()).digest()[:8])
        return EncodedImage(
            MemoryBody(data, digests_of(data)), CONTENT_TYPE, dimensions, pixel_sha256(image, order)
        )

    async def glance(self, body: Body) -> ImageInfo | None:
        return await self.inspect(body)

    async def inspect(self, body: Body) -> ImageInfo:
        assert isinstance(body, MemoryBody)
        pixels = _decoded(body.data)
        return ImageInfo(CONTENT_TYPE, dimensions_of(pixels, max_pixels=self._max_pixels))

    async def decode(
        self, data: bytes, order: ChannelOrder, channels: int | None = None
    ) -> DecodedImage:
        pixels = _decoded(data)
        assert channels in (None, _dimensions(data).channels)
        return DecodedImage(pixels, order)

    async def examine(self, data: bytes, look: Callable[[Pixels], T]) -> T:
        return look(_decoded(data))

    async def compute(self, work: Callable[[], T]) -> T:
        return work()

    async def aclose(self) -> None:
        """There are no threads."""


def _dimensions(data: bytes) -> Dimensions:
    if not data.startswith(MAGIC):
        raise UnsupportedMedia.of("image", "is no picture", "send a raw one")
    height, width, channels = data[len(MAGIC) : len(MAGIC) + 3]
    return Dimensions(width, height, channels)


def _decoded(data: bytes) -> Pixels:
    size = _dimensions(data)
    shape = (size.height, size.width, size.channels)[: 2 if size.channels == 1 else 3]
    start = _HEAD + data[len(MAGIC) + 3]
    if len(data) - start != int(np.prod(shape)):
        raise UndecodableMedia.of("image", "is truncated", "send all of it")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()
