"""The port Images implemented with Pillow (libwebp, libjpeg-turbo, zlib, libavif)."""

import os
from collections.abc import Callable
from typing import TypeVar

from traffic_storage.adapters.images.pillow.decoding import PixelBudget, decode, inspect
from traffic_storage.adapters.images.pillow.encoding import check_format, encode
from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.pixels import ChannelOrder, Pixels, dimensions_of, unchanging
from traffic_storage.ports.images import DecodedImage, EncodedImage, ImageInfo, Images
from traffic_storage.ports.spool import Body

T = TypeVar("T")


class PillowImages(Images):
    """Encodes and decodes images in separate threads, by default one per processor core.

    Pillow releases the interpreter lock while it works, so the threads work in parallel. The images
    that are being decoded at the same time have at most `max_pixels` pixels in total. Decoding
    needs up to 16 bytes per pixel (WebP; JPEG 4–10, PNG 4, AVIF 12). `encode` copies the array
    once, on the event loop: one millisecond for 10 MB.
    """

    def __init__(self, max_pixels: int, threads: int | None = None) -> None:
        self._max_pixels = max_pixels
        self._budget = PixelBudget(max_pixels)
        self._threads = Threads(threads or len(os.sched_getaffinity(0)), "traffic-storage-images")

    async def encode(self, image: Pixels, order: ChannelOrder, encoding: Encoding) -> EncodedImage:
        dimensions = dimensions_of(image, max_pixels=self._max_pixels)
        check_format(dimensions, encoding)
        # Copied before the hop: the caller may reuse the array for the next frame.
        return await self._threads.run(encode, unchanging(image), dimensions, order, encoding)

    async def inspect(self, body: Body) -> ImageInfo:
        return await self._threads.run(inspect, body, self._budget)

    async def decode(
        self, data: bytes, order: ChannelOrder, channels: int | None = None
    ) -> DecodedImage:
        return await self._threads.run(decode, data, order, channels, self._budget)

    async def examine(self, data: bytes, look: Callable[[Pixels], T]) -> T:
        return await self._threads.run(self._looked_at, data, look)

    async def compute(self, work: Callable[[], T]) -> T:
        return await self._threads.run(work)

    def _looked_at(self, data: bytes, look: Callable[[Pixels], T]) -> T:
        return look(decode(data, ChannelOrder.RGB, None, self._budget).pixels)

    async def aclose(self) -> None:
        await self._threads.aclose()
