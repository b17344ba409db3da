"""Tests of any adapter of the port `Images`, which encodes and decodes images."""

import asyncio
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import (
    InvalidInput,
    TooLarge,
    UndecodableMedia,
    UnsupportedMedia,
)
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.domain.pixels import Pixels, pixel_sha256
from traffic_storage.entrypoints.testing.contracts.image_samples import (
    ANIMATIONS,
    HEIGHT,
    SAMPLES,
    UNSUPPORTED,
    WIDTH,
    Sample,
)
from traffic_storage.ports.images import EncodedImage, Images
from traffic_storage.ports.spool import MemoryBody

EXACT = [Encoding(ImageFormat.WEBP, lossless=True), Encoding(ImageFormat.PNG)]
LOSSY = [Encoding(), Encoding(quality=40, effort=4), Encoding(ImageFormat.JPEG)]
CONTENT_TYPES = {
    ImageFormat.WEBP: "image/webp",
    ImageFormat.JPEG: "image/jpeg",
    ImageFormat.PNG: "image/png",
}


def gradient(height: int = 40, width: int = 60) -> Pixels:
    """Return a smooth RGB picture."""
    rows, columns = np.mgrid[0:height, 0:width]
    ramps = (rows * 255 // height, columns * 255 // width, (rows + columns) % 256)
    return np.dstack(ramps).astype(np.uint8)


def pictures() -> dict[str, Pixels]:
    """Return arrays of every shape and memory layout that `encode` accepts."""
    colour = gradient()
    alpha = np.linspace(0, 255, colour.shape[0] * colour.shape[1]).reshape(colour.shape[:2])
    four = np.dstack([colour, alpha.astype(np.uint8)])
    return {
        "grey": np.ascontiguousarray(colour[..., 0]),
        "colour": colour,
        "alpha": four,
        "opaque alpha": np.dstack([colour, np.full(colour.shape[:2], 255, np.uint8)]),
        "colour under nothing": np.dstack([colour, np.zeros(colour.shape[:2], np.uint8)]),
        "one pixel": colour[:1, :1],
        "one row": colour[:1],
        "one column": colour[:, :1],
        "every other column, upside down": colour[::-1, ::2],
        "channels turned round": colour[..., ::-1],
        "columns first": np.asfortranarray(colour),
        "read-only": np.frombuffer(colour.tobytes(), np.uint8).reshape(colour.shape),
        "a channel of many": colour[..., 1],
    }


PICTURES = pictures()


@pytest.mark.asyncio
class ImagesContract:
    """Inherit from this class, and define an async fixture `images` with a limit of `max_pixels`.

    Set `reads_others = False` if the adapter decodes only its own images. Set `only` to a format if
    the adapter writes this format for every encoding.
    """

    max_pixels: ClassVar[int] = 1_000_000
    reads_others: ClassVar[bool] = True
    only: ClassVar[ImageFormat | None] = None

    @pytest.fixture(params=list(PICTURES.values()), ids=list(PICTURES))
    def picture(self, request: pytest.FixtureRequest) -> Pixels:
        """An array that `encode` accepts."""
        pixels: Pixels = request.param
        return pixels

    @pytest.fixture(params=list(SAMPLES.values()), ids=list(SAMPLES))
    def sample(self, request: pytest.FixtureRequest) -> Sample:
        """An image encoded by other software."""
        sample: Sample = request.param
        return sample

    @pytest.mark.parametrize("order", list(ChannelOrder))
    @pytest.mark.parametrize("encoding", EXACT, ids=lambda encoding: encoding.format)
    async def test_lossless_encodings_keep_the_pixels(
        self, images: Images, picture: Pixels, order: ChannelOrder, encoding: Encoding
    ) -> None:
        """encode, decode: a lossless encoding keeps pixels, shape and channel order."""
        encoded = await images.encode(picture, order, encoding)
        decoded = await images.decode(encoded.body.data, order, encoded.dimensions.channels)
        assert decoded.channel_order is order
        assert decoded.pixels.dtype == np.uint8
        np.testing.assert_array_equal(decoded.pixels, picture)

    @pytest.mark.parametrize("encoding", LOSSY, ids=str)
    async def test_lossy_encodings_keep_the_pixels_approximately(
        self, images: Images, encoding: Encoding
    ) -> None:
        """encode, decode: a lossy encoding keeps the shape, and the pixels approximately."""
        for name in ("grey", "colour", "alpha"):
            picture = PICTURES[name]
            if encoding.format is not ImageFormat.JPEG or name != "alpha":
                encoded = await images.encode(picture, ChannelOrder.BGR, encoding)
                decoded = await images.decode(
                    encoded.body.data, ChannelOrder.BGR, encoded.dimensions.channels
                )
                difference = np.abs(decoded.pixels.astype(int) - picture)
                assert decoded.pixels.shape == picture.shape
                assert difference.mean() < 8

    async def test_encode_describes_the_array(self, images: Images, picture: Pixels) -> None:
        """encode: returns the digests, the pixel digest, the content type and the dimensions."""
        for encoding in EXACT:
            encoded = await images.encode(picture, ChannelOrder.RGB, encoding)
            assert encoded.body.digests == digests_of(encoded.body.data)
            assert encoded.pixel_sha256 == pixel_sha256(picture, ChannelOrder.RGB)
            assert encoded.content_type == CONTENT_TYPES[self.only or encoding.format]
            height, width, *channels = picture.shape
            assert encoded.dimensions == Dimensions(width, height, *(channels or [1]))

    async def test_examine_looks_at_the_pixels(self, images: Images) -> None:
        """examine: `look` gets the pixels in the order RGB, whatever the order they had before."""
        for encoding in EXACT:
            encoded = await images.encode(PICTURES["colour"], ChannelOrder.RGB, encoding)
            seen = await images.examine(encoded.body.data, lambda pixels: pixels.copy())
            np.testing.assert_array_equal(seen, PICTURES["colour"])

    async def test_compute_returns_what_the_work_returns_or_raises(self, images: Images) -> None:
        """compute: returns what `work` returns, and raises whatever it raises."""
        assert await images.compute(lambda: 6 * 7) == 42
        with pytest.raises(ZeroDivisionError):
            await images.compute(lambda: 1 // 0)

    async def test_inspect_recognises_encoded_images(self, images: Images, picture: Pixels) -> None:
        """inspect: returns the content type, and the same dimensions as `decode`."""
        for encoding in EXACT:
            encoded = await images.encode(picture, ChannelOrder.RGB, encoding)
            info = await images.inspect(encoded.body)
            decoded = await images.decode(encoded.body.data, ChannelOrder.RGB)
            assert info.content_type == encoded.content_type
            assert info.dimensions == _dimensions(decoded.pixels)

    async def test_glance_agrees_with_inspect(self, images: Images, picture: Pixels) -> None:
        """glance: returns what `inspect` does, or None."""
        for encoding in (*EXACT, *LOSSY):
            if encoding.format is not ImageFormat.JPEG or picture.shape[2:] != (4,):
                encoded = await images.encode(picture, ChannelOrder.RGB, encoding)
                glanced = await images.glance(encoded.body)
                assert glanced in {None, await images.inspect(encoded.body)}

    async def test_decoded_pixels_are_writeable(self, images: Images, picture: Pixels) -> None:
        """decode: the array is writeable and contiguous."""
        encoded = await images.encode(picture, ChannelOrder.RGB, EXACT[0])
        decoded = await images.decode(encoded.body.data, ChannelOrder.BGR)
        assert decoded.pixels.flags.writeable
        assert decoded.pixels.flags.c_contiguous

    async def test_encode_does_not_change_the_array(self, images: Images) -> None:
        """encode: does not change the caller's array."""
        picture = gradient()
        await images.encode(picture, ChannelOrder.BGR, Encoding())
        np.testing.assert_array_equal(picture, gradient())

    async def test_the_array_may_be_overwritten_while_it_is_encoded(self, images: Images) -> None:
        """encode: copies the pixels before its first suspension."""
        frame = gradient(700, 1000)
        encoding = asyncio.ensure_future(images.encode(frame, ChannelOrder.RGB, EXACT[1]))
        await asyncio.sleep(0)
        frame[:] = 7
        encoded = await encoding
        decoded = await images.decode(encoded.body.data, ChannelOrder.RGB)
        np.testing.assert_array_equal(decoded.pixels, gradient(700, 1000))
        assert encoded.pixel_sha256 == pixel_sha256(gradient(700, 1000), ChannelOrder.RGB)

    @settings(
        deadline=None,
        max_examples=40,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(
        picture=arrays.arrays(
            np.uint8,
            st.tuples(st.integers(1, 20), st.integers(1, 20))
            | st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([3, 4])),
        ),
        encoding=st.sampled_from(EXACT),
        order=st.sampled_from(ChannelOrder),
    )
    async def test_lossless_encodings_keep_any_pixels(
        self, images: Images, picture: Pixels, encoding: Encoding, order: ChannelOrder
    ) -> None:
        """encode, decode: a lossless encoding keeps any pixels."""
        encoded = await images.encode(picture, order, encoding)
        decoded = await images.decode(encoded.body.data, order, encoded.dimensions.channels)
        np.testing.assert_array_equal(decoded.pixels, picture)

    @pytest.mark.parametrize(
        "wrong",
        [
            gradient().astype(np.float32),
            gradient().astype(np.uint16),
            gradient()[..., :2],
            gradient()[..., :1],
            gradient().reshape(-1),
            gradient()[:0],
            gradient().tolist(),
            None,
        ],
        ids=["floats", "16 bits", "2 channels", "1 channel", "flat", "empty", "list", "nothing"],
    )
    async def test_an_invalid_array_is_refused(self, images: Images, wrong: Pixels) -> None:
        """encode: InvalidInput for a wrong type or shape, with the field and a remedy."""
        with pytest.raises(InvalidInput) as raised:
            await images.encode(wrong, ChannelOrder.RGB, Encoding())
        assert raised.value.problems[0].field == "image"
        assert raised.value.problems[0].remedy

    async def test_too_many_pixels_are_refused(self, images: Images) -> None:
        """encode: TooLarge for more than `max_pixels` pixels; `max_pixels` are accepted."""
        with pytest.raises(TooLarge):
            await images.encode(
                np.zeros((1, self.max_pixels + 1), np.uint8), ChannelOrder.RGB, Encoding()
            )
        side = int(self.max_pixels**0.5)
        most = np.zeros((side, self.max_pixels // side), np.uint8)
        encoded = await images.encode(most, ChannelOrder.RGB, Encoding())
        assert (await images.inspect(encoded.body)).dimensions.height == side

    async def test_inspect_recognises_images_of_other_software(
        self, images: Images, sample: Sample
    ) -> None:
        """inspect: recognises images of other software."""
        if not self.reads_others:
            await self.refused(images, sample.data, UnsupportedMedia)
            return
        info = await images.inspect(MemoryBody(sample.data, digests_of(sample.data)))
        assert info.content_type == sample.content_type
        assert info.dimensions == Dimensions(WIDTH, HEIGHT, sample.channels)

    async def test_decode_reads_images_of_other_software(
        self, images: Images, sample: Sample
    ) -> None:
        """decode: returns 8-bit arrays; palettes, CMYK and grey with alpha become colour."""
        if not self.reads_others:
            await self.refused(images, sample.data, UnsupportedMedia)
            return
        rgb = (await images.decode(sample.data, ChannelOrder.RGB)).pixels
        bgr = (await images.decode(sample.data, ChannelOrder.BGR)).pixels
        assert _dimensions(rgb) == Dimensions(WIDTH, HEIGHT, sample.channels)
        turned = rgb if rgb.ndim == 2 else rgb[..., [2, 1, 0, *range(3, sample.channels)]]
        np.testing.assert_array_equal(bgr, turned)
        assert rgb.min() < 100
        assert rgb.max() > 150

    @pytest.mark.parametrize("channels", [1, 3, 4])
    async def test_decode_returns_the_requested_channels(
        self, images: Images, sample: Sample, channels: int
    ) -> None:
        """decode: returns as many channels as requested."""
        data = await self.readable(images, sample)
        decoded = await images.decode(data, ChannelOrder.RGB, channels)
        assert _dimensions(decoded.pixels) == Dimensions(WIDTH, HEIGHT, channels)

    async def test_a_truncated_image_is_refused(self, images: Images, sample: Sample) -> None:
        """inspect, decode: InvalidInput at any length; UndecodableMedia if the header is there.

        A JPEG may lack its end marker, so its last few bytes may be missing.
        """
        data = await self.readable(images, sample)
        optional_bytes = 8 if data.startswith(b"\xff\xd8") else 0
        for length in range(len(data) - optional_bytes):
            await self.refused(images, data[:length], InvalidInput)
        for share in (0.5, 0.9, 0.99):
            length = min(int(len(data) * share), len(data) - optional_bytes - 1)
            await self.refused(images, data[:length], UndecodableMedia)

    async def test_bytes_after_the_end_are_accepted(self, images: Images, sample: Sample) -> None:
        """inspect: accepts bytes after the end of the image, which some cameras add."""
        data = await self.readable(images, sample) + b"added by a camera" * 10
        info = await images.inspect(MemoryBody(data, digests_of(data)))
        assert (info.dimensions.width, info.dimensions.height) == (WIDTH, HEIGHT)

    @pytest.mark.parametrize("data", list(UNSUPPORTED.values()), ids=list(UNSUPPORTED))
    async def test_other_formats_are_refused(self, images: Images, data: bytes) -> None:
        """inspect, decode: UnsupportedMedia for formats that are not decoded."""
        await self.refused(images, data, UnsupportedMedia)

    @pytest.mark.parametrize("data", list(ANIMATIONS.values()), ids=list(ANIMATIONS))
    async def test_animations_are_refused(self, images: Images, data: bytes) -> None:
        """inspect, decode: UnsupportedMedia for animations."""
        await self.refused(images, data, UnsupportedMedia)

    async def test_concurrent_calls_do_not_mix(self, images: Images) -> None:
        """encode, decode: concurrent calls do not mix their images."""
        pictures = [np.full((30 + number, 20, 3), number, np.uint8) for number in range(12)]
        encoded: list[EncodedImage] = await asyncio.gather(
            *(images.encode(picture, ChannelOrder.RGB, EXACT[0]) for picture in pictures)
        )
        decoded = await asyncio.gather(
            *(images.decode(each.body.data, ChannelOrder.RGB) for each in encoded)
        )
        for picture, each in zip(pictures, decoded, strict=True):
            np.testing.assert_array_equal(each.pixels, picture)

    async def test_it_may_be_closed_twice(self, images: Images) -> None:
        """aclose: may be called twice."""
        await images.encode(gradient(), ChannelOrder.RGB, Encoding())
        await images.aclose()
        await images.aclose()

    async def readable(self, images: Images, sample: Sample) -> bytes:
        """Return the sample, or an image of this adapter if it decodes only its own."""
        if self.reads_others:
            return sample.data
        own = await images.encode(gradient(HEIGHT, WIDTH), ChannelOrder.RGB, Encoding())
        return own.body.data

    async def refused(self, images: Images, data: bytes, error: type[InvalidInput]) -> None:
        """Assert that `inspect` and `decode` raise `error` for `data`, with field and remedy."""
        for call in (
            images.inspect(MemoryBody(data, digests_of(data))),
            images.decode(data, ChannelOrder.RGB),
        ):
            with pytest.raises(error) as raised:
                await call
            assert isinstance(raised.value, UndecodableMedia | UnsupportedMedia)
            assert raised.value.problems[0].field == "image"
            assert raised.value.problems[0].remedy


def _dimensions(pixels: Pixels) -> Dimensions:
    height, width, *channels = pixels.shape
    return Dimensions(width, height, channels[0] if channels else 1)
