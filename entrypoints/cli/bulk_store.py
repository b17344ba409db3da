"""Storing many files: several at once, each told as it is done, failures told at the end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_files import Stored
from traffic_storage.domain.canonical import parse_json_object
from traffic_storage.domain.errors import InvalidInput, NotFound, TooLarge, TrafficStorageError
from traffic_storage.domain.file_names import file_name_of
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import ViolationId
from traffic_storage.domain.times import parse_time
from traffic_storage.entrypoints.cli.candidates import Found, examined, files_in
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import (
    in_bytes,
    note,
    note_failure,
    printable,
    say,
    say_json,
)
from traffic_storage.entrypoints.cli.progress import Progress
from traffic_storage.entrypoints.cli.session import Session, opened
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.ports.errors import CatalogueUnavailable

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container


@frozen
class Outcome:
    """What became of a file."""

    found: Found
    stored: Stored | None = None
    error: TrafficStorageError | None = None


@frozen
class Wish:
    """What the caller of `store` said of all files."""

    kind: FileKind | None
    attributes: FileAttributes
    parallel: int | None
    json: bool


@frozen
class _Work:
    """What all files of one command share."""

    container: "Container"
    settings: StorageConfig
    wish: Wish
    progress: Progress = field(factory=Progress)


async def store_all(paths: Sequence[Path], wish: Wish, session: Session) -> ExitCode:
    """Store the files that are named, and all in the folders that are named."""
    files = _files(paths, wish)
    settings = session.settings()
    work = _Work(session.container(settings), settings, wish)
    async with opened(work.container):
        failures = await _store_files(files, work)
        if wish.attributes.violation_id is not None:
            await _note_what_is_missing(work.container, ViolationId(wish.attributes.violation_id))
    return _conclude(len(files), failures, "stored")


async def _note_what_is_missing(container: "Container", violation: ViolationId) -> None:
    """Say so when there is no such violation: its id may be misspelt."""
    try:
        await container.find().violation(violation)
    except NotFound:
        note(f"there is no violation {violation} yet; the files show with it when it comes")
    except CatalogueUnavailable:
        return


def rehearse(paths: Sequence[Path], wish: Wish) -> ExitCode:
    """Say what would be stored. Opens nothing but the files."""
    files, failures = _files(paths, wish), []
    for path in files:
        found = examined(path, wish.kind)
        _say_found(found, json=wish.json)
        if found.error is not None:
            failures.append(Outcome(found, error=found.error))
    return _conclude(len(files), failures, "fit to be stored")


def attributes_of(
    file_id: str | None,
    device_id: str | None,
    violation_id: str | None,
    metadata: str | None,
    captured_at: str | None,
    *,
    historic: bool,
) -> FileAttributes:
    """The attributes of all files, checked.

    Raises:
        InvalidInput: one is wrong, or contradicts another.
    """
    given = None if metadata is None else parse_json_object(metadata, "metadata")
    attributes = FileAttributes.of(
        file_id=file_id,
        device_id=device_id,
        violation_id=violation_id,
        metadata=given,
        historic=historic,
    )
    if captured_at is None:
        return attributes
    at = parse_time(captured_at, "captured_at")
    if attributes.captured_at not in (None, at):
        raise InvalidInput.of(
            "captured_at", "contradicts the timestamp in the metadata", "say it once"
        )
    return evolve(attributes, captured_at=at)


def _files(paths: Sequence[Path], wish: Wish) -> list[Path]:
    files = list(files_in(paths))
    if not files:
        named = "no file is named" if not paths else "there is no file in what is named"
        raise InvalidInput.of("paths", named, "name files, or folders that hold some")
    if wish.attributes.file_id is not None and len(files) > 1:
        raise InvalidInput.of(
            "file_id", f"is for one file, and there are {len(files)}", "store them one by one"
        )
    return files


async def _store_files(files: Sequence[Path], work: _Work) -> list[Outcome]:
    """Store them, several at once, each told when it is done; those that failed."""
    failures: list[Outcome] = []
    waiting = iter(files)

    async def worker() -> None:
        for path in waiting:
            outcome = await _outcome(examined(path, work.wish.kind), work)
            if outcome.error is not None:
                failures.append(outcome)
            work.progress.file_done()
            _say_outcome(outcome, json=work.wish.json)

    with work.progress:
        work.progress.expect(files)
        parallel = work.wish.parallel or work.settings.parallel_uploads
        async with asyncio.TaskGroup() as group:
            for _ in range(min(parallel, len(files))):
                group.create_task(worker())
    return failures


async def _outcome(found: Found, work: _Work) -> Outcome:
    if found.error is not None:
        return Outcome(found, error=found.error)
    try:
        return Outcome(found, stored=await _store_one(found, work))
    except TrafficStorageError as error:
        return Outcome(found, error=error)


async def _store_one(found: Found, work: _Work) -> Stored:
    files = work.container.store_files()
    attributes = evolve(work.wish.attributes, original_name=file_name_of(str(found.path)))
    if found.kind is FileKind.METADATA:
        return await files.metadata(parse_json_object(await _text(found, work), "file"), attributes)
    upload = Upload(_counted(found, work))
    if found.kind is FileKind.VIDEO:
        return await files.video(upload, attributes)
    return await files.image(upload, attributes)


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
                "error": None if found.error is None else _reason(found.error),
            }
        )
    elif found.error is None:
        say(f"would store {printable(found.path)}: {found.kind}, {in_bytes(found.size_bytes)}")


def _say_outcome(outcome: Outcome, *, json: bool) -> None:
    from traffic_storage.domain.retention import capture_doubt
    from traffic_storage.entrypoints.views import file_view

    path, stored = str(outcome.found.path), outcome.stored
    if json:
        say_json(
            {
                "path": path,
                "created": stored is not None and stored.created,
                "file": None if stored is None else file_view(stored.file),
                "error": None if outcome.error is None else _reason(outcome.error),
            }
        )
    elif stored is not None:
        word = "stored" if stored.created else "known already"
        say(f"{stored.file.file_id}  {printable(path)}: {word}, {stored.file.placement.decision}")
    if stored is not None and (doubt := capture_doubt(stored.file)):
        note(f"{printable(path)}: kept from receipt: {doubt}")


def _conclude(count: int, failures: Sequence[Outcome], done: str) -> ExitCode:
    for outcome in failures:
        note_failure(f"{printable(outcome.found.path)}: {_reason(outcome.error)}")
    note(f"{count - len(failures)} of {count} files are {done}")
    codes = {exit_code_of(outcome.error) for outcome in failures if outcome.error is not None}
    return codes.pop() if len(codes) == 1 else ExitCode.FAILURE if codes else ExitCode.OK


def _reason(error: TrafficStorageError | None) -> str:
    """An error in words, without the name of the field where that is the file itself."""
    return str(error).removeprefix("file: ")
