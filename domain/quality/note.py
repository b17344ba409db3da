"""The note that is kept with a file: what validating found when the file was stored."""

import json
from typing import TYPE_CHECKING

from attrs import asdict

from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.quality.assessment import Assessment, Finding

if TYPE_CHECKING:
    from traffic_storage.domain.quality.image_metrics import ImageMetrics
    from traffic_storage.domain.quality.video import VideoMetrics

_DIGITS = 4


def quality_note(assessment: Assessment, metrics: "ImageMetrics | VideoMetrics | None") -> str:
    """Return an assessment as canonical JSON text of an object, without the words of the findings.

    Its members: `valid`, `score`, `parts` (those below 1), `errors` and `warnings` (kinds and fields)
    and `metrics` (None if there are none), with 4 significant digits. It is short, because it is kept
    in the manifest beside the bytes, too.
    """
    note: dict[str, Json] = {
        "valid": assessment.valid,
        "score": _rounded(assessment.score),
        "parts": {name: _rounded(part) for name, part in assessment.parts.items() if part < 1},
        "errors": [_short(found) for found in assessment.errors],
        "warnings": [_short(found) for found in assessment.warnings],
        "metrics": None if metrics is None else _metrics(metrics),
    }
    return canonical_json(note, "quality").decode()


def with_damage(note: str | None, missing: str) -> str:
    """Return a note, or None, with the damage of a file that was stored as it is: what is missing.

    The members `integrity` (`damaged`) and `missing` (words) are added.
    """
    members: dict[str, Json] = {} if note is None else json.loads(note)
    return canonical_json(
        {**members, "integrity": "damaged", "missing": missing}, "quality"
    ).decode()


def _metrics(metrics: "ImageMetrics | VideoMetrics") -> dict[str, Json]:
    return {
        name: _rounded(value) if isinstance(value, float) else value
        for name, value in asdict(metrics).items()
    }


def _short(finding: Finding) -> dict[str, Json]:
    return {"kind": finding.kind, "field": finding.field}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
