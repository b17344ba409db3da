"""The cache in Redis or Valkey, a single server or a cluster.

redis-py provides connections (TCP, TLS, Unix socket), login and protocol. A request neither connects
nor retries: all requests share one pipelined connection per server, which a background task opens,
watches and reopens (`node`). So a stalled server costs the pending requests one wait and gets one
connection attempt at a time, and a cancelled request does not affect others. redis-py's pool needs
four times the CPU time per look-up at 16 concurrent look-ups, and loses a connection whenever a
request is abandoned.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Protocol

from redis.exceptions import ResponseError

from traffic_storage.adapters.cache.redis.cluster import Cluster
from traffic_storage.adapters.cache.redis.messages import Unavailable, describe
from traffic_storage.adapters.cache.redis.node import Node
from traffic_storage.adapters.cache.redis.pipeline import Command, Reply
from traffic_storage.adapters.cache.redis.settings import RedisSettings
from traffic_storage.ports.cache import Cache, CacheHealth

__all__ = ["RedisCache", "RedisSettings"]

logger = logging.getLogger("traffic_storage.cache")

# Redis stores the expiry of an entry as 64 bits of milliseconds since 1970.
_LONGEST_MS = 100 * 365 * 24 * 3600 * 1000


class _Server(Protocol):
    async def ask(self, key: bytes, command: Command, deadline: float) -> Reply: ...
    def unavailable_reason(self) -> str: ...
    async def aclose(self) -> None: ...


class RedisCache(Cache):
    """A cache whose entries are Redis strings with an expiry; each key begins with a prefix.

    The server evicts entries itself (`maxmemory` with `allkeys-lru`). Use it from one event loop
    only.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._server: _Server = Cluster(settings) if settings.cluster else _Single(settings)
        self._refusal = ""

    async def get(self, key: str) -> bytes | None:
        reply = await self._ask(key, b"GET")
        return reply if isinstance(reply, bytes) else None

    async def put(self, key: str, data: bytes, ttl: timedelta) -> None:
        milliseconds = min(ttl // timedelta(milliseconds=1), _LONGEST_MS)
        if len(data) > self._settings.max_item_bytes or milliseconds <= 0:
            await self.drop(key)
        elif await self._ask(key, b"SET", data, b"PX", b"%d" % milliseconds) is not None:
            self._note_refusal("")

    async def drop(self, key: str) -> None:
        await self._ask(key, b"DEL")

    def health(self) -> CacheHealth:
        if unavailable_reason := self._server.unavailable_reason():
            return CacheHealth(False, unavailable_reason)
        if self._refusal:
            return CacheHealth(False, self._refusal)
        kind = "Redis cluster" if self._settings.cluster else "Redis"
        return CacheHealth(True, f"{kind} at {self._settings.location}")

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _ask(self, key: str, verb: bytes, *arguments: bytes) -> Reply:
        """Return the reply of the server; None if it is late or the server refuses the command."""
        name = f"{self._settings.prefix}{key}".encode()
        deadline = asyncio.get_running_loop().time() + self._settings.call_seconds
        try:
            return await self._server.ask(name, (verb, name, *arguments), deadline)
        except Unavailable as reason:
            logger.debug("%s %s: %s", verb.decode(), key, str(reason))
        except ResponseError as error:
            self._note_refusal(f"Redis refuses {verb.decode()}: {describe(error)}")
        return None

    def _note_refusal(self, refusal: str) -> None:
        if refusal and refusal != self._refusal:
            logger.warning("%s", refusal)
        self._refusal = refusal


class _Single:
    """A single Redis server, which has all keys (the counterpart of `Cluster`)."""

    def __init__(self, settings: RedisSettings) -> None:
        self._node = Node(settings, settings.host, settings.port)

    async def ask(
        self,
        key: bytes,  # noqa: ARG002 - only clusters need it
        command: Command,
        deadline: float,
    ) -> Reply:
        return await self._node.ask(command, deadline=deadline)

    def unavailable_reason(self) -> str:
        return self._node.unavailable_reason

    async def aclose(self) -> None:
        await self._node.aclose()
