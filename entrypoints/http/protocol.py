"""HTTP/1.1 of uvicorn, corrected and with limits for what clients may demand before a request."""

import asyncio
import contextlib
import socket
from typing import Any, ClassVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from traffic_storage.entrypoints.http.connections import ConnectionLimits, Connections

_LINGER_BYTES = 65_536
_LINGER_SECONDS = 3.0
_UNSENT_BYTES = 128 * 1024
# Names of the header Connection that belong to an upgrade.
_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


class _HeadTooLarge(Exception):
    """Ends the parsing of a request with too large a head."""


class _TooManyAhead(Exception):
    """Ends the parsing of requests of a connection on which too many wait."""


class StorageProtocol(HttpToolsProtocol):
    """The HTTP protocol class of `serve`; embedders pass it to `uvicorn.run(app, http=…)`.

    It differs from uvicorn's in the following:

    * The host of a target in absolute form overrides the header `Host` (RFC 9112, section 3.2.2).
    * Trailers are discarded; uvicorn appends them to the headers (RFC 9110, section 6.5.1).
    * `Upgrade` is ignored, as RFC 9110, section 7.8, permits, and the request is served; uvicorn
      discards its body. Only a websocket is upgraded, where uvicorn is configured for that.
    * Clients are limited by `limits`: see `ConnectionLimits`. uvicorn knows no such limit.
    """

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    _registries: ClassVar[WeakKeyDictionary[ServerState, Connections]] = WeakKeyDictionary()

    @classmethod
    def limited(cls, limits: ConnectionLimits) -> "type[StorageProtocol]":
        """Return this protocol class with other limits."""
        return type(cls.__name__, (cls,), {"limits": limits})

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        registry = self._registries.get(server_state)
        if registry is None:
            registry = self._registries[server_state] = Connections(self.limits, self.loop)
        self._registry = registry
        self._in_head = False
        self._in_message = False
        # Bytes since the last one of a body or the begin of a request: of a head, or of trailers.
        self._overhead = 0
        self._piece = 0
        self._is_upgrading = False
        # The request to which the response is being made; `cycle` is the last one received.
        self._current: RequestResponseCycle | None = None
        # After the last request that is taken, what still comes is discarded.
        self._is_deaf = False
        self._discarded = 0
        self._waiting_since: float | None = None
        self._closing_since: float | None = None
        self._untaken = 0
        self._taken_at = 0.0

    # Connections

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Register the connection; the time for its first request begins."""
        super().connection_made(transport)
        _keep_little_unsent(transport)
        self._waiting_since = self.loop.time()
        self._registry.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._registry.closed(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if self._current is not None and not self._current.response_complete:
            # uvicorn tells only the last request that its client is gone.
            self._current.disconnected = True
            self._current.message_event.set()

    def drop(self) -> None:
        """Close the connection at once; bytes that were not sent are lost."""
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close the connection if the client is too slow with a request, or in taking responses."""
        limits = self.limits
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._untaken or not self._untaken:
            self._taken_at = now
        self._untaken = unsent
        if unsent and now - self._taken_at >= limits.stall_seconds:
            self.drop()
        elif self._closing_since is not None:
            if now - self._closing_since >= _LINGER_SECONDS:
                self.drop()
        elif self._waiting_since is not None and not self._is_busy:
            if now - self._waiting_since < limits.head_seconds:
                return
            if self._in_head:
                self._refuse(408, f"The request head took longer than {limits.head_seconds:g} s.")
            else:
                self.drop()

    def resume_writing(self) -> None:
        """Note that the client has taken bytes."""
        self._untaken = 0
        super().resume_writing()

    @property
    def _is_busy(self) -> bool:
        """Whether a request is in progress or waits for an earlier one."""
        last: RequestResponseCycle | None = self.cycle
        return last is not None and not last.response_complete

    # Requests

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, within the limits."""
        if self._is_deaf:
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES and self._closing_since is not None:
                self.drop()
            return
        self._unset_keepalive_if_required()
        self._piece = len(data)
        self._overhead += len(data)
        if not self._parse(data):
            return
        if self._in_message and self._overhead > self.limits.head_bytes:
            self._refuse_size()
        elif not self._is_busy and self._waiting_since is None:
            if self._in_message:
                self._waiting_since = self.loop.time()
            else:
                self._await_next()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = self._in_message = True
        self._overhead = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and drop a trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, with the host of the target if it names one."""
        self._in_head = False
        if self._overhead + self._piece > self.limits.head_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.limits.head_bytes:
                raise _HeadTooLarge
        if self.parser.should_upgrade():
            self._is_upgrading = True
            if self._should_upgrade():
                self._registry.closed(self)
                super().on_headers_complete()
            return
        if len(self.pipeline) >= self.limits.ahead:
            raise _TooManyAhead
        if not self.url.startswith((b"/", b"*")):
            others = [(name, value) for name, value in self.headers if name != b"host"]
            # The application reads this list object, so it is changed in place.
            self.headers[:] = [*others, (b"host", _authority(self.url))]
        self._waiting_since = None
        self._registry.busy(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._in_message = False
        if self._is_upgrading:
            return
        super().on_message_complete()
        if not self._is_busy:
            # The rest of a body that nobody read: the wait for the next request begins here.
            self._waiting_since = None

    def on_response_complete(self) -> None:
        """Begin with the request that waits, or to wait for one."""
        super().on_response_complete()
        if self._is_busy or self.transport.is_closing():
            return
        if self._in_message:
            self._waiting_since = self.loop.time()
        self._registry.idle(self)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._current = cycle
        super()._start_asgi_task(cycle, app)

    def _parse(self, data: bytes) -> bool:
        """Parse bytes; return whether the connection goes on taking requests."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return False
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(501, "CONNECT is not supported.")
                    return False
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                match error.__context__:
                    case _HeadTooLarge():
                        self._refuse_size()
                    case _TooManyAhead():
                        self._end_after_last()
                    case _:
                        self.logger.warning("Invalid HTTP request received.")
                        self._refuse(400, "Invalid HTTP request received.")
                return False
            else:
                return True

    def _head_without_upgrade(self) -> bytes:
        """Return the head of the request again, for a new parser, without what asks for an upgrade.

        A parser that has met an upgrade regards all that follows as another protocol.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            kept = value
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                kept = b", ".join(token for token in tokens if token.lower() not in _UPGRADE)
            if name not in _UPGRADE and (kept or not value):
                lines.append(name + b": " + kept)
        self._is_upgrading = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join([*lines, b"", b""])

    def _await_next(self) -> None:
        """Limit the time until the next request, as uvicorn does after a response."""
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    # Refusals

    def _refuse_size(self) -> None:
        self._refuse(431, f"The request head is larger than {self.limits.head_bytes} bytes.")

    def _refuse(self, status: int, reason: str) -> None:
        """Respond that a request can't be read, and close the connection.

        After earlier requests the connection is closed without this response.
        """
        if self._is_busy and not self.cycle.more_body:
            self._end_after_last()
            return
        if self._is_busy and (self.cycle.response_started or self.pipeline):
            self._is_deaf = True
            self.transport.close()
            return
        self._is_deaf = True
        body = reason.encode()
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: text/plain; charset=utf-8\r\n"
            + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            + body
        )
        if self._is_busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # A connection that is closed while bytes come is reset, and the client may lose the response.
        self._closing_since = self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _end_after_last(self) -> None:
        """Close the connection after the response to the last request that was taken."""
        self._is_deaf = True
        self.flow.resume_reading()
        if self._is_busy:
            self.cycle.keep_alive = False
        else:
            self.transport.close()


def _keep_little_unsent(transport: asyncio.Transport) -> None:
    """Let the system take few bytes of a response before the client has room for them.

    Otherwise it takes up to 4 MiB, and reports room again only when a third of them was taken: a client
    that reads 40 KB a second would seem to take nothing for half a minute.
    """
    found = transport.get_extra_info("socket")
    if found is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):  # not TCP
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def _authority(target: bytes) -> bytes:
    """Return the authority of a target, or the target itself if it has none."""
    try:
        return urlsplit(target).netloc or target
    except ValueError:
        return target
