"""The quality of a violation record: whether it is complete and plausible.

A record is judged as a `ViolationRecord` or as a mapping of raw fields, so that what could not be
constructed can be judged, too. What a check needs besides the record (when it was received, the size
of its image, other records) comes in as `Circumstances`; a check without its circumstance finds
nothing.

The key `device_time` of `camera_info` is read: the time of the device's own clock when it sent
the record, in ISO 8601.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from attrs import evolve, field, fields_dict, frozen

from traffic_storage.domain.errors import FieldProblem, InvalidInput, shown
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.quality.assessment import (
    Assessment,
    Check,
    Finding,
    Part,
    assess,
    error,
    ramp,
    warning,
)
from traffic_storage.domain.times import in_words, instant, parse_time, time_problem
from traffic_storage.domain.violation import ViolationRecord, field_problems

_KNOWN_FIELDS = frozenset(fields_dict(ViolationRecord))
_EXPECTED = ("camera_info", "processing_time_ms", "model_versions")
_SMALLEST_AREA = 256
_WIDEST = 6.0
_LARGEST_SHARE = 0.95
_SAME_BOX = 0.9
_SKEW = timedelta(seconds=60)
_DELAY = timedelta(days=30)

Box = tuple[float, float, float, float]


@frozen
class Sighting:
    """Where and when a violation was seen: what a duplicate has in common with it."""

    violation_id: str
    device_id: str
    at: datetime
    box: Box


@frozen
class Circumstances:
    """What is known besides the record itself.

    Attributes:
        received_at: when the record was received; None: times are not compared with it.
        zone: the zone in which a time without one is interpreted.
        max_clock_ahead: how far after its receipt a timestamp may be.
        max_delay: how long before its receipt a timestamp usually is at most.
        image_size: width and height of the image in pixels, if it is known.
        known_models: name of a model → its known versions; None: all are accepted.
        sightings: other violations of which this one may be a duplicate.
    """

    received_at: datetime | None = None
    zone: ZoneInfo = field(factory=lambda: ZoneInfo("UTC"))
    max_clock_ahead: timedelta = timedelta(hours=24)
    max_delay: timedelta = _DELAY
    image_size: tuple[int, int] | None = None
    known_models: Mapping[str, Collection[str]] | None = None
    sightings: Sequence[Sighting] = ()


@frozen
class JudgedRecord:
    """A record that is being judged, as far as it can be read.

    Attributes:
        fields: the fields as they were given.
        problems: what is wrong with them; a field that is named here is no further judged.
        at: the timestamp in UTC, if it can be read.
        box: the bounding box, if it is one.
    """

    fields: Mapping[str, object]
    problems: tuple[FieldProblem, ...]
    circumstances: Circumstances
    at: datetime | None = None
    box: Box | None = None

    @property
    def info(self) -> Mapping[str, object]:
        """The camera's own information; empty if there is none."""
        info = self.fields.get("camera_info")
        return info if isinstance(info, Mapping) else {}

    def beside(self, sightings: Sequence[Sighting]) -> "JudgedRecord":
        """Return this record beside other violations of which it may be a duplicate."""
        return evolve(self, circumstances=evolve(self.circumstances, sightings=sightings))

    @property
    def sighting(self) -> Sighting | None:
        """Where and when this violation was seen, if its fields can be read."""
        wrong = {problem.field for problem in self.problems}
        if self.at is None or self.box is None or wrong & {"violation_id", "device_id"}:
            return None
        names = str(self.fields["violation_id"]), str(self.fields["device_id"])
        return Sighting(*names, self.at, self.box)


def judged_record(
    record: ViolationRecord | Mapping[str, object], circumstances: Circumstances
) -> JudgedRecord:
    """Read a record, or a mapping of its raw fields, as far as it can be read.

    A timestamp may be an ISO 8601 text.
    """
    if isinstance(record, ViolationRecord):
        given: dict[str, object] = {name: getattr(record, name) for name in _KNOWN_FIELDS}
        problems: list[FieldProblem] = []
    else:
        given, problems = _read(record)
    wrong = {problem.field for problem in problems}
    at = None if "timestamp" in wrong else _instant(given["timestamp"], circumstances, problems)
    box = None if "vehicle_bbox" in wrong else _box(given["vehicle_bbox"])
    return JudgedRecord(MappingProxyType(given), tuple(problems), circumstances, at, box)


def record_quality(
    record: JudgedRecord, checks: Sequence[Check[JudgedRecord]] | None = None
) -> Assessment:
    """Apply checks to a record; `checks` None means `RECORD_CHECKS`."""
    return assess(record, RECORD_CHECKS if checks is None else checks)


def form(judged: JudgedRecord) -> Part:
    """Judge whether the record can be constructed: each wrong or missing field halves the score."""
    found = tuple(
        error("missing" if problem.message == "is missing" else "wrong_field", *_words(problem))
        for problem in judged.problems
    )
    return Part("form", 0.5 ** len(found), found)


