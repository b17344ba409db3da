"""Local use: a program on this machine that asks for it by name, with no proxy in between."""

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
"""Headers that proxies and content networks add, as far as is known."""
_DIRECT_VERSIONS = frozenset({"1.1", "2", "2.0", "3", "3.0"})
# `host[:port]`, the host a name, an IPv4 address or an IPv6 address in brackets.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)


def not_local_reason(
    peer: str | None, headers: Iterable[tuple[bytes, bytes]], http_version: str, target: str
) -> str:
    """Why a request is not local use; empty when it is.

    Args:
        target: the path or, in absolute form, the whole address that is asked for.
    """
    return _not_local(peer, headers) or _not_direct(http_version, target)


def _not_local(peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Why a request is not local use; empty when it is."""
    if peer is None or not is_loopback(peer):
        return f"the request comes from {peer or 'an unknown peer'}, not from this machine"
    hosts = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name in _FORWARDING or name.startswith(_FORWARDING_PREFIXES):
            return f"the request was forwarded ({name.decode('latin-1')})"
        elif name == b"origin" and not _is_local_origin(value.decode("latin-1")):
            return f"the request was made by a page of {value.decode('latin-1')!a:.100}"
    if len(hosts) != 1 or not is_local_host(hosts[0]):
        return f"the request is addressed to {', '.join(hosts) or 'nobody'!a:.100}, not localhost"
    return ""


def _not_direct(http_version: str, target: str) -> str:
    """Why a request seems to come through a proxy that adds no header; empty when it does not.

    HTTP/1.0 is what nginx speaks to what is behind it, unless it is told otherwise; programs of
    today speak 1.1. A proxy that does so too, and calls us localhost, can't be seen.
    """
    if http_version not in _DIRECT_VERSIONS:
        return f"the request came by HTTP/{http_version}, as a proxy sends it"
    if not target.startswith(("/", "*")) and not _is_local_origin(target):
        return f"the request asks for {target!a:.100}, not for localhost"
    return ""


@lru_cache(1024)
def is_loopback(address: str) -> bool:
    """Whether an IP address is one of this machine to itself: 127.0.0.0/8, ::1, or mapped."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


@lru_cache(1024)
def is_local_host(host: str) -> bool:
    """Whether a `Host` names this machine as itself: localhost or a loopback address."""
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
