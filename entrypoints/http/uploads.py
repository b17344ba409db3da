"""Endpoints that store evidence: form uploads, violations with their files, and raw content."""

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from attrs import evolve, frozen
from fastapi import Body, Header, Path, Query
from fastapi import Form as FormField
from starlette.types import Receive, Scope, Send

from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_evidence import StoreEvidence
from traffic_storage.application.store_files import Stored, StoreFiles
from traffic_storage.domain.canonical import canonical_json
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import (
    Conflict,
    DigestMismatch,
    FieldProblem,
    InvalidInput,
    KeyInUse,
    UnsupportedMedia,
)
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import FileId, keyed_file_id, new_file_id
from traffic_storage.domain.labels import ADDABLE
from traffic_storage.domain.media import SNIFF_BYTES, is_undeclared, sniff
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.times import instant
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.http.digest_fields import parse_digest_field
from traffic_storage.entrypoints.http.errors import DeviceNotAllowed, KeyReused
from traffic_storage.entrypoints.http.fields import idempotency_key, renamed
from traffic_storage.entrypoints.http.forms import (
    Form,
    FormFile,
    Shape,
    is_json,
    not_json,
    read_document,
    read_form,
    read_json,
)
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace
from traffic_storage.entrypoints.http.responses import send_json
from traffic_storage.entrypoints.http.schemas import (
    Checks,
    ContentQuery,
    FileDescription,
    ImageForm,
    NewFileId,
    Problems,
    RecordFields,
    UploadFields,
    VideoForm,
    ViolationFields,
    ViolationForm,
    read_fields,
)
from traffic_storage.entrypoints.views import (
    EvidenceView,
    StoredFileView,
    evidence_view,
    file_view,
)
from traffic_storage.ports.spool import Spool

_TIME_OF_LABELS = {"captured_at": "metadata.timestamp"}
_FILE_OF = {
    "image_sha256": "image_file",
    "video_sha256": "video_file",
    "duration_seconds": "video_file",
}
"""Fields of a violation that describe a file → the form field of that file."""
_IDEMPOTENCY = b"idempotency-key"

ContentDigest = Annotated[
    str | None,
    Header(
        alias="Content-Digest",
        description="SHA-256 of the body (RFC 9530); a body with another SHA-256 is refused. For a "
        "form with one file it may be the SHA-256 of the file instead",
        pattern="^sha-256=:[A-Za-z0-9+/]{43}=:$",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="names this one request: repeat it with the same key, with or without the "
        "file_id of the first time. A first request without a file_id gets an id that is derived from "
        "the key. A key that was used for other content, other attributes or another file_id is "
        "refused",
        pattern="^[!-~]{1,255}$",
    ),
]
UnusedKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="accepted but ignored: violation_id already makes retries idempotent",
        pattern="^[!-~]{1,255}$",
    ),
]


@frozen
class Ingest:
    """The use cases, the spool and the limits that the endpoints of this module need.

    `image_bytes`, `video_bytes` and `metadata_bytes` are the maximum sizes of a file of the kind.
    """

    store_files: StoreFiles
    store_evidence: StoreEvidence
    spool: Spool
    pace: Pace
    zone: ZoneInfo
    image_bytes: int
    video_bytes: int
    metadata_bytes: int


class UploadImage:
    """`POST /files/upload/image`: a form with an image and its attributes."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._shape = Shape.of(ImageForm, {"file": ingest.image_bytes})

    @staticmethod
    def signature(  # type: ignore[empty-body]
        form: Annotated[ImageForm, FormField(media_type="multipart/form-data")],
        idempotency_key: IdempotencyKey = None,
        content_digest: ContentDigest = None,
    ) -> StoredFileView:
        """Store a JPEG, PNG, WebP, AVIF or BMP image, or one of another of the `image_formats`.

        A repetition of an earlier upload stores nothing and gets status 200. A device, violation or
        capture time that the file lacks is added then (`labels_added`).
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        ingest = self._ingest
        async with read_form(request, self._shape, ingest.spool, ingest.pace) as form:
            key = _Key.of(request, "image")
            with (
                renamed({"image": "file", **_TIME_OF_LABELS}),
                _hiding_others(request.principal),
            ):
                fields, problems = read_fields(ImageForm, form.given)
                file_id = _wanted_id(fields.file_id, key)
                attributes = attributes_of(fields, problems, request.principal, file_id)
                attributes = _by_key_alone(attributes, key)
                upload = _upload(form, "file", fields.sha256)
                with _by_key(key, attributes):
                    stored = await ingest.store_files.image(
                        upload, attributes, key=_derived(key), bodies=form.bodies
                    )
            _refuse_other_labels(stored, attributes, None, key, ingest.zone)
        await _answer(request, stored)


