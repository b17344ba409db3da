"""The choice of the walker (the checker of a video file) for each media type."""

from traffic_storage.domain.media.avi import AviWalker
from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.iso_bmff import IsoBmffWalker
from traffic_storage.domain.media.matroska import MatroskaWalker
from traffic_storage.domain.media.walker import Walker


def walker_for(content_type: ContentType) -> Walker | None:
    """Return a new walker (a checker) for a video file of this type; None for any other type.

    MP4 and QuickTime have the same walker, and so have Matroska and WebM: the result of `finish`
    has the actual type of the file.
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
