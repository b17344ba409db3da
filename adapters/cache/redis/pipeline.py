"""Pipelining: commands are sent without a wait for earlier replies, which arrive in order."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import define
from redis.exceptions import InvalidResponse, ResponseError

from traffic_storage.adapters.cache.redis.connections import Watched
from traffic_storage.adapters.cache.redis.messages import Unavailable

Command: TypeAlias = tuple[bytes, ...]
Reply: TypeAlias = bytes | int | str | Sequence[object] | None

# Limits on commands that have no reply yet.
_MOST_CALLS = 256
_MOST_BYTES = 16 * 1024 * 1024
# While bytes arrive, a call waits up to this many times `call_seconds`.
_MOST_WAITS = 10
# This many late replies in a row end the pipeline, even while bytes arrive.
_MOST_LATE = 32
_PING_SECONDS = 1.0


@define(eq=False)
class _Call:
    answer: asyncio.Future[Reply | Exception]
    size_bytes: int
    asked_at: float


class Pipeline:
    """Sends commands over one connection to Redis and gives each reply to its call.

    A pipeline fails once and stays failed: when the connection closes, when a reply is invalid,
    when no byte arrives during the whole wait of a call, or after `_MOST_LATE` late replies in a
    row. A server that is sending is available: while bytes arrive, calls wait up to `_MOST_WAITS`
    times `call_seconds`.

    `last_bytes_at` is when bytes arrived last, a time of the event loop's clock.
    """

    def __init__(self, connection: Watched, call_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        connection.on_bytes = self._note_bytes
        self._call_seconds = call_seconds
        self._calls: deque[_Call] = deque()
        self._pending_bytes = 0
        self._outbox: list[bytes] = []
        self._has_outbox = asyncio.Event()
        self._failed: asyncio.Future[str] = self._loop.create_future()
        self.last_bytes_at = -math.inf
        self._late = 0

    async def ask(self, commands: Sequence[Command], deadline: float) -> Reply:
        """Send commands with no other between them; return the last reply (see `Node.ask`)."""
        if self._failed.done():
            raise Unavailable(self._failed.result())
        if len(self._calls) >= _MOST_CALLS or self._pending_bytes > _MOST_BYTES:
            raise Unavailable("too many earlier calls wait for a reply of the cache")
        call = [self._send(command) for command in commands][-1]
        timer = self._loop.call_at(deadline, self._check, call, 2)
        try:
            answer = await call.answer
        finally:
            timer.cancel()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run(self, ready: Callable[[], None]) -> None:
        """Send commands and receive replies until the pipeline fails; raise its error.

        Calls `ready` after the first reply to PING.
        """
        # Not a TaskGroup: before 3.13, one that fails while it is cancelled loses the cancellation.
        tasks = [
            asyncio.create_task(part) for part in (self._read(), self._write(), self._ping(ready))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self) -> None:
        self._connection.abort()
        self._fail("the connection to the cache was closed")
        while self._calls:
            self._answer(Unavailable("the connection to the cache was closed"))

    def _send(self, command: Command) -> _Call:
        packed = self._connection.pack_command(*command)
        call = _Call(self._loop.create_future(), sum(map(len, packed)), self._loop.time())
        self._calls.append(call)
        self._pending_bytes += call.size_bytes
        self._outbox += packed
        self._has_outbox.set()
        return call

    def _answer(self, answer: Reply | Exception) -> None:
        call = self._calls.popleft()
        self._pending_bytes -= call.size_bytes
        if not call.answer.done():
            call.answer.set_result(answer)
            self._late = 0

    def _note_bytes(self) -> None:
        self.last_bytes_at = self._loop.time()

    def _check(self, call: _Call, turns: int) -> None:
        """Handle a call at its deadline: extend the wait while bytes arrive, else fail the call."""
        if call.answer.done():
            return
        if turns:
            # If the event loop was late, the reply may be in the socket: yield so that it is read.
            self._loop.call_soon(self._check, call, turns - 1)
            return
        last = call.asked_at + _MOST_WAITS * self._call_seconds
        deadline = min(self.last_bytes_at + self._call_seconds, last)
        if self.last_bytes_at >= call.asked_at and deadline > self._loop.time():
            self._loop.call_at(deadline, self._check, call, 2)
            return
        self._late += 1
        reason = f"the server does not answer within {self._call_seconds * 1000:.0f} ms"
        if self.last_bytes_at < call.asked_at or self._late >= _MOST_LATE:
            self._fail(reason)
        call.answer.set_result(Unavailable(reason))

    def _fail(self, reason: str) -> None:
        if not self._failed.done():
            self._failed.set_result(reason)

    async def _read(self) -> None:
        while True:
            answer: Reply | Exception
            try:
                answer = await self._connection.read_response(
                    disable_decoding=True, timeout=math.inf, disconnect_on_error=False
                )
            except ResponseError as error:
                answer = error
            if not self._calls:
                raise InvalidResponse("the server sends a reply to no command")
            self._answer(answer)

    async def _write(self) -> None:
        while True:
            await self._has_outbox.wait()
            self._has_outbox.clear()
            outgoing, self._outbox = self._outbox, []
            await self._connection.send_packed_command(outgoing, check_health=False)

    async def _ping(self, ready: Callable[[], None]) -> None:
        """Send PING at the start, and whenever no byte has arrived for `_PING_SECONDS`."""
        await self._expect_pong()
        ready()
        while not self._failed.done():
            await asyncio.wait([self._failed], timeout=_PING_SECONDS)
            if self._loop.time() - self.last_bytes_at >= _PING_SECONDS:
                await self._expect_pong()
        raise Unavailable(self._failed.result())

    async def _expect_pong(self) -> None:
        answer = await self.ask([(b"PING",)], self._loop.time() + self._call_seconds)
        if answer != b"PONG":
            raise InvalidResponse("the server does not answer PING with PONG")
