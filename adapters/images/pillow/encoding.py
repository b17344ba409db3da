"""Encodes arrays of pixels as WebP, JPEG or PNG."""

import io
import os

from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.domain.pixels import Pixels, pixel_sha256
from traffic_storage.ports.images import EncodedImage
from traffic_storage.ports.spool import MemoryBody

# Importing these plugins registers them; otherwise the first save imports all 43 of Pillow.
_CONTENT_TYPES = {
    ImageFormat.WEBP: Image.MIME[WebPImagePlugin.WebPImageFile.format],
    ImageFormat.JPEG: Image.MIME[JpegImagePlugin.JpegImageFile.format],
    ImageFormat.PNG: Image.MIME[PngImagePlugin.PngImageFile.format],
}
# Pixels per side: RFC 9649, section 2.7 (14 bits); libjpeg's JPEG_MAX_DIMENSION; PNG, 11.2.1.
_LONGEST_SIDE = {ImageFormat.WEBP: 16_383, ImageFormat.JPEG: 65_500, ImageFormat.PNG: 2**31 - 1}
# Level 1 takes a third of the time of zlib's default, for a sixth more bytes.
_PNG_LEVEL = 1


def check_format(dimensions: Dimensions, encoding: Encoding) -> None:
    """Check that the image format of `encoding` supports an image of these dimensions.

    Raises:
        InvalidInput: a side is too long for the format, or the format is JPEG and the image has an
            alpha channel.
    """
    longest = _LONGEST_SIDE[encoding.format]
    name = encoding.format.upper()
    if max(dimensions.width, dimensions.height) > longest:
        raise InvalidInput.of(
            "image",
            f"is {dimensions.width} × {dimensions.height} pixels; {name} allows {longest} per side",
            "choose another image format, or split the image",
        )
    if encoding.format is ImageFormat.JPEG and dimensions.channels == 4:
        raise InvalidInput.of(
            "image",
            "has an alpha channel, which JPEG does not support",
            "choose WebP or PNG as image format, or remove the alpha channel",
        )


def encode(
    image: Pixels, dimensions: Dimensions, order: ChannelOrder, encoding: Encoding
) -> EncodedImage:
    """Encode an array of pixels; return the encoded bytes, their digests and that of the pixels.

    The array must not change during the call.
    """
    data = _WRITERS[encoding.format](_picture(image, dimensions, order), encoding)
    return EncodedImage(
        body=MemoryBody(data, digests_of(data)),
        content_type=_CONTENT_TYPES[encoding.format],
        dimensions=dimensions,
        pixel_sha256=pixel_sha256(image, order),
    )


def _picture(image: Pixels, dimensions: Dimensions, order: ChannelOrder) -> Image.Image:
    size = (dimensions.width, dimensions.height)
    match dimensions.channels:
        case 1:
            mode = raw_mode = "L"
        case 3:
            mode, raw_mode = "RGB", str(order)
        case _:
            mode, raw_mode = "RGBA", f"{order}A"
    return Image.frombuffer(mode, size, image, "raw", raw_mode, 0, 1)


def _webp(picture: Image.Image, encoding: Encoding) -> bytes:
    # For lossless WebP `quality` means effort; `exact` keeps the colour of transparent pixels.
    quality = encoding.effort * 100 // 6 if encoding.lossless else encoding.quality
    stream = io.BytesIO()
    picture.save(
        stream,
        "WEBP",
        quality=quality,
        method=encoding.effort,
        lossless=encoding.lossless,
        exact=encoding.lossless,
    )
    return stream.getvalue()


def _jpeg(picture: Image.Image, encoding: Encoding) -> bytes:
    # Pillow releases the interpreter lock when it writes to a descriptor, not to a BytesIO.
    with open(os.memfd_create("jpeg"), "wb") as stream:
        picture.save(stream, "JPEG", quality=encoding.quality)
        stream.flush()
        return os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0)


def _png(picture: Image.Image, encoding: Encoding) -> bytes:  # noqa: ARG001 - always lossless
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=_PNG_LEVEL)
    return stream.getvalue()


_WRITERS = {ImageFormat.WEBP: _webp, ImageFormat.JPEG: _jpeg, ImageFormat.PNG: _png}
