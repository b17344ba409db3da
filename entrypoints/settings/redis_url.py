"""`redis_url`: one address that gives several of the `redis_` settings."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from traffic_storage.entrypoints.settings.secret import Secret

_SETTINGS = {
    "path": "redis_host",
    "host": "redis_host",
    "port": "redis_port",
    "db": "redis_db",
    "username": "redis_username",
    "password": "redis_password",
}
"""Maps the parts of an address to settings."""


def settings_of(url: str) -> Mapping[str, object]:
    """Return the values of the `redis_` settings that the URL gives; a password as `Secret`.

    The schemes are `redis` (TCP), `rediss` (TLS) and `unix` (socket). The number of the database is
    the path of a `redis` or `rediss` URL, or the query parameter `db`.

    Raises:
        ValueError: the URL is not valid, or gives anything that is not one of these settings.
    """
    from redis.asyncio.connection import parse_url

    parts: dict[str, Any] = dict(parse_url(url))
    parts.pop("connection_class", None)
    if unknown := parts.keys() - _SETTINGS.keys():
        raise ValueError(f"unknown parameters: {', '.join(unknown)}")
    scheme, _, path, _, _ = urlsplit(url)
    if scheme != "unix" and not re.fullmatch(r"/?[0-9]*", path):
        raise ValueError("the path is not the number of a database")
    if not parts.keys() & {"host", "path"}:
        raise ValueError("no host")
    found = {_SETTINGS[part]: value for part, value in parts.items()}
    if "password" in parts:
        found["redis_password"] = Secret(parts["password"])
    return {**found, "redis_tls": True} if scheme == "rediss" else found


def is_valid(url: str) -> bool:
    """Return whether the text is a URL whose values are all settings."""
    try:
        return bool(settings_of(url))
    except ValueError:
        return False
