"""`traffic-storage serve`."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from attrs import evolve
from uvicorn.config import STARTUP_FAILURE

from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.output import note
from traffic_storage.entrypoints.cli.session import Shared, load_container, started
from traffic_storage.entrypoints.logs import LogFormat, LogLevel

if TYPE_CHECKING:
    from traffic_storage.entrypoints.settings import StorageConfig

_GRACE_SECONDS = 10
_BACKLOG = 2048


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8001,
    log_format: LogFormat = "text",
    log_level: LogLevel | None = None,
    session: Shared,
) -> ExitCode:
    """Serve the HTTP interface until Ctrl-C.

    Without API keys, the service accepts only requests from this machine, whatever --host is;
    `keys new` creates a key. A request through a proxy on this machine that adds no header counts
    as local: set api_keys before you use a proxy.

    Parameters
    ----------
    host:
        The address to listen on; 0.0.0.0 means all addresses of this machine.
    port:
        The port to listen on; 0 means any free port.
    log_format:
        How log lines on stderr are written: for people, or as JSON or key=value pairs.
    log_level:
        What is logged; info has a line for each request. Default: warning, with --verbose debug.
    """
    load_container()
    from traffic_storage.adapters.clock.system import SystemClock
    from traffic_storage.entrypoints.http.security.authentication import access_policy

    session.log_as(log_format, log_level)
    settings = session.settings()
    settings.effective_strategy()
    listener = bound(host, port)
    address = _address(listener)
    policy = access_policy(settings, SystemClock().now)

    def announce() -> None:
        note(f"Traffic Storage at {address} (Ctrl-C stops it)")
        if policy.keys_needed:  # otherwise the service logs a warning
            note(f"  {policy.summary}")
        note(f"  files on this machine are in {settings.local_base_path}")

    return run_server(_with_public_url(settings, listener), listener, announce)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; it listens once the application has started.

    Until then connections are refused: one that is accepted early would wait for a response.

    Raises:
        ConfigurationError: the address does not exist, is in use or is not permitted.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on a socket whose protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError | OverflowError) -> ConfigurationError:
    why = error.strerror if isinstance(error, OSError) else "a port is a number from 0 to 65535"
    return ConfigurationError.of(
        "--host" if isinstance(error, socket.gaierror) else "--port",
        f"can't listen on {host} port {port}: {why}",
        "choose another port or host",
    )


def run_server(
    settings: "StorageConfig", listener: socket.socket, announce: Callable[[], None]
) -> ExitCode:
    """Serve on a socket until Ctrl-C or SIGTERM; call `announce` once requests are accepted.

    Raises:
        ConfigurationError: another process has begun to listen on the address of the socket.
    """
    from traffic_storage.entrypoints.http import create_storage_app
    from traffic_storage.entrypoints.http.connections import ConnectionLimits, raise_file_limit
    from traffic_storage.entrypoints.http.protocol import StorageProtocol

    # Databases, buckets and stored files need files, too.
    most = raise_file_limit() * 2 // 5
    server = _Server(
        uvicorn.Config(
            create_storage_app(settings),
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
            timeout_graceful_shutdown=_GRACE_SECONDS,
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
                host, port = listener.getsockname()[:2]
                raise _cannot_listen(host, port, error) from error
            self.servers.append(
                await loop.create_server(self._protocol, sock=listener, backlog=self.config.backlog)
            )
        self.started = True
        started()
        self._announce()
        sys.stdout.flush()

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
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
    """Return whether to log a record of uvicorn: false for requests that the shutdown cancelled."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _with_public_url(settings: "StorageConfig", listener: socket.socket) -> "StorageConfig":
    """Return the settings; an unset public_url is set to localhost with the served port."""
    if settings.public_url != type(settings)().public_url:
        return settings
    return evolve(settings, public_url=f"http://localhost:{listener.getsockname()[1]}")
