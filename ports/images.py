"""Images: encoding of arrays and decoding of images, outside the event loop's thread."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from attrs import field, frozen

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.ports.spool import Body, MemoryBody

if TYPE_CHECKING:
    from traffic_storage.domain.pixels import Pixels

T = TypeVar("T")


@frozen
class EncodedImage:
    """An encoded array: its bytes with their digests, and the digest of the source pixels."""

    body: MemoryBody
    content_type: str
    dimensions: Dimensions
    pixel_sha256: Sha256


@frozen
class ImageInfo:
    """Type and dimensions of an encoded image, determined by decoding it completely."""

    content_type: str
    dimensions: Dimensions


@frozen
class DecodedImage:
    """The decoded pixels of an image."""

    pixels: "Pixels" = field(repr=False)
    channel_order: ChannelOrder


class Images(Protocol):
    """Encodes arrays as images and decodes images, with a limit on the number of pixels."""

    @abstractmethod
    async def encode(
        self, image: "Pixels", order: ChannelOrder, encoding: Encoding
    ) -> EncodedImage:
        """Encode a `uint8` array of shape `(H, W)`, `(H, W, 3)` or `(H, W, 4)`.

        The pixels are copied before the call first waits: afterwards the caller may change the
        array. The copy is encoded and hashed.

        Raises:
            InvalidInput: the array has another shape or type, or exceeds the dimensions of the
                format.
            TooLarge: more pixels than the limit.
        """

    @abstractmethod
    async def glance(self, body: Body) -> ImageInfo | None:
        """Return what `inspect` would return of a whole image, after a look at its header and its end.

        None if that takes decoding it, or its end is missing. An image of which there is an answer
        can be damaged in between: `inspect` would refuse it.

        Raises: as `inspect`, where the header tells it.
        """

    @abstractmethod
    async def inspect(self, body: Body) -> ImageInfo:
        """Decode an image completely and return its type and dimensions, without the pixels.

        The dimensions are those that `decode` gives. Bytes after the end of the image, which some
        cameras append, are accepted. A JPEG without an end marker is whole if all its blocks are
        there (up to two small blocks at its very end are not noticed if they are missing).

        Raises:
            UnsupportedMedia: not of an accepted format (JPEG, PNG, WebP, AVIF, BMP, TIFF or HEIC, as
                configured), a JPEG that is lossless, hierarchical or of more than 8 bits a sample, a
                TIFF with a lossy compression, or more than one frame (an animation).
            UndecodableMedia: truncated or broken.
            TooLarge: more pixels than the limit, or more parts or scans than its pixels need; raised
                before they are decoded. Or decoding it took more processor time than any image of its
                size needs.
        """

    @abstractmethod
    async def decode(
        self, data: bytes, order: ChannelOrder, channels: int | None = None
    ) -> DecodedImage:
        """Return the pixels as `(H, W)`, `(H, W, 3)` or `(H, W, 4)` in this channel order.

        An orientation (Exif, or the field of a TIFF) or colour profile in the file is not applied; the
        turns of a HEIC are. Of samples of more than 8 bits the high 8 are kept, so samples of 12 bits
        that a file keeps in 16 give dark pixels, from 0 to 15. The transparent value of a PNG applies,
        but for colours of 16 bits a sample. All formats are read, whichever are accepted; palettes, CMYK and grey with alpha become colour. `channels` (1, 3 or 4)
        restores the shape of an encoded array where the format changed it: WebP stores grey as
        colour and drops an alpha channel that is opaque everywhere. None keeps the channels of the
        file.

        Raises: as `inspect`.
        """

    @abstractmethod
    async def examine(self, data: bytes, look: "Callable[[Pixels], T]") -> T:
        """Decode an image and return what `look` returns for its pixels, in the order RGB.

        `look` runs where images are decoded, off the event loop's thread; it must not wait and not
        keep the array.

        Raises: as `inspect`, and whatever `look` raises.
        """

    @abstractmethod
    async def compute(self, work: Callable[[], T]) -> T:
        """Return what `work` returns: a calculation about images, such as a comparison of many.

        `work` runs where images are decoded, off the event loop's thread; it must not wait.

        Raises: whatever `work` raises.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop the threads that encode and decode images."""
