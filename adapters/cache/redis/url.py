"""The address of a Redis server as a URL."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

PARTS = ("host", "path", "port", "db", "username", "password", "tls")


def parts_of(url: str) -> Mapping[str, str | int | bool]:
    """Return those of `PARTS` that the URL gives.

    `path` is that of a Unix socket, `tls` is True or left out.

    The schemes are `redis` (TCP), `rediss` (TLS) and `unix` (socket). The number of the database is
    the path of a `redis` or `rediss` URL, or the query parameter `db`.

    Raises:
        ValueError: the URL is not valid, or has a part that is not in `PARTS`.
    """
    parts: dict[str, Any] = dict(parse_url(url))
    if parts.pop("connection_class", None) is SSLConnection:
        parts["tls"] = True
    if unknown := parts.keys() - set(PARTS):
        raise ValueError(f"unknown parameters: {', '.join(unknown)}")
    scheme, _, path, _, _ = urlsplit(url)
    if scheme != "unix" and not re.fullmatch(r"/?[0-9]*", path):
        raise ValueError("the path is not the number of a database")
    if not parts.keys() & {"host", "path"}:
        raise ValueError("no host")
    return parts
