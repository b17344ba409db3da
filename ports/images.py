"""Images: arrays to encoded bytes and back, away from the event loop."""

from abc import abstractmethod
from typing import Protocol

from attrs import field, frozen

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.pixels import ChannelOrder, Dimensions, Pixels
from traffic_storage.ports.spool import Body, MemoryBody


@frozen
class EncodedImage:
    """An encoded array: its bytes, hashed, and the digest of the pixels that went in."""

    body: MemoryBody
    content_type: str
    dimensions: Dimensions
    pixel_sha256: Sha256


@frozen
class ImageInfo:
    """What an encoded image is, found by decoding it whole."""

    content_type: str
    dimensions: Dimensions


@frozen
class DecodedImage:
    """The pixels of an encoded image."""

    pixels: Pixels = field(repr=False)
    channel_order: ChannelOrder


class Images(Protocol):
    """Encoder and decoder with a limit of pixels."""

    @abstractmethod
    async def encode(self, image: Pixels, order: ChannelOrder, encoding: Encoding) -> EncodedImage:
        """Encode an array of `(H, W)`, `(H, W, 3)` or `(H, W, 4)`, `uint8`.

        What is encoded and what is hashed are the pixels as they were when this call first waited:
        from then on the caller may fill the array again.

        Raises:
            InvalidInput: not such an array, or more than a format can hold.
            TooLarge: more pixels than the limit.
        """

    @abstractmethod
    async def inspect(self, body: Body) -> ImageInfo:
        """Decode encoded bytes whole and say what they are; the pixels are not kept.

        The dimensions are those that `decode` gives. Bytes after the image's end, which cameras
        add, are accepted.

        Raises:
            UnsupportedMedia: not JPEG, PNG, WebP or AVIF, or an animation: a still is one frame.
            UndecodableMedia: truncated or broken.
            TooLarge: more pixels than the limit; found before they are decoded.
        """

    @abstractmethod
    async def decode(
        self, data: bytes, order: ChannelOrder, channels: int | None = None
    ) -> DecodedImage:
        """The pixels, as `(H, W)`, `(H, W, 3)` or `(H, W, 4)` in this channel order.

        As they are stored: an orientation or colour profile in the file is not applied. More than
        8 bits are scaled down; palettes, CMYK and grey with alpha become colour. `channels` (1, 3
        or 4) gives an encoded array its shape back where the format dropped it (WebP knows no
        grey, and no alpha that is opaque all over); None takes what the file has.

        Raises: as `inspect`.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Free threads."""
