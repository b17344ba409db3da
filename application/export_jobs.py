"""ExportJobs: exports and analyses that are made outside of a request, kept, and fetched later."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from attrs import frozen

from traffic_storage.application.export import Export, Piece, TableRequest, written
from traffic_storage.application.jobs import Jobs
from traffic_storage.application.package import MakePackage
from traffic_storage.application.worker import GivenUp, Handler, Outcome, Report
from traffic_storage.domain.amounts import counted
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import (
    IncompleteEvidence,
    InvalidInput,
    NotFound,
    StorageUnavailable,
    WrongState,
)
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import LIVE, Done, Job, JobKind, JobState, Priority, Progress, Run
from traffic_storage.domain.kept_exports import Asker, kept_name
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.tabular import ExportFormat, TableForm, columns_named
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.kept_exports import KeptExports

EXPORT = JobKind("export_violations")
PACKAGE = JobKind("export_package")
ANALYZE = JobKind("analyze")
KINDS = frozenset({EXPORT, PACKAGE, ANALYZE})

Analysis: TypeAlias = Callable[[Mapping[str, Json], Report], Coroutine[Any, Any, bytes]]
"""Makes an analysis from its arguments, as the JSON that the answer to a request would be."""


@frozen
class PackageRequest:
    """Which violations are packed, and what is demanded of them; see `MakePackage.open`."""

    violation_ids: Sequence[str]
    profile: str | None = None
    allow_incomplete: bool = False


@frozen
class MadeFile:
    """The file that a job has made.

    Attributes:
        file_name: the name for whoever fetches it.
        manifest_sha256: of an evidence package, the SHA-256 of its manifest; else None.
    """

    name: str
    file_name: str
    media_type: str
    size_bytes: int
    sha256: str
    manifest_sha256: str | None


class ExportJobs:
    """Starts and does the jobs that make a file, hands the files out, and removes them when old.

    A file is named after its job, so a job that runs again replaces it. It is kept for `keep` after
    it was made.

    `host` returns the store that a job needs, so that it is done where the folder of the files is.
    """

    def __init__(
        self,
        *,
        export: Export,
        make_package: MakePackage,
        analyses: Mapping[str, Analysis],
        kept: KeptExports,
        jobs: Jobs,
        clock: Clock,
        keep: timedelta,
        host: Callable[[], StoreId | None],
    ) -> None:
        self._export = export
        self._make_package = make_package
        self._analyses = analyses
        self._kept = kept
        self._jobs = jobs
        self._clock = clock
        self._keep = keep
        self._host = host

    @property
    def handlers(self) -> Mapping[JobKind, Handler]:
        """What does the jobs of each kind."""
        return {EXPORT: self.export, PACKAGE: self.package, ANALYZE: self.analyze}

    async def start_export(self, request: TableRequest, asker: Principal) -> Job:
        """Write the job that exports a table, and return it.

        Raises:
            InvalidInput: the format can't hold these columns, or needs a package that is not
                installed.
            CatalogueUnavailable: the database can't be reached.
        """
        await self._export.check(request)
        return await self._start(EXPORT, _of_table(request), asker)

    async def start_package(self, request: PackageRequest, asker: Principal) -> Job:
        """Write the job that makes an evidence package, and return it.

        Raises:
            Errors of `MakePackage.open`.
        """
        await self._make_package.open(
            request.violation_ids,
            asker,
            profile=request.profile,
            allow_incomplete=request.allow_incomplete,
        )
        arguments: dict[str, Json] = {
            "violation_ids": list(request.violation_ids),
            "profile": request.profile,
            "allow_incomplete": request.allow_incomplete,
        }
        return await self._start(PACKAGE, arguments, asker)

    async def start_analysis(
        self, name: str, arguments: Mapping[str, Json], asker: Principal
    ) -> Job:
        """Write the job that makes the analysis with this name, and return it.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        return await self._start(ANALYZE, {"analysis": name, **arguments}, asker)

    async def job(self, job_id: str, principal: Principal) -> Job:
        """Return a job of these kinds that this principal may fetch the file of.

        Raises:
            InvalidInput: the id is not a UUID.
            NotFound: there is no such job, or another one may fetch its file.
            WrongState: it is dead or cancelled.
            CatalogueUnavailable: the database can't be reached.
        """
        job = await self._jobs.job(job_id)
        if job.kind not in KINDS or not _asker_of(job).may_be_answered_to(principal):
            raise NotFound("export", job_id)
        if job.state not in LIVE and job.state is not JobState.DONE:
            why = f": {job.error}" if job.error else ""
            raise WrongState(f"the export {job_id} is {job.state}{why}", remedy="ask for it again")
        return job

    async def content(self, file: MadeFile) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file; the last of them when the digest of all was compared.

        Raises:
            NotFound: it is not kept any more, or not where this process looks.
            StorageUnavailable: it can't be read, or is not as it was made.
        """
        digest, held = sha256(), b""
        async with aclosing(self._kept.read(file.name)) as chunks:
            async for chunk in chunks:
                if held:
                    yield held
                digest.update(chunk)
                held = chunk
        if digest.hexdigest() != file.sha256:
            raise StorageUnavailable(
                f"the export {file.name} in {self._kept.location} is not as it was made",
                remedy="ask for it again",
            )
        if held:
            yield held

    async def remove_old(self) -> int:
        """Remove the files whose time has passed; return their number.

        Raises:
            StorageUnavailable: their place can't be reached.
        """
        return await self._kept.remove_before(self._clock.now() - self._keep)

    async def export(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `EXPORT`.

        Raises:
            GivenUp: the format can't hold these rows.
        """
        request = _table_of(run.arguments)
        what = request.format.media_type
        pieces = self._export.pieces(request)
        return await self._made(run, report, pieces, f"violations.{request.format}", what)

    async def package(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `PACKAGE`.

        Raises:
            GivenUp: a violation was deleted, or lacks what its profile demands.
        """
        arguments = run.arguments
        asker = _asked_by(arguments)
        try:
            package = await self._make_package.open(
                _texts(arguments["violation_ids"]),
                Principal(asker.name, devices=asker.devices),
                profile=_text(arguments["profile"]),
                allow_incomplete=bool(arguments["allow_incomplete"]),
            )
        except (InvalidInput, NotFound, IncompleteEvidence) as error:
            raise GivenUp(str(error)) from error
        total = sum(member.size_bytes for member in package.members)
        report(Progress(message=f"{counted(package.violations, 'violation')}, {total} bytes"))
        return await self._made(
            run,
            report,
            package.pieces(),
            "evidence.zip",
            "application/zip",
            {"violations": package.violations, "manifest_sha256": package.manifest_sha256},
        )

    async def analyze(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `ANALYZE`.

        Raises:
            GivenUp: there is no such analysis, or its arguments are wrong.
        """
        name = str(run.arguments["analysis"])
        if name not in self._analyses:
            raise GivenUp(f"there is no analysis {name!r}")
        try:
            made = await self._analyses[name](run.arguments, report)
        except InvalidInput as error:
            raise GivenUp(str(error)) from error
        return await self._made(run, report, _one(made), f"{name}.json", "application/json")

    async def _start(
        self, kind: JobKind, arguments: Mapping[str, Json], principal: Principal
    ) -> Job:
        asker = Asker.of(principal)
        return await self._jobs.start(
            kind,
            {"by": asker.name, "devices": list(asker.devices), **arguments},
            store_id=self._host(),
            priority=Priority.NORMAL,
        )

    async def _made(
        self,
        run: Run,
        report: Report,
        pieces: AsyncGenerator[Piece, None],
        file_name: str,
        media_type: str,
        more: Mapping[str, Json] | None = None,
    ) -> Outcome:
        name = kept_name(run.job_id, file_name.rpartition(".")[2])
        place = f"{self._kept.location}/{name}"
        try:
            done = await written(self._kept.open(name), place, _told(pieces, report))
        except (InvalidInput, NotFound) as error:
            raise GivenUp(str(error)) from error
        result: dict[str, Json] = {
            "location": place,
            "name": name,
            "file_name": file_name,
            "media_type": media_type,
            "rows": done.rows,
            "bytes": done.size_bytes,
            "sha256": done.sha256,
            **(more or {}),
        }
        return Outcome(Done(Progress(done.rows, done.rows, done.size_bytes), result))


def made_file(job: Job) -> MadeFile | None:
    """Return the file that a job has made; None while it is not done."""
    result = job.result
    if result is None:
        return None
    return MadeFile(
        str(result["name"]),
        str(result["file_name"]),
        str(result["media_type"]),
        int(str(result["bytes"])),
        str(result["sha256"]),
        _text(result.get("manifest_sha256")),
    )


async def _told(pieces: AsyncGenerator[Piece, None], report: Report) -> AsyncGenerator[Piece, None]:
    """Yield the pieces, and report how many rows and bytes they have."""
    rows = size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
            rows += piece.rows
            size += len(piece.data)
            report(Progress(rows, bytes=size))


async def _one(data: bytes) -> AsyncGenerator[Piece, None]:
    yield Piece(data)


def _of_table(request: TableRequest) -> Mapping[str, Json]:
    query, form = request.query, request.form
    return {
        "format": request.format.value,
        "device_id": query.device_id,
        "violation_type": query.violation_type,
        "start": None if query.start_time is None else query.start_time.isoformat(),
        "end": None if query.end_time is None else query.end_time.isoformat(),
        "columns": [column.name for column in request.columns],
        "zone": form.zone.key,
        "decimal": form.decimal,
        "neutralise": form.neutralise,
    }


def _table_of(arguments: Mapping[str, Json]) -> TableRequest:
    start, end = _text(arguments["start"]), _text(arguments["end"])
    return TableRequest(
        ExportFormat(str(arguments["format"])),
        ViolationQuery(
            device_id=_text(arguments["device_id"]),
            violation_type=_text(arguments["violation_type"]),
            start_time=None if start is None else datetime.fromisoformat(start),
            end_time=None if end is None else datetime.fromisoformat(end),
        ),
        columns_named(_texts(arguments["columns"])),
        TableForm(
            ZoneInfo(str(arguments["zone"])),
            "," if arguments["decimal"] == "," else ".",
            neutralise=bool(arguments["neutralise"]),
        ),
    )


def _asked_by(arguments: Mapping[str, Json]) -> Asker:
    return Asker(str(arguments["by"]), tuple(_texts(arguments["devices"])))


def _asker_of(job: Job) -> Asker:
    return _asked_by(job.arguments)


def _text(value: Json) -> str | None:
    return None if value is None else str(value)


def _texts(value: Json) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
