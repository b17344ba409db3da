"""Stores files and folders, batch by batch; prints each result, and the failures at the end.

Some files at a time are read, checked and decoded; what is ready goes, in the given order, into batches
with one journal entry and one commit each.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from traffic_storage.application.drafts import DraftUnit
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_files import Stored
from traffic_storage.application.store_many import ItemOutcome
from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.domain.canonical import parse_json_object
from traffic_storage.domain.errors import InvalidInput, NotFound, TooLarge, TrafficStorageError
from traffic_storage.domain.file_names import file_name_of
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import ViolationId
from traffic_storage.domain.name_times import NamePattern
from traffic_storage.domain.times import parse_time
from traffic_storage.entrypoints.cli.asking import actor
from traffic_storage.entrypoints.cli.bulk_store.candidates import Candidate, examine, files_in
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import (
    CannotWriteOut,
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
    from traffic_storage.application.drafts import Draft
    from traffic_storage.entrypoints.cli.bulk_store.rehearsal import Rehearse
    from traffic_storage.entrypoints.container import Container


@frozen
class Outcome:
    """The result of storing one file: exactly one of `stored` and `error` is set."""

    candidate: Candidate
    stored: Stored | None = None
    error: TrafficStorageError | None = None


@frozen
class StoreRequest:
    """The options of `store` that apply to all files."""

    kind: FileKind | None
    attributes: FileAttributes
    parallel: int | None
    json: bool
    accept_damaged_video: bool = False
    pattern: NamePattern | None = None


@frozen
class _Batch:
    """What all files of one `store` command share."""

    container: "Container"
    settings: StorageConfig
    request: StoreRequest
    progress: Progress = field(factory=Progress)


async def store_all(paths: Sequence[Path], request: StoreRequest, session: Session) -> ExitCode:
    """Store the given files and all files in the given folders; return the exit code."""
    files = _files(paths, request)
    settings = session.settings()
    batch = _Batch(session.container(settings), settings, request)
    async with opened(batch.container):
        failures = await _store_files(files, batch)
        if request.attributes.violation_id is not None and len(failures) < len(files):
            await _note_unknown_violation(
                batch.container, ViolationId(request.attributes.violation_id)
            )
    return _conclude(len(files), failures, "stored")


async def _note_unknown_violation(container: "Container", violation: ViolationId) -> None:
    """Print a note if the violation does not exist, because its id may be misspelt."""
    try:
        await container.find().violation(violation)
    except NotFound:
        note(f"violation {violation} does not exist yet; the files belong to it once it is stored")
    except CatalogueUnavailable:
        return


async def preview(paths: Sequence[Path], request: StoreRequest, session: Session) -> ExitCode:
    """Print what would be stored, and refuse what storing would refuse.

    The store and the catalogue are asked if there are any, and not made; files are spooled into a
    temporary folder.
    """
    from traffic_storage.entrypoints.base_path import check_base_path
    from traffic_storage.entrypoints.cli.bulk_store.rehearsal import rehearsing

    files, failures = _files(paths, request), []
    settings = session.settings()
    check_base_path(settings, make=False)
    with TemporaryDirectory(prefix="traffic-storage-") as spool:
        elsewhere = evolve(settings, local_base_path=Path(spool))
        batch = _Batch(session.container(elsewhere), elsewhere, request)
        try:
            async with rehearsing(session, settings) as rehearse:
                for path in files:
                    candidate = await _rehearsed(examine(path, request.kind), batch, rehearse)
                    _say_candidate(candidate, json=request.json)
                    if candidate.error is not None:
                        failures.append(Outcome(candidate, error=candidate.error))
        finally:
            await batch.container.runtime().aclose()
    return _conclude(len(files), failures, "ready to be stored")


async def _rehearsed(candidate: Candidate, batch: _Batch, rehearse: "Rehearse") -> Candidate:
    """Return the file with the reason if it can't be stored, or with whether it is stored already."""
    if candidate.error is not None:
        return candidate
    try:
        async with AsyncExitStack() as bodies:
            draft = await _prepared(candidate, batch, bodies)
            return evolve(candidate, is_stored=not await rehearse(DraftUnit((draft,))))
    except TrafficStorageError as error:
        return evolve(candidate, error=error)


