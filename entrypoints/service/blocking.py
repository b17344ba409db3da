"""`BlockingStorageService`: `StorageService` for scripts and notebooks, without `await`."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.service.files import FileStream
from traffic_storage.entrypoints.service.service import StorageService
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.views import StoredFileView

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[StorageService, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["BlockingStorageService", P], R]:
    """Return a method that runs a coroutine of the service and waits for it."""

    @wraps(method)
    def call(self: "BlockingStorageService", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(method(self.service, *args, **kwargs))

    return call


class BlockingStorageService:
    """The methods of `StorageService`, each of which returns when it is done.

    `StorageService.sync(config, strategy)` makes one. It has an event loop of its own in a thread of
    its own, so that it works where a loop runs already, as in a notebook, and may be called from
    several threads at once. Ctrl-C cancels the call that waits. `with` closes it at the end; without
    it, call `close`. Arguments, results and errors are those of `StorageService`.
    """

    def __init__(
        self,
        config: StorageConfig | None = None,
        strategy: StorageStrategy | str | None = None,
        *,
        container: Container | None = None,
    ) -> None:
        self.service = StorageService(config, strategy, container=container)
        self._loop = asyncio.new_event_loop()
        # A daemon: a script that does not close the service ends nevertheless.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="traffic-storage-service", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        try:
            self.run(self.service.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the loop of this service, and return its result.

        For the other classes: `storage.run(DataAnalyzer(storage.service).analyze_data_quality())`.

        Raises:
            RuntimeError: the service is closed, or this is the thread of its loop.
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

    def close(self) -> None:
        """Wait for running writes, then free all resources. The service can't be used afterwards."""
        if self._loop.is_closed():
            return
        try:
            self.run(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _close(self) -> None:
        await self.service.aclose()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    def open_file(self, file_id: str, *, evidence: bool = False) -> "BlockingFileStream":
        """Open a file for reading in chunks, as `StorageService.open_file` does."""
        return BlockingFileStream(
            self, self.run(self.service.open_file(file_id, evidence=evidence))
        )

    def generate_access_url(self, file_id: str, expires_in: float = 3600) -> str:
        """Return a signed link, as `StorageService.generate_access_url` does."""
        return self.service.generate_access_url(file_id, expires_in)

    store_violation_evidence = _blocking(StorageService.store_violation_evidence)
    store_image = _blocking(StorageService.store_image)
    store_video_segment = _blocking(StorageService.store_video_segment)
    store_metadata = _blocking(StorageService.store_metadata)
    retrieve_file = _blocking(StorageService.retrieve_file)
    retrieve_image = _blocking(StorageService.retrieve_image)
    get_file = _blocking(StorageService.get_file)
    find_files = _blocking(StorageService.find_files)
    get_violation_records = _blocking(StorageService.get_violation_records)
    find_violations = _blocking(StorageService.find_violations)
    get_violation = _blocking(StorageService.get_violation)
    find_violation_files = _blocking(StorageService.find_violation_files)
    place_hold = _blocking(StorageService.place_hold)
    release_hold = _blocking(StorageService.release_hold)
    list_holds = _blocking(StorageService.list_holds)
    delete_file = _blocking(StorageService.delete_file)
    delete_violation = _blocking(StorageService.delete_violation)
    undelete_file = _blocking(StorageService.undelete_file)
    undelete_violation = _blocking(StorageService.undelete_violation)
    destruction_certificate = _blocking(StorageService.destruction_certificate)
    violation_destruction_certificate = _blocking(StorageService.violation_destruction_certificate)
    find_jobs = _blocking(StorageService.find_jobs)
    get_job = _blocking(StorageService.get_job)
    cancel_job = _blocking(StorageService.cancel_job)
    retry_job = _blocking(StorageService.retry_job)
    sync_backends = _blocking(StorageService.sync_backends)
    verify_data_integrity = _blocking(StorageService.verify_data_integrity)
    get_fixity = _blocking(StorageService.get_fixity)
    find_incidents = _blocking(StorageService.find_incidents)
    close_incident = _blocking(StorageService.close_incident)
    reconcile_stores = _blocking(StorageService.reconcile_stores)
    rebuild_catalogue = _blocking(StorageService.rebuild_catalogue)
    plan_retention = _blocking(StorageService.plan_retention)
    apply_retention = _blocking(StorageService.apply_retention)
    apply_retention_policies = _blocking(StorageService.apply_retention_policies)
    cleanup_expired_data = _blocking(StorageService.cleanup_expired_data)
    get_retention_rules = _blocking(StorageService.get_retention_rules)
    stage_retention_rules = _blocking(StorageService.stage_retention_rules)
    enter_retention_rules = _blocking(StorageService.enter_retention_rules)
    explain = _blocking(StorageService.explain)
    get_storage_statistics = _blocking(StorageService.get_storage_statistics)


class BlockingFileStream:
    """A file opened for reading in chunks; `metadata` is as in `FileStream`."""

    def __init__(self, storage: BlockingStorageService, stream: FileStream) -> None:
        self._storage = storage
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
            while (chunk := self._storage.run(anext(chunks, None))) is not None:
                yield chunk
        finally:
            self._storage.run(chunks.aclose())
