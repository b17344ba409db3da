"""`POST /validate`: a violation with its files is judged, and nothing is stored."""

from collections.abc import Mapping
from typing import Annotated

from attrs import frozen
from fastapi import Form as FormField
from starlette.types import Receive, Scope, Send

from traffic_storage.application.validate_evidence import ValidateEvidence
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import DigestMismatch, InvalidInput
from traffic_storage.entrypoints.http.forms import Form, Shape, is_json, read_form, read_json
from traffic_storage.entrypoints.http.request_body import AsgiRequest, unknown_field
from traffic_storage.entrypoints.http.responses import send_json
from traffic_storage.entrypoints.http.schemas import (
    RecordFields,
    ValidationForm,
    ValidationOptions,
    read_fields,
)
from traffic_storage.entrypoints.http.uploads import (
    ContentDigest,
    Ingest,
    check_device,
    optional_upload,
    refuse_lost_files,
)
from traffic_storage.entrypoints.quality_views import EvidenceQualityView, evidence_quality_view
from traffic_storage.ports.spool import Body


@frozen
class ValidationParts:
    """The use case, and what reads a form."""

    validate: ValidateEvidence
    ingest: Ingest


class JudgeViolation:
    """`POST /validate`: a record with its image and video as a form, or a record as JSON.

    What is wrong with the record or a file is a finding in the answer. A problem is only what
    concerns the request: a broken body, another digest than declared, a file that is too large.
    """

    def __init__(self, parts: ValidationParts) -> None:
        self._validate = parts.validate
        self._ingest = parts.ingest
        self._shape = Shape.of(
            ValidationForm,
            {"image_file": parts.ingest.image_bytes, "video_file": parts.ingest.video_bytes},
        )

    @staticmethod
    def signature(  # type: ignore[empty-body]
        form: Annotated[ValidationForm, FormField(media_type="multipart/form-data")],
        content_digest: ContentDigest = None,
    ) -> EvidenceQualityView:
        """Judge a violation with its files as if it were stored, and store nothing.

        Fields may be wrong or missing: that is in the answer, with errors, warnings and a score. The
        record is compared with the stored violations of its device and time. A record without an
        image and a video may be sent as JSON, and an image or a video without a record.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        if is_json(request):
            record = dict(await read_json(request, self._ingest.pace))
            names = ValidationOptions.model_fields.keys() & record.keys()
            options = _options({name: record.pop(name) for name in names}, "record")
            await self._answer(request, record, options)
            return
        ingest = self._ingest
        async with read_form(request, self._shape, ingest.spool, ingest.pace, or_json=True) as form:
            refuse_lost_files(form)
            names = ValidationOptions.model_fields.keys() & form.texts.keys()
            if form.unknown:
                known = self._shape.names
                raise InvalidInput(unknown_field(one, "form", known) for one in form.unknown)
            options = _options({name: form.texts[name] for name in names}, "form")
            image = _body(form, "image_file", options.image_sha256)
            video = _body(form, "video_file", options.video_sha256)
            record = {
                name: text for name, text in form.texts.items() if name in RecordFields.model_fields
            }
            await self._answer(request, record, options, image, video)

    async def _answer(
        self,
        request: AsgiRequest,
        record: Mapping[str, object],
        options: ValidationOptions,
        image: Body | None = None,
        video: Body | None = None,
    ) -> None:
        if isinstance(device := record.get("device_id"), str):
            check_device(request.principal, device)
        # Files alone are judged as such: their sender asks nothing about a record.
        is_files_alone = not record and not (image is None and video is None)
        judged = await self._validate(
            None if is_files_alone else _as_stored(record),
            image,
            video,
            historic=bool(options.historic),
            profile=options.profile,
        )
        await send_json(request, 200, [], evidence_quality_view(judged))


def _options(given: Mapping[str, object], where: str) -> ValidationOptions:
    options, problems = read_fields(ValidationOptions, given, where)
    if problems:
        raise InvalidInput(problems)
    return options


def _as_stored(given: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a record as `POST /violations` reads them; a wrong one stays as it is."""
    own = {
        name: value
        for name, value in given.items()
        if name in RecordFields.model_fields and value is not None
    }
    fields, problems = read_fields(RecordFields, own)
    # An inner path, as camera_info.speed, is not a problem of reading.
    wrong = {problem.field.split(".")[0] for problem in problems}
    return {
        name: getattr(fields, name) if name in own.keys() - wrong else value
        for name, value in given.items()
    }


def _body(form: Form, name: str, sha256: Sha256 | None) -> Body | None:
    """Return the bytes of a file of a form.

    Raises:
        DigestMismatch: they do not have the declared digest.
    """
    upload = optional_upload(form, name, sha256)
    if upload is None:
        return None
    body = form.files[name].body
    if upload.sha256 is not None and upload.sha256 != body.digests.sha256:
        raise DigestMismatch.of(
            name,
            f"has SHA-256 {body.digests.sha256}, but {upload.sha256} was declared",
            "send the file again: it changed in transit, or the digest is wrong",
        )
    return body
