"""Images that cost more than their bytes: refused before they are decoded; and who waits for whom."""

import asyncio
import io
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.support import media
from traffic_storage.adapters.images.pillow import PillowImages, turns
from traffic_storage.adapters.images.pillow.turns import Abandoned, PixelBudget, Turn, Turns
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.errors import TooLarge, UndecodableMedia, UnsupportedMedia
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.ports.spool import MemoryBody

MAX_PIXELS = 4_000_000


@pytest.fixture
async def images(no_leaks: None) -> AsyncIterator[PillowImages]:
    images = PillowImages(MAX_PIXELS, threads=1)
    yield images
    await images.aclose()


def body(data: bytes) -> MemoryBody:
    return MemoryBody(data, digests_of(data))


def saved(image_format: str, side: int = 64, **options: object) -> bytes:
    picture = Image.fromarray(np.ascontiguousarray(media.photograph("astronaut")[:side, :side]))
    stream = io.BytesIO()
    picture.save(stream, image_format, **options)
    return stream.getvalue()


def segment(marker: int, content: bytes = b"") -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def behind_start(*parts: bytes) -> bytes:
    """A JPEG with these bytes behind its start marker."""
    plain = saved("JPEG")
    return plain[:2] + b"".join(parts) + plain[2:]


def of_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive grey JPEG: a scan of DC, and others that say of all blocks that nothing comes."""
    blocks = -(-width // 8) * -(-height // 8)
    runs, left = "", blocks
    while left > 0:
        runs, left = runs + "0" + format(max(0, min(left, 32767) - 16384), "014b"), left - 32767

    def coded(bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")

    nothing = segment(0xDA, b"\1\1\0\1\x3f\x10") + coded(runs)
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xDB, b"\0" + b"\1" * 64),
            segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"),
            segment(0xC4, b"\0\1" + bytes(15) + b"\0"),
            segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0"),
            segment(0xDA, b"\1\1\0\0\0\0") + coded("0" * blocks),
            segment(0xDA, b"\1\1\0\1\x3f\1") + coded(runs),
            nothing * (scans - 2),
            b"\xff\xd9",
        )
    )


def chunk(name: bytes, content: bytes = b"") -> bytes:
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def png_with(*chunks: bytes) -> bytes:
    plain = saved("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def riff(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks) + saved("WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(content)) + content


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def avif_with(*boxes: bytes) -> bytes:
    return saved("AVIF") + b"".join(boxes)


def avif_with_in_meta(inside: bytes) -> bytes:
    plain = saved("AVIF")
    at = int.from_bytes(plain[:4])
    size = int.from_bytes(plain[at : at + 4])
    return plain[:at] + box(b"meta", plain[at + 8 : at + size] + inside) + plain[at + size :]


def bmp_of_runs(width: int, height: int, runs: bytes) -> bytes:
    colours = b"".join(bytes((n, 255 - n, n, 0)) for n in range(256))
    start = 54 + len(colours)
    header = struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 0, 0)
    return header + info + colours + runs


def tiff_of(
    fields: dict[int, tuple[int, int, int]], pixels: bytes = b"", following: int = 0
) -> bytes:
    """A TIFF of these fields (number → type, count, value)."""
    entries = b"".join(struct.pack("<HHII", tag, *fields[tag]) for tag in sorted(fields))
    head = struct.pack("<2sHIH", b"II", 42, 8, len(fields))
    return head + entries + struct.pack("<I", following) + pixels


def plain_tiff(
    width: int = 8, height: int = 8, others: dict[int, tuple[int, int, int]] | None = None
) -> bytes:
    """A grey TIFF without compression, with some fields replaced or added."""
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: height, 279: 64}
    fields = (
        {tag: (4, 1, value) for tag, value in values.items()} | {273: (4, 1, 0)} | (others or {})
    )
    if 273 not in (others or {}):
        fields[273] = (4, 1, 14 + 12 * len(fields))
    return tiff_of(fields, bytes(64))


BOMBS: dict[str, Callable[[], bytes]] = {
    "jpeg: many Exif segments": lambda: behind_start(segment(0xE1, b"Exif\0\0" + b"a" * 60) * 5000),
    "jpeg: many comments": lambda: behind_start(segment(0xFE) * 100_000),
    "jpeg: many JFIF segments": lambda: behind_start(segment(0xE0, b"JFIF\0" + bytes(9)) * 5000),
    "jpeg: many empty tables": lambda: behind_start(segment(0xC4) * 5000),
    "jpeg: segments between fill bytes": lambda: behind_start((b"\xff" * 9 + segment(0xFE)) * 5000),
    "jpeg: more scans than any encoder writes": lambda: of_scans(64, 64, 101),
    "jpeg: 60 scans of many pixels": lambda: of_scans(2000, 2000, 60),
    "jpeg: tables between scans": lambda: of_scans(64, 64, 9)[:-2] + segment(0xC4) * 5000,
    "png: many texts": lambda: png_with(chunk(b"iTXt", b"a\0\0\0\0\0") * 10_000),
    "png: many private chunks": lambda: png_with(chunk(b"abCd") * 10_000),
    "png: many empty pieces of pixels": lambda: png_with(chunk(b"IDAT") * 10_000),
    "png: many chunks of time": lambda: png_with(chunk(b"tIME", bytes(7)) * 10_000),
    "webp: many chunks": lambda: riff(*[b"abcd\0\0\0\0"] * 3000),
    "avif: many boxes": lambda: avif_with(box(b"free") * 3000),
    "avif: many boxes inside": lambda: avif_with_in_meta(box(b"iprp", box(b"free") * 3000)),
    "avif: many references": lambda: avif_with_in_meta(box(b"iref", bytes(70_000))),
    "bmp: many bytes of runs": lambda: bmp_of_runs(2048, 2048, b"\1\7" * (2 << 20) + b"\1\7"),
    "tiff: many fields": lambda: plain_tiff(others=dict.fromkeys(range(1000, 1600), (4, 1, 0))),
    "tiff: fields of many values": lambda: plain_tiff(
        others=dict.fromkeys(range(1000, 1020), (5, 1 << 20, 8))
    ),
    "avif: many items": lambda: avif_with_in_meta(box(b"iinf", bytes(6) + box(b"infe") * 3000)),
}


@pytest.mark.parametrize("make", list(BOMBS.values()), ids=list(BOMBS))
async def test_a_file_of_too_many_parts_is_refused_before_it_is_decoded(
    images: PillowImages, make: Callable[[], bytes]
) -> None:
    with pytest.raises(TooLarge) as refused:
        await images.inspect(body(make()))
    assert "send the picture" in str(refused.value.problems[0].remedy)


@pytest.mark.parametrize(
    "data",
    [
        bmp_of_runs(60_000, 60_000, b"\xff\7" * 99),
        plain_tiff(60_000, 60_000),
        plain_tiff(60_000, 60_000, {259: (4, 1, 5)}),
    ],
    ids=["bmp of runs", "tiff", "tiff lzw"],
)
async def test_more_pixels_than_the_limit_are_refused_whatever_the_file_has(
    images: PillowImages, data: bytes
) -> None:
    for call in (images.inspect(body(data)), images.decode(data, ChannelOrder.RGB)):
        with pytest.raises(TooLarge, match="3600000000 pixels"):
            await call


BROKEN: dict[str, Callable[[], bytes]] = {
    "bmp: a header of 65,535 x 65,535 pixels": lambda: (
        saved("BMP")[:18] + struct.pack("<ii", 65_535, -65_535) + saved("BMP")[26:]
    ),
    "bmp: no pixels": lambda: saved("BMP")[:18] + bytes(8) + saved("BMP")[26:],
    "bmp: runs that give too few pixels": lambda: bmp_of_runs(64, 64, b"\xff\7" * 9),
    "bmp: runs of a bitmap that ends early": lambda: bmp_of_runs(64, 64, b"\0\1" * 99),
    "bmp: runs of 24 bits": lambda: (
        bmp_of_runs(8, 8, b"\x08\7" * 8)[:28] + b"\x18" + bmp_of_runs(8, 8, b"\x08\7" * 8)[29:]
    ),
    "tiff: tiles of 4 billion pixels": lambda: plain_tiff(
        others={
            322: (4, 1, 65_536),
            323: (4, 1, 65_536),
            324: (4, 1, 8),
            325: (4, 1, 64),
        }
    ),
    "tiff: tiles without a size": lambda: plain_tiff(
        others={322: (4, 1, 0), 323: (4, 1, 0), 324: (4, 1, 8), 325: (4, 1, 64)}
    ),
    "tiff: a strip outside of the file": lambda: plain_tiff(others={273: (4, 1, 1 << 30)}),
    "tiff: too few strips": lambda: plain_tiff(others={278: (4, 1, 1)}),
    "tiff: a strip of too few bytes": lambda: plain_tiff(others={279: (4, 1, 63)}),
    "tiff: a field outside of the file": lambda: plain_tiff(others={700: (1, 9999, 1 << 20)}),
    "tiff: no size": lambda: tiff_of({258: (4, 1, 8)}),
    "tiff: a directory outside of the file": lambda: b"II*\0" + b"\xff" * 4,
    "tiff: a directory far outside of the file": lambda: b"II+\0\x08\0\0\0" + b"\xff" * 8,
}


@pytest.mark.parametrize("make", list(BROKEN.values()), ids=list(BROKEN))
async def test_a_header_that_promises_other_pixels_is_refused_before_it_is_decoded(
    images: PillowImages, make: Callable[[], bytes]
) -> None:
    for call in (images.inspect(body(make())), images.decode(make(), ChannelOrder.RGB)):
        with pytest.raises(UndecodableMedia, match="not a complete"):
            await call


NOT_DECODED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a directory that is its own next": (
        lambda: tiff_of({256: (4, 1, 8)}, following=8),
        "more than one picture",
    ),
    "a JPEG in a TIFF": (lambda: plain_tiff(others={259: (4, 1, 7)}), "compression 7"),
    "floating-point samples": (lambda: plain_tiff(others={339: (4, 1, 3)}), "floating-point"),
    "64 samples a pixel": (lambda: plain_tiff(others={277: (4, 1, 64)}), "64 samples"),
    "32 bits a sample": (lambda: plain_tiff(others={258: (4, 1, 32)}), "32 bits"),
    "L*a*b* colours": (lambda: plain_tiff(others={262: (4, 1, 8)}), "colour space 8"),
    "a JPEG in a BMP": (
        lambda: saved("BMP")[:30] + b"\4" + saved("BMP")[31:],
        "JPEG in a BMP",
    ),
}


@pytest.mark.parametrize(("make", "words"), list(NOT_DECODED.values()), ids=list(NOT_DECODED))
async def test_a_variant_that_is_not_decoded_is_named(
    images: PillowImages, make: Callable[[], bytes], words: str
) -> None:
    with pytest.raises(UnsupportedMedia, match=words) as refused:
        await images.inspect(body(make()))
    assert refused.value.remedy.startswith("send")


HONEST: dict[str, Callable[[], bytes]] = {
    "a progressive JPEG as libjpeg writes it": lambda: saved("JPEG", 512, progressive=True),
    "100 scans of few pixels": lambda: of_scans(64, 64, 100),
    "a camera's JPEG of 20 application segments": lambda: behind_start(
        *(segment(0xE1 + n % 13, b"MakerNote" * 700) for n in range(20))
    ),
    "an ICC profile of 255 segments": lambda: behind_start(
        *(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(900)) for n in range(1, 256))
    ),
    "a JPEG of many fill bytes": lambda: behind_start(b"\xff" * 3_000_000),
    "a PNG with 2 MB of private data": lambda: png_with(chunk(b"prVt", bytes(2_000_000))),
    "a PNG of small pieces of pixels": lambda: png_with(chunk(b"IDAT") * 4000),
    "a WebP with Exif and a profile": lambda: saved(
        "WEBP", exif=b"Exif\0\0" + bytes(99), icc_profile=b"x" * 999
    ),
    "an AVIF with Exif": lambda: saved("AVIF", exif=Image.Exif()),
    "a BMP of runs": lambda: bmp_of_runs(64, 64, b"\x40\7\0\0" * 64),
    "a TIFF of a strip for each row": lambda: saved("TIFF", 512, tiffinfo={278: 1}),
    "a TIFF with a profile": lambda: saved("TIFF", icc_profile=b"x" * 2_000_000),
}


@pytest.mark.parametrize("make", list(HONEST.values()), ids=list(HONEST))
async def test_honest_files_stay_within_the_bounds(
    images: PillowImages, make: Callable[[], bytes]
) -> None:
    assert (await images.inspect(body(make()))).dimensions.width in {64, 512}


async def test_texts_that_unpack_to_much_together_are_refused(images: PillowImages) -> None:
    packed = zlib.compress(bytes(6 << 20), 9)
    with pytest.raises(UndecodableMedia, match="unpack to more than"):
        await images.inspect(body(png_with(chunk(b"zTXt", b"k\0\0" + packed) * 3)))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
async def test_a_decoding_has_an_end(
    images: PillowImages, image_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_FREE_SECONDS", -1.0)
    with pytest.raises(TooLarge, match="processor time"):
        await images.inspect(body(saved(image_format)))
    with pytest.raises(TooLarge, match="processor time"):
        await images.decode(saved(image_format), ChannelOrder.RGB)


class TestTurns:
    @pytest.fixture
    async def few(self, no_leaks: None) -> AsyncIterator[Turns]:
        few = Turns(max_pixels=800, threads=1)
        yield few
        await few.aclose()

    async def test_a_small_image_waits_for_no_large_one(self, few: Turns) -> None:
        started, over = threading.Event(), threading.Event()

        def large(turn: Turn) -> str:
            with turn.taken(800, 800):
                started.set()
                over.wait()
                return "large"

        def small(turn: Turn) -> str:
            with turn.taken(100, 100):
                return "small"

        decoding = asyncio.gather(few.decode(large), few.decode(large))
        await asyncio.to_thread(started.wait)
        assert await few.decode(small) == "small"
        assert await few.compute(100, lambda: "encoded") == "encoded"
        over.set()
        assert list(await decoding) == ["large", "large"]

    async def test_an_image_of_few_pixels_and_many_scans_is_a_large_one(self, few: Turns) -> None:
        tried: list[int] = []

        def many_scans(turn: Turn) -> None:
            tried.append(1)
            with turn.taken(64, 700):
                pass

        await few.decode(many_scans)
        assert len(tried) == 2

    async def test_a_caller_who_is_gone_ends_his_decoding(self, few: Turns) -> None:
        started, ended = threading.Event(), threading.Event()

        def endless(turn: Turn) -> None:
            started.set()
            try:
                while True:
                    turn.check()
            except Abandoned:
                ended.set()
                raise

        decoding = asyncio.create_task(few.decode(endless))
        await asyncio.to_thread(started.wait)
        decoding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await decoding
        assert await asyncio.to_thread(ended.wait, 30)

    def test_who_came_first_is_first(self) -> None:
        budget = PixelBudget(100)
        order: list[str] = []

        def take(name: str, pixels: int) -> None:
            with budget.taken(pixels):
                order.append(name)

        with ThreadPoolExecutor(2) as threads:
            with budget.taken(60):
                large = threads.submit(take, "large", 100)
                while not budget.waiting:
                    pass
                small = threads.submit(take, "small", 10)
                while budget.waiting < 2:
                    pass
                assert order == []
            large.result()
            small.result()
        assert order == ["large", "small"]
