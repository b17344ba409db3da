"""Who may come in: API keys, or local use only, or everybody when that is set explicitly.

A key is kept as its SHA-256 under a name. What is looked up is the digest of what came, so a
lookup tells nothing about the key, and the final comparison takes constant time.
"""

import hashlib
import hmac
import ipaddress
import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from traffic_storage.entrypoints.http.errors import NotAdmitted
from traffic_storage.entrypoints.http.request_body import note_principal, route_path

LOCAL = "local"
ANYONE = "anyone"

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
"""What proxies and content networks add, as far as is known; see `_not_local` for the rest."""
_DIRECT_VERSIONS = frozenset({"1.1", "2", "2.0", "3", "3.0"})
# `host[:port]`, the host a name, an IPv4 address or an IPv6 address in brackets.
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)
_BEARER = re.compile(r"bearer +([\x21-\x7e]{1,512}) *", re.IGNORECASE)

_LOCAL_REMEDY = (
    "without api_keys only this machine is served: ask from the machine itself under the name "
    "localhost and without a proxy, or set api_keys (traffic-storage keys new), "
    "or set open_access = true"
)
_KEY_REMEDY = "send 'Authorization: Bearer <key>' with a key of this service"


class AccessPolicy:
    """The rule by which requests are let in. Pure: headers and peer in, a name out."""

    def __init__(self, api_keys: Iterable[str], *, open_access: bool) -> None:
        """Take keys as `name:sha256` lines, the digest of the key in hexadecimal."""
        self._keys = dict(_named_digest(line) for line in api_keys)
        self._open = open_access

    @property
    def summary(self) -> str:
        """Who is served, in words."""
        if self._keys:
            return f"requests with one of {len(self._keys)} API keys are served"
        if self._open:
            return "everybody is served without a credential (open_access)"
        return (
            "only this machine is served, whatever address the server is bound to; "
            "set api_keys or open_access to change that. A proxy on this machine that adds no "
            "header can't be told from a local program: set api_keys before putting one in front"
        )

    @property
    def level(self) -> int:
        """How loudly to say so: without keys it is worth a warning."""
        return logging.INFO if self._keys else logging.WARNING

    def admit(
        self,
        peer: str | None,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        http_version: str = "1.1",
        target: str = "/",
    ) -> str:
        """The name of who asks.

        Args:
            target: the path or, in absolute form, the whole address that is asked for.

        Raises:
            NotAdmitted: nobody who may come in.
        """
        if self._keys:
            return self._by_key(headers)
        if not self._open:
            unavailable_reason = _not_local(peer, headers) or _not_direct(http_version, target)
            if unavailable_reason:
                raise NotAdmitted(unavailable_reason, remedy=_LOCAL_REMEDY)
        return ANYONE if self._open else LOCAL

    def _by_key(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        values = _all(headers, b"authorization")
        if not values:
            raise NotAdmitted("the request carries no API key", remedy=_KEY_REMEDY)
        found = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        digest = hashlib.sha256((found[1] if found else "").encode()).hexdigest()
        known, name = self._keys.get(digest, ("", ""))
        if not found or not hmac.compare_digest(digest, known):
            raise NotAdmitted("the API key is not valid", remedy=_KEY_REMEDY, key_given=True)
        return name


class Authentication:
    """Lets in who may come in (pure ASGI middleware), and whom it concerns notes the name.

    `free_paths` need no credential, nor does anything below `free_prefix`.
    """

    def __init__(
        self, app: ASGIApp, *, admission: AccessPolicy, free_paths: frozenset[str], free_prefix: str
    ) -> None:
        self._app = app
        self._admission = admission
        self._free_paths = free_paths
        self._free_prefix = free_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise NotAdmitted."""
        if scope["type"] != "lifespan" and not self._is_free(route_path(scope)):
            client = scope.get("client")
            principal = self._admission.admit(
                client[0] if client else None,
                scope["headers"],
                http_version=scope.get("http_version", "1.1"),
                target=scope["path"],
            )
            note_principal(scope, principal)
        await self._app(scope, receive, send)

    def _is_free(self, path: str) -> bool:
        return path in self._free_paths or path.startswith(self._free_prefix)


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


def _all(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _named_digest(line: str) -> tuple[str, tuple[str, str]]:
    name, _, digest = line.rpartition(":")
    return digest.lower(), (digest.lower(), name)
