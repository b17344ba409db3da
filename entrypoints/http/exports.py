"""Endpoints of exports: tables of violations and evidence packages, streamed as they are read."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Body, Query
from starlette.types import Receive, Scope, Send

from traffic_storage.application.export import Export, Piece, TableRequest
from traffic_storage.application.package import MakePackage
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.principal import Principal
from traffic_storage.entrypoints.export_views import ExportOptions, table_request
from traffic_storage.entrypoints.http.downloads import hiding_deleted
from traffic_storage.entrypoints.http.fields import renamed
from traffic_storage.entrypoints.http.holds import json_body
from traffic_storage.entrypoints.http.queries import DATES, allowed_device, instant_in
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace
from traffic_storage.entrypoints.http.responses import send_head, send_stream
from traffic_storage.entrypoints.http.schemas import (
    Checks,
    ExportQuery,
    PackageFields,
    read_fields,
)


class ExportViolations:
    """`GET /exports/violations`. Plain ASGI, because the content is streamed."""

    def __init__(self, export: Export, zone: ZoneInfo, pace: Pace) -> None:
        self._export = export
        self._zone = zone
        self._pace = pace

    @staticmethod
    def signature(query: Annotated[ExportQuery, Query()]) -> bytes:  # type: ignore[empty-body]
        """Return the violations that match all filters as a file, newest first.

        The content is sent while it is read. If it can't be read to its end, the connection is
        closed before the end of the chunked content: a client never takes a part for the whole.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        texts = request.query(ExportQuery.model_fields)
        asked = self._request(texts, request.principal)
        headers = _headers(asked.format.media_type, f"violations.{asked.format}")
        if request.method == "HEAD":
            await send_head(request, 200, headers)
            return
        await send_stream(request, 200, headers, content_of(self._export.pieces(asked)), self._pace)

    def _request(self, texts: Mapping[str, str], principal: Principal) -> TableRequest:
        query, problems = read_fields(ExportQuery, texts, "query")
        checks = Checks(problems)
        start = checks.optional(query.start_date, instant_in(self._zone, "start_date"))
        end = checks.optional(query.end_date, instant_in(self._zone, "end_date"))
        with checks, renamed(DATES):
            options: ExportOptions = {
                "device_id": allowed_device(principal, query.device_id),
                "violation_type": query.violation_type,
                "columns": None if query.columns is None else query.columns.split(","),
                "zone": query.zone,
                "decimal": query.decimal or ".",
                "neutralise": query.neutralise is not False,
            }
            return table_request(query.format or "csv", start, end, self._zone, options)


class ExportPackage:
    """`POST /exports/package`. Plain ASGI, because the content is streamed."""

    def __init__(self, make: MakePackage, pace: Pace) -> None:
        self._make = make
        self._pace = pace

    @staticmethod
    def signature(fields: Annotated[PackageFields, Body()]) -> bytes:  # type: ignore[empty-body]
        """Return violations with all their files as a ZIP file that can be verified anywhere.

        Each file is verified in a durable store and recorded as handed out. A violation that lacks
        what its completeness profile demands is refused. The header
        Manifest-SHA256 has the SHA-256 of the manifest in the package: hand it over on another way.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        fields, problems = read_fields(
            PackageFields, await json_body(request, self._pace), "package"
        )
        if problems:
            raise InvalidInput(problems)
        with hiding_deleted(request.principal):
            package = await self._make.open(
                fields.violation_ids,
                request.principal,
                profile=fields.profile,
                allow_incomplete=bool(fields.allow_incomplete),
            )
        headers = [
            *_headers("application/zip", "evidence.zip"),
            (b"manifest-sha256", package.manifest_sha256.encode()),
        ]
        await send_stream(request, 200, headers, content_of(package.pieces()), self._pace)


async def content_of(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of an export, without empty ones: a problem can be sent until there are some."""
    async with aclosing(pieces):
        async for piece in pieces:
            if piece.data:
                yield piece.data


def _headers(media_type: str, name: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", media_type.encode()),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"cache-control", b"no-store"),
    ]
