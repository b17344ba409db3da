"""Completeness profiles: what the evidence of a type of violation must have under a jurisdiction.

A profile is data: how many frames and videos, at which intervals, which fields of the record, and
which proof of the clock. Evidence that a profile applies to is exportable as evidence only if nothing
of this is missing. Evidence packages are gated by the profiles that are chosen for them
(`ChosenProfiles`); there is no default.

`EXAMPLE_PROFILES` are examples with their legal source. They are no legal advice, and none of them
claims to have all that its source demands: whoever exports evidence to an authority writes profiles
that the authority has agreed to.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from attrs import field, fields_dict, frozen

from traffic_storage.domain.errors import FieldProblem, InvalidInput, shown
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import text_problem
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.quality.assessment import Finding, Part, error
from traffic_storage.domain.quality.record import JudgedRecord
from traffic_storage.domain.times import in_words, instant, parse_time
from traffic_storage.domain.violation import ViolationRecord

MAX_PROFILES = 1000
MAX_FILES = 100
EXAMPLE_PREFIX = "example-"
"""The ids of the shipped profiles begin with this; other profiles can't have such an id."""

_UTC = ZoneInfo("UTC")
_MAX_FIELDS = 100
_MAX_ID = 64
_LONG_TEXT = 1024
_LONGEST = timedelta(days=36_500)
_ID = re.compile(r"[A-Za-z0-9._\-]+")
_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")


@frozen
class ClockProof:
    """What must be known of the device's clock: the key `clock` of `camera_info`.

    It is an object with `synchronised_at` (ISO 8601, UTC if it has no offset) and `offset_ms` (a number), as the device found
    them when it was last synchronised.

    Attributes:
        max_age: the longest time from the synchronisation to the violation.
        max_offset: the largest offset that was found.

    Raises:
        InvalidInput: one of them is negative.
    """

    max_age: timedelta
    max_offset: timedelta

    def __attrs_post_init__(self) -> None:
        _raise(
            [_span_problem("max_age", self.max_age), _span_problem("max_offset", self.max_offset)]
        )


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

    Raises:
        InvalidInput: a value is wrong; the error names all that are.
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

    def __attrs_post_init__(self) -> None:
        _raise(_problems_of(self))

    def judge(
        self, record: Mapping[str, object], files: Sequence["EvidenceFile"], at: datetime | None
    ) -> "Exportability":
        """Return what evidence lacks of this profile, whatever its type; see `exportability`."""
        missing = (
            *_count(FileKind.IMAGE, self.images, files),
            *_count(FileKind.VIDEO, self.videos, files),
            *_interval(self, files),
            *self.missing_of_record(record, at),
        )
        return Exportability(self, missing)

    def missing_of_record(
        self, record: Mapping[str, object], at: datetime | None
    ) -> tuple[Finding, ...]:
        """Return which fields and proofs the record of a violation lacks; `at` as in `exportability`."""
        return (*_fields(self, record), *_clock(self.clock, record, at))


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
    at: datetime | None,
) -> Exportability:
    """Judge whether evidence has all that the profile for its type and jurisdiction needs.

    `record` has the fields of the violation record by name, `at` is its timestamp, aware, or None if
    it can't be read: then no proof of the clock holds. Of several profiles for the same type and
    jurisdiction the last one applies.
    """
    profile = profile_for(str(record.get("violation_type")), jurisdiction, profiles)
    if profile is None:
        return Exportability(None, _count(FileKind.IMAGE, 1, files))
    return profile.judge(record, files, at)


def profile_for(
    violation_type: str, jurisdiction: str | None, profiles: Sequence[CompletenessProfile]
) -> CompletenessProfile | None:
    """Return the last profile for a type of violation under a jurisdiction, if there is one."""
    wanted = (violation_type, jurisdiction)
    fitting = [each for each in profiles if (each.violation_type, each.jurisdiction) == wanted]
    return fitting[-1] if fitting else None


