"""The port Images implemented with Pillow (libwebp, libjpeg-turbo, zlib, libavif, libtiff)."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from traffic_storage.adapters.images.pillow.turns import Turn, Turns
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.media import StillFormat
from traffic_storage.ports.images import DecodedImage, EncodedImage, ImageInfo, Images
from traffic_storage.ports.spool import Body

if TYPE_CHECKING:
    from traffic_storage.domain.pixels import Pixels

T = TypeVar("T")


class PillowImages(Images):
    """Encodes and decodes images in separate threads, by default two per processor core.

    Pillow releases the interpreter lock while it works, so the threads work in parallel. Small images
    have threads of their own (`turns`). The images that are being decoded at the same time have at
    most 1.5 × `max_pixels` pixels in total. Decoding needs up to 16 bytes per pixel (WebP; JPEG 4–10,
    PNG 4, AVIF 12). `encode` copies the array once, on the event loop: one millisecond for 10 MB.

    `inspect` accepts the `formats`, and `decode` all that are known: what is stored stays readable.

    Pillow is loaded with the first image, in one of these threads.

    The processor time of a decoding is bounded: of a JPEG or PNG while it is decoded, of the other
    formats by their number of pixels and parts. A caller that is cancelled ends the decoding of a JPEG
    or PNG.
    """

    def __init__(
        self,
        max_pixels: int,
        threads: int | None = None,
        formats: Sequence[StillFormat] = tuple(StillFormat),
    ) -> None:
        self._max_pixels = max_pixels
        self._formats = formats
        self._turns = Turns(max_pixels, threads or len(os.sched_getaffinity(0)))

    async def encode(
        self, image: "Pixels", order: ChannelOrder, encoding: Encoding
    ) -> EncodedImage:
        from traffic_storage.domain.pixels import dimensions_of, unchanging

        dimensions = dimensions_of(image, max_pixels=self._max_pixels)
        # Copied before the hop: the caller may reuse the array for the next frame.
        held = unchanging(image)

        def encoded() -> EncodedImage:
            from traffic_storage.adapters.images.pillow.encoding import check_format, encode

            check_format(dimensions, encoding)
            return encode(held, dimensions, order, encoding)

        return await self._turns.compute(dimensions.width * dimensions.height, encoded)

    async def glance(self, body: Body) -> ImageInfo | None:
        def glanced(turn: Turn) -> ImageInfo | None:
            from traffic_storage.adapters.images.pillow.decoding import glance

            return glance(body, turn, self._formats)

        return await self._turns.decode(glanced)

    async def inspect(self, body: Body) -> ImageInfo:
        def inspected(turn: Turn) -> ImageInfo:
            from traffic_storage.adapters.images.pillow.decoding import inspect

            return inspect(body, turn, self._formats)

        return await self._turns.decode(inspected)

    async def decode(
        self, data: bytes, order: ChannelOrder, channels: int | None = None
    ) -> DecodedImage:
        def decoded(turn: Turn) -> DecodedImage:
            from traffic_storage.adapters.images.pillow.decoding import decode

            return decode(data, order, channels, turn)

        return await self._turns.decode(decoded)

    async def examine(self, data: bytes, look: "Callable[[Pixels], T]") -> T:
        def looked_at(turn: Turn) -> T:
            from traffic_storage.adapters.images.pillow.decoding import decode

            return look(decode(data, ChannelOrder.RGB, None, turn).pixels)

        return await self._turns.decode(looked_at)

    async def compute(self, work: Callable[[], T]) -> T:
        return await self._turns.compute(None, work)

    async def aclose(self) -> None:
        await self._turns.aclose()
