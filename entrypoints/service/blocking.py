"""What `BlockingStorageService` stands on: an event loop in a thread of its own, and its file stream."""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from traffic_storage.entrypoints.service.files import FileStream
from traffic_storage.entrypoints.views import StoredFileView

R = TypeVar("R")


class OwnLoop:
    """An event loop that runs in a thread of its own; other threads wait for what it runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a script that does not close the service ends nevertheless.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="traffic-storage-service", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine, and return its result. An interrupt of the caller cancels it.

        Raises:
            RuntimeError: the loop is closed, or this is its thread.
        """
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "the service is closed"
                if self._loop.is_closed()
                else "the thread of the service's loop can't wait for it: await service instead"
            )
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine, and end the loop and its thread; without effect if that is done."""
        if self._loop.is_closed():
            last.close()
            return
        try:
            self.run(self._ended(last))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _ended(self, last: Coroutine[Any, Any, None]) -> None:
        await last
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


class BlockingFileStream:
    """A file opened for reading in chunks; `metadata` is as in `FileStream`."""

    def __init__(self, loop: OwnLoop, stream: FileStream) -> None:
        self._loop = loop
        self._stream = stream

    @property
    def metadata(self) -> StoredFileView:
        """The record of the file."""
        return self._stream.metadata

    def chunks(self, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
        """Yield the bytes from `start` to `stop`, as `FileStream.chunks` does.

        Raises:
            InvalidInput: `start` or `stop` is not an integer or lies outside the file, or `stop` is
                less than `start`.
        """
        return self._each(self._stream, start, stop)

    def _each(
        self, stream: FileStream, start: int, stop: int | None
    ) -> Generator[bytes, None, None]:
        chunks = stream.chunks(start, stop)
        try:
            while (chunk := self._loop.run(anext(chunks, None))) is not None:
                yield chunk
        finally:
            self._loop.run(chunks.aclose())
