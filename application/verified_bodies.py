"""VerifiedBodies: the stored bytes of a file as a body that can be written to another store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from traffic_storage.application.replica_reader import (
    ReplicaFilter,
    ReplicaReader,
    any_replica,
)
from traffic_storage.domain.digests import WHOLE_READ_BYTES
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.verification import Span
from traffic_storage.ports.errors import BlobCorrupt
from traffic_storage.ports.spool import Body, MemoryBody, Spool


class VerifiedBodies:
    """Reads the stored bytes of files, each verified, for a further copy or another catalogue.

    At most `parallel` large files (over 4 MiB) are checked, or read into the spool, at a time.

    Errors of all methods, when the context is entered: those of `ReplicaReader`.
    """

    def __init__(self, *, replicas: ReplicaReader, spool: Spool, parallel: int) -> None:
        self._replicas = replicas
        self._spool = spool
        self._spooling = asyncio.Semaphore(parallel)

    @asynccontextmanager
    async def of(
        self, file: StoredFile, serving: ReplicaFilter = any_replica
    ) -> AsyncIterator[Body]:
        """Return a context with the stored bytes of a file, past every cache.

        A large file is read where it lies, if its store has files, and by way of the spool otherwise.
        """
        if file.stored.size_bytes <= WHOLE_READ_BYTES:
            data = await self._replicas.read(file, cached=False, serving=serving)
            yield MemoryBody(data, file.stored)
            return
        async with AsyncExitStack() as stack:
            body: Body | None
            async with self._spooling:
                body = await stack.enter_async_context(self._replicas.lend(file, serving=serving))
            if body is None:
                spooled = self._spooled(file, serving, cached=False)
                body = await stack.enter_async_context(spooled)
            yield body

    @asynccontextmanager
    async def cached(self, file: StoredFile, serving: ReplicaFilter) -> AsyncIterator[Body]:
        """Return a context with the bytes of a file from a cache, each verified."""
        if (data := await self._replicas.read_cached(file)) is not None:
            yield MemoryBody(data, file.stored)
        elif file.stored.size_bytes <= WHOLE_READ_BYTES:
            yield MemoryBody(await self._replicas.read(file, serving=serving), file.stored)
        else:
            async with self._spooled(file, serving, cached=True) as body:
                yield body

    @asynccontextmanager
    async def _spooled(
        self, file: StoredFile, serving: ReplicaFilter, *, cached: bool
    ) -> AsyncIterator[Body]:
        whole = Span(0, file.stored.size_bytes)
        stream = self._replicas.stream(file, whole, cached=cached, serving=serving)
        async with (
            self._spooling,
            aclosing(stream) as source,
            self._spool.take(source, limit_bytes=whole.stop, field_name="copy") as body,
        ):
            if body.digests != file.stored:
                raise BlobCorrupt(f"the bytes of {file.file_id} changed while they were copied")
            yield body
