"""The address of a Redis server as a URL."""

import re
from typing import Any
from urllib.parse import unquote

from attrs import field, frozen
from redis.asyncio.connection import SSLConnection, parse_url

# redis-py passes over what it does not expect, and would take a password with an unencoded character
# for an address; so the form is checked first.
_USER = r"(?:(?P<user>[^\s/?#@]*)@)?"
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)"
_FORM = re.compile(
    rf"(?i:rediss?)://{_USER}{_HOST}(?::[1-9][0-9]{{0,4}})?/?[0-9]{{0,4}}"
    rf"|(?i:unix)://{_USER.replace('user', 'user_of_socket')}/[^\s?#@]+(?:\?db=[0-9]{{1,4}})?"
)
MOST_DB = 1023


@frozen
class RedisAddress:
    """Where a Redis server is. `host` is the path of a Unix socket if it begins with `/`."""

    host: str
    port: int
    db: int
    username: str | None
    password: str | None = field(repr=False)
    tls: bool


def parse(url: str) -> RedisAddress:
    """Return the parts of `redis://` (TCP), `rediss://` (TLS) or `unix://` (socket) with a path.

    The number of the database is the path of a TCP or TLS URL, and the parameter `db` of a socket.
    Special characters of user and password are percent-encoded.

    Raises:
        ValueError: the text is not such a URL, or has a user without a password.
    """
    if not (form := _FORM.fullmatch(url)):
        raise ValueError("not the URL of a Redis server")
    unquote(form["user"] or form["user_of_socket"] or "", errors="strict")
    parts: dict[str, Any] = dict(parse_url(url))
    found = RedisAddress(
        host=parts.get("path") or parts["host"],
        port=parts.get("port", 6379),
        db=parts.get("db", 0),
        username=parts.get("username"),
        password=parts.get("password"),
        tls=parts.get("connection_class") is SSLConnection,
    )
    if found.db > MOST_DB or (found.username and not found.password):
        raise ValueError("no such database, or a user without a password")
    return found
