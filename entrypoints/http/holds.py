"""Endpoints of legal holds and of deletions."""

from collections.abc import Mapping
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Body, Path, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from traffic_storage.application.delete_files import DeleteFiles
from traffic_storage.application.find import Find
from traffic_storage.application.legal_holds import LegalHolds
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.deletion import Deleted
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.holds import HoldRequest
from traffic_storage.domain.identifiers import known_file_id
from traffic_storage.domain.identifiers import violation_id as checked_violation_id
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.query import Cursor, HoldsQuery
from traffic_storage.entrypoints.http.downloads import FileIdPath
from traffic_storage.entrypoints.http.errors import DeviceNotAllowed
from traffic_storage.entrypoints.http.forms import is_json, not_json, read_json
from traffic_storage.entrypoints.http.queries import instant_in, send_page
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace, known_principal
from traffic_storage.entrypoints.http.responses import JsonResponse, send_json
from traffic_storage.entrypoints.http.schemas import (
    Checks,
    DeleteQuery,
    HoldFields,
    HoldFilters,
    HoldIdText,
    HoldsPage,
    ReasonFields,
    ViolationIdText,
    read_fields,
    read_query,
)
from traffic_storage.entrypoints.views import (
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

HoldIdPath = Annotated[HoldIdText, Path(examples=["0199a0c4-5d00-7000-8000-000000000000"])]
ViolationIdPath = Annotated[ViolationIdText, Path(examples=["V001"])]


class PlaceHolds:
    """`POST /holds`."""

    def __init__(self, holds: LegalHolds, pace: Pace, zone: ZoneInfo) -> None:
        self._holds = holds
        self._pace = pace
        self._zone = zone

    @staticmethod
    def signature(fields: Annotated[HoldFields, Body()]) -> PlacedHoldView:  # type: ignore[empty-body]
        """Place a hold on a file, a violation, or the files of a device in a range of time.

        The answer counts the covered files that are deleted already: the hold stops the purge of
        those that are `tombstoned`, but comes too late for those that are `purging`.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        _must_be_unbound(request.principal)
        asked = self._request(await json_body(request, self._pace))
        placed = await self._holds.place(asked, request.principal.name)
        await send_json(request, 201, (), placed_hold_view(placed))

    def _request(self, body: Mapping[str, Json]) -> HoldRequest:
        fields, problems = read_fields(HoldFields, body, "hold")
        checks = Checks(problems)
        start = checks.optional(fields.start_time, instant_in(self._zone, "start_time"))
        end = checks.optional(fields.end_time, instant_in(self._zone, "end_time"))
        until = checks.optional(fields.until, instant_in(self._zone, "until"))
        file_id = checks.optional(fields.file_id, known_file_id)
        violation_id = checks.optional(fields.violation_id, checked_violation_id)
        with checks:
            return HoldRequest(
                fields.case_reference,
                fields.reason,
                file_id=file_id,
                violation_id=violation_id,
                device_id=fields.device_id,
                start_time=start,
                end_time=end,
                kind=fields.kind,
                violation_type=fields.violation_type,
                include_future=bool(fields.include_future),
                until=until,
            )


class ReleaseHolds:
    """`POST /holds/{hold_id}/release`."""

    def __init__(self, holds: LegalHolds, pace: Pace) -> None:
        self._holds = holds
        self._pace = pace

    @staticmethod
    def signature(  # type: ignore[empty-body]
        hold_id: HoldIdPath, fields: Annotated[ReasonFields, Body()]
    ) -> HoldView:
        """Release a hold. What it covered may then be deleted, as the retention rules say."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        _must_be_unbound(request.principal)
        reason = await _reason_of(request, self._pace)
        hold_id = request.path_value("hold_id")
        released = await self._holds.release(hold_id, reason, request.principal.name)
        await send_json(request, 200, (), hold_view(released))


class ListHolds:
    """`GET /holds`: pages of holds, those placed last first."""

    def __init__(self, holds: LegalHolds) -> None:
        self._holds = holds

    @staticmethod
    def signature(filters: Annotated[HoldFilters, Query()]) -> HoldsPage:  # type: ignore[empty-body]
        """Return holds, those placed last first: the active ones, or all with `active=false`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        _must_be_unbound(request.principal)
        texts = request.query_fields()
        filters, problems = read_fields(HoldFilters, texts, "query")
        checks = Checks(problems)
        after = checks.optional(filters.cursor, Cursor.from_text)
        with checks:
            query = HoldsQuery(limit=100 if filters.limit is None else filters.limit, after=after)
        page = await self._holds.holds(active=filters.active is not False, query=query)
        await send_page(request, "holds", texts, list(map(hold_view, page.items)), page.next)


class DeletionEndpoints:
    """Certificates, and the deletion of files and violations."""

    def __init__(self, delete: DeleteFiles, find: Find) -> None:
        self._delete = delete
        self._find = find

    async def file(
        self, request: Request, file_id: FileIdPath, query: Annotated[DeleteQuery, Query()]
    ) -> Response:
        """Mark the file as deleted. It can be undeleted until `purge_after`, then it is erased.

        A file inside its retention needs `override`. A file under legal hold is never deleted.
        """
        principal = known_principal(request.scope)
        await self.check_file(principal, file_id)
        done = await self._delete.file(
            file_id, query.reason, principal.name, override=bool(query.override)
        )
        return JsonResponse(deletion_view(done, "file"))

    async def violation(
        self,
        request: Request,
        violation_id: ViolationIdPath,
        query: Annotated[DeleteQuery, Query()],
    ) -> Response:
        """Mark the violation and all files that name it as deleted, as `DELETE /files` does."""
        principal = known_principal(request.scope)
        await self.check_violation(principal, violation_id)
        done = await self._delete.violation(
            violation_id, query.reason, principal.name, override=bool(query.override)
        )
        return JsonResponse(deletion_view(done, "violation"))

    async def file_certificate(self, request: Request, file_id: FileIdPath) -> Response:
        """Return the destruction certificate of a purged file.

        `certificate_sha256` is of the canonical JSON of `certificate`: UTF-8, keys sorted, without
        white space.
        """
        await self.check_file(known_principal(request.scope), file_id)
        return JsonResponse(certificate_view(await self._delete.certificate(file_id)))

    async def violation_certificate(
        self, request: Request, violation_id: ViolationIdPath
    ) -> Response:
        """Return the destruction certificate of a purged violation: that of its metadata file."""
        await self.check_violation(known_principal(request.scope), violation_id)
        return JsonResponse(
            certificate_view(await self._delete.violation_certificate(violation_id))
        )

    async def check_file(self, principal: Principal, file_id: str) -> None:
        """Refuse a file that the principal may not access, as if it did not exist.

        Raises:
            NotFound: there is no such file, or it belongs to another device.
        """
        try:
            device_id: str | None = (await self._find.file(file_id)).device_id
        except Deleted as error:
            device_id = error.device_id
        if not principal.may_access(device_id):
            raise NotFound("file", file_id)

    async def check_violation(self, principal: Principal, violation_id: str) -> None:
        """Refuse a violation that the principal may not access, as if it did not exist.

        Raises:
            NotFound: there is no such violation, or it belongs to another device.
        """
        try:
            found = await self._find.violation(violation_id)
            device_id: str | None = found.record.device_id
        except Deleted as error:
            device_id = error.device_id
        if not principal.may_access(device_id):
            raise NotFound("violation", violation_id)


class _Undelete:
    """What both endpoints of undeletion use."""

    def __init__(self, delete: DeleteFiles, checks: DeletionEndpoints, pace: Pace) -> None:
        self._delete = delete
        self._checks = checks
        self._pace = pace


class UndeleteFile(_Undelete):
    """`POST /files/{file_id}/undelete`."""

    @staticmethod
    def signature(  # type: ignore[empty-body]
        file_id: FileIdPath, fields: Annotated[ReasonFields, Body()]
    ) -> StoredFileView:
        """Make a tombstoned file available again. It is kept for 30 days at least."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        file_id = request.path_value("file_id")
        await self._checks.check_file(request.principal, file_id)
        reason = await _reason_of(request, self._pace)
        file = await self._delete.undelete_file(file_id, reason, request.principal.name)
        await send_json(request, 200, (), file_view(file))


class UndeleteViolation(_Undelete):
    """`POST /violations/{violation_id}/undelete`."""

    @staticmethod
    def signature(  # type: ignore[empty-body]
        violation_id: ViolationIdPath, fields: Annotated[ReasonFields, Body()]
    ) -> ViolationView:
        """Make a tombstoned violation and its tombstoned files available again."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        name = request.path_value("violation_id")
        await self._checks.check_violation(request.principal, name)
        reason = await _reason_of(request, self._pace)
        violation = await self._delete.undelete_violation(name, reason, request.principal.name)
        await send_json(request, 200, (), violation_view(violation))


async def json_body(request: AsgiRequest, pace: Pace) -> Mapping[str, Json]:
    """Return the JSON object in the body of a request.

    Raises:
        UnsupportedRequest: the body is not declared as JSON.
        InvalidInput: it is not a JSON object.
    """
    if not is_json(request):
        raise not_json(request)
    return await read_json(request, pace)


async def _reason_of(request: AsgiRequest, pace: Pace) -> str:
    return read_query(ReasonFields, await json_body(request, pace)).reason


def _must_be_unbound(principal: Principal) -> None:
    """Refuse a principal that is bound to devices: a hold concerns the evidence of any.

    Raises:
        DeviceNotAllowed: the principal is bound to devices.
    """
    if principal.devices:
        raise DeviceNotAllowed(principal.devices, None)
