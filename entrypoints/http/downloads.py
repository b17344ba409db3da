"""Downloads: `GET` and `HEAD /files/{file_id}` and `/access/{token}`."""

import re
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC
from email.utils import format_datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import Header, Path, Query
from starlette.types import Receive, Scope, Send

from traffic_storage.application.access_urls import AccessUrls
from traffic_storage.application.produce_evidence import ProduceEvidence
from traffic_storage.application.read_files import OpenFile, ReadFiles
from traffic_storage.domain.deletion import Deleted
from traffic_storage.domain.digests import WHOLE_READ_BYTES
from traffic_storage.domain.errors import AccessDenied, NotFound
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.media import ACCEPTED_IMAGES, ACCEPTED_VIDEOS, SUFFIXES
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.http.digest_fields import digest_field
from traffic_storage.entrypoints.http.errors import PreconditionFailed, RangeNotSatisfiable
from traffic_storage.entrypoints.http.middleware import ACCESS_PREFIX
from traffic_storage.entrypoints.http.preconditions import Conditions, Verdict, decide
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace
from traffic_storage.entrypoints.http.responses import send_head, send_stream, send_whole
from traffic_storage.entrypoints.http.schemas import DownloadQuery, KnownFileId, read_query

# The content under a file id never changes, so a cached copy never becomes wrong.
FILE_CACHING = b"private, max-age=86400, immutable"
# A cached copy must not outlive the access URL through which it was downloaded.
ACCESS_CACHING = b"private, no-store"
# Each hand-out of evidence is verified and recorded; a cached copy would be neither.
EVIDENCE_CACHING = b"no-store"

# The minimum that a browser needs to display an image or play a video as a page of its own. A sandbox
# makes the origin of that page opaque, and the browser's player could not load the video.
_MEDIA_POLICY = (
    b"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    b"frame-ancestors 'none'"
)
_OTHER_POLICY = _MEDIA_POLICY + b"; sandbox"
_UNSAFE = re.compile(r"[^A-Za-z0-9._\-~@+=]")
_MEDIA_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]*")


FileIdPath = Annotated[KnownFileId, Path(description="id of the file", examples=["V001~image"])]
RangeHeader = Annotated[
    str | None, Header(alias="Range", description="one range of bytes", examples=["bytes=0-1023"])
]
IfRange = Annotated[
    str | None,
    Header(alias="If-Range", description="ETag; with another one the whole file is sent"),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="ETags; 304 if one of them matches the file"),
]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="ETags; 412 if none of them matches the file")
]


class GetFile:
    """`GET /files/{file_id}`: the bytes of a file by its id."""

    def __init__(self, read_files: ReadFiles, produce: ProduceEvidence, pace: Pace) -> None:
        self._read_files = read_files
        self._produce = produce
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
        """Return the bytes of a file. Each byte is verified before it is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        file_id = request.path_value("file_id")
        query = _query_of(request) if scope.get("query_string") else None
        with hiding_deleted(request.principal):
            opened = await self._read_files.open(file_id)
        check_visible(request.principal, opened.file)
        caching = FILE_CACHING
        if query and query.evidence:
            caching = EVIDENCE_CACHING
            if request.method == "GET":
                opened = await self._produce.open(file_id, by=request.principal.name)
        wanted = bool(query and query.download)
        await hand_out(request, opened, self._pace, caching, as_download=wanted)


class OpenAccessUrl:
    """`GET /access/{token}`: the bytes of the file of an access URL.

    The URL is accepted only in the spelling in which it was signed: the raw bytes of the path must
    be the same, and there must be no query.
    """

    def __init__(self, access_urls: AccessUrls, read_files: ReadFiles, pace: Pace) -> None:
        self._access_urls = access_urls
        self._read_files = read_files
        self._pace = pace

    @staticmethod
    def signature(  # type: ignore[empty-body]
        token: Annotated[str, Path(min_length=1, description="token of an access URL")],
        range_: RangeHeader = None,
        if_range: IfRange = None,
        if_none_match: IfNoneMatch = None,
        if_match: IfMatch = None,
    ) -> bytes:
        """Return the file of an access URL, which needs no credential.

        The URL is valid only in the spelling that was signed.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file_id = self._access_urls.open(_raw_token(scope))
        opened = await self._read_files.open(file_id)
        await hand_out(AsgiRequest(scope, receive, send), opened, self._pace, ACCESS_CACHING)


def check_visible(principal: Principal, file: StoredFile) -> None:
    """Refuse a file that the principal may not access, as if it did not exist.

    Raises:
        NotFound: the principal is bound to devices, and the file belongs to none of them.
    """
    if not principal.may_access(file.device_id):
        raise NotFound("file", file.file_id)


@contextmanager
def hiding_deleted(principal: Principal) -> Iterator[None]:
    """Return a context in which what was deleted and may not be accessed seems not to exist.

    Raises:
        NotFound: the principal is bound to devices, and what was deleted belongs to none of them.
    """
    try:
        yield
    except Deleted as error:
        if not principal.may_access(error.device_id):
            raise NotFound(error.what, error.identifier) from error
        raise


