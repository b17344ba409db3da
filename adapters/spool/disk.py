"""The spool on disk, for bodies that are too large for memory."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import TypeVar

from traffic_storage.adapters.files.descriptors import read_all, write_all
from traffic_storage.adapters.files.errors import translated
from traffic_storage.adapters.files.folders import Folders
from traffic_storage.adapters.files.given import GivenFile
from traffic_storage.adapters.files.pending import PendingFile
from traffic_storage.adapters.files.staging import Staged, Staging
from traffic_storage.adapters.threads.pool import Patience, Threads
from traffic_storage.domain.digests import Digester, digests_of
from traffic_storage.ports.errors import StorageUnavailable
from traffic_storage.ports.spool import Body, FileBody, MemoryBody, Spool, admitted

T = TypeVar("T")

# Bytes written in one hop to a thread, whatever the size of the chunks that arrive.
_BATCH_BYTES = 1024 * 1024
# Up to this many bytes hashing takes less time than the hop away from the event loop.
_ON_LOOP_BYTES = 256 * 1024
_THREADS = 4
_log = logging.getLogger("traffic_storage.spool")


class _Landing:
    """A spool file being written; the first write creates it. One call at a time, in any thread."""

    def __init__(self, new_file: Callable[[], Staged]) -> None:
        self._file = PendingFile(new_file)
        self._digester = Digester()
        self.begun = False

    def write(self, data: memoryview) -> None:
        """Append bytes to the spool file and hash them."""
        self.begun = True
        with self._file.use() as file:
            write_all(file.fd, data)
        self._digester.update(data)

    def finish(self, data: memoryview) -> FileBody:
        """Append the last bytes; return the body, whose file is open until `discard`."""
        self.write(data)
        with self._file.use() as file:
            return FileBody(file.fd, self._digester.finish())

    def give_up(self) -> bool:
        """Write no more; return whether `discard` must follow. Does not block."""
        return self._file.give_up()

    def discard(self) -> None:
        """Close the spool file, if it was created, so that it is deleted."""
        self._file.discard()


class DiskSpool(Spool):
    """Keeps bodies longer than `memory_bytes` in unnamed files of `folder`.

    The kernel deletes an unnamed file when the process that holds it ends. If the file system has
    no unnamed files, or `unnamed` is false, the files are in a staging folder with mode 0600, and
    the next process deletes the files of ended processes. One `take` keeps in memory at most the
    larger of `memory_bytes` and 1 MiB, and the last chunk. A call to a disk that takes longer than
    `timeout_seconds` fails.
    """

    def __init__(
        self,
        folder: Path,
        memory_bytes: int = 1024 * 1024,
        *,
        unnamed: bool = True,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._place = f"the spool {folder}"
        self._memory_bytes = memory_bytes
        self._folders = Folders(folder, durable=False)
        self._staging = Staging(unnamed=unnamed)
        self._threads = Threads(
            _THREADS,
            "traffic-storage-spool",
            Patience(timeout_seconds, self._hanging, most_late=_THREADS),
        )
        self._held: set[_Landing] = set()
        self._ended: set[_Landing] = set()

    @asynccontextmanager
    async def take(
        self, source: AsyncIterable[bytes], *, limit_bytes: int, field_name: str
    ) -> AsyncIterator[Body]:
        landing = _Landing(self._new_file)
        chunks = admitted(source, limit_bytes=limit_bytes, field_name=field_name)
        try:
            body = await self._body(chunks, landing)
        except BaseException:
            await self._discard(landing)
            raise
        self._held.add(landing)
        try:
            yield body
        finally:
            if landing in self._held:  # Otherwise `aclose` has released it.
                self._held.remove(landing)
                await self._discard(landing)

    async def wrap(self, data: bytes) -> MemoryBody:
        if len(data) <= _ON_LOOP_BYTES:
            return MemoryBody(data, digests_of(data))
        return MemoryBody(data, await self._threads.run(digests_of, data))

    async def read_path(
        self, path: str | PathLike[str], *, field_name: str = "path"
    ) -> AsyncIterator[bytes]:
        file = GivenFile(path, field_name)
        try:
            while chunk := await self._threads.run(file.read):
                yield chunk
        finally:
            file.close()

    async def chunks(self, body: Body) -> AsyncIterator[bytes]:
        for start in range(0, body.digests.size_bytes, _BATCH_BYTES):
            size = min(_BATCH_BYTES, body.digests.size_bytes - start)
            if isinstance(body, MemoryBody):
                yield body.data[start : start + size]
            else:
                with translated(self._place):
                    chunk = await self._threads.run(read_all, body.fd, size, start)
                yield chunk

    async def aclose(self) -> None:
        held, self._held = self._held, set()
        for landing in held:
            await self._discard(landing)
        await self._discard_ended()
        self._staging.close()
        self._folders.close()
        await self._threads.aclose()

    async def _body(self, chunks: AsyncGenerator[bytes, None], landing: _Landing) -> Body:
        async with aclosing(chunks):
            rest = await self._land(chunks, landing)
        if not landing.begun:
            return await self.wrap(bytes(rest))
        return await self._hop(landing.finish, rest)

    async def _land(self, chunks: AsyncIterable[bytes], landing: _Landing) -> bytearray:
        """Write bytes to the file once they exceed `memory_bytes`; return the unwritten rest."""
        pending = bytearray()
        most = self._memory_bytes
        async for chunk in chunks:
            pending += chunk
            if len(pending) > most:
                await self._hop(landing.write, pending)
                pending, most = bytearray(), _BATCH_BYTES
        return pending

    def _new_file(self) -> Staged:
        root = self._folders.root_at_path()
        return self._staging.new(root, root)

    async def _hop(self, call: Callable[[memoryview], T], data: bytearray) -> T:
        # A batch takes little time, so a cancelled take waits until it is written.
        with translated(self._place):
            return await self._threads.run_to_end(lambda: None, call, memoryview(data))

    async def _discard(self, landing: _Landing) -> None:
        # In a thread, because freeing gigabytes takes time; shielded, because it must happen.
        # A late call of the landing discards the file itself.
        if landing.give_up():
            self._ended.add(landing)
            await asyncio.shield(asyncio.ensure_future(self._discard_ended()))

    async def _discard_ended(self) -> None:
        """Delete the files that nobody needs; after an error they are deleted by a later call."""
        ended, self._ended = self._ended, set()
        for landing in ended:
            try:
                await self._threads.run(landing.discard)
            except StorageUnavailable as error:
                self._ended.add(landing)
                _log.warning("a file of the spool could not be deleted yet: %s", str(error))

    def _hanging(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._place} does not answer: a call took longer than {self._timeout_seconds:g} s",
            remedy="check the disk; raise disk_timeout_seconds if it is only slow",
        )
