"""Downloads: `GET` and `HEAD /files/{file_id}` and `/access/{token}`."""

import re
from collections.abc import Iterator
from contextlib import aclosing
from typing import Annotated
from urllib.parse import quote

from fastapi import Header, Path, Query
from starlette.types import Receive, Scope, Send

from traffic_storage.application.access_urls import AccessUrls
from traffic_storage.application.read_files import OpenFile, ReadFiles
from traffic_storage.domain.digests import WHOLE_READ_BYTES
from traffic_storage.domain.errors import AccessDenied, NotFound
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.media import ContentType
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.http.digest_fields import digest_field
from traffic_storage.entrypoints.http.errors import PreconditionFailed, RangeNotSatisfiable
from traffic_storage.entrypoints.http.middleware import ACCESS_PREFIX
from traffic_storage.entrypoints.http.preconditions import Conditions, Verdict, decide
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace
from traffic_storage.entrypoints.http.responses import send_head, send_stream, send_whole
from traffic_storage.entrypoints.http.schemas import DownloadQuery, KnownFileId, read_query

# A file never changes under its id, so a copy is good as long as it may be kept.
FILE_CACHING = b"private, max-age=86400, immutable"
# A copy of what a link opened must not outlive the link.
ACCESS_CACHING = b"private, no-store"

# A browser that shows a picture or plays a video by itself needs no more than this.
_POLICY = (
    b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    b"frame-ancestors 'none'; sandbox"
)
_SUFFIXES = {
    ContentType.JPEG: ".jpg",
    ContentType.PNG: ".png",
    ContentType.WEBP: ".webp",
    ContentType.AVIF: ".avif",
    ContentType.MP4: ".mp4",
    ContentType.QUICKTIME: ".mov",
    ContentType.MATROSKA: ".mkv",
    ContentType.WEBM: ".webm",
    ContentType.MPEG_TS: ".ts",
    ContentType.AVI: ".avi",
    ContentType.JSON: ".json",
}
_UNSAFE = re.compile(r"[^A-Za-z0-9._\-~@+=]")
_MEDIA_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]*")


FileIdPath = Annotated[KnownFileId, Path(description="id of the file", examples=["V001~image"])]
RangeHeader = Annotated[
    str | None, Header(alias="Range", description="one range of bytes", examples=["bytes=0-1023"])
]
IfRange = Annotated[
    str | None, Header(alias="If-Range", description="the ETag that the range is for")
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="304 when it names the content")
]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="412 when it does not name the content")
]


class GetFile:
    """`GET /files/{file_id}`: the bytes of a file by its id."""

    def __init__(self, read_files: ReadFiles, pace: Pace) -> None:
        self._read_files = read_files
        self._pace = pace

    @staticmethod
    def signature(  # type: ignore[empty-body]
        file_id: FileIdPath,
        query: Annotated[DownloadQuery, Query()],
        range_: RangeHeader = None,
        if_range: IfRange = None,
        if_none_match: IfNoneMatch = None,
        if_match: IfMatch = None,
    ) -> bytes:
        """Each byte is verified before it leaves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        file_id = request.path_value("file_id")
        wanted = _is_download(request) if scope.get("query_string") else False
        opened = await self._read_files.open(file_id)
        check_visible(request.principal, opened.file)
        await hand_out(request, opened, self._pace, FILE_CACHING, as_download=wanted)


class OpenAccessUrl:
    """`GET /access/{token}`: the bytes of the file that a signed link opens.

    The link is honoured in the one spelling in which it was made: path as raw bytes, no query.
    """

    def __init__(self, access_urls: AccessUrls, read_files: ReadFiles, pace: Pace) -> None:
        self._access_urls = access_urls
        self._read_files = read_files
        self._pace = pace

    @staticmethod
    def signature(  # type: ignore[empty-body]
        token: Annotated[str, Path(min_length=1, description="the token of a link")],
        range_: RangeHeader = None,
        if_range: IfRange = None,
        if_none_match: IfNoneMatch = None,
        if_match: IfMatch = None,
    ) -> bytes:
        """The link needs no credential. It is valid in the spelling in which it was signed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file_id = self._access_urls.open(_raw_token(scope))
        opened = await self._read_files.open(file_id)
        await hand_out(AsgiRequest(scope, receive, send), opened, self._pace, ACCESS_CACHING)


def check_visible(principal: Principal, file: StoredFile) -> None:
    """Treat a file of a device that the principal is not bound to as unknown.

    Raises:
        NotFound: it is of such a device.
    """
    if not principal.may_access(file.device_id):
        raise NotFound("file", file.file_id)


