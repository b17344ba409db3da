"""AnalyseQuality: judges a random sample of violations and images by their records and pixels."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import TypeVar
from zoneinfo import ZoneInfo

from attrs import frozen
from numpy import uint8
from numpy.typing import NDArray

from traffic_storage.application.known_devices import check_known
from traffic_storage.application.replica_reader import ReplicaReader
from traffic_storage.application.retain import unseen
from traffic_storage.application.worker import Report
from traffic_storage.domain.data_quality import (
    DataQuality,
    JudgedSample,
    checked_sample_size,
    data_quality,
)
from traffic_storage.domain.duplicates import (
    Content,
    exact_duplicates,
    near_duplicates,
    perceptual_hash,
)
from traffic_storage.domain.errors import (
    NoGoodReplica,
    NotFound,
    TooLarge,
    Unavailable,
    UndecodableMedia,
    UnsupportedMedia,
)
from traffic_storage.domain.files import FileKind, FileState, StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.quality.assessment import (
    Assessment,
    Finding,
    Part,
    combined,
    error,
    warning,
)
from traffic_storage.domain.quality.image import ImageQuality, image_quality
from traffic_storage.domain.quality.record import Circumstances, judged_record, record_quality
from traffic_storage.domain.query import MAX_LIMIT, Cursor, FilesQuery, Page, ViolationQuery
from traffic_storage.domain.retention import CaptureBounds
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.images import Images
from traffic_storage.ports.samples import Samples

SAMPLED = 1000
"""The number of records that are sampled unless another one is given."""
_AT_A_TIME = 8
_MEASURED_PIXELS = 1 << 18
"""Fewer than where one image is judged: the findings here are about many images."""
_LOOKUPS = 4
"""The number of look-ups at most for each row that is wanted at even intervals."""
_TO_FIND = 64
"""The number of look-ups at most besides, to find the hour of a bulk load in decades."""
T = TypeVar("T")
Newest = Callable[[datetime | None, datetime | None, Cursor | None, int], Awaitable[Page[T]]]
"""Reads a page of rows from a time to before another one, behind a position, newest first."""
_UNDECODABLE = (UndecodableMedia, UnsupportedMedia, TooLarge)


@frozen
class _Look:
    """What an image looks like."""

    quality: ImageQuality
    hash: NDArray[uint8]


@frozen
class _Subject:
    """A violation with its image, or an image without a violation.

    `historic` is whether who stored it stated that an old capture time is correct.
    """

    violation: StoredViolation | None
    image: StoredFile | None
    historic: bool = False

    @property
    def identity(self) -> tuple[str, str | None, datetime]:
        """The id, the device, and the time at which it happened or was received."""
        if self.violation is not None:
            record = self.violation.record
            return record.violation_id, record.device_id, self.violation.occurred_at
        image = self.image
        if image is None:
            raise ValueError("a subject needs a violation or an image")
        return image.file_id, image.device_id, image.captured_at or image.created_at


class AnalyseQuality:
    """Judges violations with their images, and images without a violation.

    Images are read from the disk or bucket and decoded where the service decodes images; the caches
    are left as they are.
    """

    def __init__(
        self,
        *,
        samples: Samples,
        catalogue: Catalogue,
        replicas: ReplicaReader,
        images: Images,
        clock: Clock,
        zone: ZoneInfo,
        max_clock_ahead: timedelta,
        bounds: CaptureBounds,
    ) -> None:
        self._samples = samples
        self._catalogue = catalogue
        self._replicas = replicas
        self._images = images
        self._clock = clock
        self._zone = zone
        self._max_clock_ahead = max_clock_ahead
        self._bounds = bounds

    async def __call__(
        self,
        *,
        sample_size: int = SAMPLED,
        seed: int = 0,
        device_id: str | None = None,
        report: Report = unseen,
    ) -> DataQuality:
        """Return the quality of `sample_size` records that are drawn by `seed`.

        If there are fewer violations, images that belong to none are drawn besides. With
        `device_id`, those of this device are taken instead, which is the best sample to see a trend:
        all if there are no more than `sample_size`, else at even intervals of time (of capture;
        images that belong to no violation: of receipt).

        Raises:
            CatalogueUnavailable: the database can't be reached.
            InvalidInput: `sample_size` is not 1 to 10,000, or no device can have this id.
            NotFound: nothing of a device with this id was ever stored.
        """
        limit = checked_sample_size(sample_size)
        if device_id is None:
            subjects = await self._drawn(limit, seed)
        else:
            subjects = await self._of_device(device_id, limit)
        judged: list[JudgedSample] = []
        hashes: dict[FileId, NDArray[uint8]] = {}
        for start in range(0, len(subjects), _AT_A_TIME):
            batch = subjects[start : start + _AT_A_TIME]
            judged += await asyncio.gather(*(self._judge(one, hashes) for one in batch))
            report(Progress(len(judged), len(subjects), message="judging"))
        contents, now = _contents(subjects), self._clock.now()
        # 10,000 images are compared in seconds.
        return await self._images.compute(
            lambda: data_quality(
                judged,
                now,
                exact_duplicates(contents.values()),
                near_duplicates(hashes, contents),
                self._bounds.earliest,
            )
        )

    async def _drawn(self, limit: int, seed: int) -> Sequence[_Subject]:
        violations = await self._samples.sample_violations(limit, seed)
        subjects = await self._with_images(violations)
        if len(subjects) < limit:
            files = await self._samples.sample_files(FileKind.IMAGE, limit, seed)
            alone = [_Subject(None, file) for file in files if file.violation_id is None]
            subjects = [*subjects, *alone[: limit - len(subjects)]]
        return subjects

    async def _of_device(self, device_id: str, limit: int) -> Sequence[_Subject]:
        async def violations(
            start: datetime | None, end: datetime | None, after: Cursor | None, most: int
        ) -> Page[StoredViolation]:
            query = ViolationQuery(
                device_id=device_id, start_time=start, end_time=end, after=after, limit=most
            )
            return await self._catalogue.violations(query)

        async def images(
            start: datetime | None, end: datetime | None, after: Cursor | None, most: int
        ) -> Page[StoredFile]:
            query = FilesQuery(
                kind=FileKind.IMAGE,
                device_id=device_id,
                start_time=start,
                end_time=end,
                after=after,
                limit=most,
            )
            return await self._catalogue.files(query)

        found = await self._spread(violations, lambda one: one.occurred_at, limit)
        subjects = list(await self._with_images(found))
        if len(subjects) < limit:
            files = await self._spread(images, lambda one: one.created_at, limit)
            alone = [_Subject(None, file) for file in files if file.violation_id is None]
            subjects += alone[: limit - len(subjects)]
        if not subjects:
            await check_known(self._catalogue, device_id, self._clock.now())
        return subjects

    async def _spread(
        self, newest: Newest[T], time_of: Callable[[T], datetime], limit: int
    ) -> Sequence[T]:
        """Return all rows if there are at most `limit`, else as many at even intervals of time."""
        found: list[T] = []
        after: Cursor | None = None
        while len(found) < limit:
            page = await newest(None, None, after, min(MAX_LIMIT, limit - len(found)))
            found += page.items
            after = page.next
            if after is None:
                return found
        return await evenly(newest, time_of, self._bounds.earliest, limit)

    async def _with_images(self, violations: Sequence[StoredViolation]) -> Sequence[_Subject]:
        ids = [one.image_file_id for one in violations if one.image_file_id is not None]
        files = await self._catalogue.files_by_id(
            [*ids, *(one.metadata_file_id for one in violations)]
        )
        return [
            _Subject(
                one,
                files.get(one.image_file_id) if one.image_file_id else None,
                historic=one.metadata_file_id in files and files[one.metadata_file_id].historic,
            )
            for one in violations
        ]

    async def _judge(self, subject: _Subject, hashes: dict[FileId, NDArray[uint8]]) -> JudgedSample:
        image, violation = subject.image, subject.violation
        found = await self._image(image)
        parts = [found] if isinstance(found, Assessment) else []
        quality = None
        if image is not None and isinstance(found, _Look):
            quality = found.quality
            parts = [quality.assessment]
            hashes[image.file_id] = found.hash
        if violation is not None:
            parts.append(self._record(violation, image, historic=subject.historic))
        unread = found if isinstance(found, str) else ""
        return JudgedSample(*subject.identity, tuple(parts), quality, unread)

    async def _image(self, image: StoredFile | None) -> _Look | Assessment | str:
        """Return how an image looks, or what is wrong with it, or why it can't be read now."""
        if image is None or image.state is not FileState.AVAILABLE:
            return _judged(warning("no_image", "image", "is missing", "send it"), 0.5)
        try:
            return await self._look(image)
        except (NoGoodReplica, NotFound) as failure:
            return _judged(error("unreadable", "image", str(failure)), 0.0)
        except _UNDECODABLE as failure:
            return _judged(error("undecodable", "image", str(failure)), 0.0)
        except Unavailable as failure:
            return str(failure)

    async def _look(self, image: StoredFile) -> _Look:
        data = await self._replicas.read(image, cached=False)
        return await self._images.examine(data, _look)

    def _record(
        self, violation: StoredViolation, image: StoredFile | None, *, historic: bool
    ) -> Assessment:
        media = None if image is None else image.media
        size = (media.width, media.height) if media and media.width and media.height else None
        circumstances = Circumstances(
            received_at=violation.received_at,
            zone=self._zone,
            max_clock_ahead=self._max_clock_ahead,
            max_delay=timedelta.max if historic else self._bounds.max_backdating,
            image_size=size,
        )
        return record_quality(judged_record(violation.record, circumstances))