class UploadVideo:
    """`POST /files/upload/video`: a form with a video, its attributes and its duration."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._shape = Shape.of(VideoForm, {"file": ingest.video_bytes})

    @staticmethod
    def signature(  # type: ignore[empty-body]
        form: Annotated[VideoForm, FormField(media_type="multipart/form-data")],
        idempotency_key: IdempotencyKey = None,
        content_digest: ContentDigest = None,
    ) -> StoredFileView:
        """Store an MP4, MOV, Matroska, WebM, MPEG-TS or AVI video.

        A repetition of an earlier upload stores nothing and gets status 200. A device, violation or
        capture time that the file lacks is added then (`labels_added`).
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        ingest = self._ingest
        async with read_form(request, self._shape, ingest.spool, ingest.pace) as form:
            key = _Key.of(request, "video")
            with (
                renamed({"video": "file", **_TIME_OF_LABELS}),
                _hiding_others(request.principal),
            ):
                fields, problems = read_fields(VideoForm, form.given)
                seconds = fields.duration_seconds
                file_id = _wanted_id(fields.file_id, key)
                attributes = attributes_of(fields, problems, request.principal, file_id)
                attributes = _by_key_alone(attributes, key)
                upload = evolve(
                    _upload(form, "file", fields.sha256),
                    accept_damaged_video=bool(fields.accept_damaged_video),
                )
                with _by_key(key, attributes):
                    stored = await ingest.store_files.video(
                        upload,
                        attributes,
                        duration_seconds=seconds,
                        key=_derived(key),
                        bodies=form.bodies,
                    )
            _refuse_other_labels(stored, attributes, seconds, key, ingest.zone)
        await _answer(request, stored)


class UploadMetadata:
    """`POST /files/upload/metadata`: a JSON object as the body, its attributes in the query."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    @staticmethod
    def signature(  # type: ignore[empty-body]
        document: Annotated[dict[str, Any], Body(description="a JSON object")],
        query: Annotated[UploadFields, Query()],
        idempotency_key: IdempotencyKey = None,
        content_digest: ContentDigest = None,
    ) -> StoredFileView:
        """Store a JSON object as canonical JSON: with sorted keys and without white space.

        `sha256` is the SHA-256 of the request body.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        ingest = self._ingest
        texts = request.query_fields()
        key = _Key.of(request, "metadata")
        if not is_json(request):
            raise not_json(request)
        with renamed(_TIME_OF_LABELS), _hiding_others(request.principal):
            fields, problems = read_fields(UploadFields, texts, "query")
            file_id = _wanted_id(fields.file_id, key)
            attributes = attributes_of(fields, problems, request.principal, file_id)
            attributes = _by_key_alone(attributes, key)
            document = await read_document(
                request, ingest.pace, ingest.metadata_bytes, fields.sha256
            )
            with _by_key(key, attributes):
                stored = await ingest.store_files.document(document, attributes, key=_derived(key))
        _refuse_other_labels(stored, attributes, None, key, ingest.zone)
        await _answer(request, stored)


