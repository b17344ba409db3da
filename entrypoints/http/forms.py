"""Forms: the fields of a multipart body, each with a limit. Files go to the spool as they arrive.

The fields may come in any order. An unknown field is refused; if it were ignored, a misspelt name would
lose an attribute of the evidence.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from attrs import define, field, frozen
from pydantic import BaseModel

from traffic_storage.domain.canonical import Json, canonical_json, parse_json_object
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import DigestMismatch, InvalidInput, TooLarge
from traffic_storage.domain.violation import MAX_INFO_BYTES
from traffic_storage.entrypoints.http.digest_fields import parse_digest_field
from traffic_storage.entrypoints.http.errors import UnsupportedRequest
from traffic_storage.entrypoints.http.multipart import Multipart, PartHead, boundary_of
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace, unknown_field
from traffic_storage.ports.spool import Body, Spool

SHORT_TEXT = 64 * 1024
LONG_TEXT = 1024 * 1024
INFO_TEXT = 8 * MAX_INFO_BYTES
"""The maximum size of an object of 64 KiB in another spelling: escaped, with white space."""
INFO_VALUES = MAX_INFO_BYTES * 2 // 3 + 1
"""The maximum number of values in an object of 64 KiB: three bytes for `[],`, two of them counted."""
LABEL_VALUES = 50_000
DOCUMENT_VALUES = 500_000
JSON_BYTES = 2 * LONG_TEXT
_RECORD_VALUES = 2 * INFO_VALUES + 1000
# From this size on, a text is parsed beside the event loop.
_LARGE = 64 * 1024
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

T = TypeVar("T")
_MOST_UNKNOWN = 20
_FRAMING = 64 * 1024
_CONTENT_DIGEST = b"content-digest"


@frozen
class MaxBytes:
    """An annotation of a text field of a model: its maximum number of bytes in a form."""

    limit: int


@frozen
class Shape:
    """The fields of a form, files and texts, each with its maximum number of bytes.

    The texts in `optional` may be left out; one that is empty counts as left out.
    """

    files: Mapping[str, int]
    texts: Mapping[str, int]
    optional: Collection[str] = ()

    @classmethod
    def of(cls, model: type[BaseModel], files: Mapping[str, int]) -> "Shape":
        """Return the shape of a model's form.

        `files` has the fields that are files, with the maximum number of bytes of each.
        """
        texts = {
            name: next((m.limit for m in info.metadata if isinstance(m, MaxBytes)), SHORT_TEXT)
            for name, info in model.model_fields.items()
            if name not in files
        }
        optional = {name for name in texts if not model.model_fields[name].is_required()}
        return cls(files, texts, optional)

    @property
    def limit_bytes(self) -> int:
        """The maximum number of bytes of a body of this shape."""
        return sum(self.files.values()) + sum(self.texts.values()) + _FRAMING

    @property
    def field(self) -> str:
        """The field name in the error about a whole body that is too large."""
        return next(iter(self.files)) if len(self.files) == 1 else "body"

    @property
    def names(self) -> list[str]:
        """The names of all fields."""
        return [*self.files, *self.texts]


@frozen
class FormFile:
    """A file of a form in the spool. `sha256` is the digest in the headers of its part, or None.

    `gone` waits until the sender of the form is gone, and raises `ClientGone` then.
    """

    body: Body
    content_type: str | None
    sha256: Sha256 | None
    original_name: str | None
    gone: Callable[[], Coroutine[Any, Any, None]]

    @property
    def is_blank(self) -> bool:
        """Whether the form had no file here: no name and not one byte."""
        return self.original_name is None and not self.body.digests.size_bytes


@define
class Form:
    """The fields of a request's form.

    `bodies` is the stack on which the bodies of the files were entered. A use case that stores
    files takes the bodies over from it. `declared_sha256` is the digest in the request's
    `Content-Digest`, or None. `content_sha256` is the digest of the bytes that arrived; it is valid
    only if the request declared one. `unknown` has the names of texts that are no fields of the
    form; what reads the fields refuses them, together with wrong fields.
    """

    bodies: AsyncExitStack
    gone: Callable[[], Coroutine[Any, Any, None]]
    texts: dict[str, str] = field(factory=dict)
    files: dict[str, FormFile] = field(factory=dict)
    unknown: list[str] = field(factory=list)
    declared_sha256: Sha256 | None = None
    content_sha256: Sha256 | None = None

    @property
    def given(self) -> dict[str, object]:
        """All fields: texts, files, and unknown names, which have no value."""
        return {**self.texts, **self.files, **dict.fromkeys(self.unknown)}

    def drop_blanks(self, optional: Collection[str]) -> None:
        """Remove what a browser sends for fields that were left blank.

        These are empty texts, if they are in `optional`, and files without a name and bytes.
        """
        for name in [name for name, text in self.texts.items() if not text and name in optional]:
            del self.texts[name]
        for name in [name for name, file in self.files.items() if file.is_blank]:
            del self.files[name]

    def check_content(self) -> None:
        """Compare the request's `Content-Digest` with the bytes that arrived.

        In RFC 9530 the field has the digest of the whole multipart body. The digest of the file of
        a form with exactly one file is also accepted.

        Raises:
            DigestMismatch: the field has neither of these digests.
        """
        declared = self.declared_sha256
        if declared is None or declared == self.content_sha256:
            return
        digests = [file.body.digests.sha256 for file in self.files.values()]
        if digests != [declared]:
            raise DigestMismatch.of(
                "Content-Digest",
                f"the body has SHA-256 {self.content_sha256}, but {declared} was declared",
                "send the bytes again: they changed in transit, or the digest is wrong",
            )


@asynccontextmanager
async def read_form(
    request: AsgiRequest, shape: Shape, spool: Spool, pace: Pace, *, or_json: bool = False
) -> AsyncIterator[Form]:
    """Read a request's form. The exit of the context frees the bodies that no use case took over.

    `or_json`: the route takes JSON too.

    Raises:
        BadMultipart: the body is malformed or truncated.
        UnsupportedRequest: the body is not multipart/form-data, or has a content coding.
        SlowBody, ClientGone: the body stalled or is too slow, or the client closed the connection.
        TooLarge: a field or the whole body exceeds its limit in `shape`; the error names the field.
        InvalidInput: a file has an unknown name, a field comes more than once, a text is not UTF-8, or a declared
            digest is malformed.
        DigestMismatch: the `Content-Digest` of the request does not match the body.
    """
    boundary = boundary_of(request.header(b"content-type"), or_json=or_json)
    chunks: AsyncIterator[bytes] = request.body(
        limit_bytes=shape.limit_bytes, pace=pace, field=shape.field
    )
    whole = hashlib.sha256()
    declared = _declared(request)
    if declared is not None:
        chunks = _hashed(chunks, whole)
    multipart = Multipart(boundary, chunks)
    async with AsyncExitStack() as bodies:
        form = Form(bodies, request.until_gone, declared_sha256=declared)
        while (part := await multipart.next_part()) is not None:
            await _take_part(form, shape, part, multipart, spool)
        form.drop_blanks(shape.optional)
        form.content_sha256 = Sha256(whole.hexdigest())
        form.check_content()
        yield form


def is_json(request: AsgiRequest) -> bool:
    """Return whether a request declares a JSON body."""
    kind = (request.header(b"content-type") or "").partition(";")[0]
    return kind.strip().lower() == "application/json"


def not_json(request: AsgiRequest) -> UnsupportedRequest:
    """Return the error of a request that does not declare a JSON body where only JSON is taken."""
    kind = request.header(b"content-type")
    found = f"is {kind!a:.100}" if kind else "is missing"
    return UnsupportedRequest.of(
        "Content-Type", f"{found}, but must be application/json", "send a JSON object"
    )


async def read_json(request: AsgiRequest, pace: Pace) -> Mapping[str, Json]:
    """Read a request's JSON object, of at most 2 MiB and as many values as a record can have.

    Raises:
        UnsupportedRequest: the body has a content coding.
        SlowBody, ClientGone: the body stalled or is too slow, or the client closed the connection.
        TooLarge: the body has more bytes.
        InvalidInput: the body is not a JSON object, has more values, or the `Content-Digest` is
            malformed.
        DigestMismatch: the body does not match a declared digest.
    """
    text = await _body_text(request, pace, JSON_BYTES)
    return await _beside(text, lambda: parse_json_object(text, "body", _RECORD_VALUES))


async def read_document(
    request: AsgiRequest, pace: Pace, limit_bytes: int, sha256: Sha256 | None
) -> bytes:
    """Read a request's JSON object and return it in canonical form.

    `sha256` is the digest of the body that the query declares. Errors as for `read_json`, with
    `limit_bytes` and 500,000 values as the limits.
    """
    text = await _body_text(request, pace, limit_bytes, sha256)
    return await _beside(
        text, lambda: canonical_json(parse_json_object(text, "body", DOCUMENT_VALUES), "body")
    )


async def _body_text(
    request: AsgiRequest, pace: Pace, limit_bytes: int, sha256: Sha256 | None = None
) -> str:
    declared = _declared(request)
    data = bytearray()
    async for chunk in request.body(limit_bytes=limit_bytes, pace=pace, field="body"):
        data += chunk
    found = sha256_of(bytes(data))
    for name, digest in (("Content-Digest", declared), ("sha256", sha256)):
        if digest is not None and digest != found:
            raise DigestMismatch.of(
                name,
                f"the body has SHA-256 {found}, but {digest} was declared",
                "send the bytes again with their digest",
            )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput.of("body", "is not UTF-8", "send UTF-8 text") from error


async def _beside(text: str, work: Callable[[], T]) -> T:
    """Return the result of work on a text; that on a large one is done in a thread, one at a time.

    Several at once would not be faster, and the event loop would wait for each of them.
    """
    if len(text) < _LARGE:
        return work()
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with turn:
        return await asyncio.to_thread(work)


async def _take_part(
    form: Form, shape: Shape, part: PartHead, multipart: Multipart, spool: Spool
) -> None:
    name = part.name
    if name in form.texts or name in form.files:
        raise InvalidInput.of(name, "comes more than once", "send it once")
    if name in shape.files:
        declared = part.headers.get(_CONTENT_DIGEST)
        sha256 = parse_digest_field(declared.decode("latin-1"), name) if declared else None
        taking = spool.take(multipart.chunks(), limit_bytes=shape.files[name], field_name=name)
        body = await form.bodies.enter_async_context(taking)
        form.files[name] = FormFile(body, part.content_type, sha256, part.file_name, form.gone)
    elif name in shape.texts:
        form.texts[name] = await _text(multipart.chunks(), shape.texts[name], name)
    else:
        form.unknown.append(name)
        if part.file_name is not None or len(form.unknown) > _MOST_UNKNOWN:
            # A file can be large: nothing of it is read.
            raise InvalidInput(unknown_field(one, "form", shape.names) for one in form.unknown)
        async for _ in multipart.chunks():
            pass


async def _text(chunks: AsyncIterator[bytes], limit_bytes: int, name: str) -> str:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > limit_bytes:
            raise TooLarge.of(
                name, f"has more than {limit_bytes} bytes", f"send at most {limit_bytes} bytes"
            )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput.of(name, "is not UTF-8", "send UTF-8 text") from error


async def _hashed(chunks: AsyncIterator[bytes], whole: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for chunk in chunks:
        whole.update(chunk)
        yield chunk


def _declared(request: AsgiRequest) -> Sha256 | None:
    text = request.header(_CONTENT_DIGEST)
    return None if text is None else parse_digest_field(text, "Content-Digest")
