"""Validating a violation with its files as it would be stored, and storing nothing."""

from collections.abc import Mapping

from attrs import frozen

from traffic_storage.application.package import ProfileNames
from traffic_storage.application.sightings import Sightings
from traffic_storage.application.validate import Media, Validate, Verdict
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.profiles import EvidenceFile, Exportability, Profiles
from traffic_storage.domain.quality.assessment import Assessment
from traffic_storage.domain.quality.image_metrics import ImageMetrics
from traffic_storage.domain.quality.video import VideoMetrics


@frozen
class JudgedEvidence:
    """What was found about a violation and its files.

    Attributes:
        record, image, video: None if there is none.
        exportability: what its completeness profile lacks; None if no profile is named.
    """

    record: Assessment | None
    image: Verdict[ImageMetrics] | None
    video: Verdict[VideoMetrics] | None
    exportability: Exportability | None

    @property
    def valid(self) -> bool:
        """Whether nothing has an error. Completeness is a matter of its own."""
        files = (None if one is None else one.assessment for one in (self.image, self.video))
        return all(one is None or one.valid for one in (self.record, *files))


class ValidateEvidence:
    """Judges a record with its image and video, also against what is stored already."""

    def __init__(self, *, validate: Validate, sightings: Sightings, profiles: Profiles) -> None:
        self._validate = validate
        self._sightings = sightings
        self._profiles = profiles

    async def __call__(
        self,
        record: Mapping[str, object] | None,
        image: Media | None = None,
        video: Media | None = None,
        *,
        historic: bool = False,
        profile: ProfileNames = None,
    ) -> JudgedEvidence:
        """Judge the raw fields of a record, which may be wrong or missing, and its files.

        A record of None is not judged: only the files are.

        The box is compared with the image, and the record with the stored violations of the same
        device and time. `historic` and `profile` are as in storing and in `MakePackage.open`; of the
        files, the profile sees those that are given, captured at the record's time.

        Raises:
            InvalidInput: no profile has this name.
            StorageUnavailable: a body can't be read.
            CatalogueUnavailable: the database can't be reached.
        """
        chosen = self._profiles.named(profile)
        of_image = None if image is None else await self._validate.image(image)
        of_video = None if video is None else await self._validate.video(video)
        judged = self._validate.judged(record or {}, image_size=_size(of_image), historic=historic)
        judged = judged.beside(await self._sightings.beside(judged.sighting))
        given = {FileKind.IMAGE: image, FileKind.VIDEO: video}
        files = [EvidenceFile(kind, judged.at) for kind, one in given.items() if one is not None]
        return JudgedEvidence(
            None if record is None else self._validate.record(judged),
            of_image,
            of_video,
            None if chosen is None else chosen.judge(judged.fields, files, judged.at),
        )


def _size(image: Verdict[ImageMetrics] | None) -> tuple[int, int] | None:
    if image is None or image.metrics is None:
        return None
    return image.metrics.width, image.metrics.height
