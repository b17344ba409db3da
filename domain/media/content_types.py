"""The known media types (RFC 6838), and the test of a declared type against the bytes.

Devices use many spellings of one type. A declared type is therefore compared by family: types that
share a container or an encoding count as one.
"""

from enum import StrEnum


class ContentType(StrEnum):
    """The media types that `sniff` recognises, in the spelling that is stored.

    Some are not accepted; they are listed so that the error can name them.
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


ACCEPTED_IMAGES = frozenset({ContentType.JPEG, ContentType.PNG, ContentType.WEBP, ContentType.AVIF})
"""The encodings in which a still image may be stored."""

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
"""The containers in which a video may be stored; `walker_for` has a walker for each."""

_UNDECLARED = frozenset({"", "application/octet-stream", "binary/octet-stream"})

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
    """Whether a declared media type is None, blank, or the general type of arbitrary bytes."""
    return _essence(declared) in _UNDECLARED


def canonical_type(declared: str | None) -> ContentType | None:
    """The known type of a declared one; case, parameters and aliases do not matter.

    None when it is undeclared or unknown.
    """
    name = _essence(declared)
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.startswith("application/") and name.endswith("+json"):
        return ContentType.JSON
    return ContentType.TEXT if name.startswith("text/") else None


def same_family(declared: str | None, sniffed: ContentType) -> bool:
    """Whether a declared media type is consistent with bytes that were recognised as `sniffed`.

    MP4 and QuickTime are one family (ISO base media), so are Matroska and WebM (EBML), and JSON and
    text. An undeclared type is consistent with all bytes, an unknown type with none.
    """
    if is_undeclared(declared):
        return True
    known = canonical_type(declared)
    return known is sniffed or any(known in family and sniffed in family for family in _FAMILIES)


def _essence(declared: str | None) -> str:
    """A media type without parameters, in lower case (RFC 9110, section 8.3.1)."""
    return (declared or "").partition(";")[0].strip().lower()
