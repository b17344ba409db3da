"""The life of one connection: commands go out as they come, answers come back in their order."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import frozen
from redis.asyncio import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, ResponseError

Command: TypeAlias = tuple[bytes, ...]
Reply: TypeAlias = bytes | int | str | Sequence[object] | None

# More than this many commands or bytes under way is a cache that can't keep up.
_MOST_CALLS = 256
_MOST_BYTES = 16 * 1024 * 1024
# A server that still answers may miss the deadline so often before it counts as away.
_MOST_LATE = 3
_BEAT_SECONDS = 1.0


class Away(Exception):
    """There is no answer in time; the message says why."""


class Wire(Connection):
    """A connection of redis-py: the protocol, the login, TCP. Without time limits of its own."""

    def __init__(
        self, *, host: str, port: int, db: int, username: str | None, password: str | None
    ) -> None:
        super().__init__(
            host=host,
            port=port,
            db=db,
            username=username,
            password=password,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
        )

    async def open(self) -> None:
        """Connect and log in."""
        await self.connect()  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """Close at once, without waiting until what was written has gone out."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.transport.abort()


@frozen(eq=False)
class _Call:
    answer: asyncio.Future[Reply | Exception]
    size_bytes: int


class Session:
    """A connected server, from its first answer in time until it fails once.

    It fails when nothing was answered during a whole wait, when answers were late too often, when
    an answer makes no sense, when the connection closes.
    """

    def __init__(self, wire: Wire, call_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._call_seconds = call_seconds
        self._calls: deque[_Call] = deque()
        self._bytes_under_way = 0
        self._outbox: list[bytes] = []
        self._waiting_out = asyncio.Event()
        self._failed: asyncio.Future[str] = self._loop.create_future()
        self._answered_at = -math.inf
        self._late = 0

    async def ask(self, commands: Sequence[Command], deadline: float) -> Reply:
        """Send commands one after the other; the answer to the last (see `Link.ask`)."""
        if self._failed.done():
            raise Away(self._failed.result())
        if len(self._calls) >= _MOST_CALLS or self._bytes_under_way > _MOST_BYTES:
            raise Away("it has too much to do")
        call = [self._send(command) for command in commands][-1]
        timer = self._loop.call_at(deadline, self._look_again, call, self._loop.time(), 2)
        try:
            answer = await call.answer
        finally:
            timer.cancel()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run(self, ready: Callable[[], None]) -> None:
        """Carry commands and answers; calls `ready` when the server has answered in time.

        Raises: why the session failed.
        """
        # No TaskGroup: before Python 3.13 one that is cancelled while it fails tells of the
        # failure alone, and who cancelled would wait for ever.
        tasks = [
            asyncio.create_task(part) for part in (self._read(), self._write(), self._beat(ready))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self) -> None:
        """Close the connection and tell all who wait."""
        self._wire.abort()
        self._fail("the connection was closed")
        while self._calls:
            self._answer(Away("the connection was closed"))

    def _send(self, command: Command) -> _Call:
        packed = self._wire.pack_command(*command)
        call = _Call(self._loop.create_future(), sum(map(len, packed)))
        self._calls.append(call)
        self._bytes_under_way += call.size_bytes
        self._outbox += packed
        self._waiting_out.set()
        return call

    def _answer(self, answer: Reply | Exception) -> None:
        call = self._calls.popleft()
        self._bytes_under_way -= call.size_bytes
        if not call.answer.done():
            call.answer.set_result(answer)

    def _look_again(self, call: _Call, asked_at: float, turns: int) -> None:
        """Time is up. Where our own loop was late, the answer may lie there unread: look first."""
        if call.answer.done():
            return
        if turns:
            self._loop.call_soon(self._look_again, call, asked_at, turns - 1)
            return
        self._late += 1
        reason = f"it does not answer within {self._call_seconds * 1000:.0f} ms"
        if self._answered_at < asked_at or self._late >= _MOST_LATE:
            self._fail(reason)
        call.answer.set_result(Away(reason))

    def _fail(self, reason: str) -> None:
        if not self._failed.done():
            self._failed.set_result(reason)

    async def _read(self) -> None:
        while True:
            answer: Reply | Exception
            try:
                answer = await self._wire.read_response(
                    disable_decoding=True, timeout=math.inf, disconnect_on_error=False
                )
            except ResponseError as error:
                answer = error
            if not self._calls:
                raise InvalidResponse("it answers what nobody asked")
            self._answered_at = self._loop.time()
            if not self._calls[0].answer.done():
                self._late = 0
            self._answer(answer)

    async def _write(self) -> None:
        while True:
            await self._waiting_out.wait()
            self._waiting_out.clear()
            outgoing, self._outbox = self._outbox, []
            await self._wire.send_packed_command(outgoing, check_health=False)

    async def _beat(self, ready: Callable[[], None]) -> None:
        """Ask for a sign of life at first and whenever there was none for a while."""
        await self._ping()
        ready()
        while not self._failed.done():
            await asyncio.wait([self._failed], timeout=_BEAT_SECONDS)
            if self._loop.time() - self._answered_at >= _BEAT_SECONDS:
                await self._ping()
        raise Away(self._failed.result())

    async def _ping(self) -> None:
        answer = await self.ask([(b"PING",)], self._loop.time() + self._call_seconds)
        if answer != b"PONG":
            raise InvalidResponse("it does not answer PING with PONG")
