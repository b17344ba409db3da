"""Converts errors of Redis to messages that contain the remedy."""

from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)

_REFUSALS: tuple[tuple[type[RedisError], str, str], ...] = (
    (MovedError, "MOVED", "the server is a node of a cluster: set redis_cluster"),
    (
        OutOfMemoryError,
        "OOM",
        "the server's memory is full: set its maxmemory-policy to allkeys-lru, or raise maxmemory",
    ),
    (ReadOnlyError, "READONLY", "the server is a replica: give the address of the primary"),
    (
        NoPermissionError,
        "NOPERM",
        "allow the ACL user +get +set +del +ping, in a cluster also +asking and +cluster|slots",
    ),
    (AuthenticationError, "", "check redis_username and redis_password (NOAUTH, WRONGPASS)"),
)


class Unavailable(Exception):
    """Raised if a Redis server does not reply in time; the message gives the cause."""


def describe(error: Exception) -> str:
    """Return a message for an error of Redis, with its error code and the remedy if known."""
    text = str(error) or type(error).__name__
    for kind, code, remedy in _REFUSALS:
        if isinstance(error, kind):
            return f"{code} {text}; {remedy}".strip()
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, RedisError | OSError | Unavailable) and not isinstance(
        error, InvalidResponse
    ):
        return text
    return f"the server sends an invalid reply ({type(error).__name__}: {text})"