async def _prepared(candidate: Candidate, batch: _Batch, bodies: AsyncExitStack) -> "Draft":
    prepare, attributes = batch.container.prepare(), _attributes(candidate, batch)
    match candidate.kind:
        case FileKind.METADATA:
            text = parse_json_object(await _text(candidate, batch), "file")
            return await prepare.json(text, attributes)
        case FileKind.VIDEO:
            return await prepare.video(_upload(candidate, batch), attributes, bodies)
        case _:
            return await prepare.image(_upload(candidate, batch), attributes, bodies)


def attributes_of(
    file_id: str | None,
    device_id: str | None,
    violation_id: str | None,
    metadata: str | None,
    captured_at: str | None,
    *,
    historic: bool,
) -> FileAttributes:
    """Return the attributes of all files, checked.

    Raises:
        InvalidInput: an attribute is not valid, or contradicts another.
    """
    given = None if metadata is None else parse_json_object(metadata, "metadata")
    attributes = FileAttributes.of(
        file_id=file_id,
        device_id=device_id,
        violation_id=violation_id,
        metadata=given,
        historic=historic,
        given_by=actor(),
    )
    if captured_at is None:
        return attributes
    at = parse_time(captured_at, "captured_at")
    if attributes.captured_at not in (None, at):
        raise InvalidInput.of(
            "captured_at", "contradicts the timestamp in the metadata", "give only one of them"
        )
    return evolve(attributes, captured_at=at)


def pattern_of(text: str | None, attributes: FileAttributes) -> NamePattern | None:
    """Return the pattern of file names that contain the capture time, if one is given.

    Raises:
        InvalidInput: it is not valid, or the capture time of all files is given too.
    """
    if text is None:
        return None
    if attributes.captured_at is not None:
        raise InvalidInput.of(
            "captured_at", "is given, and so is --time-from-name", "give only one of them"
        )
    return NamePattern(text)


def _files(paths: Sequence[Path], request: StoreRequest) -> list[Path]:
    files = list(files_in(paths))
    if not files:
        message = "are missing" if not paths else "contain no file"
        raise InvalidInput.of("paths", message, "give files, or folders that contain files")
    if request.attributes.file_id is not None and len(files) > 1:
        raise InvalidInput.of(
            "file_id", f"can name one file, not {len(files)}", "store the files one by one"
        )
    return files


async def _store_files(files: Sequence[Path], batch: _Batch) -> list[Outcome]:
    """Store files and print the result of each; returns the failures."""
    told = _Told(batch)
    load = batch.container.store_many().begin()
    with batch.progress:
        batch.progress.expect(files)
        try:
            async with aclosing(_in_order(files, batch)) as all_ready:
                async for one in all_ready:
                    told.candidates.append(one.candidate)
                    told.tell(await load.take(one.prepared, one.bodies))
            told.tell(await load.finish())
        except CannotWriteOut:
            raise
        except (TrafficStorageError, asyncio.CancelledError):
            # Also when Ctrl-C cancels this: it says how far it came.
            told.tell(await load.aclose())
            _note_failures(told.failures)
            note(
                f"{told.stored} of {counted(len(files), 'file is', 'files are')} known to be stored; "
                "repeat the command: it stores the others, and what is stored is known then"
            )
            raise
        finally:
            await load.aclose()
    return told.failures


@define
class _Told:
    """Prints what became of files, whose outcomes come in the order in which they were taken."""

    batch: _Batch
    candidates: deque[Candidate] = field(factory=deque)
    failures: list[Outcome] = field(factory=list)
    stored: int = 0

    def tell(self, outcomes: Sequence[ItemOutcome]) -> None:
        for one in outcomes:
            outcome = Outcome(self.candidates.popleft(), _stored(one), one.error)
            if outcome.error is not None:
                self.failures.append(outcome)
            else:
                self.stored += 1
            self.batch.progress.file_done()
            _say_outcome(outcome, json=self.batch.request.json)


def _stored(outcome: ItemOutcome) -> Stored | None:
    if outcome.unit is None or outcome.stored is None:
        return None
    file_id = outcome.unit.drafts[0].file_id
    added = outcome.stored.labels_added.get(file_id, ())
    return Stored(outcome.stored.files[file_id], outcome.stored.created, added)


@frozen
class _Ready:
    """A file that is ready to be stored, or why it can't be; its received bytes are on `bodies`."""

    candidate: Candidate
    prepared: DraftUnit | TrafficStorageError
    bodies: AsyncExitStack


