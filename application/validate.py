"""Validating images, videos and records, without storing them."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from attrs import evolve, frozen

from traffic_storage.application.examine_video import ExaminedVideo
from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.domain.media import ContainerInfo, ContentType
from traffic_storage.domain.pixels import Pixels, dimensions_of
from traffic_storage.domain.profiles import (
    CompletenessProfile,
    EvidenceFile,
    Exportability,
    exportability,
)
from traffic_storage.domain.quality.assessment import (
    Assessment,
    Check,
    Part,
    assess,
    combined,
    error,
)
from traffic_storage.domain.quality.image import IMAGE_CHECKS
from traffic_storage.domain.quality.image_metrics import ImageMetrics, image_metrics
from traffic_storage.domain.quality.record import (
    RECORD_CHECKS,
    Circumstances,
    JudgedRecord,
    judged_record,
)
from traffic_storage.domain.quality.video import (
    SAMPLED_FRAMES,
    VIDEO_CHECKS,
    FrameSurvey,
    VideoMetrics,
    video_metrics,
)
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.frames import Frames
from traffic_storage.ports.images import Images
from traffic_storage.ports.spool import Body, FileBody, MemoryBody, Spool, admitted

M = TypeVar("M")
Media: TypeAlias = bytes | Path | Body
"""An encoded image or a video: bytes, the path of a file, or a body of the spool."""


@frozen
class Checks:
    """The checks of records, images and videos; an embedder gives lists of its own."""

    record: Sequence[Check[JudgedRecord]] = RECORD_CHECKS
    image: Sequence[Check[ImageMetrics]] = IMAGE_CHECKS
    video: Sequence[Check[VideoMetrics]] = VIDEO_CHECKS


@frozen
class Bounds:
    """The settings that validating depends on.

    Attributes:
        zone: the zone in which times without one are read.
        known_models: name of a model → its known versions; None: all are accepted.
    """

    pixels: int
    image_bytes: int
    video_bytes: int
    zone: ZoneInfo
    max_clock_ahead: timedelta = timedelta(hours=24)
    max_delay: timedelta = timedelta(days=30)
    known_models: Mapping[str, Collection[str]] | None = None


@frozen
class Verdict(Generic[M]):
    """What was found about an image or a video. `metrics` is None if it can't be decoded."""

    metrics: M | None
    assessment: Assessment


