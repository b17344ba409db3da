"""`DataValidator`: judges records, images and videos, alone and without a service."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from traffic_storage.application.recent_sightings import RecentSightings
from traffic_storage.application.validate import Checks, Media, Validate, Verdict
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.profiles import CompletenessProfile, EvidenceFile
from traffic_storage.domain.quality.assessment import Check
from traffic_storage.domain.quality.image import IMAGE_CHECKS
from traffic_storage.domain.quality.image_metrics import ImageMetrics
from traffic_storage.domain.quality.record import RECORD_CHECKS, JudgedRecord
from traffic_storage.domain.quality.video import VIDEO_CHECKS, VideoMetrics
from traffic_storage.domain.times import instant, parse_time
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.container import build
from traffic_storage.entrypoints.quality_views import (
    ExportabilityView,
    ImageQualityView,
    QualityView,
    VideoQualityView,
    exportability_view,
    image_quality_view,
    quality_view,
    video_quality_view,
)
from traffic_storage.entrypoints.service.arguments import check_type, instant_of, word_of
from traffic_storage.entrypoints.settings import StorageConfig

T = TypeVar("T")


class DataValidator:
    """Judges violation records, images and videos. Nothing is stored, and no service is needed.

    A check is a function that returns a `Part`: a factor of the score and its findings. The lists
    replace the default ones, so `record_checks=[*RECORD_CHECKS, mine]` adds a check.

    The validator remembers device, time and box of the last 10,000 records, by which it recognises
    a violation that comes again under another id. All methods block, and may be called from any
    thread, with or without a running event loop. Encoded images and videos are judged one at a time.

    Args:
        config: limits, zone and clock tolerances; default: `StorageConfig()`. Nothing is opened.
        known_models: name of a model → its known versions; None: all are accepted.
    """

    def __init__(
        self,
        config: StorageConfig | None = None,
        *,
        record_checks: Sequence[Check[JudgedRecord]] = RECORD_CHECKS,
        image_checks: Sequence[Check[ImageMetrics]] = IMAGE_CHECKS,
        video_checks: Sequence[Check[VideoMetrics]] = VIDEO_CHECKS,
        known_models: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._settings = config or StorageConfig()
        self._container = build(self._settings, StorageStrategy.LOCAL_ONLY)
        self._validate: Validate = self._container.validate().with_checks(
            Checks(tuple(record_checks), tuple(image_checks), tuple(video_checks)), known_models
        )
        self._seen = RecentSightings()
        self._lock = Lock()
        self._media_lock = Lock()

    def validate_violation_record(
        self,
        record: ViolationRecord | Mapping[str, object],
        *,
        received_at: datetime | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> QualityView:
        """Judge a record, or a mapping of its raw fields, which may be wrong or missing.

        `received_at` is when the record was received, by default now. `image_size` is width and
        height of its image in pixels; without it, the box is not compared with the image.

        Raises:
            InvalidInput: an argument has the wrong type.
        """
        if not isinstance(record, ViolationRecord):
            check_type("record", record, Mapping)
        received = instant_of("received_at", received_at, self._settings.zone)
        judged = self._validate.judged(record, received_at=received, image_size=image_size)
        with self._lock:
            judged = self._seen.beside(judged)
        return quality_view(self._validate.record(judged))

    def validate_image(
        self,
        image: Pixels | bytes | PathLike[str] | str,
        channel_order: ChannelOrder | str = ChannelOrder.RGB,
    ) -> ImageQualityView:
        """Judge an image: an array, encoded bytes, or the path of a file.

        An array is `uint8`, `(H, W)`, `(H, W, 3)` or `(H, W, 4)`, in `channel_order`. What is no
        image is not valid and has no metrics.

        Raises:
            InvalidInput: `channel_order` is not a channel order.
        """
        order = word_of("channel_order", channel_order, ChannelOrder)
        if isinstance(image, np.ndarray):
            return image_quality_view(self._validate.pixels(_in_rgb(image, order)))
        return image_quality_view(self._blocking(lambda: self._validate.image(_media(image))))

    def _validate_image_data(self, image: Pixels) -> ImageQualityView:
        """Do the same as `validate_image`: the name that the source document uses."""
        return self.validate_image(image)

    def validate_video(self, video: bytes | PathLike[str] | str) -> VideoQualityView:
        """Judge a video: bytes, or the path of a file.

        Its time stamps and frames are judged if the extra `video` is installed; else the metrics
        about them are None. What is no video is not valid and has no metrics.
        """
        return video_quality_view(self._blocking(lambda: self._validate.video(_media(video))))

    def check_completeness(
        self,
        record: ViolationRecord | Mapping[str, object],
        files: Iterable[Mapping[str, object]],
        jurisdiction: str | None = None,
        profiles: Sequence[CompletenessProfile] | None = None,
    ) -> ExportabilityView:
        """Judge whether a violation with its files may be exported as evidence.

        `record` and `files` may be what `StorageService.get_violation` returns; of a file, `kind` and
        `captured_at` are used. The last of `profiles` for the violation's type and `jurisdiction`
        applies; if none does, an image is enough. The default profiles are those of the setting
        `profiles_file` and the shipped examples, which do not claim to be complete.

        Raises:
            InvalidInput: the timestamp of the record, or a file, can't be read.
        """
        known = self._container.profiles().known if profiles is None else profiles
        judged = self._validate.judged(record)
        evidence = [_evidence_file(file, self._settings.zone) for file in files]
        return exportability_view(
            self._validate.exportability(judged, evidence, jurisdiction, known)
        )

    def _blocking(self, work: Callable[[], Coroutine[Any, Any, Verdict[T]]]) -> Verdict[T]:
        """Run a coroutine to its end in a thread of its own: the caller may run an event loop."""

        async def finished() -> Verdict[T]:
            try:
                return await work()
            finally:
                await self._container.images().aclose()
                await self._container.frames().aclose()

        # One at a time, because each one closes the decoders at its end.
        with self._media_lock, ThreadPoolExecutor(1, "traffic-storage-validator") as thread:
            return thread.submit(asyncio.run, finished()).result()


def _evidence_file(file: Mapping[str, object], zone: ZoneInfo) -> EvidenceFile:
    kind, captured_at = word_of("files.kind", file.get("kind"), FileKind), file.get("captured_at")
    if captured_at is None:
        return EvidenceFile(kind)
    path = "files.captured_at"
    return EvidenceFile(kind, instant(parse_time(captured_at, path), zone, path).at)


def _media(source: object) -> Media:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | PathLike):
        return Path(source)
    raise InvalidInput.of("source", f"is a {type(source).__name__}", "give bytes or a path")


def _in_rgb(image: Pixels, order: ChannelOrder) -> Pixels:
    if order is ChannelOrder.RGB or image.ndim != 3:
        return image
    return np.concatenate([image[..., 2::-1], image[..., 3:]], axis=2)
