"""A fault proxy in front of a real S3 server: real answers, and scripted failures among them.

    with S3Stub(server.address.endpoint) as stub:
        store = connect(bucket.at(stub.endpoint))
        stub.on(error_after_applying(500), method="PUT", key="image/*", nth=2)

Requests pass unchanged, the Host header too, so signatures made for the stub's address hold.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from attrs import define

from tests.support import wire
from tests.support.proxy import Proxy, reset

_SEEN_SECONDS = 20.0
_POLL_SECONDS = 0.005


@define
class Seen:
    """A request that came: what it asked for, and how far it got."""

    method: str
    bucket: str
    key: str
    query: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    is_faulted: bool = False
    real_status: int | None = None
    """What the real server answered, None as long as it has not."""

    def matches(self, method: str | None, key: str, query: str) -> bool:
        return (
            method in {None, self.method}
            and fnmatchcase(self.key, key)
            and fnmatchcase(self.query, query)
        )


class Exchange:
    """One request and the ways to go on with it; each way is used at most once."""

    def __init__(
        self,
        head: wire.Head,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[str, int],
        seen: Seen,
    ) -> None:
        self._head = head
        self._reader, self._writer = client
        self._target = target
        self._seen = seen

    async def relay(self) -> None:
        """Pass request and answer through, piece by piece."""
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            far_writer.write(self._head.raw)
            await wire.copy_body(self._head, self._reader, far_writer)
            answer = await self._read_answer_head(far_reader)
            self._writer.write(answer.raw)
            await wire.copy_answer_body(self._head, answer, far_reader, self._writer)
        finally:
            far_writer.close()

    async def apply(self) -> wire.Answer:
        """Have the real server do it; its whole answer is returned and not passed on."""
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            far_writer.write(self._head.raw)
            await wire.copy_body(self._head, self._reader, far_writer)
            answer = await self._read_answer_head(far_reader)
            return await wire.read_answer(self._head, answer, far_reader)
        finally:
            far_writer.close()

    async def apply_part(self, share: float) -> None:
        """Send the head and the first `share` of the body to the real server, then reset there."""
        body = await wire.read_body(self._head, self._reader)
        _, far_writer = await asyncio.open_connection(*self._target)
        far_writer.write(self._head.raw + body[: int(len(body) * share)])
        await far_writer.drain()
        reset(far_writer)

    async def refuse(self, status: int, code: str) -> None:
        """Take the request in, don't pass it on, answer with an S3 error."""
        await wire.read_body(self._head, self._reader)
        await self.send(_error(status, code))

    async def send(self, answer: wire.Answer) -> None:
        """Answer the client with `answer`."""
        self._writer.write(answer.encode(with_body=self._head.method != "HEAD"))
        await self._writer.drain()

    async def send_part(self, answer: wire.Answer, share: float) -> None:
        """Send the whole head but only the first `share` of the body."""
        body = answer.body[: int(len(answer.body) * share)]
        self._writer.write(answer.encode(with_body=False) + body)
        await self._writer.drain()

    async def hang(self) -> None:
        """Never answer; returns when the client gives up."""
        while await self._reader.read(65_536):
            pass

    def close(self) -> None:
        """Close the client's connection in an orderly way, after what was sent."""
        self._writer.close()

    def reset(self) -> None:
        """Reset the client's connection."""
        reset(self._writer)

    async def _read_answer_head(self, far_reader: asyncio.StreamReader) -> wire.Head:
        answer = await wire.read_head(far_reader)
        while answer is not None and answer.status == HTTPStatus.CONTINUE:
            answer = await wire.read_head(far_reader)
        if answer is None:
            raise ConnectionResetError("the real server closed the connection")
        self._seen.real_status = answer.status
        return answer


Fault: TypeAlias = Callable[[Exchange], Awaitable[None]]


def error(status: int = 500, code: str = "InternalError") -> Fault:
    """Answer with an S3 error; the real server never hears of it."""
    return lambda exchange: exchange.refuse(status, code)


def slow_down(status: int = 503) -> Fault:
    """Answer SlowDown, with 503 or 429; the real server never hears of it."""
    return error(status, "SlowDown")


def conflict() -> Fault:
    """Answer 409 though nothing was stored; the real server never hears of it."""
    return error(409, "OperationAborted")


def error_after_applying(status: int = 500, code: str = "InternalError") -> Fault:
    """The real server does it, the client hears of an error."""

    async def fault(exchange: Exchange) -> None:
        await exchange.apply()
        await exchange.send(_error(status, code))

    return fault


def reset_before_applying() -> Fault:
    """Reset the connection; the real server never hears of it."""

    async def fault(exchange: Exchange) -> None:
        exchange.reset()

    return fault


def reset_after_applying() -> Fault:
    """The real server does it, the client's connection is reset instead of an answer."""

    async def fault(exchange: Exchange) -> None:
        await exchange.apply()
        exchange.reset()

    return fault


def reset_in_upload(share: float = 0.5) -> Fault:
    """Both connections are reset when `share` of the request's body has passed."""

    async def fault(exchange: Exchange) -> None:
        await exchange.apply_part(share)
        exchange.reset()

    return fault


