"""`traffic-storage store`: files and folders into the store, several at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from traffic_storage.application.inputs import Labels, Upload
from traffic_storage.application.store_files import Stored
from traffic_storage.domain.canonical import parse_json_object
from traffic_storage.domain.errors import InvalidInput, TooLarge, TrafficStorageError
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.times import parse_time
from traffic_storage.entrypoints.cli.candidates import Found, examined, files_in
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import in_bytes, note, note_failure, say, say_json
from traffic_storage.entrypoints.cli.progress import Progress
from traffic_storage.entrypoints.cli.session import AsJson, Flag, Shared, opened
from traffic_storage.entrypoints.settings import StorageConfig

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container


@frozen
class Outcome:
    """What became of a file."""

    found: Found
    stored: Stored | None = None
    error: TrafficStorageError | None = None


@frozen
class _Work:
    """What all files of one command share."""

    container: "Container"
    settings: StorageConfig
    labels: Labels
    progress: Progress = field(factory=Progress)


async def store(
    *paths: Path,
    device_id: str | None = None,
    violation_id: str | None = None,
    captured_at: str | None = None,
    metadata: str | None = None,
    file_id: str | None = None,
    kind: FileKind | None = None,
    parallel: int | None = None,
    dry_run: Flag = False,
    json: AsJson = False,
    session: Shared,
) -> ExitCode:
    """Store files, and all files in folders. Images and videos are kept byte for byte.

    What a file is, is told by its bytes: JPEG, PNG, WebP, AVIF; MP4, MOV, Matroska, WebM,
    MPEG-TS, AVI; a JSON object is stored as metadata. A file that can't be stored doesn't stop
    the others: it is named at the end. The same again is recognised and changes nothing.

    Parameters
    ----------
    paths:
        Files and folders. Names that begin with a dot are left out in folders.
    device_id:
        The device that all of them come from.
    violation_id:
        The violation that all of them belong to.
    captured_at:
        When they were captured (ISO 8601; without a zone: in the setting timezone).
    metadata:
        A JSON object to keep with each of them.
    file_id:
        The id to store it under; for a single file. Else one is derived.
    kind:
        What all of them are, whatever their bytes look like.
    parallel:
        How many at the same time; else the setting parallel_uploads.
    dry_run:
        Only say what would be stored.
    json:
        Print a JSON object a file.
    """
    settings = session.settings()
    labels = _labels(file_id, device_id, violation_id, metadata, captured_at)
    found = [examined(path, kind) for path in files_in(paths)]
    _check_count(found, file_id)
    if dry_run:
        for item in found:
            _say_found(item, json=json)
        return _conclude([Outcome(item, error=item.error) for item in found], dry_run=True)
    work = _Work(session.container(settings), settings, labels)
    async with opened(work.container):
        outcomes = await _store_all(found, work, parallel or settings.parallel_uploads, json=json)
    return _conclude(outcomes, dry_run=False)


def _labels(
    file_id: str | None,
    device_id: str | None,
    violation_id: str | None,
    metadata: str | None,
    captured_at: str | None,
) -> Labels:
    given = None if metadata is None else parse_json_object(metadata, "metadata")
    labels = Labels.of(
        file_id=file_id, device_id=device_id, violation_id=violation_id, metadata=given
    )
    if captured_at is None:
        return labels
    at = parse_time(captured_at, "captured_at")
    if labels.captured_at not in (None, at):
        raise InvalidInput.of(
            "captured_at", "contradicts the timestamp in the metadata", "say it once"
        )
    return evolve(labels, captured_at=at)


def _check_count(found: Sequence[Found], file_id: str | None) -> None:
    if not found:
        raise InvalidInput.of("paths", "name no file", "name files, or folders that hold some")
    if file_id is not None and len(found) > 1:
        raise InvalidInput.of(
            "file_id", f"is for one file, and there are {len(found)}", "store them one by one"
        )


async def _store_all(
    found: Sequence[Found], work: _Work, parallel: int, *, json: bool
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    waiting = iter(found)

    async def worker() -> None:
        for item in waiting:
            outcome = await _outcome(item, work)
            outcomes.append(outcome)
            work.progress.file_done()
            _say_outcome(outcome, work.settings, json=json)

    with work.progress:
        work.progress.expect(sum(item.size_bytes for item in found), len(found))
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, min(parallel, len(found)))):
                group.create_task(worker())
    return outcomes


async def _outcome(found: Found, work: _Work) -> Outcome:
    if found.error is not None:
        return Outcome(found, error=found.error)
    try:
        return Outcome(found, stored=await _store_one(found, work))
    except TrafficStorageError as error:
        return Outcome(found, error=error)


async def _store_one(found: Found, work: _Work) -> Stored:
    files = work.container.store_files()
    if found.kind is FileKind.METADATA:
        return await files.metadata(
            parse_json_object(await _text(found, work), "file"), work.labels
        )
    upload = Upload(_counted(found, work))
    if found.kind is FileKind.VIDEO:
        return await files.video(upload, work.labels)
    return await files.image(upload, work.labels)


async def _text(found: Found, work: _Work) -> bytes:
    limit = work.settings.max_metadata_bytes
    text = bytearray()
    async for chunk in _counted(found, work):
        text += chunk
        if len(text) > limit:
            raise TooLarge.of(
                "file", f"has more than {limit} bytes", "the setting max_metadata_bytes"
            )
    return bytes(text)


async def _counted(found: Found, work: _Work) -> AsyncIterator[bytes]:
    async for chunk in work.container.spool().read_path(found.path):
        work.progress.advance(len(chunk))
        yield chunk


def _say_found(found: Found, *, json: bool) -> None:
    if json:
        say_json(
            {
                "path": str(found.path),
                "kind": found.kind,
                "content_type": found.content_type,
                "size_bytes": found.size_bytes,
                "error": None if found.error is None else str(found.error),
            }
        )
    elif found.error is None:
        say(f"would store {found.path}: {found.kind}, {in_bytes(found.size_bytes)}")


def _say_outcome(outcome: Outcome, settings: StorageConfig, *, json: bool) -> None:
    from traffic_storage.entrypoints.views import file_view

    path, stored = str(outcome.found.path), outcome.stored
    if json:
        say_json(
            {
                "path": path,
                "created": stored is not None and stored.created,
                "file": None if stored is None else file_view(stored.file, settings.retention),
                "error": None if outcome.error is None else str(outcome.error),
            }
        )
    elif stored is not None:
        word = "stored" if stored.created else "known already"
        say(f"{stored.file.file_id}  {path}: {word}, {stored.file.placement.decision}")


def _conclude(outcomes: Sequence[Outcome], *, dry_run: bool) -> ExitCode:
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        note_failure(f"{outcome.found.path}: {outcome.error}")
    done = len(outcomes) - len(failed)
    note(f"{done} of {len(outcomes)} files {'could be' if dry_run else 'are'} stored")
    codes = {exit_code_of(outcome.error) for outcome in failed if outcome.error is not None}
    return codes.pop() if len(codes) == 1 else ExitCode.FAILURE if codes else ExitCode.OK
