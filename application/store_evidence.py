"""Storing a violation with its files: all of it becomes visible together, or nothing does."""

from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from attrs import frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.examine_video import checked_duration
from traffic_storage.application.inputs import ArrayImage, EvidenceAttributes, Upload
from traffic_storage.application.prepare import Prepare, taken_over
from traffic_storage.application.store_unit import StoredUnit, StoreUnit
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.application.validate_on_store import ValidateOnStore
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
from traffic_storage.ports.concurrency import together


@frozen
class StoredEvidence:
    """A stored violation and, by kind, the files of this call (its metadata file always)."""

    violation: StoredViolation
    files: Mapping[FileKind, StoredFile]
    created: bool


class StoreEvidence:
    """Stores a violation: its record, its metadata file, and the given image and video.

    Repeating a call changes nothing. A call with a file that the violation lacks adds the file. A
    call with another record or other content is a conflict.
    """

    def __init__(
        self,
        *,
        prepare: Prepare,
        store_unit: StoreUnit,
        tasks: OwnedTasks,
        clock: Clock,
        validate: ValidateOnStore,
    ) -> None:
        self._prepare = prepare
        self._store_unit = store_unit
        self._tasks = tasks
        self._clock = clock
        self._validate = validate

    async def __call__(
        self,
        record: ViolationRecord,
        image: ArrayImage | Upload | None = None,
        video: Upload | None = None,
        *,
        video_duration_seconds: float | None = None,
        historic: bool = False,
        bodies: AsyncExitStack | None = None,
    ) -> StoredEvidence:
        """Store a violation. Image and video are prepared and written concurrently.

        The caller may change arrays and buffers after this call has first waited. `historic` states
        that a timestamp long before receipt is correct. `bodies` is as in `StoreFiles`.

        Raises:
            InvalidInput: the record's time or a file is invalid, or a duration is given without a
                video.
            Conflict: the violation exists with another record or other files.
            StorageFull, StorageUnavailable: no store accepts the files.
            CatalogueUnavailable: the database can't be reached.
        """
        async with taken_over(bodies) as own:
            report = self._report(record, historic=historic)
            media = await self._prepared(report, image, video, video_duration_seconds, own)
            return await self._tasks.run(self._store(report, media, own.pop_all()))

    async def unit(
        self,
        record: ViolationRecord,
        image: ArrayImage | Upload | None,
        video: Upload | None,
        bodies: AsyncExitStack,
        *,
        video_duration_seconds: float | None = None,
        historic: bool = False,
    ) -> DraftUnit:
        """Return a violation that is ready to be stored; its received bytes are on `bodies`.

        Arguments and errors are as those of a call.
        """
        report = self._report(record, historic=historic)
        media = await self._prepared(report, image, video, video_duration_seconds, bodies)
        return await self._unit(report, media, self._clock.now())

    def _report(self, record: ViolationRecord, *, historic: bool) -> "_Report":
        moment = self._prepare.moment(record.timestamp, "timestamp")
        return _Report(record, moment, historic)

    async def _prepared(
        self,
        report: "_Report",
        image: ArrayImage | Upload | None,
        video: Upload | None,
        video_duration_seconds: float | None,
        bodies: AsyncExitStack,
    ) -> list[Draft]:
        seconds = _duration(video, video_duration_seconds)
        if image is None and video is None:
            return []
        # Mutable buffers are copied here, because the tasks that prepare the files start later.
        image = None if image is None else self._prepare.held(image)
        video = None if video is None else video.held()
        return await self._media(report, image, video, seconds, bodies)

    async def _unit(
        self, report: "_Report", media: list[Draft], received_at: datetime
    ) -> DraftUnit:
        document = await self._document(report, media)
        return DraftUnit((*media, document), report.violation(received_at))

    async def _media(
        self,
        report: "_Report",
        image: ArrayImage | Upload | None,
        video: Upload | None,
        duration_seconds: float | None,
        bodies: AsyncExitStack,
    ) -> list[Draft]:
        work: list[Coroutine[Any, Any, Draft]] = []
        if image is not None:
            attributes = report.attributes(FileKind.IMAGE)
            work.append(self._prepare.image(image, attributes, bodies))
        if video is not None:
            attributes = report.attributes(FileKind.VIDEO)
            work.append(self._prepare.video(video, attributes, bodies, duration_seconds))
        return await together(*work)

    async def _store(
        self, report: "_Report", media: list[Draft], bodies: AsyncExitStack
    ) -> StoredEvidence:
        received_at = self._clock.now()
        async with bodies:
            self._tasks.check_open()
            unit = await self._unit(report, media, received_at)
            stored = await self._store_unit(unit)
        return stored_evidence(unit, stored)

    async def _document(self, report: "_Report", media: list[Draft]) -> Draft:
        parts = {draft.kind.value: draft.as_part() for draft in media}
        text = evidence_document(report.record, report.moment.zone_assumed, parts)
        document = await self._prepare.document(text, report.attributes(FileKind.METADATA))
        return await self._validate.violation(
            report.record, document, media, historic=report.historic
        )


def stored_evidence(unit: DraftUnit, stored: StoredUnit) -> StoredEvidence:
    """Return what was stored of a violation with its files."""
    violation = stored.violation or unit.violation
    assert violation is not None  # noqa: S101 - narrows the type
    files = {draft.kind: stored.files[draft.file_id] for draft in unit.drafts}
    return StoredEvidence(violation, files, stored.created)


@frozen
class _Report:
    """A record, the instant of its timestamp, and whether the caller states it to be historic."""

    record: ViolationRecord
    moment: Moment
    historic: bool

    def violation(self, received_at: datetime) -> StoredViolation:
        violation = ViolationId(self.record.violation_id)
        return StoredViolation(
            record=self.record,
            record_sha256=self.record.sha256(),
            occurred_at=self.moment.at,
            zone_assumed=self.moment.zone_assumed,
            received_at=received_at,
            metadata_file_id=evidence_file_id(violation, FileKind.METADATA),
        )

    def attributes(self, kind: FileKind) -> EvidenceAttributes:
        return EvidenceAttributes(
            file_id=evidence_file_id(ViolationId(self.record.violation_id), kind),
            device_id=self.record.device_id,
            violation_id=self.record.violation_id,
            captured_at=self.moment.at,
            historic=self.historic,
        )


def _duration(video: Upload | None, duration_seconds: object) -> float | None:
    seconds = checked_duration(duration_seconds)
    if seconds is not None and video is None:
        raise InvalidInput.of(
            "duration_seconds", "is given without a video", "give the video, or omit the duration"
        )
    return seconds
