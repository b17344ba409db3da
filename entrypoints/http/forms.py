"""Forms: the fields of a multipart body, each bounded, files taken into the spool as they come.

The order of the fields is free. What is not a field of the form is refused at once, so that a
misspelt name is not a lost label.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from attrs import define, field, frozen
from pydantic import BaseModel

from traffic_storage.domain.canonical import Json, parse_json_object
from traffic_storage.domain.digests import Sha256, sha256_of
from traffic_storage.domain.errors import DigestMismatch, InvalidInput, TooLarge
from traffic_storage.entrypoints.http.digest_fields import parse_digest_field
from traffic_storage.entrypoints.http.multipart import Multipart, PartHead, boundary_of
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace, unknown_field
from traffic_storage.ports.spool import Body, Spool

SHORT_TEXT = 64 * 1024
LONG_TEXT = 1024 * 1024
JSON_BYTES = 2 * LONG_TEXT
_FRAMING = 64 * 1024
_CONTENT_DIGEST = b"content-digest"


@frozen
class MaxBytes:
    """Annotates a text field of a model: the most bytes that it may have in a form."""

    limit: int


@frozen
class Shape:
    """Which fields a form has: files and texts, each with the most bytes that it may have."""

    files: Mapping[str, int]
    texts: Mapping[str, int]

    @classmethod
    def of(cls, model: type[BaseModel], files: Mapping[str, int]) -> "Shape":
        """The shape of a model's form; `files` are its fields that hold files."""
        texts = {
            name: next((m.limit for m in info.metadata if isinstance(m, MaxBytes)), SHORT_TEXT)
            for name, info in model.model_fields.items()
            if name not in files
        }
        return cls(files, texts)

    @property
    def limit_bytes(self) -> int:
        """The most bytes that a body of this shape can have."""
        return sum(self.files.values()) + sum(self.texts.values()) + _FRAMING

    @property
    def field(self) -> str:
        """The name under which a body that is too large as a whole is reported."""
        return next(iter(self.files)) if len(self.files) == 1 else "body"

    @property
    def names(self) -> list[str]:
        """The names of all fields."""
        return [*self.files, *self.texts]


@frozen
class FormFile:
    """A file of a form, in the spool; `sha256` is the digest that its part declared."""

    body: Body
    content_type: str | None
    sha256: Sha256 | None
    original_name: str | None


@define
class Form:
    """The fields that arrived. `content_sha256` is set where the request declared a digest.

    `bodies` is the stack on which the files' bodies were entered: a use case that stores one of
    them takes it over.
    """

    bodies: AsyncExitStack
    texts: dict[str, str] = field(factory=dict)
    files: dict[str, FormFile] = field(factory=dict)
    declared_sha256: Sha256 | None = None
    content_sha256: Sha256 | None = None

    @property
    def given(self) -> dict[str, object]:
        """All fields: texts and files."""
        return {**self.texts, **self.files}

    def check_content(self) -> None:
        """Compare the request's `Content-Digest` with the bytes that arrived.

        By RFC 9530 it is the digest of the whole multipart body. The digest of a form's only file
        is accepted as well.

        Raises:
            DigestMismatch: it is neither.
        """
        declared = self.declared_sha256
        if declared is None or declared == self.content_sha256:
            return
        digests = [file.body.digests.sha256 for file in self.files.values()]
        if digests != [declared]:
            raise DigestMismatch.of(
                "Content-Digest",
                f"the body has SHA-256 {self.content_sha256}, but {declared} was declared",
                "send the bytes again: they changed in transit, or the digest is of other bytes",
            )


@asynccontextmanager
async def read_form(
    request: AsgiRequest, shape: Shape, spool: Spool, pace: Pace
) -> AsyncIterator[Form]:
    """Read a request's form. Leaving the context frees the bodies that no use case took over.

    Raises:
        BadMultipart, UnsupportedRequest, SlowBody, ClientGone: as the body is.
        TooLarge: a field, or all together, exceed what `shape` allows; names the field.
        InvalidInput: a field that the form does not have, or one that comes twice.
    """
    boundary = boundary_of(request.header(b"content-type"))
    chunks: AsyncIterator[bytes] = request.body(
        limit_bytes=shape.limit_bytes, pace=pace, field=shape.field
    )
    whole = hashlib.sha256()
    declared = _declared(request)
    if declared is not None:
        chunks = _hashed(chunks, whole)
    multipart = Multipart(boundary, chunks)
    async with AsyncExitStack() as bodies:
        form = Form(bodies, declared_sha256=declared)
        while (part := await multipart.next_part()) is not None:
            await _take_part(form, shape, part, multipart, spool)
        form.content_sha256 = Sha256(whole.hexdigest())
        form.check_content()
        yield form


def is_json(request: AsgiRequest) -> bool:
    """Whether a request declares a JSON body."""
    kind = (request.header(b"content-type") or "").partition(";")[0]
    return kind.strip().lower() == "application/json"


async def read_json(
    request: AsgiRequest, pace: Pace, limit_bytes: int = JSON_BYTES, sha256: Sha256 | None = None
) -> Mapping[str, Json]:
    """Read a request's JSON object. `sha256` is a digest of the body that its query declares.

    Raises:
        UnsupportedRequest, SlowBody, ClientGone: as the body is.
        TooLarge: it has more than `limit_bytes`.
        InvalidInput: it is not a JSON object.
        DigestMismatch: it contradicts a declared digest.
    """
    declared = _declared(request)
    data = bytearray()
    async for chunk in request.body(limit_bytes=limit_bytes, pace=pace, field="body"):
        data += chunk
    found = sha256_of(bytes(data))
    for name, digest in (("Content-Digest", declared), ("sha256", sha256)):
        if digest is not None and digest != found:
            raise DigestMismatch.of(name, f"the body has SHA-256 {found}", "send the bytes again")
    try:
        return parse_json_object(data.decode(), "body")
    except UnicodeDecodeError as error:
        raise InvalidInput.of("body", "is not UTF-8", "send UTF-8 text") from error


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
        form.files[name] = FormFile(body, part.content_type, sha256, part.file_name)
    elif name in shape.texts:
        form.texts[name] = await _text(multipart.chunks(), shape.texts[name], name)
    else:
        raise InvalidInput([unknown_field(name, "form", shape.names)])


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
