"""The floor: each job written by hand, with the minimum of work.

A store encodes with the same settings, writes durably (write, hash, fsync, link, fsync of the
folder) and commits one INSERT. A read does one SELECT, reads the bytes and hashes them. There are no
manifests, no retries, no checks of input and no counters.

Each part is the fastest known implementation on the same engine: encoding in as many threads as
cores, 16 threads for durable writes and 4 for reads, one SQLite connection for writes and one for
reads, a pool of asyncpg for PostgreSQL.
"""

import asyncio
import hashlib
import io
import json
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import aiosqlite
import asyncpg
import obstore
from attrs import define, frozen
from obstore.store import S3Store
from PIL import Image
from starlette.types import Receive, Scope, Send

from benchmarks import data
from benchmarks.contenders import Contender, Place
from benchmarks.filled import COLUMNS, ask
from tests.support.media import Frame
from tests.support.servers import Bucket, Database

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WRITERS, READERS, CONNECTIONS = 16, 4, 8
_TABLES = """
CREATE TABLE IF NOT EXISTS file (
    file_id TEXT PRIMARY KEY, kind TEXT NOT NULL, content_type TEXT NOT NULL,
    size_bytes BIGINT NOT NULL, sha256 TEXT NOT NULL, name TEXT NOT NULL,
    created_at TEXT NOT NULL, device_id TEXT, metadata TEXT);
CREATE TABLE IF NOT EXISTS violation (
    violation_id TEXT PRIMARY KEY, device_id TEXT NOT NULL, violation_type TEXT NOT NULL,
    occurred_at TEXT NOT NULL, record TEXT NOT NULL, files TEXT NOT NULL);
"""
_NEW_FILE = "INSERT INTO file VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
_NEW_VIOLATION = "INSERT INTO violation VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
_FILE = "SELECT * FROM file WHERE file_id = ?1"


# Files.


def write_durably(folder: int, name: str, content: bytes) -> str:
    """Write a new file that survives a power cut; return its SHA-256."""
    digest = hashlib.sha256(content).hexdigest()
    fd = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(fd)
    os.fsync(folder)
    return digest


def read_checked(folder: int, name: str, sha256: str) -> bytes:
    """Return the bytes of a file; raise ValueError if their digest differs."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        content = os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
    return _checked(content, sha256)


def encode(frame: Frame) -> bytes:
    """Encode an array as WebP, with the default settings of Traffic Storage."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "WEBP", quality=80, method=0)
    return stream.getvalue()


