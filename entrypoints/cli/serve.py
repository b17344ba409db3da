"""`traffic-storage serve`."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from attrs import evolve
from uvicorn.config import STARTUP_FAILURE

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.listening import (
    Tls,
    address_of,
    bound,
    bound_to_file,
    cannot_listen,
    checked_tls,
    is_of_this_machine,
)
from traffic_storage.entrypoints.cli.output import note
from traffic_storage.entrypoints.cli.session import Shared, load_container, started
from traffic_storage.entrypoints.logs import LogFormat, LogLevel

if TYPE_CHECKING:
    from traffic_storage.entrypoints.settings import StorageConfig

_GRACE_SECONDS = 10
_BACKLOG = 2048
_HOST = "127.0.0.1"
_PORT = 8001
_HANDSHAKE_SECONDS = 10.0


def serve(
    *,
    host: str = _HOST,
    port: int = _PORT,
    uds: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    log_format: LogFormat = "text",
    log_level: LogLevel | None = None,
    session: Shared,
) -> ExitCode:
    """Serve the HTTP interface until Ctrl-C.

    Without API keys, the service accepts only requests from this machine, and does not start on an
    address that others can reach; `keys new` creates a key. A request through a proxy on this
    machine that adds no header counts as local: set api_keys before you use a proxy, or give it a
    socket of its own with --uds.

    Parameters
    ----------
    host:
        The address to listen on; 0.0.0.0 means all addresses of this machine.
    port:
        The port to listen on; 0 means any free port.
    uds:
        The file of a Unix socket to listen on, instead of an address. Its owner and its group may
        connect: for a proxy on this machine. Without API keys, whoever may connect is admitted.
    tls_cert:
        PEM file of the certificate, with its chain: the service then speaks HTTPS.
    tls_key:
        PEM file of the certificate's key, if it is not in the same file.
    log_format:
        How log lines on stderr are written: for people, or as JSON or key=value pairs.
    log_level:
        What is logged; info has a line for each request. Default: warning, with --verbose debug.
    """
    load_container()
    from traffic_storage.adapters.clock.system import SystemClock
    from traffic_storage.entrypoints.base_path import check_base_path
    from traffic_storage.entrypoints.http.security.authentication import access_policy

    session.log_as(log_format, log_level)
    settings = session.settings()
    settings.effective_strategy()
    if uds is not None and (host, port) != (_HOST, _PORT):
        raise InvalidInput.of(
            "--uds", "is given together with --host or --port", "leave out one of the two"
        )
    tls = checked_tls(tls_cert, tls_key)
    check_base_path(settings, make=True)
    policy = access_policy(settings, SystemClock().now)
    listener = bound(host, port) if uds is None else bound_to_file(uds)
    try:
        address = address_of(listener, tls)
        is_without_keys = not policy.keys_needed and not settings.open_access
        if is_without_keys and not is_of_this_machine(listener):
            raise _open_to_others(host)
        if uds is None and not session.gives("public_url"):
            scheme, served = ("https" if tls else "http"), listener.getsockname()[1]
            settings = evolve(settings, public_url=f"{scheme}://localhost:{served}")

        def announce() -> None:
            note(f"Traffic Storage at {address} (Ctrl-C stops it)")
            if policy.keys_needed:  # otherwise the service logs a warning
                note(f"  {policy.summary}")
            elif uds is not None:
                note("  whoever may open this socket (its owner and group) needs no API key")
            note(f"  files on this machine are in {settings.local_base_path}")

        return run_server(settings, listener, announce, tls)
    finally:
        listener.close()
        if uds is not None:
            uds.unlink(missing_ok=True)


def _open_to_others(host: str) -> InvalidInput:
    return InvalidInput.of(
        "--host",
        f"{host} lets other machines connect, and neither api_keys nor open_access is set",
        "register a key (traffic-storage keys new), or listen on 127.0.0.1 or, for a proxy on this "
        "machine, on a socket (--uds); open_access = true admits everybody who can connect",
    )


def run_server(
    settings: "StorageConfig",
    listener: socket.socket,
    announce: Callable[[], None],
    tls: Tls | None = None,
) -> ExitCode:
    """Serve on a socket until Ctrl-C or SIGTERM; call `announce` once requests are accepted.

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
    app = WatchedStart(create_storage_app(settings))
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
    )
    logging.getLogger("uvicorn.error").addFilter(_is_worth_logging)
    # After shutdown, uvicorn raises the signal that stopped it again; it needs no second handling.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run([listener])
    except SystemExit:
        if app.failure is not None:
            raise app.failure from None
        return ExitCode.FAILURE
    finally:
        listener.close()
    note("stopped")
    return ExitCode.OK


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

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

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # A second signal cancels the running requests; the shutdown still closes the container.
        if self.should_exit and self.server_state.tasks:
            for task in self.server_state.tasks:
                task.cancel()
        else:
            super().handle_exit(sig, frame)

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
