"""`traffic-storage validate`."""

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import evolve, field, frozen
from cyclopts import Parameter

from traffic_storage.domain.errors import InvalidInput, TrafficStorageError, WrongFields
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.quality.assessment import Assessment, Part, combined, error, warning
from traffic_storage.domain.quality.record import RECORD_CHECKS
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say_json, say_table
from traffic_storage.entrypoints.cli.session import AsJson, Shared, instant_of

if TYPE_CHECKING:
    from datetime import datetime

    from traffic_storage.application.recent_sightings import RecentSightings
    from traffic_storage.application.validate import Validate
    from traffic_storage.entrypoints.cli.record_files import FoundRecord
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.quality_views import FindingView, QualityView


_MOST_DIGESTS = 1_000_000


@frozen
class Judged:
    """What was found about one file, or about one of the records in it.

    Attributes:
        number: the position of the record in its file, from 1; None if the file is one record.
        sha256: that of a whole image or video; empty: it was not read.
    """

    path: Path
    kind: str
    view: "QualityView"
    number: int | None = None
    violation_id: str | None = None
    sha256: bytes = b""

    @property
    def name(self) -> str:
        """The path, and for one record of several its number and the id of the violation."""
        if self.number is None:
            return str(self.path)
        return f"{self.path}[{self.number}]" + (
            f" {self.violation_id}" if self.violation_id else ""
        )


@frozen
class _Judge:
    """What judges files: the use case, and what is the same for all of them."""

    validate: "Validate"
    received_at: "datetime | None"
    kind: FileKind | None
    seen: "RecentSightings"
    first_with: dict[bytes, Path] = field(factory=dict)