def _checked(content: bytes, sha256: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("the file was altered")
    return content


class Keeping(ABC):
    """Stores bytes durably."""

    @abstractmethod
    async def put(self, name: str, content: bytes) -> str:
        """Store new bytes durably; return their SHA-256."""

    @abstractmethod
    async def get(self, name: str, sha256: str) -> bytes:
        """Return the bytes, checked against `sha256`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close connections and end threads."""


class Disk(Keeping):
    """Stores bytes in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._writing = ThreadPoolExecutor(WRITERS)
        self._reading = ThreadPoolExecutor(READERS)

    async def put(self, name: str, content: bytes) -> str:
        return await _hop(self._writing, write_durably, self._fd, name, content)

    async def get(self, name: str, sha256: str) -> bytes:
        return await _hop(self._reading, read_checked, self._fd, name, sha256)

    async def aclose(self) -> None:
        self._writing.shutdown()
        self._reading.shutdown()
        os.close(self._fd)


class Cloud(Keeping):
    """Stores bytes in a bucket, with obstore."""

    def __init__(self, bucket: Bucket) -> None:
        self._store = S3Store(
            bucket.name,
            endpoint=bucket.endpoint,
            region=bucket.region,
            access_key_id=bucket.access_key,
            secret_access_key=bucket.secret_key,
            client_options={"allow_http": True},
        )

    async def put(self, name: str, content: bytes) -> str:
        # Hashing 2 MB takes two milliseconds, so it runs in a thread; 200 KB are hashed here.
        if len(content) > data.SMALL_BYTES:
            digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        else:
            digest = hashlib.sha256(content).hexdigest()
        await obstore.put_async(self._store, name, content)
        return digest

    async def get(self, name: str, sha256: str) -> bytes:
        found = await obstore.get_async(self._store, name)
        return _checked(bytes(await found.bytes_async()), sha256)

    async def aclose(self) -> None:
        pass


# Rows.


class Book(ABC):
    """The tables of files and of violations."""

    @abstractmethod
    async def open(self) -> None:
        """Make the tables."""

    @abstractmethod
    async def insert(self, sql: str, *values: object) -> None:
        """Insert and commit one row."""

    @abstractmethod
    async def file(self, file_id: str) -> Sequence[Any]:
        """Return one row of `file`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close connections and end threads."""


class SqliteBook(Book):
    """SQLite with one connection for writes and one for reads, each in its own thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = ThreadPoolExecutor(1)
        self._reading = ThreadPoolExecutor(1)

    async def open(self) -> None:
        self._writer = await _hop(self._writing, self._connect)
        await _hop(self._writing, self._writer.executescript, _TABLES)
        self._reader = await _hop(self._reading, self._connect)

    async def insert(self, sql: str, *values: object) -> None:
        await _hop(self._writing, self._writer.execute, sql, values)

    async def file(self, file_id: str) -> Sequence[Any]:
        return await _hop(self._reading, self._select, file_id)

    async def aclose(self) -> None:
        await _hop(self._writing, self._writer.close)
        await _hop(self._reading, self._reader.close)
        self._writing.shutdown()
        self._reading.shutdown()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _select(self, file_id: str) -> Sequence[Any]:
        row: Sequence[Any] = self._reader.execute(_FILE, (file_id,)).fetchone()
        return row


class PostgresBook(Book):
    """PostgreSQL with a pool of asyncpg."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self) -> None:
        self._pool = await _pool(self._database)
        await self._pool.execute(_TABLES)

    async def insert(self, sql: str, *values: object) -> None:
        await self._pool.execute(sql.replace("?", "$"), *values)

    async def file(self, file_id: str) -> Sequence[Any]:
        row: Sequence[Any] = await self._pool.fetchrow(_FILE.replace("?", "$"), file_id)
        return row

    async def aclose(self) -> None:
        await self._pool.close()


async def _pool(database: Database) -> asyncpg.Pool:
    return await asyncpg.create_pool(database.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)


async def _hop(threads: ThreadPoolExecutor, call: Callable[[*Ts], T], *args: *Ts) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, call, *args)


# The jobs.


@frozen
class Evidence:
    """The input of one item: the fields of a violation and its media."""

    fields: dict[str, Any]
    image: Frame | bytes | None = None
    video: bytes | None = None


class StoreEvidence(Contender[Evidence]):
    """Stores media and the record's file concurrently, then inserts one row that names them."""

    def __init__(self, keeping: Keeping, book: Book, items: Callable[[int], Evidence]) -> None:
        self._keeping = keeping
        self._book = book
        self._item = items
        self._encoding = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    async def open(self) -> None:
        await self._book.open()

    def items(self, numbers: range) -> Sequence[Evidence]:
        return [self._item(number) for number in numbers]

    async def do(self, item: Evidence) -> None:
        fields, name = item.fields, item.fields["violation_id"]
        record = json.dumps(fields, default=datetime.isoformat, sort_keys=True)
        work = [self._keeping.put(f"{name}.json", record.encode())]
        if item.image is not None:
            work.append(self._image(name, item.image))
        if item.video is not None:
            work.append(self._keeping.put(f"{name}.mp4", item.video))
        files = json.dumps(await asyncio.gather(*work))
        happened = fields["timestamp"].isoformat()
        device, kind = fields["device_id"], fields["violation_type"]
        await self._book.insert(_NEW_VIOLATION, name, device, kind, happened, record, files)

    async def aclose(self) -> None:
        self._encoding.shutdown()
        await self._keeping.aclose()
        await self._book.aclose()

    async def _image(self, name: str, image: Frame | bytes) -> str:
        if isinstance(image, bytes):
            return await self._keeping.put(f"{name}.jpg", image)
        return await self._keeping.put(f"{name}.webp", await _hop(self._encoding, encode, image))


@define
class Files:
    """Single files, each with bytes and a row; the HTTP floor uses it too."""

    keeping: Keeping
    book: Book

    async def store(self, file_id: str, content: bytes) -> str:
        """Store a video under an id; return its digest."""
        digest = await self.keeping.put(file_id, content)
        created = datetime.now().isoformat()
        row = file_id, "video", "video/mp4", len(content), digest, file_id, created, None, None
        await self.book.insert(_NEW_FILE, *row)
        return digest

    async def retrieve(self, file_id: str) -> tuple[bytes, Sequence[Any]]:
        """Return the bytes, checked, and their row."""
        row = await self.book.file(file_id)
        return await self.keeping.get(row[5], row[4]), row

    async def aclose(self) -> None:
        """Close connections and end threads."""
        await self.keeping.aclose()
        await self.book.aclose()


class Retrieve(Contender[str]):
    """Reads files of 200 KB in a cycle."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def open(self) -> None:
        await self._files.book.open()
        for number in range(data.SHELF):
            await self._files.store(data.file_id(number), data.segment(number, data.SMALL_BYTES))

    def items(self, numbers: range) -> Sequence[str]:
        return [data.file_id(number % data.SHELF) for number in numbers]

    async def do(self, item: str) -> None:
        content, _ = await self._files.retrieve(item)
        assert len(content) == data.SMALL_BYTES

    async def aclose(self) -> None:
        await self._files.aclose()


class Put(Contender[tuple[str, bytes]]):
    """Writes files durably in threads, without a catalogue."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def open(self) -> None:
        pass

    def items(self, numbers: range) -> Sequence[tuple[str, bytes]]:
        return [(str(number), data.segment(number, data.SMALL_BYTES)) for number in numbers]

    async def do(self, item: tuple[str, bytes]) -> None:
        await self._disk.put(*item)

    async def aclose(self) -> None:
        await self._disk.aclose()


class PostgresPage(Contender[tuple[str, tuple[object, ...]]]):
    """Reads pages as records of asyncpg."""

    def __init__(self, database: Database, filled: int) -> None:
        self._database = database
        self._filled = filled

    async def open(self) -> None:
        self._pool = await _pool(self._database)

    def items(self, numbers: range) -> Sequence[tuple[str, tuple[object, ...]]]:
        return [_page(number, self._filled, "$") for number in numbers]

    async def do(self, item: tuple[str, tuple[object, ...]]) -> None:
        sql, values = item
        assert len(await self._pool.fetch(sql, *values)) == data.PAGE

    async def aclose(self) -> None:
        await self._pool.close()


class SqlitePage(Contender[tuple[str, tuple[object, ...]]]):
    """Reads pages as tuples of aiosqlite."""

    def __init__(self, path: Path, filled: int) -> None:
        self._path = path
        self._filled = filled

    async def open(self) -> None:
        self._connection = await aiosqlite.connect(self._path)
        await self._connection.execute("PRAGMA cache_size = -16384")

    def items(self, numbers: range) -> Sequence[tuple[str, tuple[object, ...]]]:
        return [_page(number, self._filled, "?") for number in numbers]

    async def do(self, item: tuple[str, tuple[object, ...]]) -> None:
        assert len(list(await self._connection.execute_fetchall(*item))) == data.PAGE

    async def aclose(self) -> None:
        await self._connection.close()


def _page(number: int, filled: int, mark: str) -> tuple[str, tuple[object, ...]]:
    asked = ask(number, filled)
    column = next(iter(asked.filters), None)
    where = f"AND {column} = {mark}2" if column else ""
    sql = (
        f"SELECT {', '.join(COLUMNS)} FROM violation WHERE state = 'available' AND occurred_at < {mark}1 {where} "
        f"ORDER BY occurred_at DESC, violation_id LIMIT {data.PAGE}"
    )
    return sql, (asked.end_micros, *asked.filters.values())


# HTTP.


class App:
    """A bare ASGI function: two routes, no framework."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["method"] == "POST":
            await self._upload(scope, receive, send)
        else:
            await self._download(scope, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._files.book.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._files.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        content_type = dict(scope["headers"])[b"content-type"]
        form = _form(b"".join(pieces), content_type.partition(b"boundary=")[2])
        file_id = form[b"file_id"].decode()
        digest = await self._files.store(file_id, form[b"file"])
        answer = {"file_id": file_id, "size_bytes": len(form[b"file"]), "sha256": digest}
        await _answer(send, 201, b"application/json", json.dumps(answer).encode())

    async def _download(self, scope: Scope, send: Send) -> None:
        content, row = await self._files.retrieve(scope["path"].rpartition("/")[2])
        await _answer(send, 200, row[2].encode(), content)


def _form(body: bytes, boundary: bytes) -> dict[bytes, bytes]:
    """Return the fields of a form, without the line break that ends each."""
    form = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        form[head.partition(b'name="')[2].partition(b'"')[0]] = content[:-2]
    return form


async def _answer(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def app(folder: str) -> App:
    """Return the application, with its files and rows in a folder."""
    place = Place(Path(folder))
    return App(Files(*_local(place)))


# The contenders of each job.


def _database(place: Place) -> Database:
    assert place.database is not None
    return place.database


def _cloud(place: Place) -> Cloud:
    assert place.bucket is not None
    return Cloud(place.bucket)


def _local(place: Place) -> tuple[Disk, SqliteBook]:
    return Disk(place.folder / "files"), SqliteBook(place.folder / "book.sqlite3")


def evidence(place: Place) -> StoreEvidence:
    """Return the job: 1080p array, 2 MB film and record, on disk and in SQLite."""
    return StoreEvidence(*_local(place), _with_array)


def evidence_jpeg(place: Place) -> StoreEvidence:
    """Return the same job with the camera's JPEG instead of the array."""
    return StoreEvidence(*_local(place), _with_jpeg)


def evidence_cloud(place: Place) -> StoreEvidence:
    """Return the job: array, film and record in S3 and PostgreSQL."""
    return StoreEvidence(_cloud(place), PostgresBook(_database(place)), _with_array)


def violation(place: Place) -> StoreEvidence:
    """Return the job: a record and its file."""
    return StoreEvidence(*_local(place), lambda number: Evidence(data.fields(number)))


def put(place: Place) -> Put:
    """Return the job: durable writes of 200 KB."""
    return Put(Disk(place.folder / "files"))


def retrieve(place: Place) -> Retrieve:
    """Return the job: reads of 200 KB from disk."""
    return Retrieve(Files(*_local(place)))


def retrieve_cloud(place: Place) -> Retrieve:
    """Return the job: reads of 200 KB from S3."""
    return Retrieve(Files(_cloud(place), PostgresBook(_database(place))))


def page_postgres(place: Place) -> PostgresPage:
    """Return the job: pages by asyncpg."""
    return PostgresPage(_database(place), place.filled)


def page_sqlite(place: Place) -> SqlitePage:
    """Return the job: pages by aiosqlite."""
    return SqlitePage(place.folder / "catalogue.sqlite3", place.filled)


def _with_array(number: int) -> Evidence:
    film = data.segment(number, data.VIDEO_BYTES)
    return Evidence(data.fields(number), data.frame(number), film)


def _with_jpeg(number: int) -> Evidence:
    film = data.segment(number, data.VIDEO_BYTES)
    return Evidence(data.fields(number), data.camera_jpeg(number), film)
