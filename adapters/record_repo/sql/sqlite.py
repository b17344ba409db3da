"""The driver for SQLite: one file, a thread that writes and a thread that reads.

It uses `sqlite3` in threads of its own instead of aiosqlite: a group of writes is one thread switch
from BEGIN to COMMIT, whereas aiosqlite switches for each statement. Rows become values on the event
loop, while the thread reads the next page. Several processes may use the file concurrently.
"""

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar, cast
from urllib.parse import quote

from attrs import field, frozen
from sqlalchemy import StaticPool, create_engine
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteDialect
from sqlalchemy.sql.selectable import FromClause

from traffic_storage.adapters.files.owners import give_new, make_folder
from traffic_storage.adapters.record_repo.sql import (
    migrations,
    sqlite_backup,
    sqlite_unwritable,
)
from traffic_storage.adapters.record_repo.sql.ballast import Ballast
from traffic_storage.adapters.record_repo.sql.driver import (
    Driver,
    MomentReader,
    Refused,
    Step,
    Write,
    merged,
    recording,
)
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.rows import Row
from traffic_storage.adapters.record_repo.sql.sqlite_errors import (
    code_of,
    full,
    is_full,
    is_read_only,
    translated,
    translating,
)
from traffic_storage.adapters.record_repo.sql.sqlite_unwritable import FileState, disk_is_full
from traffic_storage.adapters.record_repo.sql.statement import Args, CompiledText, Statement
from traffic_storage.adapters.record_repo.sql.statements import IS_UNWRITABLE
from traffic_storage.adapters.threads.batches import BatchPatience, Job, Worker
from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.database_backup import DatabaseForm, DatabaseKind, Loading
from traffic_storage.domain.errors import StorageFull
from traffic_storage.ports.database_backup import Write as WriteBytes
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

T = TypeVar("T")


class _Compiler(SQLiteCompiler):
    """Renders the hint of a table (`INDEXED BY …`), which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:  # noqa: ARG002
        return text


DIALECT = SQLiteDialect(paramstyle="qmark")
DIALECT.statement_compiler = _Compiler
MOST_WRITES = 128
# Each wake-up of the event loop takes the interpreter lock from the thread that reads, so the thread
# passes several answers at a time. With more, the first answers would wait for the last.
MOST_READS = 8
_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY", "cache_size=-16384")
_PAUSE_SECONDS = 0.02
_STEPS_BETWEEN_CHECKS = 10_000
"""Steps of SQLite's virtual machine, about a millisecond; a page of 100 rows takes 3,000."""
_HANGING_REMEDY = "check the disk (a slow one needs a higher disk_timeout_seconds)"
_REFUSALS = (
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
)
_log = logging.getLogger("traffic_storage.catalogue")


@frozen
class SqliteSettings:
    """The path of the database file, its timeouts and the reserved disk space.

    `timeout_seconds` is how long another process may keep the file locked, `read_seconds` how long
    one read may compute, and `disk_seconds` how much longer than these the disk may take with one
    read or one group of writes; then nobody waits for it. `ballast_bytes` is the size of a second file, which reserves disk space and
    is deleted when the disk is full, so that rows can be deleted; 0 means no such file. Copies of the
    database are made in the folder `spool`; None: beside it.
    """

    path: Path = field(converter=Path)
    timeout_seconds: float = 5.0
    read_seconds: float = 2.0
    disk_seconds: float = 5.0
    ballast_bytes: int = 4 * 1024 * 1024
    spool: Path | None = None

    @property
    def copies(self) -> Path:
        """The folder in which copies are made."""
        return self.spool or self.path.absolute().parent


def sqlite_repo(settings: SqliteSettings) -> SqlRecordRepo:
    """Return a catalogue in a SQLite file, which is opened at the first use."""
    return SqlRecordRepo(SqliteDriver(settings))


@frozen
class _Reading:
    """A queued query: its SQL text, and the arguments of each execution."""

    text: CompiledText
    executions: Sequence[Args]


@frozen
class _Copying:
    """A queued copy of the database, into a folder."""

    folder: Path