class PutContent:
    """`PUT /files/{file_id}/content`: the bytes as the body, their attributes in the query.

    It serves devices that can't build a form. The Content-Type determines the kind, image or video.
    Without a Content-Type the first bytes of the body determine it.
    """

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    @staticmethod
    def signature(  # type: ignore[empty-body]
        file_id: Annotated[NewFileId, Path(description="id to store it under", examples=["c-42"])],
        query: Annotated[ContentQuery, Query()],
        content_digest: ContentDigest = None,
    ) -> StoredFileView:
        """Store the request body as an image or video, for devices that can't build a form.

        The Content-Type determines the kind; without one the first bytes of the body determine it.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        texts = request.query_fields()
        names = {"image": "body", "video": "body", **_TIME_OF_LABELS}
        with renamed(names), _hiding_others(request.principal):
            fields, problems = read_fields(ContentQuery, texts, "query")
            file_id = new_file_id(request.path_value("file_id"))
            attributes = attributes_of(fields, problems, request.principal, file_id)
            damaged = bool(fields.accept_damaged_video)
            stored = await self._store(request, attributes, fields.duration_seconds, damaged)
        await _answer(request, stored)

    async def _store(
        self,
        request: AsgiRequest,
        attributes: FileAttributes,
        seconds: float | None,
        accept_damaged: bool,
    ) -> Stored:
        ingest = self._ingest
        declared = request.header(b"content-type")
        kind = _kind_of(declared)
        limits = {FileKind.IMAGE: ingest.image_bytes, FileKind.VIDEO: ingest.video_bytes}
        limit = limits.get(kind, max(limits.values())) if kind else max(limits.values())
        body: AsyncIterator[bytes] = request.body(limit_bytes=limit, pace=ingest.pace, field="body")
        if kind is None:
            head, body = await _peeked(body)
            # An image of a format that is refused too: the error then names the formats for images.
            kind = FileKind.IMAGE if (sniff(head) or "").startswith("image/") else FileKind.VIDEO
        upload = Upload(body, declared, _declared_digest(request), gone=request.until_gone)
        if kind is FileKind.IMAGE:
            if seconds is not None:
                raise InvalidInput.of("duration_seconds", "applies only to videos", "leave it out")
            return await ingest.store_files.image(upload, attributes)
        upload = evolve(upload, accept_damaged_video=accept_damaged)
        return await ingest.store_files.video(upload, attributes, duration_seconds=seconds)


class CreateViolation:
    """`POST /violations`: a record with its image and video as a form, or a record as JSON.

    `violation_id` makes retries idempotent. The syntax of an `Idempotency-Key` is checked, but the
    key has no effect.
    """

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._shape = Shape.of(
            ViolationForm, {"image_file": ingest.image_bytes, "video_file": ingest.video_bytes}
        )

    @staticmethod
    def signature(  # type: ignore[empty-body]
        form: Annotated[ViolationForm, FormField(media_type="multipart/form-data")],
        idempotency_key: UnusedKey = None,
        content_digest: ContentDigest = None,
    ) -> EvidenceView:
        """Store a violation together with its files: either all become visible, or none does.

        A record without an image and a video may be sent as JSON.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        idempotency_key(request.headers(_IDEMPOTENCY))
        if is_json(request):
            body = await read_json(request, self._ingest.pace)
            fields, problems = read_fields(ViolationFields, body, "record")
            record = record_of(fields, problems, request.principal)
            with _hiding_others(request.principal):
                await self._store(request, record, AsyncExitStack(), historic=bool(fields.historic))
            return
        ingest = self._ingest
        async with read_form(request, self._shape, ingest.spool, ingest.pace, or_json=True) as form:
            names = {"image": "image_file", "video": "video_file"}
            with renamed(names), _hiding_others(request.principal):
                refuse_lost_files(form)
                described, problems = read_fields(ViolationForm, form.given)
                record = record_of(described, problems, request.principal)
                video = optional_upload(form, "video_file", described.video_sha256)
                if video is not None and described.accept_damaged_video:
                    video = evolve(video, accept_damaged_video=True)
                await self._store(
                    request,
                    record,
                    form.bodies,
                    optional_upload(form, "image_file", described.image_sha256),
                    video,
                    described.duration_seconds,
                    historic=bool(described.historic),
                )

    async def _store(
        self,
        request: AsgiRequest,
        record: ViolationRecord,
        bodies: AsyncExitStack,
        image: Upload | None = None,
        video: Upload | None = None,
        seconds: float | None = None,
        *,
        historic: bool,
    ) -> None:
        stored = await self._ingest.store_evidence(
            record,
            image,
            video,
            video_duration_seconds=seconds,
            historic=historic,
            bodies=bodies,
        )
        location = request.reference(f"/violations/{record.violation_id}")
        await send_json(
            request,
            201 if stored.created else 200,
            [(b"location", location)],
            evidence_view(stored),
        )


