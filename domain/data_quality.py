"""Data quality: how good the sampled records and images are, what is wrong, which devices get worse.

A record is a violation together with its image. An image that belongs to no violation is judged by
itself.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from attrs import frozen

from traffic_storage.domain.amounts import counted
from traffic_storage.domain.duplicates import DuplicateReport
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.proportions import Share
from traffic_storage.domain.quality.assessment import Assessment, Finding, Severity
from traffic_storage.domain.quality.image import ImageQuality
from traffic_storage.domain.retention import CaptureBounds
from traffic_storage.domain.trends import LEAST_POINTS, Trend, significant, trend_of

MAX_SAMPLE = 10_000
BINS = 10
"""The number of equal ranges of the score in a distribution."""
_LEAST_OF_DEVICE = 3
_FALSE_DISCOVERIES = 0.01
_LEAST_CHANGE = 0.2
_EARLIEST = CaptureBounds().earliest

WATCHED: Mapping[str, str] = {
    "acuity": "check the focus and the lens",
    "contrast": "check the lens for dirt and fog",
    "brightness": "check the exposure control and the lamp",
    "noise": "check the gain and the light",
}
"""The metrics of images whose trend is judged for each device, and what to check."""


@frozen
class JudgedSample:
    """What was found about one sampled record.

    Attributes:
        name: the id of the violation, or that of an image without one.
        at: when the violation happened, or the image was received.
        parts: the assessments that apply: of the record, of the image.
        image: the quality of the image; None if there is none, or it was not read.
        unread: why the image could not be read now; it may be intact. Else empty.
    """

    name: str
    device_id: str | None
    at: datetime
    parts: tuple[Assessment, ...]
    image: ImageQuality | None = None
    unread: str = ""

    @property
    def score(self) -> float:
        """The product of the scores of the parts, in [0, 1]."""
        product = 1.0
        for part in self.parts:
            product *= part.score
        return product

    @property
    def valid(self) -> bool:
        """Whether no part has an error."""
        return all(part.valid for part in self.parts)

    @property
    def findings(self) -> Iterable[Finding]:
        """All that is wrong."""
        for part in self.parts:
            yield from part.findings


@frozen
class Issue:
    """One kind of finding: in how many of the sampled records, and an example."""

    kind: str
    severity: Severity
    found: Share[str]
    example: str
    remedy: str


@frozen
class DeviceQuality:
    """The quality of the sampled records of one device.

    `costliest` is the kind of finding that costs these records the most score; empty if there is none.
    """

    device_id: str
    records: int
    average_score: float
    invalid: int
    costliest: str


@frozen
class DeviceTrend:
    """A metric of the images of a device that changes over time."""

    device_id: str
    metric: str
    trend: Trend

    @property
    def words(self) -> str:
        """The trend in words with its figures, and what to check."""
        here = self.trend
        verb = "falls" if here.last < here.first else "rises"
        return (
            f"{self.device_id}: the {self.metric} of its images {verb} from {here.first:.3g} to "
            f"{here.last:.3g} in {counted(round(here.days), 'day')} "
            f"({counted(here.points, 'image')}, "
            f"p = {here.p_value:.1g}): {WATCHED[self.metric]}"
        )


@frozen
class DataQuality:
    """The quality of a sample.

    Attributes:
        unread: the number of images that could not be read now; their records are not judged.
        distribution: the number of records whose score is in each tenth of 0 to 1.
        worst_devices: those with the lowest average first, of at least three records each.
        trends: what changes surely and by a fifth or more; the surest first.
        devices_watched: the number of devices with enough images (8) to judge a trend.
        exact, near: the duplicates among the images of the sample.
    """

    measured_at: datetime
    sampled: int
    unread: int
    average_score: float | None
    valid: int
    invalid: int
    distribution: tuple[int, ...]
    issues: tuple[Issue, ...]
    worst_devices: tuple[DeviceQuality, ...]
    trends: tuple[DeviceTrend, ...]
    devices_watched: int
    exact: DuplicateReport
    near: DuplicateReport


def checked_sample_size(value: int) -> int:
    """Return the size of a sample.

    Raises:
        InvalidInput: it is not an integer from 1 to 10,000.
    """
    if type(value) is int and 1 <= value <= MAX_SAMPLE:
        return value
    raise InvalidInput.of(
        "sample_size", f"is {shown(value)}", f"give an integer from 1 to {MAX_SAMPLE}"
    )


def data_quality(
    samples: Sequence[JudgedSample],
    measured_at: datetime,
    exact: DuplicateReport,
    near: DuplicateReport,
    earliest: datetime = _EARLIEST,
) -> DataQuality:
    """Return the quality of a sample; `exact` and `near` are the duplicates among its images.

    Images of a time before `earliest`, the earliest plausible capture time, are left out of trends:
    the clock of the camera was wrong.
    """
    judged = [one for one in samples if not one.unread]
    valid = sum(one.valid for one in judged)
    images = _images_of(one for one in judged if one.at >= earliest)
    return DataQuality(
        measured_at,
        len(samples),
        len(samples) - len(judged),
        sum(one.score for one in judged) / len(judged) if judged else None,
        valid,
        len(judged) - valid,
        _distribution(judged),
        _issues(judged),
        _worst(judged),
        device_trends(images),
        sum(len(found) >= LEAST_POINTS for found in images.values()),
        exact,
        near,
    )


def device_trends(images: Mapping[str, Sequence[JudgedSample]]) -> tuple[DeviceTrend, ...]:
    """Return the metrics of devices that change: significant at a false discovery rate of 1 %,
    and by at least a fifth of the larger end, in the direction of the slope. Noise that falls is not
    told.
    """
    found: dict[tuple[str, str], Trend] = {}
    for device_id, samples in images.items():
        times = [one.at.timestamp() for one in samples]
        for metric in WATCHED:
            values = [float(getattr(one.image.metrics, metric)) for one in samples if one.image]
            if trend := trend_of(times, values):
                found[device_id, metric] = trend
    sure = significant({key: one.p_value for key, one in found.items()}, _FALSE_DISCOVERIES)
    kept = [
        DeviceTrend(*key, found[key])
        for key in sure
        if _relative_change(found[key]) >= _LEAST_CHANGE
        and (found[key].last > found[key].first) == (found[key].slope > 0)
        and not _is_less_noise(*key[1:], found[key])
    ]
    return tuple(sorted(kept, key=lambda one: (one.trend.p_value, one.device_id, one.metric)))


def _is_less_noise(metric: str, trend: Trend) -> bool:
    """Return whether a trend only says that the images have less noise, as blurred ones have."""
    return metric == "noise" and trend.last < trend.first


def _relative_change(trend: Trend) -> float:
    larger = max(abs(trend.first), abs(trend.last))
    return abs(trend.last - trend.first) / larger if larger else 0.0


def _images_of(judged: Iterable[JudgedSample]) -> Mapping[str, Sequence[JudgedSample]]:
    found: defaultdict[str, list[JudgedSample]] = defaultdict(list)
    for one in judged:
        if one.device_id is not None and one.image is not None:
            found[one.device_id].append(one)
    return found


def _distribution(judged: Iterable[JudgedSample]) -> tuple[int, ...]:
    counts = Counter(min(BINS - 1, int(one.score * BINS)) for one in judged)
    return tuple(counts[place] for place in range(BINS))


def _issues(judged: Sequence[JudgedSample]) -> tuple[Issue, ...]:
    """Return the kinds of findings, those that most records have first."""
    names: defaultdict[tuple[str, Severity], dict[str, Finding]] = defaultdict(dict)
    for one in judged:
        for finding in one.findings:
            names[finding.kind, finding.severity].setdefault(one.name, finding)
    found = []
    for (kind, severity), by_name in names.items():
        name, finding = next(iter(by_name.items()))
        share = Share(kind, len(by_name), len(judged))
        example = f"{name}: {finding.field.removeprefix('metrics.')} {finding.message}"
        found.append(Issue(kind, severity, share, example, finding.remedy))
    return tuple(sorted(found, key=lambda one: (-one.found.count, one.kind)))


def _worst(judged: Iterable[JudgedSample]) -> tuple[DeviceQuality, ...]:
    by_device: defaultdict[str, list[JudgedSample]] = defaultdict(list)
    for one in judged:
        if one.device_id is not None:
            by_device[one.device_id].append(one)
    found = [
        _device_quality(device_id, own)
        for device_id, own in by_device.items()
        if len(own) >= _LEAST_OF_DEVICE
    ]
    return tuple(sorted(found, key=lambda one: (one.average_score, one.device_id)))


def _device_quality(device_id: str, own: Sequence[JudgedSample]) -> DeviceQuality:
    costs: defaultdict[str, float] = defaultdict(float)
    for one in own:
        for part in one.parts:
            for kind, cost in part.costs.items():
                costs[kind] += cost
    costliest = max(sorted(costs), key=lambda kind: costs[kind], default="")
    return DeviceQuality(
        device_id,
        len(own),
        sum(one.score for one in own) / len(own),
        sum(not one.valid for one in own),
        costliest,
    )
