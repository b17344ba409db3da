"""The walker of each container."""

from traffic_storage.domain.media.avi import AviWalker
from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.iso_bmff import IsoBmffWalker
from traffic_storage.domain.media.matroska import MatroskaWalker
from traffic_storage.domain.media.walker import Walker


def walker_for(content_type: ContentType) -> Walker | None:
    """A new walker for a file of this type; None when the type is no video container.

    Any type of the family will do: the returned info names the actual container.
    """
    match content_type:
        case ContentType.MP4 | ContentType.QUICKTIME:
            return IsoBmffWalker()
        case ContentType.MATROSKA | ContentType.WEBM:
            return MatroskaWalker()
        case ContentType.AVI:
            return AviWalker()
        case ContentType.MPEG_TS:
            # Imported here because only this walker needs numpy, whose import takes 60 ms.
            from traffic_storage.domain.media.mpeg_ts import MpegTsWalker

            return MpegTsWalker()
        case _:
            return None