def attributes_of(
    fields: FileDescription, problems: Problems, principal: Principal, file_id: str | None
) -> FileAttributes:
    """Return the attributes of an uploaded file from the `fields` of its request.

    `problems` are the errors that were found when the fields were parsed.

    Raises:
        InvalidInput: fields are wrong; the error lists all of them, those in `problems` first.
        DeviceNotAllowed: `principal` may store files of other devices only.
    """
    with Checks(problems):
        attributes = FileAttributes.of(
            file_id=file_id,
            device_id=fields.device_id,
            violation_id=fields.violation_id,
            captured_at=fields.timestamp,
            metadata=fields.metadata,
            historic=bool(fields.historic),
            given_by=principal.name,
            may_add=_addable(principal),
        )
    check_device(principal, attributes.device_id)
    return attributes


def _addable(principal: Principal) -> Collection[str]:
    """Return the labels that a principal may add to a file that lacks them.

    A principal that is bound to devices has no access to a file without one, and gains none.
    """
    return [name for name in ADDABLE if not (principal.devices and name == "device_id")]


def _by_key_alone(attributes: FileAttributes, key: "_Key | None") -> FileAttributes:
    """Return attributes that add no labels to a file that an Idempotency-Key alone names.

    The key stands for one request, with all that was given in it.
    """
    is_alone = key is not None and key.is_alone(attributes)
    return evolve(attributes, may_add=()) if is_alone else attributes


def record_of(fields: RecordFields, problems: Problems, principal: Principal) -> ViolationRecord:
    """Return the violation record from the `fields` of a request.

    `problems` are the errors that were found when the fields were parsed.

    Raises:
        InvalidInput: fields are missing or wrong; the error lists all of them, those in `problems`
            first.
        DeviceNotAllowed: `principal` may store violations of other devices only.
    """
    names = RecordFields.model_fields
    given: dict[str, Any] = {
        name: value for name in names if (value := getattr(fields, name)) is not None
    }
    with Checks(problems):
        record = ViolationRecord(**given)
    check_device(principal, record.device_id)
    return record


def check_device(principal: Principal, device_id: str | None) -> None:
    """Check that the principal may access a device.

    Raises:
        DeviceNotAllowed: the principal is bound to other devices, or `device_id` is None and the
            principal is bound to devices.
    """
    if not principal.may_access(device_id):
        raise DeviceNotAllowed(principal.devices, device_id)


async def _answer(request: AsgiRequest, stored: Stored) -> None:
    if not request.principal.may_access(stored.file.device_id):
        raise Conflict("file", stored.file.file_id, "it belongs to another device")
    await send_json(
        request,
        201 if stored.created else 200,
        [(b"location", request.reference(f"/files/{stored.file.file_id}"))],
        file_view(stored.file, stored.labels_added),
    )


@frozen
class _Key:
    """The `Idempotency-Key` of a request, and the file id that is derived from it."""

    text: str
    derived: FileId

    @classmethod
    def of(cls, request: AsgiRequest, role: str) -> "_Key | None":
        """Return the Idempotency-Key of a request at the endpoint `role`, or None without one."""
        key = idempotency_key(request.headers(_IDEMPOTENCY))
        if key is None:
            return None
        return cls(key, keyed_file_id(principal=request.principal.name, key=key, role=role))

    def is_alone(self, attributes: FileAttributes) -> bool:
        """Return whether a request names its file by the key alone, without an id of its own."""
        return attributes.file_id == self.derived


def _wanted_id(file_id: str | None, key: _Key | None) -> str | None:
    """Return the file_id of the request, or the id that is derived from its Idempotency-Key.

    A request that names the derived id is the same request as one that leaves it out. The id is a
    UUID, which some clients write in upper case.
    """
    if key is not None and (file_id is None or file_id.lower() == key.derived):
        return key.derived
    return file_id


def _derived(key: _Key | None) -> FileId | None:
    return None if key is None else key.derived


@contextmanager
def _by_key(key: _Key | None, attributes: FileAttributes) -> Iterator[None]:
    """Convert a Conflict to KeyReused if the key stands for another file, or alone named the file."""
    try:
        yield
    except Conflict as error:
        if key is None or not (isinstance(error, KeyInUse) or key.is_alone(attributes)):
            raise
        raise KeyReused(key.text, error.difference, error.cause) from error