async def validate(
    *paths: Path,
    received_at: Annotated[str | None, Parameter(name="--received-at")] = None,
    profile: str | None = None,
    kind: Literal["image", "video", "metadata"] | None = None,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Judge the quality of images, videos and violation records in files; store nothing.

    A JSON file has one record, a list of records, or the metadata file of a stored violation; NDJSON
    has a record on each line, and GeoJSON a record in the properties of each feature, as exports do.
    Records of the same device, time and box under two ids are found among all files, and so are files
    with the same bytes. The score is the product of the factors that the checks give. Exit code 3:
    something is not valid or has a warning.

    Parameters
    ----------
    paths:
        Files and folders. In folders, names that begin with a dot are skipped.
    received_at:
        The time at which records were received, to which their times are compared; default: now.
    profile:
        Ids of completeness profiles, separated by commas: records are also judged by what the profile
        for their type demands of a record (not how many files they have); default: the setting
        evidence_profile.
    kind:
        The kind of all files, instead of the detected one.
    json:
        Print one JSON object for each file or record.
    """
    from traffic_storage.application.recent_sightings import RecentSightings
    from traffic_storage.entrypoints.cli.bulk_store.candidates import files_in
    from traffic_storage.entrypoints.cli.progress import FileBar

    files = list(files_in(paths))
    if not files:
        raise InvalidInput.of("paths", "name no file", "give files, or folders that contain files")
    settings = session.settings()
    received = instant_of(received_at, "received_at", settings)
    container = session.container(settings)
    judge = _Judge(
        _judging(container, profile),
        received,
        None if kind is None else FileKind(kind),
        RecentSightings(),
    )
    judged: list[Judged] = []
    try:
        with FileBar("validating") as bar:
            number = 0
            async for found in _in_order(files, judge):
                judged += found
                number += 1
                bar.show(Progress(number, len(files)))
    finally:
        await container.images().aclose()
        await container.frames().aclose()
    _say(judged, json=json)
    clean = all(one.view["valid"] and not one.view["warnings"] for one in judged)
    return ExitCode.OK if clean else ExitCode.FINDINGS


def _judging(container: "Container", profile: str | None) -> "Validate":
    """Return the use case with a further check of records, if a profile is named.

    Raises:
        InvalidInput: there is no such profile.
        ConfigurationError: the file of profiles is wrong.
    """
    from traffic_storage.application.validate import Checks

    chosen, validate = container.profiles().named(profile), container.validate()
    if chosen is None:
        return validate
    return validate.with_checks(Checks(record=(*RECORD_CHECKS, chosen.of_record)))


async def _in_order(files: Sequence[Path], judge: _Judge) -> AsyncIterator[Sequence[Judged]]:
    """Judge as many files at once as there are cores; yield the results in the order of the files."""
    running: deque[asyncio.Task[Sequence[Judged]]] = deque()
    rest = iter(files)
    most = len(os.sched_getaffinity(0)) + 1
    try:
        while True:
            while len(running) < most and (path := next(rest, None)) is not None:
                running.append(asyncio.create_task(_judged(path, judge)))
            if not running:
                return
            found = await running[0]
            del running[0]
            yield [_beside(one, judge.first_with) for one in found]
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _judged(path: Path, judge: _Judge) -> Sequence[Judged]:
    """Judge one file: one result, or one for each record in it."""
    from traffic_storage.entrypoints.cli.bulk_store.candidates import examine
    from traffic_storage.entrypoints.quality_views import (
        image_quality_view,
        quality_view,
        video_quality_view,
    )

    candidate, validate = examine(path, judge.kind), judge.validate
    if candidate.error is not None:
        return [Judged(path, "", quality_view(_unreadable(candidate.error)))]
    if candidate.kind is FileKind.METADATA:
        return _judged_records(path, judge)
    if candidate.kind is FileKind.IMAGE:
        view: QualityView = image_quality_view(await validate.image(path))
    else:
        view = video_quality_view(await validate.video(path))
    return [Judged(path, str(candidate.kind), view, sha256=await asyncio.to_thread(_sha256, path))]


def _judged_records(path: Path, judge: _Judge) -> Sequence[Judged]:
    from traffic_storage.entrypoints.cli.record_files import records_in
    from traffic_storage.entrypoints.quality_views import quality_view

    try:
        return [_judged_record(path, found, judge) for found in records_in(path)]
    except TrafficStorageError as wrong:
        return [Judged(path, "record", quality_view(_unreadable(wrong)))]


def _judged_record(path: Path, found: "FoundRecord", judge: _Judge) -> Judged:
    from traffic_storage.entrypoints.quality_views import quality_view

    if isinstance(found.value, InvalidInput):
        return Judged(path, "record", quality_view(_unreadable(found.value)), found.number)
    received = judge.received_at or _time_or_none(found.received_at)
    judged = judge.seen.beside(judge.validate.judged(found.value, received_at=received))
    view = quality_view(judge.validate.record(judged))
    return Judged(path, "record", view, found.number, found.violation_id)


def _time_or_none(text: str | None) -> "datetime | None":
    from traffic_storage.domain.times import parse_time

    try:
        found = None if text is None else parse_time(text, "received_at")
    except InvalidInput:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _sha256(path: Path) -> bytes:
    """Return the SHA-256 of a file; empty if it can't be read any more."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _beside(one: Judged, first_with: dict[bytes, Path]) -> Judged:
    """Return a result with a warning if an earlier file has the same bytes; remember its digest."""
    from traffic_storage.entrypoints.quality_views import finding_view

    if not one.sha256:
        return one
    if (first := first_with.get(one.sha256)) is None:
        if len(first_with) < _MOST_DIGESTS:
            first_with[one.sha256] = one.path
        return one
    message, remedy = f"has the same bytes as {first}", "send evidence once"
    same = finding_view(warning("same_bytes", "file", message, remedy))
    view = one.view.copy()
    view["warnings"] = [*view["warnings"], same]
    return evolve(one, view=view)


def _unreadable(wrong: TrafficStorageError) -> Assessment:
    if isinstance(wrong, WrongFields):
        named = [(each.field, each.message, each.remedy) for each in wrong.problems]
    else:
        named = [("file", wrong.message, wrong.remedy)]
    found = tuple(error("unreadable", *words) for words in named)
    return combined([Part("form", 0.0, found)])


def _say(judged: Sequence[Judged], *, json: bool) -> None:
    if json:
        for one in judged:
            of_record = {"record": one.number, "violation_id": one.violation_id}
            named = of_record if one.kind == "record" else {}
            say_json({"path": str(one.path), "kind": one.kind, **named, **one.view})
        return
    rows = [
        [one.name, one.kind, f"{one.view['score']:.2f}", *_findings(one.view)] for one in judged
    ]
    say_table(["FILE", "KIND", "SCORE", "ERRORS", "WARNINGS"], rows)
    for one in judged:
        for finding in (*one.view["errors"], *one.view["warnings"]):
            note(f"{one.name}: {finding['field']} {finding['message']} ({finding['remedy']})")


def _findings(view: "QualityView") -> list[str]:
    return [_kinds(view["errors"]), _kinds(view["warnings"])]


def _kinds(findings: "Sequence[FindingView]") -> str:
    """Return the kinds of findings, each once, with its fields if it has several."""
    fields: dict[str, list[str]] = {}
    for finding in findings:
        fields.setdefault(finding["kind"], []).append(finding["field"])
    return (
        " ".join(
            kind if len(named) == 1 else f"{kind}({','.join(named)})"
            for kind, named in fields.items()
        )
        or "-"
    )