def completeness(judged: JudgedRecord) -> Part:
    """Judge whether the fields are given that explain a detection: a tenth for each missing one.

    They are `camera_info`, `processing_time_ms` and `model_versions`. A field that records do not
    have, such as a misspelt one, is a warning.
    """
    missing = [name for name in _EXPECTED if not judged.fields.get(name)]
    unknown = sorted(map(str, set(judged.fields) - _KNOWN_FIELDS))
    found = [
        warning("not_given", name, "is not given", "give it: it explains the detection")
        for name in missing
    ]
    found += [
        warning("unknown_field", name, "is not a field of a record", "put it into camera_info")
        for name in unknown
    ]
    return Part("completeness", 1 - 0.1 * len(missing), tuple(found))


def box(judged: JudgedRecord) -> Part:
    """Judge the bounding box: its share inside the image, its area and its shape.

    Less than half inside the image is an error, less than 98 % a warning. If the size of the image
    is not known, only negative coordinates are outside. A box of less than 1 pixel is an error (its
    coordinates are shares instead of pixels); one of less than 256 pixels, one that covers more than 95 %
    of the image, and a side of more than 6 times the other are warnings.
    """
    if judged.box is None:
        return Part("box")
    inside = share_inside(judged.box, judged.circumstances.image_size)
    findings = (*_position(judged, inside), *_shape(judged.box, judged.circumstances.image_size))
    return Part("box", inside * 0.8 ** len(findings), findings)


def inside_image(judged: JudgedRecord) -> Part:
    """Judge only the position of the bounding box: its share inside the image, as `box` does."""
    if judged.box is None:
        return Part("box")
    inside = share_inside(judged.box, judged.circumstances.image_size)
    return Part("box", inside, _position(judged, inside))


def confidence(judged: JudgedRecord) -> Part:
    """Judge the confidence: 0 at 0.1, 1 from 0.6 on; below 0.5 a warning."""
    value = plain_number(judged.fields.get("confidence"))
    wrong = any(problem.field == "confidence" for problem in judged.problems)
    if wrong or not isinstance(value, int | float):
        return Part("confidence")
    found = warning("unsure", "confidence", f"is {value:g}, below 0.5", "have a person look at it")
    return Part("confidence", ramp(value, 0.1, 0.6), () if value >= 0.5 else (found,))


def times(judged: JudgedRecord) -> Part:
    """Judge the timestamp against the receipt and the device's own clock.

    Errors: before 1970; more than `max_clock_ahead` after receipt; after the device's own time when
    it sent the record. Warnings: after receipt; more than `max_delay` before it; a device clock that
    differs from the receipt by more than a minute; a time without a zone.
    """
    if judged.at is None:
        return Part("times")
    findings = [*_against_receipt(judged), *_against_device(judged)]
    given = judged.fields["timestamp"]
    if isinstance(given, datetime) and given.tzinfo is None:
        zone = judged.circumstances.zone.key
        message = f"has no zone and was read in {zone}"
        findings.append(warning("zone_assumed", "timestamp", message, "give the offset"))
    wrong = sum(found.kind != "zone_assumed" for found in findings)
    return Part("times", 0.7**wrong * (1.0 if wrong == len(findings) else 0.95), tuple(findings))


def models(judged: JudgedRecord) -> Part:
    """Judge the versions of the models: an unknown model or version is a warning."""
    known, given = judged.circumstances.known_models, judged.fields.get("model_versions")
    if known is None or not isinstance(given, Mapping):
        return Part("models")
    found = tuple(
        warning(
            "unknown_model",
            f"model_versions.{name}",
            f"{shown(version)} is not a known version",
            "register the version, or update the device",
        )
        for name, version in given.items()
        if version not in known.get(name, ())
    )
    return Part("models", 0.8 ** len(found), found)


def duplicate(judged: JudgedRecord) -> Part:
    """Judge whether another violation of the same device and time has nearly the same box.

    The same means that the intersection of the boxes is at least 0.9 of their union.
    """
    own = judged.sighting
    if own is None:
        return Part("duplicate")
    found = tuple(
        error(
            "duplicate",
            "violation_id",
            f"violation {other.violation_id!r} of this device has the same time and box",
            "send a violation once, under one id",
        )
        for other in judged.circumstances.sightings
        if is_duplicate(own, other)
    )
    return Part("duplicate", 0.5 if found else 1.0, found)


RECORD_CHECKS: tuple[Check[JudgedRecord], ...] = (
    form,
    completeness,
    box,
    confidence,
    times,
    models,
    duplicate,
)
"""The checks of a record that are applied if no others are given."""


def is_duplicate(one: Sighting, other: Sighting) -> bool:
    """Return whether two violations with different ids are the same sighting."""
    same = one.device_id == other.device_id and one.at == other.at
    return (
        same and one.violation_id != other.violation_id and overlap(one.box, other.box) >= _SAME_BOX
    )