async def _in_order(files: Sequence[Path], batch: _Batch) -> AsyncGenerator[_Ready, None]:
    """Yield files when they are ready, in their order; some are prepared at the same time."""
    parallel = batch.request.parallel or batch.settings.parallel_uploads
    ahead: deque[asyncio.Task[_Ready]] = deque()
    try:
        for path in files:
            ahead.append(asyncio.create_task(_ready(path, batch)))
            if len(ahead) == parallel:
                yield await ahead.popleft()
        while ahead:
            yield await ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()
        for done in await asyncio.gather(*ahead, return_exceptions=True):
            if isinstance(done, _Ready):
                await done.bodies.aclose()


async def _ready(path: Path, batch: _Batch) -> _Ready:
    candidate = examine(path, batch.request.kind)
    async with AsyncExitStack() as bodies:
        prepared: DraftUnit | TrafficStorageError
        if candidate.error is not None:
            prepared = candidate.error
        else:
            try:
                prepared = DraftUnit((await _prepared(candidate, batch, bodies),))
            except TrafficStorageError as error:
                prepared = error
        return _Ready(candidate, prepared, bodies.pop_all())


def _attributes(candidate: Candidate, batch: _Batch) -> FileAttributes:
    given = evolve(batch.request.attributes, original_name=file_name_of(str(candidate.path)))
    pattern = batch.request.pattern
    if pattern is None:
        return given
    return evolve(given, captured_at=pattern.time_in(candidate.path.name))


def _upload(candidate: Candidate, batch: _Batch) -> Upload:
    accepted = batch.request.accept_damaged_video
    return Upload(_counted(candidate, batch), accept_damaged_video=accepted)


async def _text(candidate: Candidate, batch: _Batch) -> bytes:
    limit = batch.settings.max_metadata_bytes
    text = bytearray()
    async for chunk in _counted(candidate, batch):
        text += chunk
        if len(text) > limit:
            raise TooLarge.of(
                "file", f"has more than {limit} bytes", "raise the setting max_metadata_bytes"
            )
    return bytes(text)


async def _counted(candidate: Candidate, batch: _Batch) -> AsyncIterator[bytes]:
    async for chunk in batch.container.spool().read_path(candidate.path):
        batch.progress.advance(len(chunk))
        yield chunk


def _say_candidate(candidate: Candidate, *, json: bool) -> None:
    if json:
        say_json(
            {
                "path": str(candidate.path),
                "kind": candidate.kind,
                "content_type": candidate.content_type,
                "size_bytes": candidate.size_bytes,
                "already_stored": candidate.is_stored,
                "error": None if candidate.error is None else _reason(candidate.error),
            }
        )
    elif candidate.error is None:
        does = "already stored:" if candidate.is_stored else "would store"
        size = in_bytes(candidate.size_bytes)
        say(f"{does} {printable(candidate.path)}: {candidate.kind}, {size}")


def _say_outcome(outcome: Outcome, *, json: bool) -> None:
    from traffic_storage.domain.retention import capture_doubt
    from traffic_storage.entrypoints.views import file_view

    path, stored = str(outcome.candidate.path), outcome.stored
    if json:
        say_json(
            {
                "path": path,
                "created": stored is not None and stored.created,
                "file": None if stored is None else file_view(stored.file, stored.labels_added),
                "error": None if outcome.error is None else _reason(outcome.error),
            }
        )
    elif stored is not None:
        word = "stored" if stored.created else "already stored"
        added = f"; added {', '.join(stored.labels_added)}" if stored.labels_added else ""
        place = stored.file.placement.decision
        say(f"{stored.file.file_id}  {printable(path)}: {word}, {place}{added}")
    if stored is not None and (doubt := capture_doubt(stored.file)):
        note(f"{printable(path)}: retention counts from receipt: {doubt}")


def _conclude(count: int, failures: Sequence[Outcome], done: str) -> ExitCode:
    _note_failures(failures)
    note(f"{count - len(failures)} of {counted(count, 'file is', 'files are')} {done}")
    codes = {exit_code_of(outcome.error) for outcome in failures if outcome.error is not None}
    return codes.pop() if len(codes) == 1 else ExitCode.FAILURE if codes else ExitCode.OK


def _note_failures(failures: Sequence[Outcome]) -> None:
    for outcome in failures:
        note_failure(f"{printable(outcome.candidate.path)}: {_reason(outcome.error)}")


def _reason(error: TrafficStorageError | None) -> str:
    """Return the message of an error, without the field name `file`."""
    return str(error).removeprefix("file: ")