async def hand_out(
    request: AsgiRequest,
    opened: OpenFile,
    pace: Pace,
    caching: bytes,
    *,
    as_download: bool = False,
) -> None:
    """Answer with a file as its preconditions and range demand.

    Up to 4 MiB are sent as one message; more is streamed, each piece verified before it leaves.
    When a later piece can't be read the connection is cut, so no short content looks whole.
    """
    file = opened.file
    size = file.content.size_bytes
    conditions = Conditions(
        request.header(b"if-match"),
        request.header(b"if-none-match"),
        request.header(b"range"),
        request.header(b"if-range"),
    )
    etag = f'"{file.content.sha256}"'
    decision = decide(conditions, method=request.method, etag=etag, size_bytes=size)
    match decision.verdict:
        case Verdict.FAILED:
            raise PreconditionFailed(etag)
        case Verdict.UNSATISFIABLE:
            raise RangeNotSatisfiable(size)
        case Verdict.NOT_MODIFIED:
            await send_head(request, 304, [(b"etag", etag.encode()), (b"cache-control", caching)])
        case Verdict.WHOLE | Verdict.PART:
            headers = list(_headers(file, decision.verdict, decision.span, caching, as_download))
            await _send(request, opened, decision.verdict, decision.span, headers, pace)


async def _send(
    request: AsgiRequest,
    opened: OpenFile,
    verdict: Verdict,
    span: Span,
    headers: list[tuple[bytes, bytes]],
    pace: Pace,
) -> None:
    content_type = _content_type(opened.file)
    if request.method == "GET" and span.length <= WHOLE_READ_BYTES:
        async with aclosing(opened.chunks(span)) as chunks:
            parts = [chunk async for chunk in chunks]
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        await send_whole(request, verdict, headers, content, content_type)
        return
    described = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % span.length),
        *headers,
    ]
    if request.method == "HEAD":
        await send_head(request, verdict, described)
    else:
        await send_stream(request, verdict, described, opened.chunks(span), pace)


def _headers(
    file: StoredFile, verdict: Verdict, span: Span, caching: bytes, as_download: bool
) -> Iterator[tuple[bytes, bytes]]:
    digest = digest_field(file.content.sha256)
    yield b"etag", b'"%s"' % file.content.sha256.encode()
    yield b"accept-ranges", b"bytes"
    yield b"cache-control", caching
    yield b"content-disposition", _attachment(file) if as_download else _disposition(file)
    yield b"content-security-policy", _POLICY
    yield b"repr-digest", digest
    if verdict is Verdict.WHOLE:
        yield b"content-digest", digest
    else:
        total = file.content.size_bytes
        yield b"content-range", b"bytes %d-%d/%d" % (span.start, span.stop - 1, total)
    if caching == ACCESS_CACHING:
        # Links are made to be shown elsewhere.
        yield b"cross-origin-resource-policy", b"cross-origin"


def _disposition(file: StoredFile) -> bytes:
    """Shown in place only when it is a picture, video or text of a kind that we checked."""
    suffix = _SUFFIXES.get(file.content_type)  # type: ignore[call-overload]
    name = _UNSAFE.sub("_", file.file_id)
    if suffix and not name.lower().endswith(suffix):
        name += suffix
    kind = "inline" if suffix else "attachment"
    return f'{kind}; filename="{name}"'.encode("ascii")


def _attachment(file: StoredFile) -> bytes:
    """The original name of a file, in RFC 6266's forms: ASCII, and RFC 8187's UTF-8."""
    if file.original_name is None:
        return b"attachment" + _disposition(file).removeprefix(b"inline").removeprefix(
            b"attachment"
        )
    plain = _UNSAFE.sub("_", file.original_name)
    exact = quote(file.original_name, safe="")
    extended = "" if plain == file.original_name else f"; filename*=UTF-8''{exact}"
    return f'attachment; filename="{plain}"{extended}'.encode("ascii")


def _is_download(request: AsgiRequest) -> bool:
    texts = request.query(DownloadQuery.model_fields)
    return bool(read_query(DownloadQuery, texts).download)


def _content_type(file: StoredFile) -> bytes:
    known = _MEDIA_TYPE.fullmatch(file.content_type)
    return file.content_type.encode() if known else b"application/octet-stream"


def _raw_token(scope: Scope) -> bytes:
    """The token as the bytes that came; the whole path must be the one that was signed."""
    prefix = (scope.get("root_path", "") + ACCESS_PREFIX).encode()
    path: bytes = scope.get("raw_path") or b""
    if scope.get("query_string") or not path.startswith(prefix):
        raise AccessDenied("the access URL was altered", remedy="ask for a new access URL")
    return path[len(prefix) :]
