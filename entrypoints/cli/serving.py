"""Serves an application on a socket with uvicorn, until a signal ends it."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from attrs import frozen
from uvicorn.config import STARTUP_FAILURE

from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.listening import Tls, address_of, cannot_listen
from traffic_storage.entrypoints.cli.output import note
from traffic_storage.entrypoints.cli.session import started

if TYPE_CHECKING:
    from traffic_storage.entrypoints.http.siblings import Siblings
    from traffic_storage.entrypoints.settings import StorageConfig

_GRACE_SECONDS = 10
_BACKLOG = 2048
_HANDSHAKE_SECONDS = 10.0
CANCELLED_BY = signal.SIGUSR1
"""Cancels the requests of one of several processes, which stops."""


@frozen
class OneOfSeveral:
    """What a process needs that serves an address together with others.

    Attributes:
        siblings: the others, by which it answers for all.
        alive: its other end is closed when the process that started this one has ended; then this
            one stops, too.
    """

    siblings: "Siblings"
    alive: Connection


def run_server(
    settings: "StorageConfig",
    listener: socket.socket,
    announce: Callable[[], None],
    tls: Tls | None = None,
    several: OneOfSeveral | None = None,
) -> ExitCode:
    """Serve on a socket until Ctrl-C or SIGTERM; call `announce` once requests are accepted.

    One of several processes is stopped by SIGTERM alone, which the one that started it sends. So
    may a service manager, to all of them: only `CANCELLED_BY` cancels running requests.

    Raises:
        InvalidInput: another process has begun to listen on the address of the socket.
        TrafficStorageError: the application can't start, as on tables of a newer version.
    """
    from traffic_storage.entrypoints.http import create_storage_app
    from traffic_storage.entrypoints.http.connections import ConnectionLimits, raise_file_limit
    from traffic_storage.entrypoints.http.lifespan import WatchedStart
    from traffic_storage.entrypoints.http.protocol import StorageProtocol

    # Databases, buckets and stored files need files, too.
    most = raise_file_limit() * 2 // 5
    siblings = several.siblings if several else None
    app = WatchedStart(create_storage_app(settings, siblings=siblings))
    server = _Server(
        uvicorn.Config(
            app,
            http=StorageProtocol.limited(
                ConnectionLimits(most=most, stall_seconds=settings.request_idle_timeout_seconds)
            ),
            ws="none",
            # A burst is accepted whole, before the connections that are too many are closed.
            backlog=min(_BACKLOG, most),
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            lifespan="on",
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        ),
        announce,
        several,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_worth_logging)
    # Before uvicorn handles them, lest one is lost; after the shutdown it raises the one that
    # stopped it again, which changes nothing any more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    try:
        server.run([listener])
    except SystemExit:
        if app.failure is not None:
            raise app.failure from None
        return ExitCode.FAILURE
    finally:
        listener.close()
    if several is None:
        note("stopped")
    return ExitCode.OK


def spare_collections() -> None:
    """Except what exists now, which lives as long as the process, from garbage collections.

    There are some hundred thousand objects of modules, routes and statements, and each full collection
    would look at all of them: a tenth of the processor time of a download.
    """
    gc.collect()
    gc.freeze()


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        announce: Callable[[], None],
        several: OneOfSeveral | None,
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._several = several

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen on the sockets, which uvicorn would do at once."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        loop = asyncio.get_running_loop()
        self.servers = []
        for listener in sockets or []:
            try:
                # uvloop does not tell that another process listens on the address by now.
                listener.listen(self.config.backlog)
            except OSError as error:
                await self.lifespan.shutdown()
                where = address_of(listener)
                raise cannot_listen("--port", where, error.strerror) from error
            tls, backlog = self.config.ssl, self.config.backlog
            patience = None if tls is None else _HANDSHAKE_SECONDS
            made = (
                await loop.create_unix_server(
                    self._protocol_of_socket,
                    sock=listener,
                    backlog=backlog,
                    ssl=tls,
                    ssl_handshake_timeout=patience,
                )
                if listener.family == socket.AF_UNIX
                else await loop.create_server(
                    self._protocol,
                    sock=listener,
                    backlog=backlog,
                    ssl=tls,
                    ssl_handshake_timeout=patience,
                )
            )
            self.servers.append(made)
        if self._several is not None:
            loop.add_reader(self._several.alive.fileno(), self._orphaned)
            loop.add_signal_handler(CANCELLED_BY, self._cancel)
        spare_collections()
        self.started = True
        started()
        self._announce()
        sys.stdout.flush()

    def _protocol(self) -> asyncio.Protocol:
        return self._made(self.lifespan.state)

    def _protocol_of_socket(self) -> asyncio.Protocol:
        from traffic_storage.entrypoints.http.security.authentication import PRIVATE_SOCKET

        return self._made({**self.lifespan.state, PRIVATE_SOCKET: True})

    def _made(self, state: dict[str, Any]) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=state
        )
        return made

    def _orphaned(self) -> None:
        """Stop, because the process that started this one has ended."""
        if self._several is not None:
            asyncio.get_running_loop().remove_reader(self._several.alive.fileno())
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._several is not None:
            # A terminal sends SIGINT to all processes at once, a service manager SIGTERM.
            self.should_exit = self.should_exit or sig == signal.SIGTERM
        elif self.should_exit and self.server_state.tasks:
            # A second signal.
            self._cancel()
        else:
            super().handle_exit(sig, frame)

    def _cancel(self) -> None:
        """Cancel the running requests; the shutdown still closes the container."""
        for task in self.server_state.tasks:
            task.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.tasks:
            note(
                f"waiting up to {_GRACE_SECONDS} seconds for running requests "
                "(press Ctrl-C again to cancel them)"
            )
        await super().shutdown(sockets)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether to log a record of uvicorn.

    False for requests that the shutdown cancelled, and for a start that failed, which is told.
    """
    if record.getMessage().startswith("Application startup failed"):
        return False
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
