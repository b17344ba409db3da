"""`traffic-storage validate`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from attrs import frozen
from cyclopts import Parameter

from traffic_storage.domain.canonical import Json, parse_json
from traffic_storage.domain.errors import InvalidInput, TrafficStorageError
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.quality.assessment import Assessment, Part, combined, error
from traffic_storage.domain.quality.record import RECORD_CHECKS
from traffic_storage.domain.violation import DOCUMENT_SCHEMA
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note, say_json, say_table
from traffic_storage.entrypoints.cli.session import AsJson, Shared, instant_of

if TYPE_CHECKING:
    from datetime import datetime

    from traffic_storage.application.validate import Validate
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.quality_views import QualityView


@frozen
class Judged:
    """What was found about one file, or about one of the records in it."""

    path: Path
    kind: str
    view: "QualityView"


async def validate(
    *paths: Path,
    received_at: Annotated[str | None, Parameter(name="--received-at")] = None,
    profile: str | None = None,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Judge the quality of images, videos and violation records in files; store nothing.

    A JSON file has one record, a list of records, or the metadata file of a stored violation. The
    score is the product of the factors that the checks give. Exit code 3: something is not valid or
    has a warning.

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
    json:
        Print one JSON object for each file or record.
    """
    from traffic_storage.entrypoints.cli.bulk_store.candidates import files_in
    from traffic_storage.entrypoints.cli.progress import FileBar

    files = list(files_in(paths))
    if not files:
        raise InvalidInput.of("paths", "name no file", "give files, or folders that contain files")
    settings = session.settings()
    received = instant_of(received_at, "received_at", settings)
    container = session.container(settings)
    judging = _judging(container, profile)
    judged: list[Judged] = []
    try:
        with FileBar("validating") as bar:
            for number, path in enumerate(files):
                judged += await _judged(path, judging, received)
                bar.show(Progress(number + 1, len(files)))
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


async def _judged(
    path: Path, validate: "Validate", received_at: "datetime | None"
) -> Sequence[Judged]:
    """Judge one file: one result, or one for each record in it."""
    from traffic_storage.entrypoints.cli.bulk_store.candidates import examine
    from traffic_storage.entrypoints.quality_views import (
        image_quality_view,
        quality_view,
        video_quality_view,
    )

    candidate = examine(path, None)
    if candidate.error is not None:
        return [Judged(path, "", quality_view(_unreadable(candidate.error)))]
    if candidate.kind is FileKind.IMAGE:
        return [Judged(path, "image", image_quality_view(await validate.image(path)))]
    if candidate.kind is FileKind.VIDEO:
        return [Judged(path, "video", video_quality_view(await validate.video(path)))]
    try:
        records = list(_records(path))
    except TrafficStorageError as wrong:
        return [Judged(path, "record", quality_view(_unreadable(wrong)))]
    judged = (validate.judged(record, received_at=received_at) for record in records)
    return [Judged(path, "record", quality_view(validate.record(each))) for each in judged]


def _records(path: Path) -> Iterator[Mapping[str, Json]]:
    """Yield the records in a JSON file.

    Raises:
        InvalidInput: it can't be read, is not JSON, or has something else than records.
    """
    try:
        value = parse_json(path.read_bytes(), "file")
    except OSError as failed:
        raise InvalidInput.of("file", f"can't be read: {failed.strerror}") from failed
    for record in value if isinstance(value, list) else [value]:
        if not isinstance(record, Mapping):
            raise InvalidInput.of("file", "has no record", "give a JSON object, or a list of them")
        inner = record.get("record")
        is_document = record.get("schema") == DOCUMENT_SCHEMA and isinstance(inner, Mapping)
        yield inner if is_document and isinstance(inner, Mapping) else record


def _unreadable(wrong: TrafficStorageError) -> Assessment:
    finding = error("unreadable", "file", wrong.message, wrong.remedy)
    return combined([Part("form", 0.0, (finding,))])


def _say(judged: Sequence[Judged], *, json: bool) -> None:
    if json:
        for one in judged:
            say_json({"path": str(one.path), "kind": one.kind, **one.view})
        return
    rows = [
        [str(one.path), one.kind, f"{one.view['score']:.2f}", *_findings(one.view)]
        for one in judged
    ]
    say_table(["FILE", "KIND", "SCORE", "ERRORS", "WARNINGS"], rows)
    for one in judged:
        for finding in (*one.view["errors"], *one.view["warnings"]):
            note(f"{one.path}: {finding['field']} {finding['message']} ({finding['remedy']})")


def _findings(view: "QualityView") -> list[str]:
    return [
        " ".join(finding["kind"] for finding in findings) or "-"
        for findings in (view["errors"], view["warnings"])
    ]
