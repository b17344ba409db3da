"""Addresses of this machine."""

import ipaddress
from functools import lru_cache


@lru_cache(1024)
def is_loopback(address: str) -> bool:
    """Return whether an address is in 127.0.0.0/8, also as IPv4-mapped IPv6, or is ::1."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
