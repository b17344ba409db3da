"""Recognition of a file's media type by its first bytes.

Signatures: JPEG (ITU-T T.81), PNG (ISO/IEC 15948), GIF 87a and 89a, TIFF 6.0 and BigTIFF, BMP,
RIFF forms (WebP: RFC 9649; AVI), ISO base media brands (ISO/IEC 14496-12, section 4.3; AVIF and
HEIF: ISO/IEC 23008-12), EBML (RFC 8794), MPEG transport and program streams (ISO/IEC 13818-1).
"""

import codecs
import re

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.iso_bmff import OLD_QUICKTIME_FIRST, QUICKTIME_BRAND
from traffic_storage.domain.media.matroska import EBML_MAGIC, doc_type
from traffic_storage.domain.media.mpeg_ts_packets import packet_layout

SNIFF_BYTES = 4096
"""The number of bytes at the start of a file from which `sniff` recognises its media type."""

_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), ContentType.JPEG),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ContentType.PNG),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), ContentType.WEBP),
    (re.compile(rb"RIFF.{4}AVI ", re.DOTALL), ContentType.AVI),
    (re.compile(rb"\x00\x00\x01\xba"), ContentType.MPEG_PS),
    (re.compile(rb"GIF8[79]a"), ContentType.GIF),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), ContentType.TIFF),
    # The size of the second header tells a bitmap from a text that begins with BM.
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL), ContentType.BMP),
)

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
# Base media files that are neither videos nor images of a known type.
_OTHER_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P ", b"crx ", b"jp2 ", b"jpx ", b"jxl "})

_TEXT_CONTROLS = b"\t\n\f\r"
_CONTROLS = bytes(set(range(0x20)) - set(_TEXT_CONTROLS)) + b"\x7f"
_JSON = re.compile(rb'\s*(\{\s*(["}]|\Z)|\[\s*(["\]{\[\d\-tfn]|\Z))')
_BOM = codecs.BOM_UTF8


def sniff(head: bytes) -> ContentType | None:
    """Return the media type of the file that starts with these bytes; None if it is unknown.

    Only the first `SNIFF_BYTES` are examined. Whether the file is complete is checked elsewhere: by
    a `Walker` for videos, by a decoder for images.
    """
    head = head[:SNIFF_BYTES]
    for signature, kind in _SIGNATURES:
        if signature.match(head):
            return kind
    if head.startswith(EBML_MAGIC):
        return doc_type(head)
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    layout = packet_layout(head)
    if layout and not layout.skip:
        return ContentType.MPEG_TS
    # Text is tested first, because "Now skip" is also a valid atom header.
    known = _as_text(head) or _as_old_quicktime(head)
    return known or (ContentType.MPEG_TS if layout else None)


def _by_brand(head: bytes) -> ContentType | None:
    major, compatible = head[8:12], head[16 : int.from_bytes(head[:4])]
    brands = {major} | {compatible[at : at + 4] for at in range(0, len(compatible), 4)}
    if major in _AVIF_BRANDS or (major in _HEIF_BRANDS and brands & _AVIF_BRANDS):
        return ContentType.AVIF
    if major in _HEIF_BRANDS:
        return ContentType.HEIC
    if len(major) < 4 or major in _OTHER_BRANDS:
        return None
    return ContentType.QUICKTIME if major == QUICKTIME_BRAND else ContentType.MP4


def _as_text(head: bytes) -> ContentType | None:
    text = head.removeprefix(_BOM)
    if not text or len(text.translate(None, _CONTROLS)) < len(text):
        return None
    try:
        # The head may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(text)
    except UnicodeDecodeError:
        return None
    return ContentType.JSON if _JSON.match(text) else ContentType.TEXT


def _as_old_quicktime(head: bytes) -> ContentType | None:
    size = int.from_bytes(head[:4])
    plausible = size in {0, 1} or size >= 8
    return ContentType.QUICKTIME if head[4:8] in OLD_QUICKTIME_FIRST and plausible else None
