"""Which hosts and origins are the service's own, and which pages may send requests from a browser."""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from traffic_storage.entrypoints.addresses import is_loopback

# `host[:port]`, the host a name, an IPv4 address or an IPv6 address in brackets.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_OWN_SITES = frozenset({b"same-origin", b"none"})

Headers = Iterable[tuple[bytes, bytes]]


class Hosts:
    """The names under which the service is addressed.

    A page of a foreign name that its owner lets lead to this service (DNS rebinding) sends that name
    as `Host`. An address can't be made to lead elsewhere, so each one is accepted where
    `any_address` is true, else only those of this machine.

    Args:
        names: host names beside localhost, without a port.
    """

    def __init__(self, names: Iterable[str] = (), *, any_address: bool) -> None:
        self._names = frozenset(_plain(name) for name in names)
        self._any_address = any_address

    def refusal(self, headers: Headers) -> str:
        """Return why the Host of a request is not the service's own, or an empty text if it is."""
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) == 1 and self._is_own(hosts[0]):
            return ""
        which = "a name of this service" if self._any_address or self._names else "localhost"
        return f"the Host header must be {which}, not {', '.join(hosts)!a:.100}"

    def _is_own(self, host: str) -> bool:
        found = host_name(host)
        if found is None:
            return False
        if is_loopback_name(found) or found in self._names:
            return True
        return self._any_address and _is_address(found)


class Origins:
    """The origins whose pages may send requests: that of the request's Host, and the given ones.

    Args:
        own: URLs of the service beside that of the Host, as behind a proxy that changes the Host.
        others: origins of other sites whose pages may use the service (`cors_origins`).
    """

    def __init__(self, own: Iterable[str] = (), others: Iterable[str] = ()) -> None:
        self._own = frozenset(filter(None, map(origin_of, own)))
        self._others = frozenset(filter(None, map(origin_of, others)))

    def refusal(self, headers: Headers) -> str:
        """Return why the page that sent a request may not do that, or an empty text if it may.

        Browsers tell of the page by `Origin` and `Sec-Fetch-Site`; a request without both is of no
        page that could be told.
        """
        origins, sites, hosts = [], [], []
        for name, value in headers:
            if name == b"origin":
                origins.append(value.decode("latin-1"))
            elif name == b"sec-fetch-site":
                sites.append(value)
            elif name == b"host":
                hosts.append(value.decode("latin-1"))
        if not origins and not sites:
            return ""
        if len(origins) == 1 and origin_of(origins[0]) in self._others:
            return ""
        if origins and not (len(origins) == 1 and self._is_own(origins[0], hosts)):
            return f"a page of the origin {', '.join(origins)!a:.100} sent the request"
        if not _OWN_SITES.issuperset(sites):
            site = b", ".join(sites).decode("latin-1")
            return f"a page of another origin sent the request (Sec-Fetch-Site: {site!a:.60})"
        return ""

    def _is_own(self, origin: str, hosts: list[str]) -> bool:
        found = origin_of(origin)
        if found is None:
            return False
        if found in self._own:
            return True
        return len(hosts) == 1 and found == origin_of(f"{found.partition(':')[0]}://{hosts[0]}")


@lru_cache(1024)
def origin_of(url: str) -> str | None:
    """Return the origin of a URL as browsers write it, or None if it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or host_name(parts.netloc) is None:
        return None
    authority = parts.netloc.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])
    return f"{parts.scheme}://{authority}"


@lru_cache(1024)
def host_name(host: str) -> str | None:
    """Return the name or address of a `Host` header, without its port and in lower case, or None."""
    found = _HOST.fullmatch(host)
    return _plain(found[1]) if found else None


def is_loopback_name(name: str) -> bool:
    """Return whether a host is localhost or a loopback address."""
    return name == "localhost" or is_loopback(name)


def _plain(name: str) -> str:
    return name.strip("[]").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
