"""The addresses of PostgreSQL servers in one text: `db1`, `db1,db2:5433`, `[::1]`, `/run/postgresql`."""

import re
from typing import Final, TypeAlias

Address: TypeAlias = tuple[str, int]
"""A host and a port. A host that begins with `/` is the folder of a Unix socket."""

_IPV6: Final = r"[A-Fa-f0-9]*:[A-Fa-f0-9]*:[A-Fa-f0-9:.]*(?:%[A-Za-z0-9._\-]+)?"
_ENTRY: Final = re.compile(
    r"(?P<folder>/[^\0@?,]*)"
    rf"|\[(?P<bracketed>{_IPV6})\](?::(?P<port>[0-9]{{1,5}}))?"
    r"|(?P<host>[A-Za-z0-9._\-]+)(?::(?P<port_of_host>[0-9]{1,5}))?"
    rf"|(?P<ipv6>{_IPV6})"
)
_HIGHEST_PORT: Final = 65_535


def addresses(hosts: str, port: int) -> tuple[Address, ...]:
    """Return the address of each host of a list; `port` is that of hosts without one of their own.

    Raises:
        ValueError: an entry is not a host, an address or the folder of a socket.
    """
    return tuple(_address(entry.strip(), port) for entry in hosts.split(","))


def is_this_machine(host: str) -> bool:
    """Return whether a host is a Unix socket or an address of this machine alone."""
    return host.startswith(("/", "127.")) or host in {"localhost", "::1"}


def _address(entry: str, port: int) -> Address:
    found = _ENTRY.fullmatch(entry)
    own_port = int((found and (found["port"] or found["port_of_host"])) or port)
    if found is None or not 1 <= own_port <= _HIGHEST_PORT:
        raise ValueError("not a host, an address or the folder of a socket")
    host = found["folder"] or found["bracketed"] or found["host"] or found["ipv6"]
    return host, own_port
