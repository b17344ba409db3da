"""Where a server listens: an address or the file of a Unix socket, with or without TLS."""

import os
import socket
import ssl
import stat
from pathlib import Path

from attrs import frozen

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.addresses import is_loopback

# The owner and the group of the process may connect: a proxy is made a member of the group.
_UMASK_OF_SOCKETS = 0o117


@frozen
class Tls:
    """The files of a certificate and its key, in PEM.

    Attributes:
        key: None if the file of the certificate also has the key.
    """

    certificate: Path
    key: Path | None


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address; it listens once the application has started.

    Until then connections are refused: one that is accepted early would wait for a response.

    Raises:
        InvalidInput: the address does not exist, is in use or is not permitted.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on a socket whose protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else "a port is a number from 0 to 65535"
        field = "--host" if isinstance(error, socket.gaierror) else "--port"
        raise cannot_listen(field, f"{host} port {port}", why) from error
    return listener


def bound_to_file(path: Path) -> socket.socket:
    """Return a Unix socket that is bound to a file, to which its owner and group may connect.

    A socket that a process left behind is replaced.

    Raises:
        InvalidInput: the file can't be created, is no socket, or is in use.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(_UMASK_OF_SOCKETS)
    try:
        _remove_abandoned(path)
        listener.bind(os.fspath(path))
    except (OSError, ValueError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else None
        raise cannot_listen("--uds", str(path), why or str(error)) from error
    finally:
        os.umask(previous)
    return listener


def cannot_listen(field: str, where: str, why: str | None) -> InvalidInput:
    """Return the error that nothing can listen at an address or a file."""
    remedy = "choose another path" if field == "--uds" else "choose another port or host"
    return InvalidInput.of(field, f"can't listen on {where}: {why}", remedy)


def is_of_this_machine(listener: socket.socket) -> bool:
    """Return whether only programs of this machine can connect to a bound socket."""
    return listener.family == socket.AF_UNIX or is_loopback(listener.getsockname()[0])


def address_of(listener: socket.socket, tls: Tls | None = None) -> str:
    """Return the URL of a bound socket, or `unix:` and its path."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def checked_tls(certificate: Path | None, key: Path | None) -> Tls | None:
    """Return the files of TLS after loading them once; None if none is given.

    Raises:
        InvalidInput: a file is missing, unreadable or not PEM, the key is encrypted, or it is
            not the certificate's.
    """
    if certificate is None:
        if key is None:
            return None
        raise InvalidInput.of(
            "--tls-cert", "is missing; needed with --tls-key", "name the file of the certificate"
        )
    for field, file in (("--tls-cert", certificate), ("--tls-key", key)):
        if file is not None and (why := _unreadable(file)):
            raise InvalidInput.of(
                field, f"{file} can't be read: {why}", "name a file that can be read"
            )
    try:
        # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput.of(
            "--tls-key" if key else "--tls-cert",
            f"the certificate and its key can't be loaded: {error}",
            "give the certificate (with its chain) and its own key in PEM, the key not encrypted",
        ) from error
    return Tls(certificate, key)


def _unreadable(file: Path) -> str:
    try:
        file.open("rb").close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _remove_abandoned(path: Path) -> None:
    """Remove the file of a socket on which nobody listens any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
