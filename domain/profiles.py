"""Completeness profiles: what the evidence of a type of violation must have under a jurisdiction.

A profile is data: how many frames and videos, at which intervals, which fields of the record, and
which proof of the clock. Evidence that a profile applies to is exportable as evidence only if nothing
of this is missing.

`EXAMPLE_PROFILES` are examples with their legal source. They are no legal advice, and none of them
claims to have all that its source demands: whoever exports evidence to an authority writes profiles
that the authority has agreed to.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from attrs import field, frozen

from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.quality.assessment import Finding, error
from traffic_storage.domain.times import in_words, instant, parse_time

_UTC = ZoneInfo("UTC")


@frozen
class ClockProof:
    """What must be known of the device's clock: the key `clock` of `camera_info`.

    It is an object with `synchronised_at` (ISO 8601, UTC if it has no offset) and `offset_ms` (a number), as the device found
    them when it was last synchronised.

    Attributes:
        max_age: the longest time from the synchronisation to the violation.
        max_offset: the largest offset that was found.
    """

    max_age: timedelta
    max_offset: timedelta


@frozen
class CompletenessProfile:
    """What the evidence of a type of violation must have under a jurisdiction.

    Attributes:
        legal_source: the rule from which the profile was made.
        example: whether it is only an example and no agreed list.
        images: the least number of images; `videos` likewise.
        min_interval: the least time between the first and the last image; with `max_interval`, the
            longest. Only images with a capture time count.
        fields: paths of fields that must be given and not be empty, such as
            `camera_info.speed_kmh`.
        clock: the proof of the clock; None: none is needed.
    """

    profile_id: str
    violation_type: str
    jurisdiction: str
    legal_source: str
    example: bool = False
    images: int = 1
    videos: int = 0
    min_interval: timedelta | None = None
    max_interval: timedelta | None = None
    fields: tuple[str, ...] = ()
    clock: ClockProof | None = None


@frozen
class EvidenceFile:
    """A file of the evidence: its kind, and when it was captured (aware), if that is known."""

    kind: FileKind
    captured_at: datetime | None = None


@frozen
class Exportability:
    """Whether evidence may be exported as such.

    Attributes:
        profile: the profile that was applied; None if none applies, and then only an image is
            needed.
        missing: what is missing, one error each.
    """

    profile: CompletenessProfile | None
    missing: tuple[Finding, ...] = field(default=())

    @property
    def exportable_as_evidence(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def exportability(
    record: Mapping[str, object],
    files: Sequence[EvidenceFile],
    jurisdiction: str | None,
    profiles: Sequence[CompletenessProfile],
    at: datetime,
) -> Exportability:
    """Judge whether evidence has all that the profile for its type and jurisdiction needs.

    `record` has the fields of the violation record by name, `at` is its timestamp, aware. Of several
    profiles for the same type and jurisdiction the last one applies.
    """
    profile = profile_for(str(record.get("violation_type")), jurisdiction, profiles)
    if profile is None:
        return Exportability(None, _count(FileKind.IMAGE, 1, files))
    missing = (
        *_count(FileKind.IMAGE, profile.images, files),
        *_count(FileKind.VIDEO, profile.videos, files),
        *_interval(profile, files),
        *_fields(profile, record),
        *_clock(profile.clock, record, at),
    )
    return Exportability(profile, missing)


def profile_for(
    violation_type: str, jurisdiction: str | None, profiles: Sequence[CompletenessProfile]
) -> CompletenessProfile | None:
    """Return the last profile for a type of violation under a jurisdiction, if there is one."""
    wanted = (violation_type, jurisdiction)
    fitting = [each for each in profiles if (each.violation_type, each.jurisdiction) == wanted]
    return fitting[-1] if fitting else None


def _count(kind: FileKind, least: int, files: Sequence[EvidenceFile]) -> tuple[Finding, ...]:
    count = sum(file.kind is kind for file in files)
    if count >= least:
        return ()
    message = f"has {count} of at least {least}"
    return (error("too_few_files", f"files.{kind}", message, "store the missing ones"),)


def _interval(profile: CompletenessProfile, files: Sequence[EvidenceFile]) -> tuple[Finding, ...]:
    least, most = profile.min_interval, profile.max_interval
    if least is None and most is None:
        return ()
    remedy = "store the images with their capture times"
    times = sorted(
        file.captured_at for file in files if file.kind is FileKind.IMAGE and file.captured_at
    )
    if len(times) < 2:
        message = "needs the capture times of two images"
        return (error("no_interval", "files.image.captured_at", message, remedy),)
    span = times[-1] - times[0]
    if (least is None or span >= least) and (most is None or span <= most):
        return ()
    limits = f"{_seconds(least)} to {_seconds(most)}"
    message = f"first and last image are {_seconds(span)} s apart, not {limits} s"
    return (error("wrong_interval", "files.image.captured_at", message, remedy),)


def _seconds(span: timedelta | None) -> str:
    return "any number of" if span is None else f"{span.total_seconds():g}"


def _fields(profile: CompletenessProfile, record: Mapping[str, object]) -> tuple[Finding, ...]:
    return tuple(
        error("not_given", path, "is not given", f"{profile.profile_id} needs it")
        for path in profile.fields
        if _value(record, path) in (None, "", {}, [], ())
    )


def _value(record: object, path: str) -> object:
    """Return the value at a path of names, or None."""
    for name in path.split("."):
        record = record.get(name) if isinstance(record, Mapping) else None
    return record


def _clock(
    proof: ClockProof | None, record: Mapping[str, object], at: datetime
) -> tuple[Finding, ...]:
    if proof is None:
        return ()
    synchronised = _value(record, "camera_info.clock.synchronised_at")
    offset = plain_number(_value(record, "camera_info.clock.offset_ms"))
    return (*_age(proof, synchronised, at), *_offset(proof, offset))


def _age(proof: ClockProof, synchronised: object, at: datetime) -> tuple[Finding, ...]:
    path, remedy = "camera_info.clock.synchronised_at", "synchronise the device's clock"
    try:
        age = at - instant(parse_time(synchronised, path), _UTC, path).at
    except InvalidInput as wrong:
        return tuple(error("no_clock_proof", path, one.message, remedy) for one in wrong.problems)
    if timedelta(0) <= age <= proof.max_age:
        return ()
    side = f"{in_words(age)} before" if age > timedelta(0) else f"{in_words(-age)} after"
    message = f"is {side} the violation; at most {in_words(proof.max_age)} before it is accepted"
    return (error("clock_proof", path, message, remedy),)


def _offset(proof: ClockProof, offset: object) -> tuple[Finding, ...]:
    path, remedy = "camera_info.clock.offset_ms", "synchronise the device's clock"
    if isinstance(offset, bool) or not isinstance(offset, int | float):
        return (error("no_clock_proof", path, f"is {shown(offset)}, not a number", remedy),)
    most = proof.max_offset / timedelta(milliseconds=1)
    if abs(offset) <= most:
        return ()
    return (error("clock_proof", path, f"is {offset:g} ms, more than {most:g} ms", remedy),)


_SYNCHRONISED = ClockProof(max_age=timedelta(days=1), max_offset=timedelta(seconds=1))

EXAMPLE_PROFILES: tuple[CompletenessProfile, ...] = (
    CompletenessProfile(
        profile_id="example-es-speed",
        violation_type="speed",
        jurisdiction="ES",
        legal_source="Orden ICT/155/2020, de 7 de febrero, anexo XII (cinemómetros): two photographs "
        "of different instants, with speed, place, date and time",
        example=True,
        images=2,
        min_interval=timedelta(milliseconds=1),
        max_interval=timedelta(seconds=10),
        fields=(
            "camera_info.location",
            "camera_info.speed_kmh",
            "camera_info.speed_limit_kmh",
            "camera_info.certificate",
        ),
        clock=_SYNCHRONISED,
    ),
    CompletenessProfile(
        profile_id="example-de-red-light",
        violation_type="red_light",
        jurisdiction="DE",
        legal_source="StVO § 37 Abs. 2; BKatV, Anlage, Nr. 132 and 132.3 (red for more than 1 s): two "
        "photographs, with the time since red",
        example=True,
        images=2,
        min_interval=timedelta(milliseconds=200),
        max_interval=timedelta(seconds=5),
        fields=("camera_info.location", "camera_info.red_seconds", "camera_info.certificate"),
        clock=_SYNCHRONISED,
    ),
)
"""Two examples. Neither claims to be complete, and neither was agreed with an authority."""