class SqliteDriver(Driver):
    """Runs statements in two threads, one for reads and one for writes, with a connection each."""

    def __init__(self, settings: SqliteSettings) -> None:
        self._settings = settings
        writer, reader = _Writer(settings), _Reader(settings)
        path, wait = settings.path, settings.timeout_seconds + settings.disk_seconds
        hanging = partial(_hanging, path)
        self._writing = Worker(
            "catalogue-writer",
            writer.run,
            writer.close,
            most=MOST_WRITES,
            patience=BatchPatience(wait, partial(_unknown, path), hanging),
        )
        self._reading = Worker(
            "catalogue-reader",
            reader.run,
            reader.close,
            most=MOST_READS,
            patience=BatchPatience(wait + settings.read_seconds, hanging, hanging),
        )

    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        found = await self._reading.do(_Reading(statement.text(DIALECT), executions))
        return cast("Sequence[Row]", found)

    @asynccontextmanager
    async def at_one_moment(self) -> AsyncIterator[MomentReader]:
        reader = _Reader(self._settings, at_one_moment=True)
        worker = Worker("catalogue-moment", reader.run, reader.close, most=MOST_READS)
        try:
            yield _Moment(worker, self._settings)
        finally:
            await worker.aclose()

    @property
    def form(self) -> DatabaseForm:
        return DatabaseForm(DatabaseKind.SQLITE, migrations.HEAD)

    async def is_blank(self) -> bool:
        return await self._in_own_thread(_is_blank)

    async def load(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        threads = Threads(1, "catalogue-load")
        path = self._settings.path
        try:
            with translating(path), sqlite_backup.folder_of_copy(self._settings.copies) as folder:
                copy = folder / "copy"
                await _spooled(chunks, copy, threads)
                # A connection of ours would keep the file locked.
                await self._reading.aclose()
                await self._writing.aclose()
                await threads.run(_load, copy, self._settings, loading)
        finally:
            await threads.aclose()

    async def write(self, write: Write) -> None:
        await self._writing.do(write)

    async def upgrade(self, *, slow: bool) -> None:
        """Apply pending migrations. If the file is missing, create it, readable by this user only."""
        await self._in_own_thread(partial(_upgrade, slow=slow))

    async def version(self) -> str | None:
        return await self._in_own_thread(_version_of_file)

    async def aclose(self) -> None:
        # The reader closes first: the last connection to close copies the log into the file.
        await self._reading.aclose()
        await self._writing.aclose()

    async def _in_own_thread(self, work: Callable[[SqliteSettings], T]) -> T:
        """Run `work` in a thread that ends afterwards; return its result."""

        def run(jobs: Sequence[Job[SqliteSettings]]) -> None:
            for job in jobs:
                with translating(job.payload.path):
                    job.result = work(job.payload)

        worker = Worker("catalogue-upgrade", run, lambda: None, most=1)
        try:
            return cast("T", await worker.do(self._settings))
        finally:
            await worker.aclose()


class _Moment(MomentReader):
    """Reads in a thread with one transaction."""

    def __init__(self, worker: Worker[_Reading | _Copying], settings: SqliteSettings) -> None:
        self._worker = worker
        self._settings = settings

    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        found = await self._worker.do(_Reading(statement.text(DIALECT), executions))
        return cast("Sequence[Row]", found)

    async def copy_database(self, write: WriteBytes) -> DatabaseForm:
        threads = Threads(1, "catalogue-copy")
        try:
            with (
                translating(self._settings.path),
                sqlite_backup.folder_of_copy(self._settings.copies) as folder,
            ):
                copy = cast("Path", await self._worker.do(_Copying(folder)))
                with await threads.run(copy.open, "rb") as file:
                    while chunk := await threads.run(file.read, sqlite_backup.CHUNK_BYTES):
                        await write(chunk)
        finally:
            await threads.aclose()
        return DatabaseForm(DatabaseKind.SQLITE, migrations.HEAD)


class _File:
    """The database file and a connection to it, which is opened when needed.

    `only_read`: the file is opened even if it can't be written.
    """

    def __init__(self, settings: SqliteSettings, *, only_read: bool) -> None:
        self._settings = settings
        self._only_read = only_read
        self._opened: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._unwritten: FileState | None = None

    def connection(self) -> sqlite3.Connection:
        """Return the connection to the database file; open it if it is closed.

        Raises:
            CatalogueUnavailable: the file was removed or replaced since it was first opened.
            StorageFull: the disk is too full to open it.
        """
        path = self._settings.path
        found = _identity(path)
        if self._identity not in (None, found):
            # Further writes to the old file would be acknowledged and lost.
            self.close()
            raise CatalogueUnavailable(
                f"the catalogue {path} was removed or replaced while in use",
                remedy="put the file back, or restart the service to use the new one",
            )
        if self.was_written:
            self.close()
        if self._opened is None:
            self._opened, self._unwritten = self._open()
            self._identity = found
        return self._opened

    @property
    def was_written(self) -> bool:
        """Whether a file that was opened as one that nobody writes has changed since."""
        return self._unwritten is not None and self._unwritten != FileState.of(self._settings.path)

    def close(self) -> None:
        """Close the connection to the database file; the next use opens a new one."""
        opened, self._opened, self._unwritten = self._opened, None, None
        if opened is not None:
            opened.close()

    def _open(self) -> tuple[sqlite3.Connection, FileState | None]:
        if self._only_read:
            return _open_to_read(self._settings)
        return _open_in_released_space(self._settings), None


class _Reader:
    """Runs the queued reads, in a thread of its own; `at_one_moment`: in one transaction."""

    def __init__(self, settings: SqliteSettings, *, at_one_moment: bool = False) -> None:
        self._at_one_moment = at_one_moment
        self._has_begun = False
        self._path = settings.path
        self._seconds = settings.read_seconds
        self._deadline = monotonic()
        self._file = _File(settings, only_read=True)

    def run(self, jobs: Sequence[Job[_Reading | _Copying]]) -> None:
        """Run each read and set its result."""
        for job in jobs:
            if not job.abandoned:
                job.begun_at = monotonic()
                try:
                    job.result = self._done(job.payload)
                except Exception as error:  # noqa: BLE001 - passed to the waiting caller
                    job.error = self._failure(error)

    def close(self) -> None:
        """Close the connection to the database file."""
        self._file.close()

    def _done(self, payload: _Reading | _Copying) -> object:
        return self._copy(payload) if isinstance(payload, _Copying) else self._read(payload)

    def _copy(self, copying: _Copying) -> Path:
        connection = self._connection()
        connection.set_progress_handler(None, 0)
        copy = sqlite_backup.copied(connection, self._path, copying.folder)
        try:
            self._check_unwritten()
        except CatalogueUnavailable:
            copy.unlink(missing_ok=True)
            raise
        return copy

    def _read(self, reading: _Reading) -> Sequence[Row]:
        connection = self._connection()
        self._deadline = monotonic() + self._seconds
        connection.set_progress_handler(self._is_late, _STEPS_BETWEEN_CHECKS)
        rows: list[Row] = []
        for args in reading.executions:
            rows += connection.execute(reading.text.sql, reading.text.arrange(args)).fetchall()
        self._check_unwritten()
        return rows

    def _check_unwritten(self) -> None:
        if self._file.was_written:
            raise CatalogueUnavailable(
                f"the catalogue {self._path} was written to while it was read", remedy="try again"
            )

    def _connection(self) -> sqlite3.Connection:
        connection = self._file.connection()
        if self._at_one_moment and not connection.in_transaction:
            if self._has_begun:
                raise CatalogueUnavailable(
                    f"the catalogue {self._path} was closed while its rows were read",
                    remedy="try again",
                )
            connection.execute("BEGIN")
            self._has_begun = True
        return connection

    def _is_late(self) -> bool:
        """Return whether the deadline has passed, so that SQLite must interrupt the read."""
        return monotonic() > self._deadline

    def _failure(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        if code_of(error) == sqlite3.SQLITE_INTERRUPT:
            return _caused_by(error, _too_slow(self._path, self._seconds))
        self._file.close()
        return _caused_by(error, translated(error, self._path))


def _too_slow(path: Path, seconds: float) -> CatalogueUnavailable:
    return CatalogueUnavailable(
        f"the catalogue {path}: a read took longer than {seconds:g} s",
        remedy="request smaller pages or a narrower filter, or raise db_timeout_seconds",
    )


def _hanging(path: Path) -> CatalogueUnavailable:
    return CatalogueUnavailable(
        f"the disk of the catalogue {path} does not answer", remedy=_HANGING_REMEDY
    )


def _unknown(path: Path) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the disk of the catalogue {path} does not answer, and it is unknown whether it will keep "
        "what was written to it",
        remedy=f"{_HANGING_REMEDY}, then send the request again: it is recognised if it was written",
    )


class _CommitFailed(Exception):
    """COMMIT raised an error, so it is unknown whether the transaction was committed."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


class _Writer:
    """Runs the queued writes as one transaction, in a thread of its own."""

    def __init__(self, settings: SqliteSettings) -> None:
        self._path = settings.path
        self._file = _File(settings, only_read=False)
        self._ballast = _ballast(settings)

    def run(self, jobs: Sequence[Job[Write]]) -> None:
        """Run all writes. A write that fails does not affect the others."""
        live = self._runnable([job for job in jobs if not job.abandoned])
        try:
            self._run_until_known(live)
        except StorageFull as full:
            _fail([job for job in live if job.payload.grows], full)
            self._run_in_released_space([job for job in live if not job.payload.grows])
        except Exception as error:  # noqa: BLE001 - passed to the waiting caller
            _fail(live, error)

    def close(self) -> None:
        """Close the connection to the database file."""
        self._file.close()

    def _runnable(self, jobs: list[Job[Write]]) -> list[Job[Write]]:
        """Return the writes to run: all, or on a full disk only those that free space.

        The disk is full if the file that reserves space (ballast) can't be created. The other
        writes then fail.
        """
        if self._ballast.reserve():
            return jobs
        growing = [job for job in jobs if job.payload.grows]
        _fail(growing, full(self._path))
        return [job for job in jobs if not job.payload.grows]

    def _run_in_released_space(self, jobs: Sequence[Job[Write]]) -> None:
        """Delete the file that reserves disk space (ballast), and run the writes that free space."""
        self._ballast.release()
        _log.warning(
            "the disk of the catalogue %s is full: the file that reserves disk space was deleted, so "
            "that rows can be deleted; free space on this disk",
            self._path,
        )
        try:
            self._run_until_known(jobs)
        except Exception as error:  # noqa: BLE001 - passed to the waiting caller
            _fail(jobs, error)

    def _run_until_known(self, jobs: Sequence[Job[Write]]) -> None:
        """Run a group of writes; if the outcome of the commit is unknown, run it once more."""
        if not jobs:
            return
        with translating(self._path):
            try:
                self._transact(jobs, repeated=False)
            except _CommitFailed as failed:
                self._again(jobs, failed)
            except sqlite3.Error:
                self._file.close()
                raise

    def _again(self, jobs: Sequence[Job[Write]], failed: _CommitFailed) -> None:
        """Repeat a group of writes whose commit failed: each write detects whether it had happened."""
        self._file.close()
        if is_full(failed.error):
            raise failed.error
        try:
            self._transact(jobs, repeated=True)
        except (_CommitFailed, sqlite3.Error, CatalogueUnavailable) as error:
            self._file.close()
            raise OutcomeUnknown(
                f"the catalogue {self._path} failed during a commit, and it is unknown whether the "
                f"commit happened: {failed.error}",
                remedy="check the disk, then send the request again: it is recognised if the commit "
                "happened",
            ) from error

    def _transact(self, jobs: Sequence[Job[Write]], *, repeated: bool) -> None:
        connection = self._file.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            refusals = [(job, self._one(connection, job.payload)) for job in jobs]
            for step in recording([job.payload for job, refusal in refusals if refusal is None]):
                _run(connection, step)
        except BaseException:
            _roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # A rollback that fails too can be ignored, because the connection is closed next.
            with suppress(sqlite3.Error):
                _roll_back(connection)
            raise _CommitFailed(error) from error
        for job, refusal in refusals:
            job.error = refusal
            if isinstance(refusal, Refused):
                refusal.repeated = repeated

    def _one(self, connection: sqlite3.Connection, write: Write) -> Exception | None:
        """Run one write within the group's transaction. Return why it was rolled back, or None."""
        connection.execute("SAVEPOINT one")
        refusal: Exception | None = None
        try:
            for step in merged([write]):
                _run(connection, step)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and translated(error, self._path):
                raise
            connection.execute("ROLLBACK TO one")
            refusal = error
        connection.execute("RELEASE one")
        return refusal


def _run(connection: sqlite3.Connection, step: Step) -> None:
    text = step.statement.text(DIALECT)
    try:
        if len(step.rows) == 1:
            cursor = connection.execute(text.sql, text.arrange(step.rows[0]))
        else:
            cursor = connection.executemany(text.sql, text.all(step.rows))
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode in _REFUSALS:
            dangling = error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
            raise Refused(step.statement, dangling=dangling) from error
        raise
    if step.expects is not None and cursor.rowcount != step.expects:
        raise Refused(step.statement)


def _roll_back(connection: sqlite3.Connection) -> None:
    # After some errors SQLite has rolled back already.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _fail(jobs: Sequence[Job[Any]], error: Exception) -> None:
    for job in jobs:
        job.error = error


def _caused_by(cause: Exception, error: Exception | None) -> Exception:
    if error is None:
        return cause
    error.__cause__ = cause
    return error


def _ballast(settings: SqliteSettings) -> Ballast:
    return Ballast(settings.path.with_name(f"{settings.path.name}-ballast"), settings.ballast_bytes)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open(settings: SqliteSettings) -> sqlite3.Connection:
    """Open the database file, which must exist, with a write-ahead log and a flush per commit."""
    connection = sqlite3.connect(
        f"file:{quote(str(settings.path))}?mode=rw",
        uri=True,
        timeout=settings.timeout_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        _use_log(connection, settings)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_in_released_space(settings: SqliteSettings) -> sqlite3.Connection:
    """Open the database file; on a full disk, delete the file that reserves space for that.

    Raises:
        StorageFull: the disk is too full nevertheless.
    """
    try:
        return _open(settings)
    except sqlite3.Error as error:
        # Even a reader needs a few kilobytes beside the file.
        if not disk_is_full(settings.path):
            raise
        ballast = _ballast(settings)
        if not ballast.is_reserved:
            raise full(settings.path) from error
        ballast.release()
    return _open(settings)


def _open_to_read(settings: SqliteSettings) -> tuple[sqlite3.Connection, FileState | None]:
    """Open the database file, also if it can't be written; then return its state too.

    The connection has the function `IS_UNWRITABLE`.
    """
    connection, state = _opened_to_read(settings)
    connection.create_function(IS_UNWRITABLE, 0, lambda: is_read_only(settings.path))
    return connection, state


def _opened_to_read(settings: SqliteSettings) -> tuple[sqlite3.Connection, FileState | None]:
    try:
        return _open_in_released_space(settings), None
    except (sqlite3.Error, StorageFull):
        state = FileState.of(settings.path)
        opened = sqlite_unwritable.opened(settings.path, settings.timeout_seconds)
        if opened is None:
            raise
        return opened, state


def _use_log(connection: sqlite3.Connection, settings: SqliteSettings) -> None:
    """Switch the file to a write-ahead log. Retry if SQLite refuses one of concurrent switches."""
    deadline = monotonic() + settings.timeout_seconds
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            sleep(_PAUSE_SECONDS)
            continue
        if mode != "wal":
            raise CatalogueUnavailable(
                f"the file system of the catalogue {settings.path} does not support SQLite's "
                "write-ahead log, which needs shared memory",
                remedy="put local_base_path on a disk of this host",
            )
        return


def _upgrade(settings: SqliteSettings, *, slow: bool) -> None:
    _make_file(settings.path)
    with closing(_open_to_read(settings)[0]) as connection:
        found = _version(connection)
        migrations.refuse_newer(found)
        if not slow:
            migrations.refuse_slow(found)
    if found != migrations.HEAD:
        with closing(_open_in_released_space(settings)) as connection:
            _migrate(connection)
    _ballast(settings).reserve()


def _migrate(connection: sqlite3.Connection) -> None:
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    with engine.begin() as joined:
        # Neither SQLAlchemy nor this connection begins a transaction by itself. IMMEDIATE makes
        # every other writer wait until the end of the migration.
        joined.exec_driver_sql("BEGIN IMMEDIATE")
        migrations.upgrade(joined, _version(connection))


def _version_of_file(settings: SqliteSettings) -> str | None:
    if not settings.path.exists():
        return None
    with closing(_open_to_read(settings)[0]) as connection:
        return _version(connection)


def _is_blank(settings: SqliteSettings) -> bool:
    if not settings.path.exists():
        return True
    with closing(_open_to_read(settings)[0]) as connection:
        return not sqlite_backup.is_used_in(connection, _execute)


async def _spooled(chunks: AsyncIterator[bytes], path: Path, threads: Threads) -> None:
    with path.open("xb") as file:
        async for chunk in chunks:
            await threads.run(file.write, chunk)


def _load(copy: Path, settings: SqliteSettings, loading: Loading) -> None:
    sqlite_backup.check(copy)
    sqlite_backup.prepare(copy, loading, _execute)
    _make_file(settings.path)
    sqlite_backup.load(copy, settings.path, _execute)


def _execute(connection: sqlite3.Connection, statement: Statement, args: Args) -> sqlite3.Cursor:
    text = statement.text(DIALECT)
    return connection.execute(text.sql, text.arrange(args))


def _version(connection: sqlite3.Connection) -> str | None:
    try:
        row = connection.execute(migrations.CURRENT).fetchone()
    except sqlite3.OperationalError as error:
        if str(error).startswith("no such table"):
            return None
        raise
    return str(row[0]) if row else None


def _make_file(path: Path) -> None:
    """Create an empty database file that only this user can read, and its folders, durably."""
    make_folder(path.absolute().parent, durable=True)
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # SQLite itself gives the files beside it to the owner of this one.
            give_new(descriptor, path)
        finally:
            os.close(descriptor)
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
