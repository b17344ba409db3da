"""Endpoints of exports: tables of violations and evidence packages.

They are streamed as they are read, or with `Prefer: respond-async` made by a job, and fetched later.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import Body, Query
from starlette.types import Receive, Scope, Send

from traffic_storage.application.export import Export, Piece, TableRequest
from traffic_storage.application.export_jobs import ExportJobs, MadeFile, PackageRequest, made_file
from traffic_storage.application.package import MakePackage
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.jobs import Job
from traffic_storage.domain.principal import Principal
from traffic_storage.entrypoints.export_views import ExportOptions, table_request
from traffic_storage.entrypoints.http.digest_fields import digest_field
from traffic_storage.entrypoints.http.downloads import hiding_deleted
from traffic_storage.entrypoints.http.fields import renamed
from traffic_storage.entrypoints.http.holds import json_body
from traffic_storage.entrypoints.http.jobs import JobIdPath, names_async
from traffic_storage.entrypoints.http.queries import DATES, allowed_device, instant_in
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace
from traffic_storage.entrypoints.http.responses import send_head, send_json, send_stream
from traffic_storage.entrypoints.http.schemas import (
    Checks,
    ExportQuery,
    PackageFields,
    read_fields,
)
from traffic_storage.entrypoints.views import job_view

_RETRY_SECONDS = 2


class ExportViolations:
    """`GET /exports/violations`. Plain ASGI, because the content is streamed."""

    def __init__(self, export: Export, jobs: ExportJobs, zone: ZoneInfo, pace: Pace) -> None:
        self._export = export
        self._jobs = jobs
        self._zone = zone
        self._pace = pace

    @staticmethod
    def signature(query: Annotated[ExportQuery, Query()]) -> bytes:  # type: ignore[empty-body]
        """Return the violations that match all filters as a file, newest first.

        The content is sent while it is read. If it can't be read to its end, the connection is
        closed before the end of the chunked content: a client never takes a part for the whole.

        With `Prefer: respond-async` a job makes the file, and the answer is the job; its Location is
        where the file is fetched.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        texts = request.query_fields()
        asked = self._request(texts, request.principal)
        headers = _headers(asked.format.media_type, f"violations.{asked.format}")
        if request.method == "HEAD":
            await send_head(request, 200, headers)
        elif _prefers_async(request):
            await _send_accepted(request, await self._jobs.start_export(asked, request.principal))
        else:
            content = content_of(self._export.pieces(asked))
            await send_stream(request, 200, headers, content, self._pace)

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

    def __init__(self, make: MakePackage, jobs: ExportJobs, pace: Pace) -> None:
        self._make = make
        self._jobs = jobs
        self._pace = pace

    @staticmethod
    def signature(fields: Annotated[PackageFields, Body()]) -> bytes:  # type: ignore[empty-body]
        """Return violations with all their files as a ZIP file that can be verified anywhere.

        Each file is verified in a durable store and recorded as handed out. A violation that lacks
        what its completeness profile demands, or of which a file was deleted, is refused. The header
        Manifest-SHA256 has the SHA-256 of the manifest in the package: hand it over on another way.

        With `Prefer: respond-async` a job makes the package, and the answer is the job; its Location
        is where the package is fetched.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        fields, problems = read_fields(
            PackageFields, await json_body(request, self._pace), "package"
        )
        if problems:
            raise InvalidInput(problems)
        if _prefers_async(request):
            given = PackageRequest(
                fields.violation_ids, fields.profile, bool(fields.allow_incomplete)
            )
            with hiding_deleted(request.principal):
                job = await self._jobs.start_package(given, request.principal)
            await _send_accepted(request, job)
            return
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


class GetExport:
    """`GET /exports/{job_id}`. Plain ASGI, because the content is streamed."""

    def __init__(self, jobs: ExportJobs, pace: Pace) -> None:
        self._jobs = jobs
        self._pace = pace

    @staticmethod
    def signature(job_id: JobIdPath) -> bytes:  # type: ignore[empty-body]
        """Return the file that a job has made; while it is being made, the job (202).

        A key that is bound to devices gets only what it has asked for itself. The file is removed
        after the setting `keep_exports_days`. Its SHA-256 is compared before the last bytes are
        sent.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        job = await self._jobs.job(request.path_value("job_id"), request.principal)
        file = made_file(job)
        if file is None:
            wait = (b"retry-after", b"%d" % _RETRY_SECONDS)
            await send_json(request, 202, [wait], job_view(job))
        elif request.method == "HEAD":
            await send_head(request, 200, _file_headers(file))
        else:
            content = self._jobs.content(file)
            await send_stream(request, 200, _file_headers(file), content, self._pace)


def _prefers_async(request: AsgiRequest) -> bool:
    return names_async(request.headers(b"prefer"))


async def _send_accepted(request: AsgiRequest, job: Job) -> None:
    headers = [
        (b"location", request.reference(f"/exports/{job.job_id}")),
        (b"preference-applied", b"respond-async"),
    ]
    await send_json(request, 202, headers, job_view(job))


def _file_headers(file: MadeFile) -> list[tuple[bytes, bytes]]:
    headers = [
        *_headers(file.media_type, file.file_name),
        (b"content-length", b"%d" % file.size_bytes),
        (b"etag", f'"{file.sha256}"'.encode()),
        (b"repr-digest", digest_field(Sha256(file.sha256))),
    ]
    if file.manifest_sha256 is not None:
        headers.append((b"manifest-sha256", file.manifest_sha256.encode()))
    return headers


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