async def hand_out(
    request: AsgiRequest,
    opened: OpenFile,
    pace: Pace,
    caching: bytes,
    *,
    as_download: bool = False,
) -> None:
    """Send a file, or the part or status that the conditional and Range headers call for.

    Content of at most 4 MiB is sent as one message. Longer content is streamed, and each chunk is
    verified before it is sent. If a chunk after the first can't be read, the connection is closed,
    so that the client does not take truncated content for the whole.

    Raises:
        PreconditionFailed: If-Match does not contain the ETag of the file.
        RangeNotSatisfiable: the range contains no byte of the file.
    """
    file = opened.file
    size = file.content.size_bytes
    conditions = Conditions(
        request.header(b"if-match"),
        request.header(b"if-none-match"),
        request.header(b"range"),
        request.header(b"if-range"),
        request.header(b"if-modified-since"),
        request.header(b"if-unmodified-since"),
    )
    etag = f'"{file.content.sha256}"'
    decision = decide(
        conditions,
        method=request.method,
        etag=etag,
        modified=file.created_at.replace(microsecond=0),
        size_bytes=size,
    )
    match decision.verdict:
        case Verdict.FAILED:
            raise PreconditionFailed(etag)
        case Verdict.UNSATISFIABLE:
            raise RangeNotSatisfiable(size)
        case Verdict.NOT_MODIFIED:
            validators = [(b"etag", etag.encode()), (b"last-modified", _last_modified(file))]
            await send_head(request, 304, [*validators, (b"cache-control", caching)])
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
        # Content-Digest is of the content, which a HEAD lacks (RFC 9530, section 2).
        kept = [(name, value) for name, value in described if name != b"content-digest"]
        await send_head(request, verdict, kept)
    else:
        await send_stream(request, verdict, described, opened.chunks(span), pace)


def _headers(
    file: StoredFile, verdict: Verdict, span: Span, caching: bytes, as_download: bool
) -> Iterator[tuple[bytes, bytes]]:
    digest = digest_field(file.content.sha256)
    yield b"etag", b'"%s"' % file.content.sha256.encode()
    yield b"last-modified", _last_modified(file)
    yield b"accept-ranges", b"bytes"
    yield b"cache-control", caching
    yield b"content-disposition", _attachment(file) if as_download else _disposition(file)
    yield b"content-security-policy", _policy(file)
    yield b"repr-digest", digest
    if verdict is Verdict.WHOLE:
        yield b"content-digest", digest
    else:
        total = file.content.size_bytes
        yield b"content-range", b"bytes %d-%d/%d" % (span.start, span.stop - 1, total)
    if caching == ACCESS_CACHING:
        # Pages of other origins may embed the content of an access URL.
        yield b"cross-origin-resource-policy", b"cross-origin"


def _last_modified(file: StoredFile) -> bytes:
    """Return the time of receipt: the content under an id never changes."""
    return format_datetime(file.created_at.astimezone(UTC), usegmt=True).encode()


def _policy(file: StoredFile) -> bytes:
    """Return the policy of a file; only checked images and videos are not in a sandbox."""
    is_media = file.content_type in ACCEPTED_IMAGES or file.content_type in ACCEPTED_VIDEOS
    return _MEDIA_POLICY if is_media else _OTHER_POLICY


def _disposition(file: StoredFile) -> bytes:
    """Return `inline` for the content types of `SUFFIXES`, else `attachment`, with a file name."""
    suffix = SUFFIXES.get(file.content_type)
    name = _UNSAFE.sub("_", file.file_id)
    if suffix and not name.lower().endswith(suffix):
        name += suffix
    kind = "inline" if suffix else "attachment"
    return f'{kind}; filename="{name}"'.encode("ascii")


def _attachment(file: StoredFile) -> bytes:
    """Return `attachment` with the original name as RFC 6266 demands: in ASCII and in UTF-8.

    A file without an original name gets a name made from its id. RFC 8187 defines the UTF-8 form.
    """
    if file.original_name is None:
        return b"attachment" + _disposition(file).removeprefix(b"inline").removeprefix(
            b"attachment"
        )
    plain = _UNSAFE.sub("_", file.original_name)
    exact = quote(file.original_name, safe="")
    extended = "" if plain == file.original_name else f"; filename*=UTF-8''{exact}"
    return f'attachment; filename="{plain}"{extended}'.encode("ascii")


def _query_of(request: AsgiRequest) -> DownloadQuery:
    return read_query(DownloadQuery, request.query_fields())


def _content_type(file: StoredFile) -> bytes:
    known = _MEDIA_TYPE.fullmatch(file.content_type)
    return file.content_type.encode() if known else b"application/octet-stream"


def _raw_token(scope: Scope) -> bytes:
    """Return the token as raw bytes of the path.

    Raises:
        AccessDenied: the path does not begin with the root path and `/access/`, or has a query.
    """
    prefix = (scope.get("root_path", "") + ACCESS_PREFIX).encode()
    path: bytes = scope.get("raw_path") or b""
    if scope.get("query_string") or not path.startswith(prefix):
        raise AccessDenied("the access URL was changed", remedy="request a new access URL")
    return path[len(prefix) :]
