"""`traffic-storage serve`."""

from pathlib import Path
from typing import Annotated

from attrs import evolve
from cyclopts import Parameter

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.listening import (
    address_of,
    bound,
    bound_to_file,
    checked_tls,
    is_of_this_machine,
)
from traffic_storage.entrypoints.cli.output import note
from traffic_storage.entrypoints.cli.processes import Served, check_processes, run_processes
from traffic_storage.entrypoints.cli.serving import run_server
from traffic_storage.entrypoints.cli.session import Shared, load_container
from traffic_storage.entrypoints.logs import LogFormat, LogLevel

_HOST = "127.0.0.1"
_PORT = 8001


def serve(
    *,
    host: str = _HOST,
    port: int = _PORT,
    uds: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    processes: Annotated[int, Parameter(name=("--processes", "--workers"))] = 1,
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
    processes:
        How many processes serve the address (several need PostgreSQL): one more for each processor
        core. They share the setting workers; its limits on requests, memory and connections to the
        database hold for each of them.
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
    check_processes(processes, settings)
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

        if processes == 1:
            return run_server(settings, listener, announce, tls)
        served = Served(settings, listener, tls, session.verbose)
        return run_processes(processes, served, announce)
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
