"""Runs the calls to one S3 bucket with a time limit, and refuses them while the bucket is down."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import TypeVar

from obstore.exceptions import BaseError

from traffic_storage.adapters.s3.answers import Throttled, port_error, silent
from traffic_storage.domain.errors import StorageUnavailable, TrafficStorageError

T = TypeVar("T")

_FAILURES = 3
_LONGEST_PAUSE_SECONDS = 15.0
# Between two requests, the first of which the server has asked to send later.
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 5.0
_PROBE_SECONDS = 5.0
_random = secrets.SystemRandom()
_log = logging.getLogger("traffic_storage.blob_store")


class Guard:
    """Runs calls to the bucket at `location` with a time limit; refuses them while it is down.

    After three failed calls in a row a background task sends the bucket a small request (probe),
    because the failures may concern single blobs. If the probe fails too, every call is refused at
    once until a probe succeeds. Only StorageUnavailable counts as a failure; BlobMissing, for
    example, is a reply of a working bucket. So is the request to send less (SlowDown): the call is
    made again, after growing pauses, as long as its time limit allows.
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
        """Return why calls to the bucket are refused; an empty text while they are not."""
        return self._trouble

    async def run(
        self,
        call: Callable[[], Awaitable[T]],
        seconds: float,
        key: str = "",
        *,
        creates: bool = False,
    ) -> T:
        """Return the result of `call`, which concerns the blob `key` and may take `seconds`.

        Raises:
            StorageUnavailable, StorageFull, BlobMissing, BlobCorrupt: as the port describes.
            BlobConflict: `creates` is true and the server reports that its condition failed. The
                report may be wrong.
        """
        if self._trouble:
            self._keep_probing()
            raise StorageUnavailable(self._trouble)
        return await self._run(call, seconds, key, creates=creates)

    async def aclose(self) -> None:
        """Cancel the running availability check of the bucket."""
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
        until = _now() + seconds
        pause = _FIRST_WAIT_SECONDS
        told: Throttled | None = None
        while True:
            failure: TrafficStorageError
            try:
                async with asyncio.timeout_at(until):
                    return await self._once(call, key, creates=creates)
            except Throttled as error:
                failure = told = error
            except TrafficStorageError as error:  # Some are a TimeoutError.
                failure = error
            except TimeoutError:
                if told is None:
                    self._failed()
                failure = told or silent(self._location, seconds)
            # Random, so that many calls do not all come again at the same time.
            wait = pause * _random.uniform(0.5, 1.0)
            if failure is not told or _now() + wait >= until:
                # Raised outside the handler, so that the original error is not its context.
                raise failure
            _log.info("waiting, because %s", str(failure))
            await asyncio.sleep(wait)
            pause = min(2 * pause, _LONGEST_WAIT_SECONDS)

    async def _once(self, call: Callable[[], Awaitable[T]], key: str, *, creates: bool) -> T:
        failure: TrafficStorageError
        try:
            result = await call()
        except TrafficStorageError as error:
            failure = error
        except (BaseError, FileNotFoundError) as error:
            failure = port_error(error, self._location, key, creates=creates)
        else:
            self._went_well()
            return result
        if isinstance(failure, StorageUnavailable) and not isinstance(failure, Throttled):
            self._failed()
        else:
            self._went_well()
        # Raised outside the handler, so that the original error is not its context.
        raise failure

    def _went_well(self) -> None:
        self._failures = 0
        if self._trouble:
            self._trouble = ""
            _log.info("%s is available again", self._location)

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= _FAILURES:
            self._keep_probing()

    def _keep_probing(self) -> None:
        loop = asyncio.get_running_loop()
        alive = self._probing is not None and not self._probing.done()
        if not alive or self._probing is None or self._probing.get_loop() is not loop:
            self._probing = loop.create_task(self._probe_until_well(), context=Context())

    async def _probe_until_well(self) -> None:
        pause = self._pause_seconds
        while not await self._is_well():
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _is_well(self) -> bool:
        try:
            await self._run(self._probe, _PROBE_SECONDS)
        except Throttled:  # The server answered.
            return True
        except StorageUnavailable as error:
            if not self._trouble:
                _log.warning(
                    "a store is unavailable; calls to it fail at once until it answers again: %s",
                    str(error),
                )
            self._trouble = str(error)
            return False
        except TrafficStorageError:  # The server answered.
            return True
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
