"""A spool (it keeps uploaded bytes until they are stored) in memory."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from os import PathLike

from traffic_storage.adapters.files.given import GivenFile
from traffic_storage.domain.digests import SEGMENT_BYTES, digests_of
from traffic_storage.ports.spool import Body, FileBody, MemoryBody, Spool, admitted


class InMemorySpool(Spool):
    """Keeps every body in memory, whatever its size, and hashes on the event loop."""

    @asynccontextmanager
    async def take(
        self, source: AsyncIterable[bytes], *, limit_bytes: int, field_name: str
    ) -> AsyncIterator[Body]:
        taken = bytearray()
        chunks = admitted(source, limit_bytes=limit_bytes, field_name=field_name)
        async with aclosing(chunks):
            async for chunk in chunks:
                taken += chunk
        yield await self.wrap(bytes(taken))

    async def wrap(self, data: bytes) -> MemoryBody:
        return MemoryBody(data, digests_of(data))

    async def read_path(
        self, path: str | PathLike[str], *, field_name: str = "path"
    ) -> AsyncIterator[bytes]:
        file = GivenFile(path, field_name)
        try:
            while chunk := await asyncio.to_thread(file.read):
                yield chunk
        finally:
            file.close()

    async def chunks(self, body: Body) -> AsyncIterator[bytes]:
        if isinstance(body, FileBody):
            raise TypeError("`body` must be in memory: only the spool that made a file can read it")
        for start in range(0, len(body.data), SEGMENT_BYTES):
            yield body.data[start : start + SEGMENT_BYTES]

    async def aclose(self) -> None:
        return None
