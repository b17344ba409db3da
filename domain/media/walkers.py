"""Which walker checks which container."""

from traffic_storage.domain.media.avi import AviWalker
from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.iso_bmff import IsoBmffWalker
from traffic_storage.domain.media.matroska import MatroskaWalker
from traffic_storage.domain.media.walker import Walker


def walker_for(content_type: ContentType) -> Walker | None:
    """A fresh walker for a file of this type; None when it is no video container.

    The type may be any of its family: the info name the container that the bytes are.
    """
    match content_type:
        case ContentType.MP4 | ContentType.QUICKTIME:
            return IsoBmffWalker()
        case ContentType.MATROSKA | ContentType.WEBM:
            return MatroskaWalker()
        case ContentType.AVI:
            return AviWalker()
        case ContentType.MPEG_TS:
            # Only this one needs numpy, whose import costs 60 ms.
            from traffic_storage.domain.media.mpeg_ts import MpegTsWalker

            return MpegTsWalker()
        case _:
            return None
