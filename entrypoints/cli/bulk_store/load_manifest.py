"""Stores what a manifest names, batch by batch; tells how far it came when it is interrupted."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from attrs import define, evolve, field, fields_dict, frozen

from traffic_storage.application.store_many import Item, ItemOutcome, ViolationItem
from traffic_storage.domain.errors import InvalidInput, TrafficStorageError
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.cli.bulk_store import StoreRequest
from traffic_storage.entrypoints.cli.bulk_store.manifest import ManifestRow, rows_in
from traffic_storage.entrypoints.cli.bulk_store.manifest_items import RowDefaults, item_of
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import note, note_failure, printable, say, say_json
from traffic_storage.entrypoints.cli.progress import FileBar
from traffic_storage.entrypoints.cli.session import Session, opened
from traffic_storage.entrypoints.settings import StorageConfig

if TYPE_CHECKING:
    from traffic_storage.application.store_many import StoreMany
    from traffic_storage.entrypoints.cli.bulk_store.rehearsal import Rehearse


@frozen
class ManifestRequest:
    """What is to be stored: a manifest from a line on, and the options, which hold for all its rows."""

    manifest: Path
    from_line: int
    options: StoreRequest

    @classmethod
    def of(
        cls, manifest: Path | None, paths: Sequence[Path], from_line: int, options: StoreRequest
    ) -> "ManifestRequest":
        """Return a request, checked.

        Raises:
            InvalidInput: options contradict each other.
        """
        if manifest is None:
            raise InvalidInput.of("from_line", "is given without --manifest", "give a manifest")
        if paths:
            raise InvalidInput.of(
                "manifest",
                "is given with paths",
                "give only one of them: a manifest names its files",
            )
        if options.attributes.file_id is not None:
            raise InvalidInput.of(
                "file_id", "can't name all rows of a manifest", "give each row an id of its own"
            )
        return cls(manifest, from_line, options)

    def defaults(self, settings: StorageConfig) -> RowDefaults:
        """Return what holds for rows that do not say otherwise."""
        return RowDefaults(
            self.manifest.parent,
            self.options.kind,
            self.options.attributes,
            self.options.pattern,
            accept_damaged_video=self.options.accept_damaged_video,
            most_metadata_bytes=settings.max_metadata_bytes,
        )


@define
class _Report:
    """Tells of each row what became of it, and counts; `line` is the last row that was told."""

    request: ManifestRequest
    total: int
    bar: FileBar
    done: int = 0
    line: int = 0
    counts: Counter[str] = field(factory=Counter)
    codes: set[ExitCode] = field(factory=set)

    def tell(self, line: int, ids: dict[str, object], word: str, added: Sequence[str] = ()) -> None:
        """Tell of a row that is stored, known, or ready to be stored; `added` are labels."""
        self._count(line, word)
        if self.request.options.json:
            labels = {"labels_added": [*added]} if added else {}
            say_json({"line": line, "result": word, **ids, **labels, "error": None})
        else:
            shown = " ".join(str(one) for one in ids.values() if isinstance(one, str))
            labels_shown = f"; added {', '.join(added)}" if added else ""
            say(f"{self._at(line)}: {word}{f' {shown}' if shown else ''}{labels_shown}")

    def refuse(self, line: int, error: TrafficStorageError) -> None:
        """Tell of a row that is refused, and why."""
        self._count(line, "refused")
        self.codes.add(exit_code_of(error))
        reason = str(error).removeprefix("file: ")
        if self.request.options.json:
            say_json({"line": line, "result": "refused", "error": reason})
        note_failure(f"{self._at(line)}: {reason}")

    def conclude(self, *, is_complete: bool) -> ExitCode:
        """Tell the counts; return the exit code."""
        words = ("ready", "stored", "known", "refused")
        told = {word: self.counts[word] for word in words if word != "ready" or self.counts[word]}
        if self.request.options.json:
            manifest = str(self.request.manifest)
            say_json({"manifest": manifest, "complete": is_complete, **told})
        shown = ", ".join(f"{count} {word}" for word, count in told.items())
        note(f"{self.done} of {self.total} rows are done: {shown}")
        if not is_complete:
            note(
                f"stopped behind line {self.line}: give --from-line {self.line + 1} to go on there, or "
                "repeat the command; what is stored is known then"
                if self.line
                else "no row is known to be stored; repeat the command"
            )
        if len(self.codes) == 1:
            return next(iter(self.codes))
        return ExitCode.FAILURE if self.codes else ExitCode.OK

    def _count(self, line: int, word: str) -> None:
        self.line = line
        self.done += 1
        self.counts[word] += 1
        self.bar.show(Progress(self.done, self.total))

    def _at(self, line: int) -> str:
        return f"{printable(self.request.manifest)}:{line}"


class _Lines:
    """The lines of the rows that were taken, until their outcomes come, which are in this order."""

    def __init__(self, report: _Report) -> None:
        self._report = report
        self._lines: deque[tuple[int, Item | None]] = deque()

    def add(self, line: int, item: Item | None) -> None:
        """Note the line of the row that is taken next."""
        self._lines.append((line, item))

    def tell(self, outcomes: Sequence[ItemOutcome]) -> None:
        """Tell what became of rows."""
        for one in outcomes:
            line, item = self._lines.popleft()
            if one.error is not None:
                self._report.refuse(line, one.error)
            elif one.stored is not None and item is not None:
                word = "stored" if one.stored.created else "known"
                added = [name for names in one.stored.labels_added.values() for name in names]
                self._report.tell(line, _ids_of(item, one), word, added)


async def store_manifest(request: ManifestRequest, session: Session) -> ExitCode:
    """Store the rows of a manifest; return the exit code."""
    total = _total(request)
    settings = session.settings()
    container = session.container(settings)
    async with opened(container):
        with FileBar("storing") as bar:
            report = _Report(request, total, bar)
            try:
                await _store_rows(container.store_many(), report, request.defaults(settings))
            except BaseException:
                # Also when Ctrl-C cancels this: it says how far it came.
                report.conclude(is_complete=False)
                raise
        return report.conclude(is_complete=True)


async def preview_manifest(request: ManifestRequest, session: Session) -> ExitCode:
    """Refuse what storing would refuse; store nothing.

    The store and the catalogue are asked if there are any, and not made. Files are spooled into a
    temporary folder, which has a catalogue of its own for the checks of records.
    """
    from traffic_storage.entrypoints.base_path import check_base_path
    from traffic_storage.entrypoints.cli.bulk_store.rehearsal import rehearsing

    total = _total(request)
    settings = session.settings()
    check_base_path(settings, make=False)
    with TemporaryDirectory(prefix="traffic-storage-") as folder:
        container = session.container(_apart(settings, Path(folder)))
        async with opened(container), rehearsing(session, settings) as rehearse:
            with FileBar("checking") as bar:
                report = _Report(request, total, bar)
                check = _Check(container.store_many(), rehearse, report, request.defaults(settings))
                for row in _rows(request):
                    await check(row)
            return report.conclude(is_complete=True)


async def _store_rows(store_many: "StoreMany", report: _Report, defaults: RowDefaults) -> None:
    load, lines = store_many.begin(), _Lines(report)
    try:
        for row in _rows(report.request):
            try:
                item = item_of(row, defaults)
            except TrafficStorageError as error:
                lines.add(row.line, None)
                lines.tell(await load.refuse(error))
            else:
                lines.add(row.line, item)
                lines.tell(await load.add(item))
        lines.tell(await load.finish())
    finally:
        lines.tell(await load.aclose())


@frozen
class _Check:
    """Tells of a row whether it would be stored, or is known, or why it would be refused."""

    store_many: "StoreMany"
    rehearse: "Rehearse"
    report: _Report
    defaults: RowDefaults

    async def __call__(self, row: ManifestRow) -> None:
        try:
            word = await self._word(item_of(row, self.defaults))
        except TrafficStorageError as error:
            self.report.refuse(row.line, error)
        else:
            self.report.tell(row.line, {}, word)

    async def _word(self, item: Item) -> str:
        async with AsyncExitStack() as bodies:
            prepared = await self.store_many.prepared(item, bodies)
            if isinstance(prepared, TrafficStorageError):
                raise prepared
            return "ready" if await self.rehearse(prepared) else "known"


def _rows(request: ManifestRequest) -> Iterator[ManifestRow]:
    return (row for row in rows_in(request.manifest) if row.line >= request.from_line)


def _ids_of(item: Item, outcome: ItemOutcome) -> dict[str, object]:
    files = [] if outcome.unit is None else [draft.file_id for draft in outcome.unit.drafts]
    if isinstance(item, ViolationItem):
        return {"violation_id": item.record.violation_id, "file_ids": files}
    return {"file_id": files[0] if files else None}


def _total(request: ManifestRequest) -> int:
    """Read the whole manifest, and return the number of rows to be stored.

    Raises:
        InvalidInput: it is no manifest, or has no row.
    """
    total = sum(1 for _ in _rows(request))
    if not total:
        message = (
            "has no row" if request.from_line == 1 else f"has no row from line {request.from_line}"
        )
        raise InvalidInput.of("manifest", message, "give a manifest with rows")
    return total


def _apart(settings: StorageConfig, folder: Path) -> StorageConfig:
    """Return settings with the same limits and checks, and with everything else in a folder."""
    usual = StorageConfig()
    servers = {
        name: getattr(usual, name)
        for name in fields_dict(StorageConfig)
        if name.startswith(("db_", "s3_", "redis_"))
    }
    return evolve(settings, **servers, local_base_path=folder, strategy=StorageStrategy.LOCAL_ONLY)