class Validate:
    """Judges images, videos and records. Nothing is stored, and what can't be read is judged, too."""

    def __init__(
        self,
        *,
        images: Images,
        frames: Frames,
        spool: Spool,
        clock: Clock,
        bounds: Bounds,
        checks: Checks | None = None,
    ) -> None:
        self._images = images
        self._frames = frames
        self._spool = spool
        self._clock = clock
        self._bounds = bounds
        self._checks = checks or Checks()

    def with_checks(
        self, checks: Checks, known_models: Mapping[str, Collection[str]] | None = None
    ) -> "Validate":
        """Return one with other checks, and the known versions of models."""
        return Validate(
            images=self._images,
            frames=self._frames,
            spool=self._spool,
            clock=self._clock,
            bounds=evolve(self._bounds, known_models=known_models),
            checks=checks,
        )

    def judged(
        self,
        record: ViolationRecord | Mapping[str, object],
        *,
        received_at: datetime | None = None,
        image_size: tuple[int, int] | None = None,
        historic: bool = False,
    ) -> JudgedRecord:
        """Read a record as far as it can be read; `received_at` None means now.

        `historic` states that a timestamp long before receipt is correct.
        """
        bounds = self._bounds
        circumstances = Circumstances(
            received_at=received_at or self._clock.now(),
            zone=bounds.zone,
            max_clock_ahead=bounds.max_clock_ahead,
            max_delay=timedelta.max if historic else bounds.max_delay,
            image_size=image_size,
            known_models=bounds.known_models,
        )
        return judged_record(record, circumstances)

    def record(self, record: JudgedRecord) -> Assessment:
        """Apply the checks of records."""
        return assess(record, self._checks.record)

    def exportability(
        self,
        record: JudgedRecord,
        files: Sequence[EvidenceFile],
        jurisdiction: str | None,
        profiles: Sequence[CompletenessProfile],
    ) -> Exportability:
        """Judge whether a violation with these files has all that its profile needs.

        Raises:
            InvalidInput: the record has no timestamp that can be read.
        """
        if record.at is None:
            raise InvalidInput.of("timestamp", "can't be read", "give the time of the violation")
        return exportability(record.fields, files, jurisdiction, profiles, record.at)

    def pixels(self, image: Pixels) -> Verdict[ImageMetrics]:
        """Judge an array in the channel order RGB, in the calling thread; large ones take 20 ms.

        An array that is no image is judged, too.
        """
        try:
            dimensions_of(image, max_pixels=self._bounds.pixels)
        except InvalidInput as wrong:
            return _unreadable(wrong)
        metrics = image_metrics(image)
        return Verdict(metrics, assess(metrics, self._checks.image))

    async def image(self, image: Media) -> Verdict[ImageMetrics]:
        """Judge an encoded image.

        Raises:
            StorageUnavailable: a body can't be read.
        """
        try:
            data = image if isinstance(image, bytes) else await self._whole(image)
            metrics = await self._images.examine(data, image_metrics)
        except InvalidInput as wrong:
            return _unreadable(wrong)
        return Verdict(metrics, assess(metrics, self._checks.image))

    async def video(self, video: Media) -> Verdict[VideoMetrics]:
        """Judge a video: its container, and its time stamps and frames where a decoder is there.

        Raises:
            StorageUnavailable: a body can't be read.
        """
        source = await self._spool.wrap(video) if isinstance(video, bytes) else video
        try:
            info, size = await self._container(source)
            survey = await self._frames.survey(source, SAMPLED_FRAMES)
        except InvalidInput as wrong:
            return _unreadable(wrong)
        return self._judged_video(info, size, survey)

    def _judged_video(
        self, info: ContainerInfo, size: int, survey: FrameSurvey | None
    ) -> Verdict[VideoMetrics]:
        metrics = video_metrics(info, size, survey)
        return Verdict(metrics, assess(metrics, self._checks.video))

    async def _container(self, video: Path | Body) -> tuple[ContainerInfo, int]:
        examined, size = ExaminedVideo(None, accept_unknown=False), 0
        async with aclosing(self._chunks(video, self._bounds.video_bytes, "video")) as chunks:
            async for chunk in chunks:
                examined.feed(chunk)
                size += len(chunk)
        content_type, info = examined.finish()
        return info or ContainerInfo(ContentType(content_type)), size

    async def _whole(self, image: Path | Body) -> bytes:
        if isinstance(image, MemoryBody):
            return image.data
        data = bytearray()
        async with aclosing(self._chunks(image, self._bounds.image_bytes, "image")) as chunks:
            async for chunk in chunks:
                data += chunk
        return bytes(data)

    async def _chunks(
        self, source: Path | Body, limit: int, name: str
    ) -> AsyncGenerator[bytes, None]:
        if isinstance(source, MemoryBody | FileBody):
            chunks = self._spool.chunks(source)
        else:
            chunks = self._spool.read_path(source, field_name=name)
        async with aclosing(admitted(chunks, limit_bytes=limit, field_name=name)) as given:
            async for chunk in given:
                yield chunk


def _unreadable(wrong: InvalidInput) -> Verdict[M]:
    """Return the verdict of an image or video that can't be read: invalid, with a score of 0."""
    findings = tuple(error("unreadable", *_words(problem)) for problem in wrong.problems)
    return Verdict(None, combined([Part("form", 0.0, findings)]))


def _words(problem: FieldProblem) -> tuple[str, str, str]:
    return problem.field, problem.message, problem.remedy