async def evenly(
    newest: Newest[T], time_of: Callable[[T], datetime], earliest: datetime, limit: int
) -> Sequence[T]:
    """Return at most `limit` rows at even intervals between the first and the last at or after
    `earliest`, newest first.

    The longest span without a row that was taken is halved by one look-up each: for the newest row
    of its older half. So a pause of years costs a dozen look-ups, and single wrong times hardly
    matter. The intervals differ by a factor of two at most where rows are dense. There are at
    most 4 look-ups for each row that is asked for, and 64 besides.
    """
    last = (await newest(earliest, None, None, 1)).items
    if not last:
        return ()
    found = list(last)
    end = time_of(last[0])
    spans: list[tuple[timedelta, datetime, datetime]] = [(earliest - end, earliest, end)]
    for _ in range(_LOOKUPS * limit + _TO_FIND):
        if len(found) >= limit or not spans:
            break
        length, start, end = heappop(spans)
        middle = start - length / 2
        if not start < middle < end:
            continue
        heappush(spans, (middle - end, middle, end))
        for one in (await newest(start, middle, None, 1)).items:
            found.append(one)
            heappush(spans, (start - time_of(one), start, time_of(one)))
    return sorted(found, key=time_of, reverse=True)


def _look(pixels: Pixels) -> _Look:
    return _Look(image_quality(pixels, pixels=_MEASURED_PIXELS), perceptual_hash(pixels))


def _judged(finding: Finding, score: float) -> Assessment:
    return combined([Part("image", score, (finding,))])


def _contents(subjects: Sequence[_Subject]) -> Mapping[FileId, Content]:
    """Return the digests of the images."""
    images = [one.image for one in subjects if one.image is not None]
    return {
        image.file_id: Content(
            image.file_id, image.device_id, image.content.sha256, image.stored.size_bytes
        )
        for image in images
    }
