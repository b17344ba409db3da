"""`Violations`: the part of `StorageService` for violations.

`StorageService` describes the arguments.
"""

from datetime import datetime

from attrs import evolve

from traffic_storage.application.find import ViolationFiles
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.query import MAX_LIMIT, Cursor, Page, ViolationQuery
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.service.arguments import (
    Given,
    LeftOut,
    check_type,
    flag,
    image_of,
    instant_of,
    upload_of,
)
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import (
    StoredFileView,
    ViolationView,
    file_view,
    violation_views,
)


class Violations:
    """Store and find violations."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def store(
        self,
        record: ViolationRecord,
        image: Given | LeftOut,
        video: Given | None,
        *,
        channel_order: ChannelOrder | str,
        encoding: Encoding | None,
        duration_seconds: float | None,
        historic: bool,
        accept_damaged_video: bool,
    ) -> dict[str, StoredFileView]:
        """Implement `StorageService.store_violation_evidence`."""
        check_type("violation_record", record, ViolationRecord)
        pixels = self._parts.settings.max_pixels
        given = None if image is LeftOut.IT else image_of(image, channel_order, encoding, pixels)
        damaged = flag("accept_damaged_video", accept_damaged_video)
        segment = None
        if video is not None:
            segment = evolve(upload_of(video, "video"), accept_damaged_video=damaged)
        use_cases = await self._parts.started()
        stored = await use_cases.store_evidence()(
            record,
            given,
            segment,
            video_duration_seconds=duration_seconds,
            historic=flag("historic", historic),
        )
        return {kind.value: file_view(file) for kind, file in stored.files.items()}

    async def find(
        self,
        device_id: str | None,
        violation_type: str | None,
        start_time: datetime | None,
        end_time: datetime | None,
        limit: int,
        *,
        vehicle_class: str | None,
        min_confidence: float | None,
        max_confidence: float | None,
        after: Cursor | None = None,
    ) -> Page[ViolationView]:
        """Implement `StorageService.find_violations`."""
        if after is not None:
            check_type("after", after, Cursor)
        query = ViolationQuery(
            device_id=device_id,
            violation_type=violation_type,
            vehicle_class=vehicle_class,
            min_confidence=min_confidence,
            max_confidence=max_confidence,
            start_time=instant_of("start_time", start_time, self._parts.zone),
            end_time=instant_of("end_time", end_time, self._parts.zone),
            limit=limit,
            after=after,
        )
        use_cases = await self._parts.started()
        page = await use_cases.find().violations(query)
        return Page(tuple(violation_views(page.items)), page.next)

    async def get(
        self, violation_id: str, limit: int = MAX_LIMIT, after: Cursor | None = None
    ) -> ViolationFiles:
        """Implement `StorageService.get_violation` and `find_violation_files`."""
        if after is not None:
            check_type("after", after, Cursor)
        use_cases = await self._parts.started()
        return await use_cases.find().violation_with_files(violation_id, limit=limit, after=after)
