"""The known media types (RFC 6838), and the comparison of a declared type with the recognised one.

Devices use many spellings of one type. A declared type is therefore compared by family: types that
share a container or an encoding count as one.
"""

from collections.abc import Mapping
from enum import StrEnum


class ContentType(StrEnum):
    """The media types that `sniff` recognises, in the spelling that is stored.

    Files of some of these types are refused; the types are listed so that the error can name them.
    """

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    AVIF = "image/avif"
    GIF = "image/gif"
    TIFF = "image/tiff"
    BMP = "image/bmp"
    HEIC = "image/heic"
    MP4 = "video/mp4"
    QUICKTIME = "video/quicktime"
    MATROSKA = "video/x-matroska"
    WEBM = "video/webm"
    MPEG_TS = "video/mp2t"
    AVI = "video/x-msvideo"
    MPEG_PS = "video/mpeg"
    JSON = "application/json"
    TEXT = "text/plain"


class StillFormat(StrEnum):
    """The file formats of still images of which the setting `image_formats` lists the accepted ones."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"
    BMP = "bmp"
    TIFF = "tiff"
    HEIC = "heic"

    @property
    def content_type(self) -> ContentType:
        """The media type of its files."""
        return ContentType(f"image/{self}")

    @property
    def shown(self) -> str:
        """Its name in messages."""
        return "WebP" if self is StillFormat.WEBP else self.upper()


USUAL_FORMATS = (
    StillFormat.JPEG,
    StillFormat.PNG,
    StillFormat.WEBP,
    StillFormat.AVIF,
    StillFormat.BMP,
)
"""The formats that are accepted if nobody chooses others."""

ACCEPTED_IMAGES = frozenset(one.content_type for one in StillFormat)
"""The encodings in which a still image may be stored, if the setting `image_formats` lists them."""

ACCEPTED_VIDEOS = frozenset(
    {
        ContentType.MP4,
        ContentType.QUICKTIME,
        ContentType.MATROSKA,
        ContentType.WEBM,
        ContentType.MPEG_TS,
        ContentType.AVI,
    }
)
"""The containers in which a video may be stored; `walker_for` returns a checker for each."""

# Names that say nothing, and names that clients guess from a file's extension: `.ts` is also TypeScript
# and Qt Linguist, `.mts` a model, `.3gp` a sound, and an MPO file begins with a JPEG.
_UNDECLARED = frozenset(
    {
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "*/*",
        "image/*",
        "video/*",
        "image/mpo",
        "text/vnd.trolltech.linguist",
        "text/vnd.qt.linguist",
        "text/typescript",
        "text/x-typescript",
        "application/typescript",
        "application/x-typescript",
        "model/vnd.mts",
        "audio/3gpp",
        "audio/3gpp2",
    }
)

_BY_NAME = {
    **{known.value: known for known in ContentType},
    "image/jpg": ContentType.JPEG,
    "image/pjpeg": ContentType.JPEG,
    "image/x-png": ContentType.PNG,
    "image/avif-sequence": ContentType.AVIF,
    "image/heif": ContentType.HEIC,
    "image/tif": ContentType.TIFF,
    "image/x-tiff": ContentType.TIFF,
    "image/x-bmp": ContentType.BMP,
    "image/x-ms-bmp": ContentType.BMP,
    "application/mp4": ContentType.MP4,
    "video/m4v": ContentType.MP4,
    "video/x-m4v": ContentType.MP4,
    "video/3gpp": ContentType.MP4,
    "video/3gpp2": ContentType.MP4,
    "video/iso.segment": ContentType.MP4,
    "video/x-quicktime": ContentType.QUICKTIME,
    "video/matroska": ContentType.MATROSKA,
    "video/mpegts": ContentType.MPEG_TS,
    "video/x-mpegts": ContentType.MPEG_TS,
    "video/vnd.dlna.mpeg-tts": ContentType.MPEG_TS,
    "video/avi": ContentType.AVI,
    "video/msvideo": ContentType.AVI,
    "video/vnd.avi": ContentType.AVI,
    "application/x-ndjson": ContentType.JSON,
    "text/json": ContentType.JSON,
}

_FAMILIES = (
    frozenset({ContentType.MP4, ContentType.QUICKTIME}),
    frozenset({ContentType.MATROSKA, ContentType.WEBM}),
    frozenset({ContentType.JSON, ContentType.TEXT}),
)


def is_undeclared(declared: str | None) -> bool:
    """Return whether a declared media type tells nothing about the bytes.

    So it is if it is None, blank, general (`application/octet-stream`, `image/*`), or a name that
    clients guess from an ambiguous file extension (`text/vnd.trolltech.linguist` for `.ts`).
    """
    return _essence(declared) in _UNDECLARED


def canonical_type(declared: str | None) -> ContentType | None:
    """Return the known type that a declared media type names; None if it is undeclared or unknown.

    Upper or lower case and parameters are ignored, and other names of a type are recognised.
    """
    name = _essence(declared)
    if name in _UNDECLARED:
        return None
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.startswith("application/") and name.endswith("+json"):
        return ContentType.JSON
    return ContentType.TEXT if name.startswith("text/") else None


def same_family(declared: str | None, sniffed: ContentType) -> bool:
    """Return whether a declared media type fits a file whose bytes were recognised as `sniffed`.

    MP4 and QuickTime are one family (ISO base media), so are Matroska and WebM (EBML), and JSON and
    text. An undeclared type fits all files, an unknown type none.
    """
    if is_undeclared(declared):
        return True
    known = canonical_type(declared)
    return known is sniffed or any(known in family and sniffed in family for family in _FAMILIES)


def _essence(declared: str | None) -> str:
    """Return a media type without its parameters, in lower case (RFC 9110, section 8.3.1)."""
    return (declared or "").partition(";")[0].strip().lower()


SUFFIXES: Mapping[str, str] = {
    ContentType.JPEG: ".jpg",
    ContentType.PNG: ".png",
    ContentType.WEBP: ".webp",
    ContentType.AVIF: ".avif",
    ContentType.BMP: ".bmp",
    ContentType.TIFF: ".tiff",
    ContentType.HEIC: ".heic",
    ContentType.MP4: ".mp4",
    ContentType.QUICKTIME: ".mov",
    ContentType.MATROSKA: ".mkv",
    ContentType.WEBM: ".webm",
    ContentType.MPEG_TS: ".ts",
    ContentType.AVI: ".avi",
    ContentType.JSON: ".json",
}
"""Content type → how the name of a file of this type ends."""
