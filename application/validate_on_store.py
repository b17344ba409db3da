"""Validating on ingest: what is about to be stored is judged, and the result is kept with the file."""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from attrs import evolve

from traffic_storage.application.drafts import Draft
from traffic_storage.domain.errors import FieldProblem, LowQuality
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.image_layout import Dimensions
from traffic_storage.domain.quality.assessment import Assessment, ValidationMode, assess
from traffic_storage.domain.violation import ViolationRecord

if TYPE_CHECKING:
    from traffic_storage.application.sightings import Sightings
    from traffic_storage.application.validate import Validate
    from traffic_storage.domain.quality.image_metrics import ImageMetrics
    from traffic_storage.domain.quality.video import VideoMetrics

logger = logging.getLogger("traffic_storage.validate")


class ValidateOnStore:
    """Judges drafts (files that are ready to be stored), as the setting `validate_on_store` says.

    `off` only compares the box of a violation with the size of its image, if that is known, and keeps
    with the metadata file that it lies outside. `warn` keeps the result with the file and logs what was found. `refuse` does
    the same, and refuses what has an error. Images and videos are judged as they will be stored, and
    decoded off the event loop. A record is compared with the stored violations of its device and time:
    one with nearly the same box is a duplicate.

    `validate` and `sightings` are called only when something is judged: what judges loads numpy.
    """

    def __init__(
        self,
        *,
        validate: "Callable[[], Validate]",
        sightings: "Callable[[], Sightings]",
        mode: ValidationMode,
    ) -> None:
        self._validate = validate
        self._sightings = sightings
        self._mode = mode

    async def draft(self, draft: Draft) -> Draft:
        """Return the draft of an image or a video with what was found; others as they are.

        Raises:
            LowQuality: with `refuse`, the file has errors; all findings are named.
        """
        if self._mode is ValidationMode.OFF:
            return draft
        if draft.kind is FileKind.IMAGE:
            image = await self._validate().image(draft.body)
            return self._kept(draft, image.assessment, image.metrics)
        if draft.kind is FileKind.VIDEO:
            video = await self._validate().video(draft.body)
            return self._kept(draft, video.assessment, video.metrics)
        return draft

    async def violation(
        self, record: ViolationRecord, document: Draft, media: Iterable[Draft], *, historic: bool
    ) -> Draft:
        """Return the draft of a violation's metadata file with what was found about its record.

        The box is compared with the image if that is among `media`.

        Raises:
            LowQuality: as `draft`.
            CatalogueUnavailable: the database can't be reached.
        """
        images = [draft.media for draft in media if draft.kind is FileKind.IMAGE]
        sizes = [Dimensions(one.width, one.height, 3) for one in images if one.width and one.height]
        size = (sizes[0].width, sizes[0].height) if sizes else None
        if self._mode is ValidationMode.OFF and size is None:
            return document
        from traffic_storage.domain.quality.note import quality_note
        from traffic_storage.domain.quality.record import inside_image

        judged = self._validate().judged(record, image_size=size, historic=historic)
        if self._mode is ValidationMode.OFF:
            position = assess(judged, (inside_image,))
            return (
                evolve(document, quality=quality_note(position, None))
                if position.findings
                else document
            )
        judged = judged.beside(await self._sightings().beside(judged.sighting))
        return self._kept(document, self._validate().record(judged), None)

    def _kept(
        self, draft: Draft, assessment: Assessment, metrics: "ImageMetrics | VideoMetrics | None"
    ) -> Draft:
        from traffic_storage.domain.quality.note import quality_note

        findings = [f"{one.severity} {one}" for one in assessment.findings]
        if assessment.errors and self._mode is ValidationMode.REFUSE:
            raise LowQuality(
                FieldProblem(
                    f"{draft.kind}.{one.field}", f"{one.severity}: {one.message}", one.remedy
                )
                for one in assessment.findings
            )
        if findings:
            logger.warning("%s is stored although: %s", draft.file_id, "; ".join(findings))
        return evolve(draft, quality=quality_note(assessment, metrics))