@frozen
class ChosenProfiles:
    """The profiles that evidence has to meet, at most one for a type of violation.

    Raises:
        InvalidInput: there is none, or there are two for one type of violation.
    """

    profiles: tuple[CompletenessProfile, ...]

    def __attrs_post_init__(self) -> None:
        _raise(self._problems())

    def judge(
        self, record: Mapping[str, object], files: Sequence[EvidenceFile], at: datetime | None
    ) -> Exportability:
        """Judge evidence by the profile for its type; without one, that one is what is missing."""
        kind = record.get("violation_type")
        profile = self._for(kind)
        if profile is None:
            return Exportability(None, (self._no_profile(kind),))
        return profile.judge(record, files, at)

    def of_record(self, judged: JudgedRecord) -> Part:
        """Judge a record alone: a check of records; each missing item takes a tenth.

        How many files there are, and when they were captured, is not judged.
        """
        kind = judged.fields.get("violation_type")
        profile = self._for(kind)
        found = (
            (self._no_profile(kind),)
            if profile is None
            else profile.missing_of_record(judged.fields, judged.at)
        )
        return Part("profile", 0.9 ** len(found), found)

    def _for(self, violation_type: object) -> CompletenessProfile | None:
        found = (one for one in self.profiles if one.violation_type == violation_type)
        return next(found, None)

    def _no_profile(self, violation_type: object) -> Finding:
        names = ", ".join(one.profile_id for one in self.profiles)
        message = f"is {shown(violation_type)}, for which no profile is chosen (only {names})"
        return error("no_profile", "violation_type", message, "choose a profile for this type")

    def _problems(self) -> Iterator[FieldProblem]:
        if not self.profiles:
            yield FieldProblem("profile", "names no profile", "give the id of a profile")
        first: dict[str, str] = {}
        for one in self.profiles:
            known = first.setdefault(one.violation_type, one.profile_id)
            if known != one.profile_id:
                message = f"has two for {shown(one.violation_type)}: {known} and {one.profile_id}"
                yield FieldProblem("profile", message, "choose one of them")


