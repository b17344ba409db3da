"""Views of what was found about records, images and videos: results of the Python interface and CLI."""

from collections.abc import Iterable

from attrs import asdict
from typing_extensions import TypedDict

from traffic_storage.application.validate import Verdict
from traffic_storage.application.validate_evidence import JudgedEvidence
from traffic_storage.domain.profiles import Exportability
from traffic_storage.domain.quality.assessment import Assessment, Finding
from traffic_storage.domain.quality.image_metrics import ImageMetrics
from traffic_storage.domain.quality.video import VideoMetrics


class FindingView(TypedDict):
    """One error or warning: its kind, the path of the field, what is wrong, and the remedy."""

    kind: str
    field: str
    message: str
    remedy: str


class QualityView(TypedDict):
    """What was found about a record. `valid` is false if there is an error.

    `score` is in [0, 1]: the product of `parts`, which has the factor of each check by its name.
    """

    valid: bool
    score: float
    parts: dict[str, float]
    errors: list[FindingView]
    warnings: list[FindingView]


class ImageQualityView(QualityView):
    """What was found about an image. `metrics` is None if it can't be decoded."""

    metrics: dict[str, float] | None


class VideoQualityView(QualityView):
    """What was found about a video. `metrics` is None if it can't be read."""

    metrics: dict[str, float | str | None] | None


class ExportabilityView(TypedDict):
    """Whether evidence may be exported as such, by which profile, and what is missing.

    `profile` is None if none applies; `example` is true for a profile that was shipped as an example.
    """

    exportable_as_evidence: bool
    profile: str | None
    legal_source: str | None
    example: bool
    missing: list[FindingView]


class EvidenceQualityView(TypedDict):
    """What was found about a violation with its files.

    `valid` is false if the record or a file has an error. `record` is None if only files are given,
    `image` and `video` if they are not given, `completeness` if no profile is named.
    """

    valid: bool
    record: QualityView | None
    image: ImageQualityView | None
    video: VideoQualityView | None
    completeness: ExportabilityView | None


def evidence_quality_view(judged: JudgedEvidence) -> EvidenceQualityView:
    """Return the view of what was found about a violation with its files."""
    image, video, found = judged.image, judged.video, judged.exportability
    return EvidenceQualityView(
        valid=judged.valid,
        record=None if judged.record is None else quality_view(judged.record),
        image=None if image is None else image_quality_view(image),
        video=None if video is None else video_quality_view(video),
        completeness=None if found is None else exportability_view(found),
    )


def exportability_view(result: Exportability) -> ExportabilityView:
    """Return the view of whether evidence may be exported as such."""
    profile = result.profile
    return ExportabilityView(
        exportable_as_evidence=result.exportable_as_evidence,
        profile=None if profile is None else profile.profile_id,
        legal_source=None if profile is None else profile.legal_source,
        example=profile is not None and profile.example,
        missing=_findings(result.missing),
    )


def quality_view(assessment: Assessment) -> QualityView:
    """Return the view of an assessment."""
    return QualityView(
        valid=assessment.valid,
        score=assessment.score,
        parts=dict(assessment.parts),
        errors=_findings(assessment.errors),
        warnings=_findings(assessment.warnings),
    )


def image_quality_view(verdict: Verdict[ImageMetrics]) -> ImageQualityView:
    """Return the view of what was found about an image."""
    metrics = None if verdict.metrics is None else asdict(verdict.metrics)
    return ImageQualityView(**quality_view(verdict.assessment), metrics=metrics)


def video_quality_view(verdict: Verdict[VideoMetrics]) -> VideoQualityView:
    """Return the view of what was found about a video."""
    metrics = None if verdict.metrics is None else asdict(verdict.metrics)
    return VideoQualityView(**quality_view(verdict.assessment), metrics=metrics)


def _findings(findings: Iterable[Finding]) -> list[FindingView]:
    return [finding_view(one) for one in findings]


def finding_view(one: Finding) -> FindingView:
    """Return the view of one error or warning."""
    return FindingView(kind=one.kind, field=one.field, message=one.message, remedy=one.remedy)
