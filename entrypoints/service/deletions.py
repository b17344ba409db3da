"""`ServiceDeletions`: the part of `StorageService` for legal holds and deletions."""

from datetime import datetime

from traffic_storage.domain.files import FileKind
from traffic_storage.domain.holds import HoldRequest
from traffic_storage.domain.identifiers import known_file_id
from traffic_storage.domain.identifiers import violation_id as checked_violation_id
from traffic_storage.domain.query import Cursor, HoldsQuery, Page
from traffic_storage.entrypoints.service.arguments import check_type, flag, instant_of, word_of
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import (
    CertificateView,
    DeletionView,
    HoldView,
    PlacedHoldView,
    StoredFileView,
    ViolationView,
    certificate_view,
    deletion_view,
    file_view,
    hold_view,
    placed_hold_view,
    violation_view,
)

ACTOR = "python"
"""The name under which the Python interface places holds and deletes, if the caller gives none."""


class ServiceDeletions:
    """Places and releases holds; deletes, brings back and certifies."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def place_hold(
        self,
        case_reference: str,
        reason: str,
        *,
        file_id: str | None,
        violation_id: str | None,
        device_id: str | None,
        start_time: datetime | None,
        end_time: datetime | None,
        kind: FileKind | str | None,
        violation_type: str | None,
        include_future: bool,
        until: datetime | None,
        actor: str,
    ) -> PlacedHoldView:
        """Implement `StorageService.place_hold`."""
        zone = self._parts.settings.zone
        asked = HoldRequest(
            case_reference,
            reason,
            file_id=None if file_id is None else known_file_id(file_id),
            violation_id=None if violation_id is None else checked_violation_id(violation_id),
            device_id=device_id,
            start_time=instant_of("start_time", start_time, zone),
            end_time=instant_of("end_time", end_time, zone),
            kind=None if kind is None else word_of("kind", kind, FileKind),
            violation_type=violation_type,
            include_future=flag("include_future", include_future),
            until=instant_of("until", until, zone),
        )
        use_cases = await self._parts.started()
        return placed_hold_view(await use_cases.legal_holds().place(asked, actor))

    async def release_hold(self, hold_id: str, reason: str, actor: str) -> HoldView:
        """Implement `StorageService.release_hold`."""
        check_type("hold_id", hold_id, str)
        use_cases = await self._parts.started()
        return hold_view(await use_cases.legal_holds().release(hold_id, reason, actor))

    async def list_holds(self, *, active: bool, limit: int, after: Cursor | None) -> Page[HoldView]:
        """Implement `StorageService.list_holds`."""
        if after is not None:
            check_type("after", after, Cursor)
        use_cases = await self._parts.started()
        page = await use_cases.legal_holds().holds(
            active=flag("active", active), query=HoldsQuery(limit=limit, after=after)
        )
        return Page(tuple(map(hold_view, page.items)), page.next)

    async def delete_file(
        self, file_id: str, reason: str, *, override: bool, actor: str
    ) -> DeletionView:
        """Implement `StorageService.delete_file`."""
        check_type("file_id", file_id, str)
        use_cases = await self._parts.started()
        done = await use_cases.delete_files().file(
            file_id, reason, actor, override=flag("override", override)
        )
        return deletion_view(done, "file")

    async def delete_violation(
        self, violation_id: str, reason: str, *, override: bool, actor: str
    ) -> DeletionView:
        """Implement `StorageService.delete_violation`."""
        check_type("violation_id", violation_id, str)
        use_cases = await self._parts.started()
        done = await use_cases.delete_files().violation(
            violation_id, reason, actor, override=flag("override", override)
        )
        return deletion_view(done, "violation")

    async def undelete_file(self, file_id: str, reason: str, actor: str) -> StoredFileView:
        """Implement `StorageService.undelete_file`."""
        check_type("file_id", file_id, str)
        use_cases = await self._parts.started()
        return file_view(await use_cases.delete_files().undelete_file(file_id, reason, actor))

    async def undelete_violation(self, violation_id: str, reason: str, actor: str) -> ViolationView:
        """Implement `StorageService.undelete_violation`."""
        check_type("violation_id", violation_id, str)
        use_cases = await self._parts.started()
        return violation_view(
            await use_cases.delete_files().undelete_violation(violation_id, reason, actor)
        )

    async def certificate(self, file_id: str) -> CertificateView:
        """Implement `StorageService.destruction_certificate`."""
        check_type("file_id", file_id, str)
        use_cases = await self._parts.started()
        return certificate_view(await use_cases.delete_files().certificate(file_id))

    async def violation_certificate(self, violation_id: str) -> CertificateView:
        """Implement `StorageService.violation_destruction_certificate`."""
        check_type("violation_id", violation_id, str)
        use_cases = await self._parts.started()
        return certificate_view(await use_cases.delete_files().violation_certificate(violation_id))