@frozen
class Profiles:
    """All profiles that are known: those that are shipped, and those of an operator.

    Attributes:
        own: the operator's.
        default: those that apply if none is named; None: none do.

    Raises:
        InvalidInput: two of `own` have one id, or one has that of a shipped profile.
    """

    own: tuple[CompletenessProfile, ...] = ()
    default: ChosenProfiles | None = None

    def __attrs_post_init__(self) -> None:
        _raise(_repeated(self.own))

    @property
    def known(self) -> tuple[CompletenessProfile, ...]:
        """The shipped profiles, then the operator's own."""
        return (*EXAMPLE_PROFILES, *self.own)

    def named(
        self, names: str | CompletenessProfile | Iterable[str | CompletenessProfile] | None
    ) -> ChosenProfiles | None:
        """Return the profiles with these ids; a profile stands for itself.

        A text may have several ids, separated by commas. None means the default.

        Raises:
            InvalidInput: there is no such profile, or as for `ChosenProfiles`.
        """
        if names is None:
            return self.default
        if isinstance(names, str):
            names = [one.strip() for one in names.split(",")]
        given = [names] if isinstance(names, CompletenessProfile) else names
        chosen = [self._named(one) if isinstance(one, str) else one for one in given]
        return ChosenProfiles(tuple(dict.fromkeys(chosen)))

    def _named(self, profile_id: str) -> CompletenessProfile:
        for one in self.known:
            if one.profile_id == profile_id:
                return one
        ids = [one.profile_id for one in self.known]
        near = difflib.get_close_matches(profile_id, ids, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"the profiles are {', '.join(ids[:20])}"
        raise InvalidInput.of("profile", f"is unknown: {shown(profile_id)}", remedy)


def _problems_of(profile: CompletenessProfile) -> Iterator[FieldProblem | None]:
    yield _id_problem(profile.profile_id)
    yield text_problem("violation_type", profile.violation_type)
    yield text_problem("jurisdiction", profile.jurisdiction)
    yield text_problem("legal_source", profile.legal_source, _LONG_TEXT)
    yield _count_problem("images", profile.images)
    yield _count_problem("videos", profile.videos)
    least, most = profile.min_interval, profile.max_interval
    yield None if least is None else _span_problem("min_interval", least)
    yield None if most is None else _span_problem("max_interval", most)
    if least is not None and most is not None and least > most:
        message = f"is {_seconds(least)} s, longer than max_interval ({_seconds(most)} s)"
        yield FieldProblem("min_interval", message, "exchange them, or leave one out")
    if len(profile.fields) > _MAX_FIELDS:
        yield FieldProblem("fields", f"has {len(profile.fields)} entries", f"give {_MAX_FIELDS}")
    for place, path in enumerate(profile.fields, 1):
        yield _path_problem(f"fields[{place}]", path)


def _id_problem(profile_id: object) -> FieldProblem | None:
    if isinstance(profile_id, str) and _ID.fullmatch(profile_id) and len(profile_id) <= _MAX_ID:
        return None
    message = f"is {shown(profile_id)}, not 1 to {_MAX_ID} letters, digits and . _ -"
    return FieldProblem("profile_id", message, "give an id such as es-speed")


def _count_problem(name: str, value: object) -> FieldProblem | None:
    if type(value) is int and 0 <= value <= MAX_FILES:
        return None
    message = f"must be a whole number from 0 to {MAX_FILES}, not {shown(value)}"
    return FieldProblem(name, message)


def _span_problem(name: str, span: object) -> FieldProblem | None:
    if isinstance(span, timedelta) and timedelta(0) <= span <= _LONGEST:
        return None
    return FieldProblem(name, f"must be a length of time of at most 100 years, not {shown(span)}")


def _path_problem(name: str, path: object) -> FieldProblem | None:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        remedy = "give a path such as camera_info.speed_kmh"
        return FieldProblem(name, f"is no path of names: {shown(path)}", remedy)
    root, known = path.partition(".")[0], list(fields_dict(ViolationRecord))
    if root in known:
        return None
    near = difflib.get_close_matches(root, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else "what a camera adds is in camera_info"
    return FieldProblem(name, f"begins with {shown(root)}, which no violation record has", remedy)


def _repeated(own: Sequence[CompletenessProfile]) -> Iterator[FieldProblem]:
    if len(own) > MAX_PROFILES:
        yield FieldProblem("profiles", f"has {len(own)} entries", f"give {MAX_PROFILES} at most")
    first: dict[str, int] = {}
    for place, one in enumerate(own, 1):
        name = f"profiles[{place}].profile_id"
        if one.profile_id.startswith(EXAMPLE_PREFIX):
            message = f"is {shown(one.profile_id)}; such ids belong to the shipped examples"
            yield FieldProblem(name, message, f"use an id without {EXAMPLE_PREFIX!r} in front")
        if (known := first.setdefault(one.profile_id, place)) != place:
            message = f"is {shown(one.profile_id)}, as that of profiles[{known}]"
            yield FieldProblem(name, message, "give each a different one")


def _raise(problems: Iterable[FieldProblem | None]) -> None:
    if found := [problem for problem in problems if problem]:
        raise InvalidInput(found)


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
    proof: ClockProof | None, record: Mapping[str, object], at: datetime | None
) -> tuple[Finding, ...]:
    if proof is None:
        return ()
    if at is None:
        return (error("no_clock_proof", "timestamp", "can't be read", "give the time"),)
    synchronised = _value(record, "camera_info.clock.synchronised_at")
    offset = plain_number(_value(record, "camera_info.clock.offset_ms"))
    return (*_age(proof, synchronised, at), *_offset(proof, offset))


def _age(proof: ClockProof, synchronised: object, at: datetime) -> tuple[Finding, ...]:
    path, remedy = "camera_info.clock.synchronised_at", "synchronise the device's clock"
    if synchronised is None:
        return (error("no_clock_proof", path, "is not given", remedy),)
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
    if offset is None:
        return (error("no_clock_proof", path, "is not given", remedy),)
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
