"""TLS to PostgreSQL: what is demanded of the server, and the certificates.

asyncpg reads files in the user's home for this, fails if it can't see them, and goes on without TLS
when the server has none; so the contexts are made here, from settings. A setting that is not given
is that of libpq's environment variable (`PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`).
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

from attrs import frozen

from traffic_storage.domain.errors import ConfigurationError


class SslMode(StrEnum):
    """What is demanded of the server, as libpq's `sslmode`.

    Attributes:
        DISABLE: no TLS.
        PREFER: TLS if the server has it; otherwise what is sent can be read on the way.
        REQUIRE: TLS; the certificate is verified only if authorities are named.
        VERIFY_CA: TLS with a certificate of a trusted authority.
        VERIFY_FULL: also for the name of the host.
    """

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


@frozen
class TlsSettings:
    """The mode and the PEM files of TLS. `ca_file`: authorities; without, those of the system.

    `cert_file` is the client's own certificate; its key is in `key_file`, or in the same file.
    """

    mode: SslMode | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


_SYSTEM: Final = "system"
"""What `PGSSLROOTCERT` is for the authorities of the system."""


class Tls:
    """Makes the TLS contexts of new connections. A certificate that is replaced takes effect."""

    def __init__(self, settings: TlsSettings, environment: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environment = environment
        self._made: tuple[object, ssl.SSLContext] | None = None

    @property
    def mode(self) -> SslMode:
        """What is demanded of the server.

        Raises:
            ConfigurationError: `PGSSLMODE` is no mode.
        """
        if self._settings.mode is not None:
            return self._settings.mode
        given = self._environment.get("PGSSLMODE", "")
        # libpq tries first without TLS; nobody who may have TLS wants that.
        word = "prefer" if given in {"", "allow"} else given
        try:
            return SslMode(word)
        except ValueError as error:
            raise ConfigurationError.of(
                "PGSSLMODE",
                f"must be one of {', '.join(SslMode)}",
                "correct the environment variable, or set db_ssl_mode, which has precedence",
            ) from error

    @property
    def is_chosen(self) -> bool:
        """Whether somebody has chosen the mode: it is not the default."""
        return self._settings.mode is not None or bool(self._environment.get("PGSSLMODE"))

    def context(self) -> ssl.SSLContext | None:
        """Return the context of a new connection; None: without TLS.

        A file that can't be used is an error only for the first connection; later, the files that
        were used before remain in use.

        Raises:
            ConfigurationError: a certificate or key can't be read, or is none.
        """
        if self.mode is SslMode.DISABLE:
            return None
        files = tuple(path and _state(path) for path, _ in self._files())
        if self._made is not None and self._made[0] == files:
            return self._made[1]
        try:
            made = self._make()
        except ConfigurationError:
            if self._made is None:
                raise
            return self._made[1]
        self._made = files, made
        return made

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        (ca_file, ca_name), (cert_file, cert_name), (key_file, key_name) = self._files()
        context.check_hostname = self.mode is SslMode.VERIFY_FULL
        if self.mode is SslMode.PREFER or (self.mode is SslMode.REQUIRE and ca_file is None):
            context.verify_mode = ssl.CERT_NONE
        elif ca_file is None or ca_file == Path(_SYSTEM):
            context.load_default_certs()
        else:
            with _reading(ca_name, ca_file):
                context.load_verify_locations(cafile=ca_file)
        if cert_file is not None:
            for name, path in ((cert_name, cert_file), (key_name, key_file)):
                if path is not None:
                    with _reading(name, path):
                        path.read_bytes()
            with _reading(cert_name, cert_file, "or its key, "):
                # A key with a pass phrase would be asked for at the terminal.
                context.load_cert_chain(cert_file, key_file, password="")
        return context

    def _files(self) -> tuple[tuple[Path | None, str], ...]:
        """Return the three files, each with the name by which it was given."""
        given = self._settings
        return (
            self._file(given.ca_file, "db_ca_file", "PGSSLROOTCERT"),
            self._file(given.cert_file, "db_cert_file", "PGSSLCERT"),
            self._file(given.key_file, "db_key_file", "PGSSLKEY"),
        )

    def _file(self, given: Path | None, name: str, variable: str) -> tuple[Path | None, str]:
        if given is not None or self._settings.mode is not None:
            return given, name
        text = self._environment.get(variable)
        return (Path(text), variable) if text else (None, name)


@contextmanager
def _reading(name: str, path: Path, also: str = "") -> Iterator[None]:
    """Return a context in which a file is read; its errors name the setting and the path."""
    try:
        yield
    except ssl.SSLError as error:
        raise ConfigurationError.of(
            name,
            f"{path} {also}can't be used: {error.reason or 'it is not PEM'}",
            "name a PEM file with a certificate, and with db_key_file the key that belongs to it",
        ) from error
    except OSError as error:
        raise ConfigurationError.of(
            name,
            f"{path} can't be read: {error.strerror}",
            "name a file that exists and that the user of the process may read",
        ) from error


def _state(path: Path) -> object:
    """Return what changes when the file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return path
    return path, found.st_mtime_ns, found.st_ino, found.st_size
