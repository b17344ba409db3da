"""Recognition of local use: requests from this machine to localhost without a proxy."""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

_FORWARDING = frozenset(
    {
        b"forwarded",
        b"via",
        b"client-ip",
        b"true-client-ip",
        b"proxy-client-ip",
        b"wl-proxy-client-ip",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-originating-ip",
        b"x-remote-ip",
        b"x-remote-addr",
        b"x-host",
        b"x-original-for",
        b"x-original-forwarded-for",
        b"x-original-host",
        b"x-original-proto",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-proxyuser-ip",
        b"x-nginx-proxy",
        b"x-varnish",
        b"x-bluecoat-via",
        b"cdn-loop",
        b"fastly-client-ip",
        b"fastly-ff",
        b"fly-client-ip",
        b"fly-forwarded-port",
        b"incap-client-ip",
        b"ali-cdn-real-ip",
        b"akamai-origin-hop",
        b"x-akamai-edgescape",
        b"x-sucuri-clientip",
        b"x-nf-client-connection-ip",
        b"x-vercel-forwarded-for",
        b"x-appengine-user-ip",
        b"x-cloud-trace-context",
        b"x-azure-clientip",
        b"x-azure-socketip",
        b"x-azure-ref",
        b"x-amz-cf-id",
        b"x-amzn-trace-id",
    }
)
_FORWARDING_PREFIXES = (b"x-forwarded", b"cf-", b"x-envoy-", b"x-arr-")
"""Prefixes of headers that proxies and content delivery networks add; whole names are above."""
_DIRECT_VERSIONS = frozenset({"1.1", "2", "2.0", "3", "3.0"})
# `host[:port]`, the host a name, an IPv4 address or an IPv6 address in brackets.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)


def not_local_reason(
    peer: str | None, headers: Iterable[tuple[bytes, bytes]], http_version: str, target: str
) -> str:
    """Return the reason why a request is not local use, or an empty text if it is.

    Args:
        target: the request target: a path, or a URL in absolute form.
    """
    return _not_local(peer, headers) or _not_direct(http_version, target)


def _not_local(peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return why the peer or a header shows that a request is not local; empty if none does."""
    if peer is None or not is_loopback(peer):
        return f"the request comes from {peer or 'an unknown peer'}, not from this machine"
    hosts = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES):
            return f"the request was forwarded ({name.decode('latin-1')})"
        elif name == b"origin" and not _is_local_origin(value.decode("latin-1")):
            return f"a page of the origin {value.decode('latin-1')!a:.100} sent the request"
    if len(hosts) != 1 or not is_local_host(hosts[0]):
        return f"the Host header must be localhost, not {', '.join(hosts)!a:.100}"
    return ""


def _not_direct(http_version: str, target: str) -> str:
    """Return why the HTTP version or the target suggests a proxy; an empty text if neither does.

    By default nginx sends HTTP/1.0 to the servers behind it; current clients send a later version.
    A proxy that sends HTTP/1.1 with the host localhost is not detected.
    """
    if http_version not in _DIRECT_VERSIONS:
        return f"the request uses HTTP/{http_version}, which suggests a proxy"
    if not target.startswith(("/", "*")) and not _is_local_origin(target):
        return f"the request target is {target!a:.100}, not localhost"
    return ""


@lru_cache(1024)
def is_loopback(address: str) -> bool:
    """Return whether an address is in 127.0.0.0/8, also as IPv4-mapped IPv6, or is ::1."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


@lru_cache(1024)
def is_local_host(host: str) -> bool:
    """Return whether the host of a `Host` header is localhost or a loopback address."""
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name = found[1]
    return name.lower() == "localhost" or is_loopback(name.strip("[]"))


def _is_local_origin(origin: str) -> bool:
    try:
        return is_local_host(urlsplit(origin).netloc)
    except ValueError:
        return False
