"""Taking evidence in: the two uploads, the violation with its files, and raw bytes of a device."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from attrs import frozen
from starlette.types import Receive, Scope, Send

from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_evidence import StoreEvidence
from traffic_storage.application.store_files import Stored, StoreFiles
from traffic_storage.domain.canonical import canonical_json
from traffic_storage.domain.digests import Sha256, declared_sha256
from traffic_storage.domain.errors import (
    Conflict,
    DigestMismatch,
    FieldProblem,
    InvalidInput,
    UnsupportedMedia,
)
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import keyed_file_id, new_file_id
from traffic_storage.domain.media import ACCEPTED_IMAGES, SNIFF_BYTES, is_undeclared, sniff
from traffic_storage.entrypoints.http.digest_fields import parse_digest_field
from traffic_storage.entrypoints.http.errors import KeyReused
from traffic_storage.entrypoints.http.fields import (
    OPTIONAL,
    REQUIRED,
    attributes_of,
    idempotency_key,
    record_of,
    renamed,
    seconds_field,
    sha256_field,
)
from traffic_storage.entrypoints.http.forms import (
    LONG_TEXT,
    SHORT_TEXT,
    Form,
    FormFile,
    Shape,
    read_form,
)
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace
from traffic_storage.entrypoints.http.responses import send_json
from traffic_storage.entrypoints.views import evidence_view, file_view
from traffic_storage.ports.spool import Spool

_LABELS = {"device_id": SHORT_TEXT, "violation_id": SHORT_TEXT, "metadata": LONG_TEXT}
_UPLOAD_TEXTS = {**_LABELS, "file_id": SHORT_TEXT, "sha256": SHORT_TEXT}
_PUT_FIELDS = frozenset({*_LABELS, "duration_seconds"})
_TIME_OF_LABELS = {"captured_at": "metadata.timestamp"}
_SAID_OF = {
    "image_sha256": "image_file",
    "video_sha256": "video_file",
    "duration_seconds": "video_file",
}
"""Fields of a violation that say something of one of its files."""
_IDEMPOTENCY = b"idempotency-key"


@frozen
class IngestJournal:
    """What taking in needs.

    `image_bytes` and `video_bytes` are the most that a file of the kind may have.
    """

    store_files: StoreFiles
    store_evidence: StoreEvidence
    spool: Spool
    pace: Pace
    image_bytes: int
    video_bytes: int


class UploadImage:
    """`POST /files/upload/image`: a form with a file and what is said about it."""

    def __init__(self, journal: IngestJournal) -> None:
        self._journal = journal
        self._shape = Shape({"file": journal.image_bytes}, _UPLOAD_TEXTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        journal = self._journal
        async with read_form(request, self._shape, journal.spool, journal.pace) as form:
            key = _Key.of(request, form)
            with renamed({"image": "file", **_TIME_OF_LABELS}), _by_key(key):
                attributes = attributes_of(form.texts, file_id=_wanted_id(form, key, "image"))
                upload = _upload(form, "file", sha256_field(form.texts))
                stored = await journal.store_files.image(upload, attributes, bodies=form.bodies)
            _refuse_other_labels(stored, attributes, None, key)
        await _answer(request, stored)


class UploadVideo:
    """`POST /files/upload/video`: like an image, with its duration in seconds."""

    def __init__(self, journal: IngestJournal) -> None:
        self._journal = journal
        texts = {**_UPLOAD_TEXTS, "duration_seconds": SHORT_TEXT}
        self._shape = Shape({"file": journal.video_bytes}, texts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        journal = self._journal
        async with read_form(request, self._shape, journal.spool, journal.pace) as form:
            key = _Key.of(request, form)
            with renamed({"video": "file", **_TIME_OF_LABELS}), _by_key(key):
                attributes = attributes_of(form.texts, file_id=_wanted_id(form, key, "video"))
                seconds = seconds_field(form.texts)
                upload = _upload(form, "file", sha256_field(form.texts))
                stored = await journal.store_files.video(
                    upload, attributes, duration_seconds=seconds, bodies=form.bodies
                )
            _refuse_other_labels(stored, attributes, seconds, key)
        await _answer(request, stored)


class PutContent:
    """`PUT /files/{file_id}/content`: the bytes as the body, attributes in the query.

    For devices that can't build a form. The content type says whether it is an image or a video;
    where it says nothing, the first bytes do.
    """

    def __init__(self, journal: IngestJournal) -> None:
        self._journal = journal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        texts = request.query(_PUT_FIELDS)
        with renamed({"image": "body", "video": "body", **_TIME_OF_LABELS}):
            attributes = attributes_of(texts, file_id=new_file_id(request.path_value("file_id")))
            seconds = seconds_field(texts)
            stored = await self._store(request, attributes, seconds)
        await _answer(request, stored)

    async def _store(
        self, request: AsgiRequest, attributes: FileAttributes, seconds: float | None
    ) -> Stored:
        journal = self._journal
        declared = request.header(b"content-type")
        kind = _kind_of(declared)
        limits = {FileKind.IMAGE: journal.image_bytes, FileKind.VIDEO: journal.video_bytes}
        limit = limits.get(kind, max(limits.values())) if kind else max(limits.values())
        body: AsyncIterator[bytes] = request.body(
            limit_bytes=limit, pace=journal.pace, field="body"
        )
        if kind is None:
            head, body = await _peeked(body)
            kind = FileKind.IMAGE if sniff(head) in ACCEPTED_IMAGES else FileKind.VIDEO
        upload = Upload(body, declared, _declared_digest(request))
        if kind is FileKind.IMAGE:
            if seconds is not None:
                raise InvalidInput.of("duration_seconds", "is of a video", "leave it out")
            return await journal.store_files.image(upload, attributes)
        return await journal.store_files.video(upload, attributes, duration_seconds=seconds)


class CreateViolation:
    """`POST /violations`: a record as form fields, with its image and video if there are any.

    The violation's own id is what makes a retry safe; an `Idempotency-Key` is checked for form
    and changes nothing, as it does for an upload with a `file_id`.
    """

    def __init__(self, journal: IngestJournal) -> None:
        self._journal = journal
        self._shape = Shape(
            {"image_file": journal.image_bytes, "video_file": journal.video_bytes},
            {
                **dict.fromkeys(REQUIRED, SHORT_TEXT),
                **dict.fromkeys(OPTIONAL, LONG_TEXT),
                "duration_seconds": SHORT_TEXT,
                "image_sha256": SHORT_TEXT,
                "video_sha256": SHORT_TEXT,
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        journal = self._journal
        idempotency_key(request.headers(_IDEMPOTENCY))
        async with read_form(request, self._shape, journal.spool, journal.pace) as form:
            with renamed({"image": "image_file", "video": "video_file"}):
                _refuse_lost_files(form)
                record = record_of(form.texts)
                seconds = seconds_field(form.texts)
                image_sha256 = _declared(form, "image_sha256")
                video_sha256 = _declared(form, "video_sha256")
                stored = await journal.store_evidence(
                    record,
                    _optional_upload(form, "image_file", image_sha256),
                    _optional_upload(form, "video_file", video_sha256),
                    video_duration_seconds=seconds,
                    bodies=form.bodies,
                )
        location = request.reference(f"/violations/{record.violation_id}")
        await send_json(
            request,
            201 if stored.created else 200,
            [(b"location", location)],
            evidence_view(stored),
        )


async def _answer(request: AsgiRequest, stored: Stored) -> None:
    await send_json(
        request,
        201 if stored.created else 200,
        [(b"location", request.reference(f"/files/{stored.file.file_id}"))],
        file_view(stored.file),
    )


@frozen
class _Key:
    """An `Idempotency-Key` that stands for an id: as it was sent, and by whom."""

    text: str
    principal: str

    @classmethod
    def of(cls, request: AsgiRequest, form: Form) -> "_Key | None":
        """The key of a request; None without one, or where the form names the id itself."""
        key = idempotency_key(request.headers(_IDEMPOTENCY))
        if key is None or "file_id" in form.texts:
            return None
        return cls(key, request.principal)


def _wanted_id(form: Form, key: _Key | None, role: str) -> str | None:
    """The id that the form names, else the one that the Idempotency-Key stands for."""
    if key is None:
        return form.texts.get("file_id")
    return keyed_file_id(principal=key.principal, key=key.text, role=role)


@contextmanager
def _by_key(key: _Key | None) -> Iterator[None]:
    """A conflict under an id that a key stands for is a misuse of the key."""
    try:
        yield
    except Conflict as error:
        if key is None:
            raise
        raise KeyReused(key.text, error.difference) from error


def _refuse_other_labels(
    stored: Stored, attributes: FileAttributes, seconds: float | None, key: _Key | None
) -> None:
    """The same bytes with other attributes are another request: the key can't stand for both."""
    if key is None or stored.created:
        return
    if others := _other_labels(stored.file, attributes, seconds):
        raise KeyReused(key.text, f"the bytes are the same, {' and '.join(others)} not")