@contextmanager
def _hiding_others(principal: Principal) -> Iterator[None]:
    """Leave out of a Conflict what is stored, for a principal that is bound to devices.

    The file or violation of that id may be of another device.
    """
    try:
        yield
    except Conflict as error:
        if isinstance(error, KeyReused) or error.cause == "deletion" or not principal.devices:
            raise
        hidden = "a key that is bound to devices is not told which"
        raise Conflict(error.what, error.identifier, hidden, cause=error.cause) from error


def _refuse_other_labels(
    stored: Stored,
    attributes: FileAttributes,
    seconds: float | None,
    key: _Key | None,
    zone: ZoneInfo,
) -> None:
    """Refuse an Idempotency-Key that was used for the same bytes with other attributes.

    A file that does not have the key's id may have been stored without the key before: it may
    have more than its request gives. What contradicts was a Conflict.

    Raises:
        KeyReused: the stored attributes differ from those of the request.
    """
    if key is None or stored.created or stored.file.file_id != key.derived:
        return
    if others := _other_labels(stored.file, attributes, seconds, zone):
        raise KeyReused(key.text, ", ".join(others), "labels")


def _other_labels(
    file: StoredFile, attributes: FileAttributes, seconds: float | None, zone: ZoneInfo
) -> list[str]:
    captured = attributes.captured_at and instant(attributes.captured_at, zone).at
    metadata = None if attributes.metadata is None else canonical_json(attributes.metadata).decode()
    # What a later request without the key has added was not given with it.
    added = file.added_labels
    same = {
        "device_id": attributes.device_id == file.device_id or "device_id" in added,
        "violation_id": attributes.violation_id == file.violation_id or "violation_id" in added,
        "timestamp": captured == file.captured_at or "captured_at" in added,
        "metadata": metadata == file.metadata,
        "duration_seconds": seconds in (None, file.media.duration_seconds),
    }
    return [name for name, alike in same.items() if not alike]


def refuse_lost_files(form: Form) -> None:
    """Refuse a form that describes a file but does not contain it.

    Such a file was probably lost in transit.

    Raises:
        InvalidInput: files are missing; the error lists all of them.
    """
    said = {file: name for name, file in _FILE_OF.items() if name in form.texts}
    problems = [
        FieldProblem(file, f"is missing, but {name} is given", "send the file")
        for file, name in said.items()
        if file not in form.files
    ]
    if problems:
        raise InvalidInput(problems)


def _upload(form: Form, name: str, sha256: Sha256 | None) -> Upload:
    if name not in form.files:
        raise InvalidInput.of(name, "is missing", f"send the bytes as -F {name}=@photo.jpg")
    return _handed_over(form.files[name], name, sha256)


def optional_upload(form: Form, name: str, sha256: Sha256 | None) -> Upload | None:
    """Return the file of a form with its declared digest, or None without one.

    Raises:
        DigestMismatch: the form and the headers of its part declare two different digests.
    """
    if name not in form.files:
        return None
    return _handed_over(form.files[name], name, sha256)


def _handed_over(file: FormFile, name: str, sha256: Sha256 | None) -> Upload:
    if sha256 is not None and file.sha256 is not None and sha256 != file.sha256:
        raise DigestMismatch.of(name, "has two different declared digests", "declare one digest")
    declared = sha256 or file.sha256
    return Upload(file.body, file.content_type, declared, file.original_name, gone=file.gone)


def _declared_digest(request: AsgiRequest) -> Sha256 | None:
    for name in ("Content-Digest", "Repr-Digest"):
        text = request.header(name.lower().encode())
        if text is not None:
            return parse_digest_field(text, name)
    return None


def _kind_of(declared: str | None) -> FileKind | None:
    """Return the kind of file that a content type names.

    Returns None if the type is missing, or does not tell the kind (`application/octet-stream`).

    Raises:
        UnsupportedMedia: the content type is neither an image nor a video.
    """
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
        "send image/… or video/…, or application/octet-stream to have the kind detected",
    )


async def _peeked(body: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Return the first bytes of a body, and an iterator over the whole body."""
    head = b""
    while len(head) < SNIFF_BYTES and (chunk := await anext(body, None)) is not None:
        head += chunk
    return head, _rejoined(head, body)


async def _rejoined(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if head:
        yield head
    async for chunk in rest:
        yield chunk
