"""What is peculiar to Pillow: real photographs, hostile bytes, limits of formats, memory."""

import asyncio
import io
import os
import random
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support import media
from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.adapters.images.pillow.turns import PixelBudget
from traffic_storage.domain.digests import Digests, digests_of
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import (
    InvalidInput,
    StorageUnavailable,
    TooLarge,
    UndecodableMedia,
    UnsupportedMedia,
)
from traffic_storage.domain.image_layout import ChannelOrder, Dimensions
from traffic_storage.domain.media import StillFormat
from traffic_storage.domain.pixels import Pixels
from traffic_storage.entrypoints.testing.contracts.image_samples import ANIMATIONS, SAMPLES
from traffic_storage.ports.images import DecodedImage, ImageInfo
from traffic_storage.ports.spool import FileBody, MemoryBody

T = TypeVar("T")

MAX_PIXELS = 4_000_000
RGB = ChannelOrder.RGB


@pytest.fixture
async def images(no_leaks: None) -> AsyncIterator[PillowImages]:
    images = PillowImages(MAX_PIXELS)
    yield images
    await images.aclose()


def body(data: bytes) -> MemoryBody:
    return MemoryBody(data, digests_of(data))


def written(image_format: str, picture: Pixels | None = None, **options: object) -> bytes:
    """A photograph (small, or the one given) as Pillow writes it."""
    image = Image.fromarray(media.photograph("astronaut") if picture is None else picture)
    if picture is None:
        image.thumbnail((120, 90))
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def heic(picture: Pixels | None = None) -> bytes:
    """A photograph (small, or the one given) as libheif writes it."""
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.open(io.BytesIO(written("PNG", picture)))).save(stream)
    return stream.getvalue()


def tiff(fields: dict[int, int], pixels: bytes, width: int, height: int) -> bytes:
    """A grey TIFF of one strip behind its directory, with these fields instead of the usual ones."""
    usual = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: height}
    fields = usual | {279: len(pixels)} | fields
    fields[273] = fields[273] or 14 + 12 * len(fields)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, fields[tag]) for tag in sorted(fields))
    return struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + entries + bytes(4) + pixels


REAL = {
    "jpeg": written("JPEG"),
    "jpeg progressive": written("JPEG", progressive=True, quality=95, subsampling=0),
    "jpeg with restarts": written("JPEG", restart_marker_blocks=3),
    "jpeg of one block": written("JPEG", media.photograph("astronaut")[:5, :3]),
    "png": written("PNG"),
    "webp": written("WEBP"),
    "webp lossless": written("WEBP", lossless=True),
    "avif": written("AVIF"),
    "bmp": written("BMP"),
    "tiff": written("TIFF"),
    "tiff lzw": written("TIFF", compression="tiff_lzw"),
    "tiff packbits": written("TIFF", compression="packbits"),
    "bigtiff": written("TIFF", big_tiff=True),
    "heic": heic(),
}
MANY = [*REAL.values(), *(sample.data for sample in SAMPLES.values()), *ANIMATIONS.values()]