def reset_in_download(share: float = 0.5) -> Fault:
    """The client's connection is reset when `share` of the answer's body has passed."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send_part(await exchange.apply(), share)
        exchange.reset()

    return fault


def hang() -> Fault:
    """Never answer; the real server never hears of it."""
    return lambda exchange: exchange.hang()


def hang_after_applying() -> Fault:
    """The real server does it, the client never hears of it."""

    async def fault(exchange: Exchange) -> None:
        await exchange.apply()
        await exchange.hang()

    return fault


def hang_in_download(share: float = 0.5) -> Fault:
    """The answer stops for ever when `share` of its body has passed."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send_part(await exchange.apply(), share)
        await exchange.hang()

    return fault


def truncate(share: float = 0.5) -> Fault:
    """The answer's body ends after `share`, its Content-Length says so: only a digest can tell."""

    async def fault(exchange: Exchange) -> None:
        answer = await exchange.apply()
        await exchange.send(answer.with_body(answer.body[: int(len(answer.body) * share)]))

    return fault


def cut_off(share: float = 0.5) -> Fault:
    """The connection closes after `share` of the announced body, in an orderly way."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send_part(await exchange.apply(), share)
        exchange.close()

    return fault


def flip_bit(share: float = 0.5) -> Fault:
    """One bit of the answer's body is wrong, at `share` of its length."""

    async def fault(exchange: Exchange) -> None:
        answer = await exchange.apply()
        body = bytearray(answer.body)
        if body:
            body[min(int(len(body) * share), len(body) - 1)] ^= 0x01
        await exchange.send(answer.with_body(bytes(body)))

    return fault


def delay(seconds: float) -> Fault:
    """Pass the request on after `seconds`."""

    async def fault(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await exchange.relay()

    return fault


@define
class _Rule:
    fault: Fault
    method: str | None
    key: str
    query: str
    nth: int
    times: int | None
    is_used: bool = False
    """Whether a request was faulted by it."""
    _matched: int = 0

    def takes(self, seen: Seen) -> bool:
        """Whether this request is one of those to be faulted; counts it when it matches."""
        if not seen.matches(self.method, self.key, self.query):
            return False
        self._matched += 1
        past = self._matched - self.nth
        return past >= 0 and (self.times is None or past < self.times)


class S3Stub(Proxy):
    """Stands in front of the S3 server at `endpoint`; passes through what no rule takes."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        place = urlsplit(endpoint)
        self._target = (str(place.hostname), place.port or 80)
        self._rules: list[_Rule] = []
        self.requests: list[Seen] = []
        """Every request in order of arrival."""

    @property
    def endpoint(self) -> str:
        """Where clients connect."""
        return f"http://{self.host}:{self.port}"

    def on(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        key: str = "*",
        query: str = "*",
        nth: int = 1,
        times: int | None = 1,
    ) -> None:
        """Script `fault` for requests of `method` whose key and query match the patterns.

        Of those that match from now on, the `nth` is the first to be faulted, and `times` in a
        row are (None: all). `key` is the unquoted path after the bucket, empty for requests
        about the bucket; `query` tells the parts of a multipart upload apart. The oldest rule
        that takes a request wins. A rule that faults nothing is an error of the test: see `check`.
        """
        self._rules.append(_Rule(fault, method, key, query, nth, times))

    def clear(self) -> None:
        """Forget all rules and all requests, after `check`."""
        self.check()
        self._rules.clear()
        self.requests.clear()

    def check(self) -> None:
        """AssertionError when a rule has faulted no request: its test showed nothing."""
        unused = [rule for rule in self._rules if not rule.is_used]
        assert not unused, f"faulted nothing: {unused}; came: {self.requests}"

    def count(self, *, method: str | None = None, key: str = "*", query: str = "*") -> int:
        """How many requests came that match, faulted ones too."""
        return sum(seen.matches(method, key, query) for seen in list(self.requests))

    async def until(
        self,
        *,
        method: str | None = None,
        key: str = "*",
        query: str = "*",
        is_applied: bool = False,
    ) -> Seen:
        """Wait for a request that matches (and that the real server has answered); TimeoutError."""
        async with asyncio.timeout(_SEEN_SECONDS):
            while True:
                for seen in list(self.requests):
                    is_far_enough = seen.real_status is not None or not is_applied
                    if is_far_enough and seen.matches(method, key, query):
                        return seen
                await asyncio.sleep(_POLL_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await wire.read_head(reader)) is not None:
            seen = _seen(head)
            fault = self._fault_for(seen)
            seen.is_faulted = fault is not None
            self.requests.append(seen)
            exchange = Exchange(head, (reader, writer), self._target, seen)
            await (exchange.relay() if fault is None else fault(exchange))

    def _fault_for(self, seen: Seen) -> Fault | None:
        # Every rule counts the request, also when an older one takes it.
        taking = [rule for rule in list(self._rules) if rule.takes(seen)]
        if not taking:
            return None
        taking[0].is_used = True
        return taking[0].fault


def _seen(head: wire.Head) -> Seen:
    place = urlsplit(head.target)
    bucket, _, key = place.path.removeprefix("/").partition("/")
    headers = {name.lower(): value for name, value in head.headers}
    return Seen(head.method, unquote(bucket), unquote(key), place.query, headers)


def _error(status: int, code: str) -> wire.Answer:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{code}</Code><Message>scripted by the test</Message></Error>"
    )
    headers = [("content-type", "application/xml")]
    return wire.Answer(status, HTTPStatus(status).phrase, headers, body.encode())
