"""Storing a violation with its files as one: visible whole or not at all."""

from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any

from attrs import frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.examine_video import checked_duration
from traffic_storage.application.inputs import ArrayImage, EvidenceAttributes, Upload
from traffic_storage.application.prepare import Prepare, taken_over
from traffic_storage.application.store_unit import StoreUnit
from traffic_storage.application.tasks import OwnedTasks, together
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import ViolationId, evidence_file_id
from traffic_storage.domain.times import Moment
from traffic_storage.domain.violation import (
    StoredViolation,
    ViolationRecord,
    evidence_document,
)
from traffic_storage.ports.clock import Clock


@frozen
class StoredEvidence:
    """A stored violation and, by kind, its files that were asked for (metadata always)."""

    violation: StoredViolation
    files: Mapping[FileKind, StoredFile]
    created: bool


class StoreEvidence:
    """Stores a violation: its record, its metadata file, and the image and video that came.

    The same again is a no-op; a file that was missing is added; anything else is a conflict.
    """

    def __init__(
        self, *, prepare: Prepare, store_unit: StoreUnit, tasks: OwnedTasks, clock: Clock
    ) -> None:
        self._prepare = prepare
        self._store_unit = store_unit
        self._tasks = tasks
        self._clock = clock

    async def __call__(
        self,
        record: ViolationRecord,
        image: ArrayImage | Upload | None = None,
        video: Upload | None = None,
        *,
        video_duration_seconds: float | None = None,
        bodies: AsyncExitStack | None = None,
    ) -> StoredEvidence:
        """Store it. Image and video are prepared and put concurrently.

        The caller may change buffers among them once this call has first waited. `bodies` is as in
        `StoreFiles`.

        Raises:
            InvalidInput: the record's time, a file, or the duration of a video that did not come.
            Conflict: the violation exists with another record or other files.
            StorageFull, StorageUnavailable, CatalogueUnavailable: no place, or no database.
        """
        async with taken_over(bodies) as own:
            moment = self._prepare.moment(record.timestamp, "timestamp")
            seconds = _duration(video, video_duration_seconds)
            # Copied here, because the tasks that prepare them start later.
            image = None if image is None else self._prepare.held(image)
            video = None if video is None else video.held()
            media = await self._media(record, moment, image, video, seconds, own)
            return await self._tasks.run(self._store(record, moment, media, own.pop_all()))

    async def _media(
        self,
        record: ViolationRecord,
        moment: Moment,
        image: ArrayImage | Upload | None,
        video: Upload | None,
        duration_seconds: float | None,
        bodies: AsyncExitStack,
    ) -> list[Draft]:
        work: list[Coroutine[Any, Any, Draft]] = []
        if image is not None:
            attributes = _attributes(record, moment, FileKind.IMAGE)
            work.append(self._prepare.image(image, attributes, bodies))
        if video is not None:
            attributes = _attributes(record, moment, FileKind.VIDEO)
            work.append(self._prepare.video(video, attributes, bodies, duration_seconds))
        return await together(*work)

    async def _store(
        self, record: ViolationRecord, moment: Moment, media: list[Draft], bodies: AsyncExitStack
    ) -> StoredEvidence:
        violation = self._violation(record, moment)
        async with bodies:
            self._tasks.check_open()
            drafts = (*media, await self._document(record, moment, media))
            stored = await self._store_unit(DraftUnit(drafts, violation))
        return StoredEvidence(
            stored.violation or violation,
            {draft.kind: stored.files[draft.file_id] for draft in drafts},
            stored.created,
        )

    async def _document(self, record: ViolationRecord, moment: Moment, media: list[Draft]) -> Draft:
        text = evidence_document(record, {draft.kind: draft.as_part() for draft in media})
        return await self._prepare.document(text, _attributes(record, moment, FileKind.METADATA))

    def _violation(self, record: ViolationRecord, moment: Moment) -> StoredViolation:
        violation = ViolationId(record.violation_id)
        return StoredViolation(
            record=record,
            record_sha256=record.sha256(),
            occurred_at=moment.at,
            zone_assumed=moment.zone_assumed,
            received_at=self._clock.now(),
            metadata_file_id=evidence_file_id(violation, FileKind.METADATA),
        )


def _duration(video: Upload | None, said: object) -> float | None:
    seconds = checked_duration(said)
    if seconds is not None and video is None:
        raise InvalidInput.of(
            "duration_seconds", "is of a video, and none came", "give the video, or leave it out"
        )
    return seconds


def _attributes(record: ViolationRecord, moment: Moment, kind: FileKind) -> EvidenceAttributes:
    return EvidenceAttributes(
        file_id=evidence_file_id(ViolationId(record.violation_id), kind),
        device_id=record.device_id,
        violation_id=record.violation_id,
        captured_at=moment.at,
    )