class TestRealPhotographs:
    @pytest.mark.parametrize("name", ["rocket", "retina", "hubble"])
    async def test_a_file_of_a_camera(self, images: PillowImages, name: media.ShippedJpeg) -> None:
        data = media.shipped_jpeg(name)
        info = await images.inspect(body(data))
        decoded = await images.decode(data, RGB)
        frame = media.photograph(name)
        height, width, channels = frame.shape
        assert info == ImageInfo("image/jpeg", Dimensions(width, height, channels))
        np.testing.assert_array_equal(decoded.pixels, frame)

    @pytest.mark.parametrize("image_format", list(ImageFormat))
    @pytest.mark.parametrize("name", ["motorcycle", "camera", "chelsea"])
    async def test_a_frame(
        self, images: PillowImages, name: media.Photograph, image_format: ImageFormat
    ) -> None:
        frame = media.photograph(name)
        encoded = await images.encode(frame, ChannelOrder.BGR, Encoding(image_format))
        decoded = await images.decode(
            encoded.body.data, ChannelOrder.BGR, encoded.dimensions.channels
        )
        error = np.mean((decoded.pixels.astype(float) - frame) ** 2)
        assert decoded.pixels.shape == frame.shape
        assert error < 255**2 / 10 ** (30 / 10), "a PSNR of 30 dB"

    async def test_a_better_quality_is_larger_and_more_effort_smaller(
        self, images: PillowImages
    ) -> None:
        async def size(encoding: Encoding) -> int:
            encoded = await images.encode(media.photograph("coffee"), RGB, encoding)
            return encoded.body.digests.size_bytes

        assert await size(Encoding(quality=50)) < await size(Encoding(quality=95))
        assert await size(Encoding(effort=4)) < await size(Encoding(effort=0))
        jpeg = ImageFormat.JPEG
        assert await size(Encoding(jpeg, quality=50)) < await size(Encoding(jpeg, quality=95))

    async def test_orientation_is_not_applied(self, images: PillowImages) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees
        data = written("JPEG", exif=exif)
        info = await images.inspect(body(data))
        decoded = await images.decode(data, RGB)
        assert (info.dimensions.width, info.dimensions.height) == (90, 90)
        np.testing.assert_array_equal(
            decoded.pixels, (await images.decode(REAL["jpeg"], RGB)).pixels
        )

    async def test_a_second_picture_behind_the_first_is_left_alone(
        self, images: PillowImages
    ) -> None:
        stream = io.BytesIO()
        first = Image.fromarray(media.photograph("coffee"))
        first.save(stream, "MPO", save_all=True, append_images=[first.resize((40, 30))])
        info = await images.inspect(body(stream.getvalue()))
        assert info == ImageInfo("image/jpeg", Dimensions(600, 400, 3))

    async def test_16_bits_are_scaled(self, images: PillowImages) -> None:
        ramp = np.linspace(0, 65535, 300, dtype=np.uint16).reshape(10, 30)
        decoded = await images.decode(written("PNG", ramp), RGB)  # type: ignore[arg-type]
        np.testing.assert_array_equal(decoded.pixels, ramp >> 8)

    @pytest.mark.parametrize("image_format", ["BMP", "TIFF"])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "LA"])
    async def test_what_an_industrial_camera_writes(
        self, images: PillowImages, image_format: str, mode: str
    ) -> None:
        picture = Image.open(io.BytesIO(written("PNG"))).convert(mode)
        if image_format == "BMP" and mode in {"CMYK", "LA"}:
            return
        compressions: list[object] = ["raw"]
        if image_format == "TIFF":
            compressions += ["tiff_lzw", "tiff_adobe_deflate", "packbits"]
        for compression in compressions:
            stream = io.BytesIO()
            picture.save(stream, image_format, compression=compression)
            data = stream.getvalue()
            channels = (await images.inspect(body(data))).dimensions.channels
            decoded = (await images.decode(data, RGB)).pixels
            shown = Image.open(io.BytesIO(data)).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
            np.testing.assert_array_equal(decoded, np.asarray(shown))

    async def test_12_bits_in_12_are_scaled_and_in_16_are_dark(self, images: PillowImages) -> None:
        ramp = np.linspace(0, 4095, 300, dtype=np.uint16).reshape(10, 30)
        in_16 = written("TIFF", ramp)  # type: ignore[arg-type]
        assert (await images.decode(in_16, RGB)).pixels.max() == 15
        bits = "".join(format(value, "012b") for value in ramp.flat)
        packed = int(bits, 2).to_bytes(len(bits) // 8)
        decoded = await images.decode(tiff({258: 12, 279: len(packed)}, packed, 30, 10), RGB)
        np.testing.assert_array_equal(decoded.pixels, ramp >> 4)

    async def test_a_transparent_grey_of_16_bits(self, images: PillowImages) -> None:
        ramp = np.linspace(0, 65535, 300, dtype=np.uint16).reshape(10, 30)
        png = written("PNG", ramp)  # type: ignore[arg-type]
        data = png[:33] + _png((b"tRNS", struct.pack(">H", ramp[2, 3])))[8:] + png[33:]
        decoded = (await images.decode(data, RGB)).pixels
        np.testing.assert_array_equal(decoded[..., 0], ramp >> 8)
        np.testing.assert_array_equal(decoded[..., 3] == 0, ramp == ramp[2, 3])

    async def test_the_orientation_of_a_tiff_is_not_applied(self, images: PillowImages) -> None:
        frame = np.ascontiguousarray(media.photograph("astronaut")[:40, :60])
        data = written("TIFF", frame, tiffinfo={274: 6})
        assert (await images.inspect(body(data))).dimensions == Dimensions(60, 40, 3)
        np.testing.assert_array_equal((await images.decode(data, RGB)).pixels, frame)

    async def test_only_the_chosen_formats_are_accepted_and_all_are_read(self) -> None:
        images = PillowImages(MAX_PIXELS, formats=(StillFormat.JPEG, StillFormat.BMP))
        await images.inspect(body(REAL["bmp"]))
        for name, kind in (("tiff", "tiff"), ("heic", "heic"), ("png", "png")):
            with pytest.raises(UnsupportedMedia, match=f"is image/{kind}") as raised:
                await images.inspect(body(REAL[name]))
            remedy = f"send JPEG or BMP, or add {kind} to the setting image_formats"
            assert raised.value.remedy == remedy
            assert isinstance(await images.decode(REAL[name], RGB), DecodedImage)
        with pytest.raises(UnsupportedMedia) as raised:
            await images.inspect(body(b"GIF89a" + bytes(40)))
        assert raised.value.remedy == "send JPEG or BMP"
        await images.aclose()

    async def test_without_pillow_heif_the_refusal_names_it(
        self, images: PillowImages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
        with pytest.raises(UnsupportedMedia, match="nothing here can decode") as raised:
            await images.inspect(body(REAL["heic"]))
        assert "traffic-storage[heic]" in raised.value.remedy


class TestCutAndBroken:
    @pytest.mark.parametrize("data", list(REAL.values()), ids=list(REAL))
    async def test_every_cut_is_found(self, images: PillowImages, data: bytes) -> None:
        # A JPEG may lack its end marker and, unnoticed, a few bits of its last blocks; a BMP the bytes
        # that fill its last row up.
        end = len(data) - {b"\xff\xd8": 16, b"BM": 2}.get(data[:2], 0)
        cuts = {*range(0, end, 97), *range(max(0, end - 30), end)}
        for length in sorted(cuts):
            for call in (images.inspect(body(data[:length])), images.decode(data[:length], RGB)):
                with pytest.raises(UndecodableMedia if length > 100 else InvalidInput):
                    await call

    async def test_half_a_photograph(self, images: PillowImages) -> None:
        for data in (media.shipped_jpeg("rocket"), media.encoded("coffee", "PNG")):
            with pytest.raises(UndecodableMedia, match="not a complete") as raised:
                await images.inspect(body(media.truncated(data)))
            assert raised.value.problems[0].field == "image"
            assert "camera" in raised.value.remedy

    async def test_a_jpeg_that_was_cut_is_told_as_such(self, images: PillowImages) -> None:
        with pytest.raises(UndecodableMedia, match="ends before its last pixels"):
            await images.decode(media.shipped_jpeg("rocket")[:9000], RGB)

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
    async def test_a_flipped_bit_in_a_png(self, images: PillowImages, share: float) -> None:
        with pytest.raises(UndecodableMedia, match="checksum"):
            await images.inspect(body(media.flipped(media.encoded("coffee", "PNG"), share)))

    async def test_a_png_whose_chunks_are_right_but_whose_rows_are_few(
        self, images: PillowImages
    ) -> None:
        for rows in range(21):
            data = zlib.compress((b"\0" + b"\x80" * 40) * rows)
            png = _png(_ihdr(40, 20), (b"IDAT", data), (b"IEND", b""))
            if rows == 20:
                await images.inspect(body(png))
            else:
                with pytest.raises(UndecodableMedia, match="rows"):
                    await images.inspect(body(png))

    async def test_a_png_with_a_filter_that_does_not_exist(self, images: PillowImages) -> None:
        data = zlib.compress((b"\0" + b"\x80" * 40) * 19 + b"\5" + b"\x80" * 40)
        with pytest.raises(UndecodableMedia, match="filter"):
            await images.inspect(body(_png(_ihdr(40, 20), (b"IDAT", data), (b"IEND", b""))))

    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        width=st.integers(1, 20),
        height=st.integers(1, 20),
        kind=st.sampled_from([(1, 0), (4, 0), (16, 0), (8, 2), (16, 2), (2, 3), (8, 4), (16, 6)]),
        interlaced=st.booleans(),
        split=st.integers(1, 400),
    )
    async def test_any_size_and_kind_of_png_is_counted_right(
        self,
        images: PillowImages,
        width: int,
        height: int,
        kind: tuple[int, int],
        interlaced: bool,
        split: int,
    ) -> None:
        depth, colour_type = kind
        header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
        size = _bytes_of_rows(width, height, depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type])
        if interlaced:
            size = sum(
                _bytes_of_rows(
                    len(range(column, width, columns)),
                    len(range(row, height, rows)),
                    depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type],
                )
                for column, row, columns, rows in ADAM7
            )
        for missing in (0, 1):
            packed = zlib.compress(bytes(size - missing))
            idats = [
                (b"IDAT", packed[start : start + split]) for start in range(0, len(packed), split)
            ]
            palette = (b"PLTE", bytes(12))
            data = body(_png((b"IHDR", header), palette, *idats, (b"IEND", b"")))
            if missing:
                with pytest.raises(UndecodableMedia, match="rows"):
                    await images.inspect(data)
            else:
                info = await images.inspect(data)
                assert (info.dimensions.width, info.dimensions.height) == (width, height)

    @pytest.mark.parametrize(("at", "value"), [(12, 65_535), (4, 65_535)])
    async def test_a_heic_of_other_pixels_than_its_header_says(
        self, images: PillowImages, at: int, value: int
    ) -> None:
        # ISO/IEC 14496-12, 12.1.4: the part of the coded picture that is shown does not lie in it.
        whole = heic(np.ascontiguousarray(media.photograph("astronaut")[:40, :60]))
        place = whole.index(b"clap") + at
        data = whole[:place] + struct.pack(">I", value) + whole[place + 4 :]
        for call in (images.inspect(body(data)), images.decode(data, RGB)):
            with pytest.raises((UndecodableMedia, TooLarge)):
                await call

    async def test_a_png_without_its_end(self, images: PillowImages) -> None:
        with pytest.raises(UndecodableMedia, match="last chunk"):
            await images.inspect(body(REAL["png"][:-12]))

    async def test_an_exif_block_of_rubbish_is_the_cameras_business(
        self, images: PillowImages
    ) -> None:
        # Without a JFIF header Pillow would look for the resolution in it, and warn.
        whole = REAL["jpeg"]
        exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 60
        header = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        data = header + whole[whole.index(b"\xff\xdb") :]
        assert (await images.inspect(body(data))).content_type == "image/jpeg"

    @settings(
        deadline=None,
        max_examples=150,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(seed=st.integers(0, 2**32 - 1), data=st.sampled_from(MANY))
    async def test_hostile_bytes_end_in_an_error_of_ours(
        self, images: PillowImages, seed: int, data: bytes
    ) -> None:
        mutated = _mutated(data, random.Random(seed))
        info = await _outcome(images.inspect(body(mutated)))
        decoded = await _outcome(images.decode(mutated, RGB))
        if isinstance(info, ImageInfo):
            assert isinstance(decoded, DecodedImage)
            size = info.dimensions
            assert decoded.pixels.shape[:2] == (size.height, size.width)
            assert await images.glance(body(mutated)) in {None, info}
        else:
            assert info is decoded, "both refuse it alike"
            glanced = await _outcome(images.glance(body(mutated)))
            assert glanced in {None, info} or isinstance(glanced, ImageInfo)

    async def test_random_bytes(self, images: PillowImages) -> None:
        for seed in range(50):
            noise = random.Random(seed).randbytes(2000)
            for data in (noise, *(real[:40] + noise for real in REAL.values())):
                with pytest.raises((UndecodableMedia, UnsupportedMedia, TooLarge)):
                    await images.inspect(body(data))


def _scan_start(jpeg: bytes) -> int:
    """Where the coded bytes of the first scan begin."""
    header = jpeg.index(b"\xff\xda") + 2
    return header + int.from_bytes(jpeg[header : header + 2])


def _frame_header(jpeg: bytes) -> int:
    return max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) + 2


