"""Parameters for encoding image arrays: format, quality, effort, lossless or not."""

from enum import StrEnum

from attrs import field, frozen

from traffic_storage.domain.errors import InvalidInput, shown


class ImageFormat(StrEnum):
    """The file formats in which an image array can be encoded."""

    WEBP = "webp"
    JPEG = "jpeg"
    PNG = "png"


def _format(value: object) -> ImageFormat:
    if isinstance(value, str) and value in tuple(ImageFormat):
        return ImageFormat(value)
    raise InvalidInput.of(
        "image_format", f"is {shown(value)}", f"give one of {', '.join(ImageFormat)}"
    )


@frozen
class Encoding:
    """The parameters for encoding image arrays.

    Attributes:
        quality: 1–100; has no effect on lossless images.
        effort: 0–6, for WebP. A higher effort gives smaller files and takes longer.
        lossless: whether WebP keeps the exact pixels. PNG always keeps them, JPEG never.

    Raises:
        InvalidInput: the format is unknown, a number is out of its range, or lossless JPEG is
            requested.
    """

    format: ImageFormat = field(default=ImageFormat.WEBP, converter=_format)
    quality: int = 80
    effort: int = 0
    lossless: bool = False

    def __attrs_post_init__(self) -> None:
        if not _is_whole(self.quality, 1, 100):
            raise InvalidInput.of(
                "image_quality", f"is {shown(self.quality)}", "give an integer from 1 to 100"
            )
        if not _is_whole(self.effort, 0, 6):
            raise InvalidInput.of(
                "image_effort", f"is {shown(self.effort)}", "give an integer from 0 to 6"
            )
        if self.lossless and self.format is ImageFormat.JPEG:
            raise InvalidInput.of(
                "image_lossless",
                "is requested for JPEG, which can't be lossless",
                "use WebP or PNG",
            )


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
