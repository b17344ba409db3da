"""What `BlockingStorageService` stands on: an event loop in a thread of its own, and its file stream."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, Self, TypeVar
from weakref import WeakSet

from traffic_storage.entrypoints.service.files import FileStream
from traffic_storage.entrypoints.views import StoredFileView

R = TypeVar("R")


class LoopUnusable(RuntimeError):
    """A loop of its own can't run anything for this caller."""


class OwnLoop:
    """An event loop that runs in a thread of its own; other threads wait for what it runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        # Held while something is given to the loop, so that nothing is given after its last coroutine.
        self._giving = threading.Lock()
        self._closed = False
        # A daemon: a script that does not close the service ends nevertheless.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="traffic-storage-service", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine, and return its result. An interrupt of the caller cancels it.

        Raises:
            LoopUnusable: the loop is closed, also while this waits; it belongs to another process;
                or this is its thread.
        """
        try:
            self._check_caller()
            with self._giving:
                if self._closed:
                    raise _closed()
                future = self._give(coroutine)
        except LoopUnusable:
            coroutine.close()
            raise
        try:
            return future.result()
        except CancelledError:
            if self._closed:
                raise _closed() from None
            raise
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine, end what runs besides, and end the loop and its thread.

        Without effect if that is done, and in a process that was forked: the loop is not its own.

        Raises:
            LoopUnusable: this is the thread of the loop.
        """
        if os.getpid() != self._process:
            last.close()
            return
        try:
            self._check_caller()
            with self._giving:
                first, self._closed = not self._closed, True
                ending = self._give(self._ended(last)) if first else None
        except LoopUnusable:
            last.close()
            raise
        if ending is None:
            last.close()
            self._thread.join()
            return
        try:
            ending.result()
        except BaseException:
            # Twice, so that what ends the loop has begun before it is cancelled.
            self._loop.call_soon_threadsafe(self._loop.call_soon, self._cancel_tasks)
            raise
        finally:
            self._thread.join()
            self._loop.close()

    def _check_caller(self) -> None:
        if os.getpid() != self._process:
            raise LoopUnusable(
                "the service belongs to another process: make one in each process, after the fork"
            )
        if threading.current_thread() is self._thread:
            raise LoopUnusable(
                "the thread of the service's loop can't wait for it: await service instead"
            )

    def _give(self, coroutine: Coroutine[Any, Any, R]) -> Future[R]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _ended(self, last: Coroutine[Any, Any, None]) -> None:
        try:
            await last
        finally:
            try:
                await asyncio.gather(*self._cancel_tasks(), return_exceptions=True)
                await self._loop.shutdown_asyncgens()
                await self._loop.shutdown_default_executor()
            finally:
                # Twice, so that the waiting threads are told the results before.
                self._loop.call_soon(self._loop.call_soon, self._loop.stop)

    def _cancel_tasks(self) -> set[asyncio.Task[Any]]:
        """Cancel all tasks but the running one, and return them."""
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}
        for task in tasks:
            task.cancel()
        return tasks


def _closed() -> LoopUnusable:
    return LoopUnusable("the service is closed: make a new one")


class BlockingFileStream:
    """A file opened for reading in chunks; `metadata` is as in `FileStream`.

    As a context manager it closes the iterators of `chunks` that were not read to their end.
    """

    def __init__(self, loop: OwnLoop, stream: FileStream) -> None:
        self._loop = loop
        self._stream = stream
        self._begun: WeakSet[Generator[bytes, None, None]] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the iterators of `chunks` that were not read to their end."""
        for chunks in list(self._begun):
            chunks.close()

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
        chunks = self._each(self._stream, start, stop)
        self._begun.add(chunks)
        return chunks

    def _each(
        self, stream: FileStream, start: int, stop: int | None
    ) -> Generator[bytes, None, None]:
        chunks = stream.chunks(start, stop)
        try:
            while (chunk := self._loop.run(anext(chunks, None))) is not None:
                yield chunk
        finally:
            # A loop that is closed has closed them.
            with suppress(LoopUnusable):
                self._loop.run(chunks.aclose())
