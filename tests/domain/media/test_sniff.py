from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.domain.media.parts import (
    association,
    box,
    ebml_header,
    element,
    last_box,
    packet,
)
from tests.domain.media.samples import RECIPES, sample
from traffic_storage.domain.media import SNIFF_BYTES, ContentType, sniff

BLANK = bytes(16)


def encoded(form: str) -> bytes:
    target = BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(target, form)
    return target.getvalue()


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("JPEG", ContentType.JPEG),
        ("PNG", ContentType.PNG),
        ("WEBP", ContentType.WEBP),
        ("AVIF", ContentType.AVIF),
        ("GIF", ContentType.GIF),
        ("TIFF", ContentType.TIFF),
        ("BMP", ContentType.BMP),
    ],
)
def test_pictures_that_pillow_writes(form: str, kind: ContentType) -> None:
    assert sniff(encoded(form)) is kind


@pytest.mark.parametrize("name", RECIPES)
def test_films_that_pyav_writes(name: str) -> None:
    assert sniff(sample(name)) is RECIPES[name].content_type


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"MM\x00\x2a" + BLANK, ContentType.TIFF),
        (b"II\x2b\x00" + BLANK, ContentType.TIFF),
        (b"\x00\x00\x01\xba" + BLANK, ContentType.MPEG_PS),
        (box(b"ftyp", b"heic" + bytes(4) + b"mif1heic"), ContentType.HEIC),
        (box(b"ftyp", b"mif1" + bytes(4) + b"mif1heic"), ContentType.HEIC),
        (box(b"ftyp", b"mif1" + bytes(4) + b"mif1avif"), ContentType.AVIF),
        (box(b"ftyp", b"isom" + bytes(4) + b"isomavc1"), ContentType.MP4),
        (box(b"ftyp", b"dash" + bytes(4)), ContentType.MP4),
        (box(b"ftyp", b"qt  " + bytes(4) + b"qt  "), ContentType.QUICKTIME),
        (box(b"moov", BLANK), ContentType.QUICKTIME),
        (last_box(b"mdat", BLANK), ContentType.QUICKTIME),
        (box(b"wide") + box(b"mdat", BLANK), ContentType.QUICKTIME),
        (ebml_header(b"webm"), ContentType.WEBM),
        (ebml_header(b"matroska\0"), ContentType.MATROSKA),
        (association([(1, 256)]) + packet(0) + packet(1)[:1], ContentType.MPEG_TS),
    ],
)
def test_heads_put_together_by_hand(head: bytes, kind: ContentType) -> None:
    assert sniff(head) is kind


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff\xd8",
        b"\x89PNG",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"\x00\x01\x02\x03",
        b"PK\x03\x04" + BLANK,
        b"%PDF-1.7\n\xe2\xe3\xcf\xd3",
        box(b"ftyp", b"M4A " + bytes(4)),
        box(b"ftyp", b"mp"),
        box(b"free")[1:] + BLANK,
        bytes(3) + b"\x05moov" + BLANK,
        ebml_header(b"other"),
        element(b"\x1a\x45\xdf\xa3", b""),
        packet(0) + packet(1),
        "naïve".encode("latin-1"),
        "text".encode("utf-16"),
    ],
)
def test_what_is_not_known_has_no_type(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"a": 1}', ContentType.JSON),
        ('\ufeff \n[ {"a": 1}]', ContentType.JSON),
        ("[-1]", ContentType.JSON),
        ("{}", ContentType.JSON),
        ("{", ContentType.JSON),
        ("{not json}", ContentType.TEXT),
        ("plain\ttext\r\n", ContentType.TEXT),
        ("BM is no bitmap, GIF no picture", ContentType.TEXT),
        ("Now skip this: no atom of QuickTime", ContentType.TEXT),
        ("You free and easy: none either", ContentType.TEXT),
        ("G" * 100, ContentType.TEXT),
    ],
)
def test_text_and_json(text: str, kind: ContentType) -> None:
    assert sniff(text.encode()) is kind


def test_text_may_be_cut_inside_a_character() -> None:
    text = ("x" + "ü" * SNIFF_BYTES).encode()
    assert sniff(text) is ContentType.TEXT
    assert sniff(text[:SNIFF_BYTES]) is ContentType.TEXT
    assert sniff(b"x\xc3(") is None


@given(st.binary(max_size=600))
def test_any_bytes_are_looked_at_without_error(head: bytes) -> None:
    found = sniff(head)
    assert found is None or found in ContentType.__members__.values()


@given(st.sampled_from(sorted(RECIPES)), st.data())
def test_a_damaged_head_is_no_error(name: str, data: st.DataObject) -> None:
    head = bytearray(sample(name)[:SNIFF_BYTES])
    for _ in range(data.draw(st.integers(1, 8))):
        head[data.draw(st.integers(0, min(64, len(head) - 1)))] = data.draw(st.integers(0, 255))
    sniff(bytes(head))


@given(st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable()))
def test_printable_text_is_text_or_a_magic_word(text: str) -> None:
    magic = {ContentType.JSON, ContentType.TEXT, ContentType.GIF}
    assert sniff(text.encode()) in magic
