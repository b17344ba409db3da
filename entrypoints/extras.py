"""Settings that need an optional part of the package (an extra) which is not installed."""

from collections.abc import Iterator
from importlib.util import find_spec

from attrs import frozen

from traffic_storage.domain.media import StillFormat
from traffic_storage.domain.quality.assessment import ValidationMode
from traffic_storage.entrypoints.settings import StorageConfig


@frozen
class Lacking:
    """A setting without its extra, what does not work without it, and what to do.

    `is_refused` is whether files are refused because of it.
    """

    setting: str
    effect: str
    remedy: str
    is_refused: bool


def lacking(settings: StorageConfig) -> Iterator[Lacking]:
    """Yield each setting whose extra is not installed."""
    if StillFormat.HEIC in settings.image_formats and find_spec("pillow_heif") is None:
        yield Lacking(
            "image_formats",
            "heic is among the formats, but each such image is refused: nothing here can decode it",
            "pip install 'traffic-storage[heic]', or take heic out of image_formats",
            is_refused=True,
        )
    if settings.validate_on_store is not ValidationMode.OFF and find_spec("av") is None:
        yield Lacking(
            "validate_on_store",
            "of videos only the container is judged, for nothing here can decode their frames",
            "pip install 'traffic-storage[video]'",
            is_refused=False,
        )
