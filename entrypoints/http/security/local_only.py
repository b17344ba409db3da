"""Recognition of local use: requests from this machine to localhost without a proxy."""

import re
from functools import lru_cache

from traffic_storage.entrypoints.addresses import is_loopback
from traffic_storage.entrypoints.http.security.hosts import Headers, Hosts, origin_of

# Names that proxies, load balancers, tunnels and content delivery networks give to the headers that
# they add: what they tell (the client, its address, what it asked for), and the products' prefixes.
_FORWARDING = re.compile(
    r"forward|proxy|loop$|^via$|-via$|^disguised-host$|^front-end-https$|^surrogate-|rewrite-ur[il]$"
    r"|(^|-)(real|client|remote|connecting|connection|originating|source|peer|user|socket|host)"
    r"-?(ip|addr|address|port)$"
    r"|(^|-)ip(-?addr(ess)?)?$"
    r"|^(x-)?remote-(user|host|name|groups?|email)$"
    r"|^(x-)?original-"
    r"|^x-(auth-request|authenticated|consumer|credential|client-(cert|dn|verify|cn)|ssl-client)"
    r"|^(x-)?(ssl-|client-cert)"
    r"|^x-(url-)?(scheme|proto|protocol|ssl|https|port|host|http-host|path|prefix|uri|url)$"
    r"|^x-(server|script)-(name|port|addr)$"
    r"|^x-(request|queue)-start$"
    r"|^(x-)?(akamai|ali|appengine|arr|azure|bluecoat|cdn|cf|cloudfront|edge|envoy|fastly|fly|gateway"
    r"|goog-authenticated|goog-iap|haproxy|heroku|incap|istio|kong|l5d|linkerd|middleton|netlify|nf"
    r"|nginx|ngrok|pomerium|railway|render|rndr|squid|sucuri|tailscale|traefik|tyk|varnish|vercel"
    r"|waws)(-|$)"
    r"|^x-(amz-cf-id|amzn-|cloud-trace|akamai|cache)"
)
_DIRECT_VERSIONS = frozenset({"1.1", "2", "2.0", "3", "3.0"})
_LOCALHOST = Hosts(any_address=False)


def not_local_reason(
    peer: str | None,
    headers: Headers,
    http_version: str,
    target: str,
    hosts: Hosts = _LOCALHOST,
) -> str:
    """Return the reason why a request is not local use, or an empty text if it is.

    Args:
        target: the request target: a path, or a URL in absolute form.
        hosts: the names of this machine that a request may have as its Host.
    """
    if peer is None or not is_loopback(peer):
        return f"the request comes from {peer or 'an unknown peer'}, not from this machine"
    for name, _ in headers:
        if is_forwarding(name):
            return f"the request was forwarded ({name.decode('latin-1')})"
    return hosts.refusal(headers) or _not_direct(http_version, target, hosts)


def _not_direct(http_version: str, target: str, hosts: Hosts) -> str:
    """Return why the HTTP version or the target suggests a proxy; an empty text if neither does.

    Up to 1.29.6, nginx sends HTTP/1.0 to the servers behind it; current clients send a later version.
    A proxy that sends HTTP/1.1 with the host localhost is not detected.
    """
    if http_version not in _DIRECT_VERSIONS:
        return f"the request uses HTTP/{http_version}, which suggests a proxy"
    if not target.startswith(("/", "*")):
        origin = origin_of(target) or "//"
        authority = origin.partition("//")[2].encode("latin-1", "replace")
        if hosts.refusal([(b"host", authority)]):
            return f"the request target is {target!a:.100}, not localhost"
    return ""


@lru_cache(1024)
def is_forwarding(name: bytes) -> bool:
    """Return whether a header (in lower case) is one that proxies add."""
    return _FORWARDING.search(name.decode("latin-1")) is not None
