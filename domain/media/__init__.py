"""Media files: recognition of the type by the first bytes, and checks of video containers.

A walker checks the structure of a container (MP4, Matroska, AVI, MPEG-TS) while its bytes arrive.
The functions are pure: they take bytes and return values or raise `MalformedMedia`. No frame is
decoded.
"""

from traffic_storage.domain.media.content_types import (
    ACCEPTED_IMAGES,
    ACCEPTED_VIDEOS,
    SUFFIXES,
    USUAL_FORMATS,
    ContentType,
    StillFormat,
    canonical_type,
    is_undeclared,
    same_family,
)
from traffic_storage.domain.media.iso_bmff import is_media_segment
from traffic_storage.domain.media.sniff import SNIFF_BYTES, sniff
from traffic_storage.domain.media.walker import ContainerInfo, MalformedMedia, Walker
from traffic_storage.domain.media.walkers import walker_for

__all__ = [
    "ACCEPTED_IMAGES",
    "ACCEPTED_VIDEOS",
    "SNIFF_BYTES",
    "SUFFIXES",
    "USUAL_FORMATS",
    "ContainerInfo",
    "ContentType",
    "MalformedMedia",
    "StillFormat",
    "Walker",
    "canonical_type",
    "is_media_segment",
    "is_undeclared",
    "same_family",
    "sniff",
    "walker_for",
]