def _other_labels(file: StoredFile, attributes: FileAttributes, seconds: float | None) -> list[str]:
    metadata = None if attributes.metadata is None else canonical_json(attributes.metadata).decode()
    same = {
        "device_id": attributes.device_id == file.device_id,
        "violation_id": attributes.violation_id == file.violation_id,
        "metadata": metadata == file.metadata,
        "duration_seconds": seconds in (None, file.media.duration_seconds),
    }
    return [name for name, alike in same.items() if not alike]


def _refuse_lost_files(form: Form) -> None:
    """What is said of a file without the file: it was lost on the way.

    Raises:
        InvalidInput: naming each file that is missing.
    """
    said = {file: name for name, file in _SAID_OF.items() if name in form.texts}
    problems = [
        FieldProblem(file, f"is missing, but {name} is given", "send it")
        for file, name in said.items()
        if file not in form.files
    ]
    if problems:
        raise InvalidInput(problems)


def _upload(form: Form, name: str, sha256: Sha256 | None) -> Upload:
    if name not in form.files:
        raise InvalidInput.of(name, "is missing", f"send the bytes as -F {name}=@photo.jpg")
    return _handed_over(form.files[name], name, sha256)


def _optional_upload(form: Form, name: str, sha256: Sha256 | None) -> Upload | None:
    if name not in form.files:
        return None
    return _handed_over(form.files[name], name, sha256)