def overlap(one: Box, other: Box) -> float:
    """Return the area of the intersection of two boxes divided by that of their union, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (_area(one) + _area(other) - common)


def _read(record: Mapping[str, object]) -> tuple[dict[str, object], list[FieldProblem]]:
    given = {str(name): value for name, value in record.items()}
    problems: list[FieldProblem] = []
    if isinstance(given.get("timestamp"), str):
        try:
            given["timestamp"] = parse_time(given["timestamp"], "timestamp")
        except InvalidInput as wrong:
            problems += wrong.problems
    named = {problem.field for problem in problems}
    problems += [found for found in field_problems(given) if found.field not in named]
    return given, problems


def _instant(
    timestamp: object, circumstances: Circumstances, problems: list[FieldProblem]
) -> datetime | None:
    """Return a timestamp in UTC, or note why it can't be one."""
    if not isinstance(timestamp, datetime):
        return None
    try:
        return instant(timestamp, circumstances.zone).at
    except InvalidInput as wrong:
        problems += wrong.problems
        return None


def _box(value: object) -> Box | None:
    values = getattr(value, "tolist", lambda: value)()
    if not isinstance(values, list | tuple):
        return None
    x1, y1, x2, y2 = (float(edge) for edge in values)
    return x1, y1, x2, y2


def _words(problem: FieldProblem) -> tuple[str, str, str]:
    return problem.field, problem.message, problem.remedy


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def share_inside(box: Box, size: tuple[int, int] | None) -> float:
    """Return the share of a box that is inside an image of this width and height, 0 to 1.

    If the size is not known, only negative coordinates are outside.
    """
    return _area_inside(box, (box[2], box[3]) if size is None else size) / _area(box)


def _area_inside(box: Box, size: tuple[float, float]) -> float:
    width = min(box[2], size[0]) - max(box[0], 0.0)
    height = min(box[3], size[1]) - max(box[1], 0.0)
    return max(0.0, width) * max(0.0, height)


def _position(judged: JudgedRecord, inside: float) -> tuple[Finding, ...]:
    if inside >= 0.98:
        return ()
    size = judged.circumstances.image_size
    image = "the image" if size is None else f"the image of {size[0]} × {size[1]} pixels"
    message = f"is {1 - inside:.0%} outside {image}"
    make = error if inside < 0.5 else warning
    return (make("box_outside", "vehicle_bbox", message, "give pixels of the stored image"),)


def _shape(box: Box, size: tuple[int, int] | None) -> tuple[Finding, ...]:
    width, height = box[2] - box[0], box[3] - box[1]
    dimensions = f"has {width:g} × {height:g} pixels"
    if width * height < 1:
        return (error("box_tiny", "vehicle_bbox", dimensions, "give pixels, not shares"),)
    found = []
    if width * height < _SMALLEST_AREA:
        found.append(warning("box_small", "vehicle_bbox", dimensions, "check the detector"))
    if max(width, height) > _WIDEST * min(width, height):
        message = f"{dimensions}: unusual for a vehicle"
        found.append(warning("box_shape", "vehicle_bbox", message, "check the detector"))
    if size is not None and _area_inside(box, size) > _LARGEST_SHARE * size[0] * size[1]:
        found.append(
            warning("box_large", "vehicle_bbox", "covers nearly the image", "check the detector")
        )
    return tuple(found)


def _against_receipt(judged: JudgedRecord) -> list[Finding]:
    at, around = judged.at, judged.circumstances
    if at is None or around.received_at is None:
        return []
    ahead, now = around.max_clock_ahead, around.received_at
    if problem := time_problem("timestamp", at, now=now, max_ahead=ahead):
        return [error("implausible_time", *_words(problem))]
    remedy = "check the device's clock"
    if at > now:
        message = f"is {in_words(at - now)} after the time of receipt"
        return [warning("after_receipt", "timestamp", message, remedy)]
    if now - at > around.max_delay:
        message = f"is {in_words(now - at)} before the time of receipt"
        return [warning("late", "timestamp", message, f"{remedy}, or store it as historic")]
    return []


def _against_device(judged: JudgedRecord) -> list[Finding]:
    text, path = judged.info.get("device_time"), "camera_info.device_time"
    if text is None or judged.at is None:
        return []
    around = judged.circumstances
    try:
        device = instant(parse_time(text, path), around.zone, path).at
    except InvalidInput as wrong:
        return [warning("device_time", *_words(problem)) for problem in wrong.problems]
    found = []
    if judged.at > device:
        message = f"is {in_words(judged.at - device)} after {path}, when the record was sent"
        found.append(error("after_sending", "timestamp", message, "check the device's clock"))
    if around.received_at is not None and abs(around.received_at - device) > _SKEW:
        message = (
            f"differs from the time of receipt by {in_words(abs(around.received_at - device))}"
        )
        found.append(warning("clock_skew", path, message, "synchronise the device's clock"))
    return found
