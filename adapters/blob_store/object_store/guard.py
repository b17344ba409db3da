"""One guard around every call: how long it may take, whether to try at all, what went wrong."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from obstore.exceptions import BaseError

from traffic_storage.adapters.blob_store.object_store.answers import in_words, silent
from traffic_storage.domain.errors import StorageUnavailable, TrafficStorageError

T = TypeVar("T")

_FAILURES = 3
_LONGEST_PAUSE_SECONDS = 15.0
_PROBE_SECONDS = 5.0
_log = logging.getLogger("traffic_storage.blob_store")


class Guard:
    """Runs calls to `location` within their time, and none while it is known to be away.

    After three failures in a row a task in the background probes at once: they may all have been
    about single blobs. If the probe fails, too, the store is away: every call is refused at once,
    until a probe finds it well. An answer is anything that the store says about a blob, "no"
    included.
    """

    def __init__(
        self, location: str, probe: Callable[[], Awaitable[object]], probe_seconds: float
    ) -> None:
        self._location = location
        self._probe = probe
        self._pause_seconds = probe_seconds
        self._failures = 0
        self._trouble = ""
        self._probing: asyncio.Task[None] | None = None

    def unavailable_reason(self) -> str:
        """Why calls are refused at the moment; empty when they are tried."""
        return self._trouble

    async def run(
        self,
        call: Callable[[], Awaitable[T]],
        seconds: float,
        key: str = "",
        *,
        creates: bool = False,
    ) -> T:
        """The result of `call`, which is about the blob `key` and may take so long.

        Raises:
            StorageUnavailable, StorageFull, BlobMissing, BlobCorrupt: as the ports say.
            BlobConflict: it `creates`, and the store says that something is there already. That
                may be wrong.
        """
        if self._trouble:
            self._keep_probing()
            raise StorageUnavailable(self._trouble)
        return await self._run(call, seconds, key, creates=creates)

    async def aclose(self) -> None:
        """End the probing."""
        probing, self._probing = self._probing, None
        if probing is not None and not probing.done():
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing

    async def _run(
        self,
        call: Callable[[], Awaitable[T]],
        seconds: float,
        key: str = "",
        *,
        creates: bool = False,
    ) -> T:
        failure: TrafficStorageError
        try:
            async with asyncio.timeout(seconds):
                result = await call()
        except TrafficStorageError as error:
            failure = error
        except TimeoutError:
            failure = silent(self._location, seconds)
        except (BaseError, FileNotFoundError) as error:
            failure = in_words(error, self._location, key, creates=creates)
        else:
            self._went_well()
            return result
        if isinstance(failure, StorageUnavailable):
            self._failed()
        else:
            self._went_well()
        # Outside the handler: the original must not hang on as the context.
        raise failure

    def _went_well(self) -> None:
        self._failures = 0
        if self._trouble:
            self._trouble = ""
            _log.info("%s is back", self._location)

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= _FAILURES:
            self._keep_probing()

    def _keep_probing(self) -> None:
        loop = asyncio.get_running_loop()
        alive = self._probing is not None and not self._probing.done()
        if not alive or self._probing is None or self._probing.get_loop() is not loop:
            self._probing = loop.create_task(self._probe_until_well())

    async def _probe_until_well(self) -> None:
        pause = self._pause_seconds
        while not await self._is_well():
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _is_well(self) -> bool:
        try:
            await self._run(self._probe, _PROBE_SECONDS)
        except StorageUnavailable as error:
            if not self._trouble:
                _log.warning("no more calls to a store that is away: %s", str(error))
            self._trouble = str(error)
            return False
        except TrafficStorageError:  # an answer all the same
            return True
        return True