def _handed_over(file: FormFile, name: str, sha256: Sha256 | None) -> Upload:
    if sha256 is not None and file.sha256 is not None and sha256 != file.sha256:
        raise DigestMismatch.of(
            name, "is declared with two different digests", "declare the digest once"
        )
    return Upload(file.body, file.content_type, sha256 or file.sha256)


def _declared(form: Form, name: str) -> Sha256 | None:
    text = form.texts.get(name)
    return None if text is None else declared_sha256(text, name)


def _declared_digest(request: AsgiRequest) -> Sha256 | None:
    for name in ("Content-Digest", "Repr-Digest"):
        text = request.header(name.lower().encode())
        if text is not None:
            return parse_digest_field(text, name)
    return None


def _kind_of(declared: str | None) -> FileKind | None:
    """The kind that a content type says; None when it says nothing."""
    if is_undeclared(declared):
        return None
    family = (declared or "").partition("/")[0].strip().lower()
    if family == "image":
        return FileKind.IMAGE
    if family == "video" or (declared or "").lower().startswith("application/mp4"):
        return FileKind.VIDEO
    raise UnsupportedMedia.of(
        "Content-Type",
        f"is {declared!a:.80}, neither an image nor a video",
        "send image/… or video/…, or application/octet-stream to have the bytes looked at",
    )


async def _peeked(body: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """The first bytes of a body, and the whole body still to be read."""
    head = b""
    while len(head) < SNIFF_BYTES and (chunk := await anext(body, None)) is not None:
        head += chunk
    return head, _rejoined(head, body)


async def _rejoined(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if head:
        yield head
    async for chunk in rest:
        yield chunk