def _with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
    return jpeg[:2] + segment + jpeg[2:]


FLAT = np.full((400, 640, 3), 128, np.uint8)
JPEGS = {
    "baseline": written("JPEG", media.photograph("coffee")),
    "of a camera": media.shipped_jpeg("rocket"),
    "grey": written("JPEG", media.photograph("camera"), quality=30),
    "optimised": written("JPEG", media.photograph("coffee"), optimize=True, subsampling=0),
    "progressive": written("JPEG", media.photograph("coffee"), progressive=True),
    "restarts": written("JPEG", media.photograph("coffee"), restart_marker_blocks=7),
    "progressive, restarts": written(
        "JPEG", media.photograph("coffee"), progressive=True, restart_marker_rows=1
    ),
    "plain": written("JPEG", FLAT),
    "plain, all bits are zero": written("JPEG", FLAT, optimize=True),
    "plain, progressive": written("JPEG", FLAT, progressive=True),
}


@pytest.mark.parametrize("jpeg", list(JPEGS.values()), ids=list(JPEGS))
class TestPixelsOfAJpeg:
    """libjpeg makes grey pixels where a file has none, and tells nobody."""

    async def test_a_jpeg_without_all_its_pixels_is_refused(
        self, images: PillowImages, jpeg: bytes
    ) -> None:
        start, end = _scan_start(jpeg), b"\xff\xd9"
        coded_bytes = len(jpeg) - start
        height_at = _frame_header(jpeg) + 3
        height = int.from_bytes(jpeg[height_at : height_at + 2])
        taller = jpeg[:height_at] + struct.pack(">H", 2 * height) + jpeg[height_at + 2 :]
        part = jpeg[: start + coded_bytes * 6 // 10]
        for incomplete in (
            jpeg[:start] + end,
            part + end,
            part + bytes(coded_bytes),
            part + bytes(coded_bytes) + end,
            part + b"\xff" * 1000,
            part + b"by a camera",
            jpeg[: start + coded_bytes * 9 // 10] + end,
            taller,
            taller[:-2],
            taller + bytes(65_536),
        ):
            for call in (images.inspect(body(incomplete)), images.decode(incomplete, RGB)):
                with pytest.raises(UndecodableMedia, match="ends before its last pixels"):
                    await call

    async def test_a_glance_tells_what_the_header_does_if_the_end_is_there(
        self, images: PillowImages, jpeg: bytes
    ) -> None:
        info = await images.inspect(body(jpeg))
        start, end = _scan_start(jpeg), b"\xff\xd9"
        noise = random.Random(1).randbytes(1000).replace(end, b"\xff\x00")
        for ended in (jpeg, jpeg + noise, jpeg[: start + 9] + end, jpeg + bytes(40_000)):
            assert await images.glance(body(ended)) == info
        # An end of a thumbnail, in the header, is none.
        thumbnail = b"\xff\xe1" + struct.pack(">H", 8) + b"abcd" + end
        for unknown in (
            jpeg[:-2],
            jpeg[: len(jpeg) // 2].replace(end, b""),
            jpeg[:2] + thumbnail + jpeg[2:-2],
            jpeg + bytes(70_000),
        ):
            assert await images.glance(body(unknown)) is None
        assert await _outcome(images.glance(body(jpeg[: start // 2]))) in {None, UndecodableMedia}

    async def test_a_jpeg_with_all_its_pixels_is_whole(
        self, images: PillowImages, jpeg: bytes
    ) -> None:
        noise = random.Random(1).randbytes(65_536)
        for whole in (
            jpeg[:-2],
            jpeg[:-1],
            jpeg[:-2] + b"\xff" * 5 + b"\xff\xd9",
            *(jpeg + behind for behind in (bytes(70_000), b" " * 512, b"by a camera", noise)),
        ):
            assert await images.inspect(body(whole)) == await images.inspect(body(jpeg))
            decoded = await images.decode(whole, RGB)
            expected = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
            if decoded.pixels.ndim == 2:
                expected = expected[..., 0]
            np.testing.assert_array_equal(decoded.pixels, expected)


class TestTextsOfAPng:
    @pytest.mark.parametrize(
        "chunk",
        [
            (b"iCCP", b"x\0\0" + zlib.compress(bytes(2_000_000))),
            (b"zTXt", b"x\0\0" + zlib.compress(bytes(2_000_000))),
            (b"iTXt", b"x\0\1\0\0\0" + zlib.compress(b"a" * 2_000_000)),
            (b"iTXt", b"x\0\0\0\0\0" + b"a" * 2_000_000),
            (b"tEXt", b"x\0" + b"a" * 2_000_000),
            (b"zTXt", b"x\0\0no zlib"),
            (b"iCCP", b""),
        ],
        ids=lambda chunk: f"{chunk[0].decode()} of {len(chunk[1])}",
    )
    @pytest.mark.parametrize("behind", [False, True], ids=["in front", "behind the pixels"])
    async def test_a_large_or_unreadable_one_is_no_reason_to_refuse(
        self, images: PillowImages, chunk: tuple[bytes, bytes], behind: bool
    ) -> None:
        png, added = REAL["png"], _png(chunk)[8:]
        at = len(png) - 12 if behind else 33
        data = png[:at] + added + png[at:]
        assert await images.inspect(body(data)) == await images.inspect(body(png))
        decoded = await images.decode(data + bytes(65_536), RGB)
        np.testing.assert_array_equal(decoded.pixels, (await images.decode(png, RGB)).pixels)


class TestSegmentsOfAJpeg:
    @pytest.mark.parametrize(
        ("marker", "content"),
        [
            (0xE0, b"JFIF\0\x01"),
            (0xE0, b""),
            (0xEE, b"Adobe"),
            (0xE2, b"ICC_PROFILE\0\x01"),
            (0xE2, b"MPF\0"),
            (0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed"),
            (0xFE, b""),
        ],
    )
    async def test_a_short_one_is_passed_over(
        self, images: PillowImages, marker: int, content: bytes
    ) -> None:
        data = _with_segment(REAL["jpeg"], marker, content)
        assert await images.inspect(body(data)) == await images.inspect(body(REAL["jpeg"]))
        assert isinstance(await images.decode(data, RGB), DecodedImage)

    @pytest.mark.parametrize(
        ("changed", "words"),
        [({4: 12}, "12 bits a sample"), ({1: 0xC3}, "lossless"), ({1: 0xC5}, "hierarchical")],
    )
    async def test_a_kind_that_is_not_decoded_is_named(
        self, images: PillowImages, changed: dict[int, int], words: str
    ) -> None:
        data = bytearray(REAL["jpeg"])
        for at, value in changed.items():
            data[_frame_header(REAL["jpeg"]) - 2 + at] = value
        with pytest.raises(UnsupportedMedia, match=words) as raised:
            await images.inspect(body(bytes(data)))
        assert "8 bits a sample" in raised.value.remedy


class TestLimits:
    async def test_what_a_format_can_not_hold(self, images: PillowImages) -> None:
        too_wide = {ImageFormat.WEBP: 16_384, ImageFormat.JPEG: 65_501}
        for image_format, width in too_wide.items():
            for shape in ((1, width), (width, 1)):
                with pytest.raises(InvalidInput, match=str(width - 1)) as raised:
                    await images.encode(np.zeros(shape, np.uint8), RGB, Encoding(image_format))
                assert "another image format" in raised.value.remedy
            widest = await images.encode(
                np.zeros((1, width - 1), np.uint8), RGB, Encoding(image_format)
            )
            info = await images.inspect(widest.body)
            assert info.dimensions.width == width - 1

    async def test_jpeg_has_no_alpha(self, images: PillowImages) -> None:
        with pytest.raises(InvalidInput, match="alpha") as raised:
            await images.encode(np.zeros((4, 4, 4), np.uint8), RGB, Encoding(ImageFormat.JPEG))
        assert "WebP or PNG" in raised.value.remedy

    @pytest.mark.parametrize("kind", ["png", "webp", "webp beyond Pillow's own limit", "jpeg"])
    def test_a_bomb_is_refused_before_it_costs_memory(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "bomb").write_bytes(_bomb(kind))
        measured = subprocess.run(
            [sys.executable, "-c", MEASURE, tmp_path / "bomb"],
            capture_output=True,
            text=True,
            check=True,
        )
        error, grown_kib = measured.stdout.split()
        assert error == "TooLarge"
        assert int(grown_kib) < 8 * 1024

    @pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
    def test_a_bomb_in_a_text_chunk(self, tmp_path: Path, kind: bytes) -> None:
        head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
        chunk = (kind, head + zlib.compress(bytes(1 << 27), 9))
        (tmp_path / "bomb").write_bytes(_png(_ihdr(1, 1), chunk, *_IDAT_AND_IEND))
        measured = subprocess.run(
            [sys.executable, "-c", MEASURE, tmp_path / "bomb"],
            capture_output=True,
            text=True,
            check=True,
        )
        error, grown_kib = measured.stdout.split()
        assert error == "UndecodableMedia"
        assert int(grown_kib) < 16 * 1024

    def test_all_threads_share_one_budget_of_pixels(self) -> None:
        budget = PixelBudget(100)
        first_in, let_go = threading.Event(), threading.Event()
        order: list[str] = []

        def first() -> None:
            with budget.taken(60):
                first_in.set()
                let_go.wait()
                order.append("first")

        def second() -> None:
            first_in.wait()
            with budget.taken(40):
                let_go.set()
            with budget.taken(100):
                order.append("second")

        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(first), threads.submit(second)]:
                done.result()
        assert order == ["first", "second"]


class TestSpooledBodies:
    @pytest.fixture
    def descriptor(self, tmp_path: Path) -> Iterator[int]:
        descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        yield descriptor
        os.close(descriptor)

    @pytest.mark.parametrize("data", list(REAL.values()), ids=list(REAL))
    async def test_they_are_read_beside_their_position(
        self, images: PillowImages, descriptor: int, data: bytes
    ) -> None:
        os.write(descriptor, data + b"of another body")
        spooled = FileBody(descriptor, digests_of(data))
        several = await asyncio.gather(*(images.inspect(spooled) for _ in range(3)))
        assert several == [await images.inspect(body(data))] * 3
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == len(data) + 15

    async def test_a_disk_that_fails_is_not_the_callers_fault(
        self, images: PillowImages, tmp_path: Path
    ) -> None:
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(StorageUnavailable):
                await images.inspect(FileBody(folder, Digests(10, digests_of(b"").sha256)))
        finally:
            os.close(folder)


MEASURE = """
import asyncio, resource, sys
from pathlib import Path
from traffic_storage.adapters.images.pillow import PillowImages
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.ports.spool import MemoryBody

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

async def main():
    data = Path(sys.argv[1]).read_bytes()
    body = MemoryBody(data, digests_of(data))
    before = peak()
    try:
        await PillowImages(100_000_000).inspect(body)
    except InvalidInput as error:
        print(type(error).__name__, peak() - before)

asyncio.run(main())
"""


# Lossless, of one colour: 13,000 and 16,383 pixels a side.
BLACK_WEBP = {
    "webp": "524946461a000000574542505650384c0e0000002fc7f2b10c071011fd0f4444ff03",
    "webp beyond Pillow's own limit": (
        "524946461a000000574542505650384c0e0000002ffebfff0f071011fd0f4444ff03"
    ),
}
ADAM7 = [
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
]


def _bytes_of_rows(width: int, height: int, bits: int) -> int:
    return height * (1 + (width * bits + 7) // 8) if width else 0


def _bomb(kind: str) -> bytes:
    if kind == "png":
        return media.bomb_png()
    if kind == "jpeg":
        whole = bytearray(media.shipped_jpeg("rocket"))
        size = whole.index(b"\xff\xc0") + 5
        whole[size : size + 4] = struct.pack(">HH", 65_500, 65_500)
        return bytes(whole)
    return bytes.fromhex(BLACK_WEBP[kind])


def _ihdr(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)


_IDAT_AND_IEND = ((b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


async def _outcome(call: Awaitable[T]) -> T | type[InvalidInput]:
    """What a call gives, or the class of the error that a caller is told."""
    try:
        return await call
    except (TooLarge, UndecodableMedia, UnsupportedMedia) as error:
        return type(error) if error.problems[0].field == "image" and error.remedy else InvalidInput


def _mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few bytes changed, moved, added or taken away; often near the start."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        at = chance.randrange(len(changed) if chance.random() < 0.6 else min(len(changed), 80))
        match chance.randrange(6):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 4:
                other = chance.randrange(len(changed))
                changed[at : at + 4] = changed[other : other + 4]
            case _:
                changed[at : at + 4] = chance.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0"]
                )
        changed = changed or bytearray(b"x")
    return bytes(changed)
