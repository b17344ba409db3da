"""SqliteBlobStore: all blobs in one SQLite file. A guide to writing an adapter.

The ports (`traffic_storage.ports.blob_store` and `store_identity`) define what an adapter promises.
This adapter keeps the promises as follows:

* The constructor opens nothing. SQLite blocks, so every call runs on a thread of the store. The
  store waits for the call to end even if its caller is cancelled (`_Lane`).
* One transaction writes one blob, so a crash never leaves a part of a blob. The transaction checks
  the deadline again before it commits, when no other connection can write.
* The adapter trusts no recorded size: it sums the sizes of the stored segments. It checks all bytes
  with `traffic_storage.domain.verification` before it returns them.
* One function translates SQLite's errors into those of the ports (`_translated`). Errors that
  indicate a bug pass through unchanged.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from traffic_storage.domain.digests import SEGMENT_BYTES, Digester, Digests
from traffic_storage.domain.errors import InvalidInput, TrafficStorageError
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import (
    Segment,
    Span,
    check_key,
    check_segment,
    check_size,
    check_span,
    check_whole,
    check_witnesses,
    chunks_of,
    part_of_segment,
    segments_of,
)
from traffic_storage.ports.blob_store import BlobEntry, BlobHead, KeptVersion, Room
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    DeadlinePassed,
    StorageFull,
    StorageUnavailable,
)
from traffic_storage.ports.spool import Body, MemoryBody
from traffic_storage.ports.store_identity import MarkedBlobStore

T = TypeVar("T")

# With WAL and FULL, a commit is durable when it returns. Segments are those of `Digests`.
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS blobs (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    manifest TEXT NOT NULL,
    written_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (
    blob INTEGER NOT NULL REFERENCES blobs ON DELETE CASCADE,
    number INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (blob, number)
);
CREATE VIEW IF NOT EXISTS sized AS
    SELECT *, (SELECT coalesce(sum(length(bytes)), 0) FROM segments WHERE blob = id) AS size_bytes
    FROM blobs;
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, text BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS marker (only INTEGER PRIMARY KEY CHECK (only = 1), text TEXT NOT NULL);
"""
_PAGE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqliteBlobStore(MarkedBlobStore):
    """Keeps blobs in the SQLite file `path`. The first call creates the file; its folder must exist.

    SQLite keeps the files `-wal` and `-shm` beside it while it is open.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path.absolute()
        self._clock = clock
        self._writing = _Lane(self._path)
        self._reading = _Lane(self._path)

    @property
    def path(self) -> Path:
        """The SQLite file, as an absolute path."""
        return self._path

    @property
    def tier(self) -> Tier:
        return Tier.LOCAL

    @property
    def location(self) -> str:
        return str(self._path)

    def unavailable_reason(self) -> str:
        """Return the empty string: every call tries the file again."""
        return ""

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        check_key(key)
        await self._writing.run(lambda db: self._put(db, key, body, manifest, deadline))

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        check_key(key)
        return await self._reading.run(lambda db: _read(db, key, digests))

    async def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        check_key(key)
        check_span(span, digests)
        if not digests.segmented:
            for chunk in chunks_of(await self.read(key, digests), span):
                yield chunk
            return
        await self._reading.run(lambda db: _check(db, key, digests))
        for segment in segments_of(span, digests):
            data = await self._reading.run(_segment(key, segment, digests))
            yield part_of_segment(data, segment, span)

    async def measure(self, key: BlobKey) -> Digests:
        check_key(key)
        return await self._reading.run(lambda db: _measured(db, key))

    async def head(self, key: BlobKey) -> BlobHead:
        check_key(key)
        return await self._reading.run(lambda db: _head(db, key))

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        check_key(key)
        await self._writing.run(lambda db: db.execute("DELETE FROM blobs WHERE key = ?", [key]))
        return ()

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        while page := await self._reading.run(_listing(prefix, after)):
            for entry in page:
                if not entry.key.startswith(prefix):
                    return
                yield entry
            after = page[-1].key

    async def room(self) -> Room:
        return await self._reading.run(lambda db: _room(db, self._path))

    async def marker(self) -> Marker | None:
        text = await self._reading.run(_marker)
        return None if text is None else Marker.from_text(text)

    async def create_marker(self, marker: Marker) -> None:
        text = marker.to_text()
        await self._writing.run(lambda db: _exchange_marker(db, (None, text), text))

    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        expected = was.to_text(), becomes.to_text()
        await self._writing.run(lambda db: _exchange_marker(db, expected, expected[1]))

    async def put_note(self, name: str, text: bytes) -> None:
        await self._writing.run(lambda db: _put_note(db, name, text))

    async def note(self, name: str) -> bytes | None:
        return await self._reading.run(lambda db: _note(db, name))

    async def aclose(self) -> None:
        await self._writing.aclose()
        await self._reading.aclose()

    def _put(
        self,
        db: sqlite3.Connection,
        key: BlobKey,
        body: Body,
        manifest: BlobManifest,
        deadline: datetime,
    ) -> None:
        self._check_deadline(key, deadline)
        with _transaction(db):
            if held := db.execute("SELECT id FROM blobs WHERE key = ?", [key]).fetchone():
                _check_same(db, key, held[0], body.digests)
                return
            written_us = (self._clock.now() - _EPOCH) // _MICROSECOND
            blob = db.execute(
                "INSERT INTO blobs (key, manifest, written_us) VALUES (?, ?, ?)",
                [key, manifest.to_text(), written_us],
            ).lastrowid
            came = Digester()
            for number, data in enumerate(_pieces(body)):
                self._check_deadline(key, deadline)
                came.update(data)
                db.execute("INSERT INTO segments VALUES (?, ?, ?)", [blob, number, data])
            if came.finish() != body.digests:
                raise BlobCorrupt(f"{key} was not stored: its body does not match its digests")
            self._check_deadline(key, deadline)

    def _check_deadline(self, key: BlobKey, deadline: datetime) -> None:
        if self._clock.now() >= deadline:
            raise DeadlinePassed(f"{key} was not stored before {deadline.isoformat()}")


class _Lane:
    """One thread with one connection. The first call opens it; calls run one after another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "sqlite-store")
        self._db: sqlite3.Connection | None = None

    async def run(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call on the thread and return its result. Waits for its end even if cancelled."""
        running = asyncio.wrap_future(self._thread.submit(self._call, call))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            running.exception()  # Marks it as retrieved; otherwise asyncio logs it.
            raise

    async def aclose(self) -> None:
        """Wait for running calls, then close the connection."""
        await asyncio.to_thread(self._close)

    def _call(self, call: Callable[[sqlite3.Connection], T]) -> T:
        with _translated(self._path):
            if self._db is None:
                self._db = _connect(self._path)
            return call(self._db)

    def _close(self) -> None:
        self._thread.shutdown()
        if self._db is not None:
            self._db.close()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Translate SQLite's errors into errors of the ports."""
    try:
        yield
    except (TrafficStorageError, sqlite3.ProgrammingError, sqlite3.IntegrityError):
        # Some errors of this package, such as `DeadlinePassed`, are an `OSError`: keep them.
        raise
    except (sqlite3.DatabaseError, OSError) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StorageFull(f"{path}: {error}") from error
        raise StorageUnavailable(f"{path}: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    # `check_same_thread=False`: another thread closes it, after the thread that uses it has ended.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Commit at the end of the block, or roll back on an error.

    An immediate transaction excludes other writers; a deferred one reads one consistent snapshot.
    """
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _pieces(body: Body) -> Iterator[bytes | memoryview]:
    """Yield the body in segments; of a body that is too long, at most one segment too many."""
    if isinstance(body, MemoryBody):
        data = memoryview(body.data)
        yield from (data[at : at + SEGMENT_BYTES] for at in range(0, len(data), SEGMENT_BYTES))
        return
    at = 0
    while at <= body.digests.size_bytes and (piece := os.pread(body.fd, SEGMENT_BYTES, at)):
        yield piece
        at += len(piece)


def _stored(db: sqlite3.Connection, blob: int) -> Iterator[bytes]:
    for (data,) in db.execute("SELECT bytes FROM segments WHERE blob = ? ORDER BY number", [blob]):
        yield data


def _check_same(db: sqlite3.Connection, key: BlobKey, blob: int, digests: Digests) -> None:
    held = Digester()
    for data in _stored(db, blob):
        held.update(data)
    if held.finish() != digests:
        raise BlobConflict(f"{key} already holds other bytes")


def _find(db: sqlite3.Connection, key: BlobKey, digests: Digests) -> int:
    """Return the id of a blob's row. Checks the size of the blob."""
    row = db.execute("SELECT id, size_bytes FROM sized WHERE key = ?", [key]).fetchone()
    if row is None:
        raise BlobMissing(f"no blob {key}")
    blob: int = row[0]
    check_size(key, row[1], digests)
    return blob


def _check(db: sqlite3.Connection, key: BlobKey, digests: Digests) -> None:
    """Check the size of a blob, and that its key and manifest state the recorded digests."""
    check_witnesses(key, _head(db, key).manifest, digests)
    _find(db, key, digests)


def _read(db: sqlite3.Connection, key: BlobKey, digests: Digests) -> bytes:
    with _transaction(db, "BEGIN DEFERRED"):
        data = b"".join(_stored(db, _find(db, key, digests)))
    check_whole(key, data, digests)
    return data


def _measured(db: sqlite3.Connection, key: BlobKey) -> Digests:
    with _transaction(db, "BEGIN DEFERRED"):
        row = db.execute("SELECT id FROM blobs WHERE key = ?", [key]).fetchone()
        if row is None:
            raise BlobMissing(f"no blob {key}")
        held = Digester()
        for data in _stored(db, row[0]):
            held.update(data)
    return held.finish()


def _segment(
    key: BlobKey, segment: Segment, digests: Digests
) -> Callable[[sqlite3.Connection], bytes]:
    # By key, because SQLite may reuse the row id of a blob that was deleted meanwhile.
    def read(db: sqlite3.Connection) -> bytes:
        row = db.execute(
            "SELECT bytes FROM blobs LEFT JOIN segments ON blob = id AND number = ? WHERE key = ?",
            [segment.index, key],
        ).fetchone()
        if row is None:
            raise BlobMissing(f"no blob {key}")
        data: bytes = row[0] or b""
        check_segment(key, data, segment, digests)
        return data

    return read


def _head(db: sqlite3.Connection, key: BlobKey) -> BlobHead:
    row = db.execute("SELECT size_bytes, manifest FROM sized WHERE key = ?", [key]).fetchone()
    if row is None:
        raise BlobMissing(f"no blob {key}")
    try:
        return BlobHead(row[0], BlobManifest.from_text(row[1]))
    except InvalidInput:
        return BlobHead(row[0], None)


def _listing(prefix: str, after: str) -> Callable[[sqlite3.Connection], list[BlobEntry]]:
    def read(db: sqlite3.Connection) -> list[BlobEntry]:
        rows = db.execute(
            "SELECT key, size_bytes, written_us FROM sized WHERE key >= ? AND key > ?"
            " ORDER BY key LIMIT ?",
            [prefix, after, _PAGE],
        )
        return [
            BlobEntry(BlobKey(key), size, _EPOCH + written * _MICROSECOND)
            for key, size, written in rows
        ]

    return read


def _room(db: sqlite3.Connection, path: Path) -> Room:
    """Return the free space of the file system plus the free pages of the SQLite file."""
    disk = os.statvfs(path)
    (pages,) = db.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    return Room(
        free_bytes=disk.f_bavail * disk.f_frsize + pages * page_bytes,
        total_bytes=disk.f_blocks * disk.f_frsize,
    )


def _marker(db: sqlite3.Connection) -> str | None:
    row = db.execute("SELECT text FROM marker").fetchone()
    return row[0] if row else None


def _note(db: sqlite3.Connection, name: str) -> bytes | None:
    row = db.execute("SELECT text FROM note WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def _put_note(db: sqlite3.Connection, name: str, text: bytes) -> None:
    with _transaction(db):
        held = _note(db, name)
        if held is None:
            db.execute("INSERT INTO note VALUES (?, ?)", (name, text))
        elif held != text:
            raise BlobConflict(f"the store has another note {name}")


def _exchange_marker(
    db: sqlite3.Connection, expected: tuple[str | None, str], becomes: str
) -> None:
    with _transaction(db):
        if _marker(db) not in expected:
            raise BlobConflict("the store has another marker")
        db.execute("INSERT OR REPLACE INTO marker VALUES (1, ?)", [becomes])
