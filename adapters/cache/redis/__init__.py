"""Redis or Valkey, alone or as a cluster.

redis-py gives connections (TCP, TLS, Unix socket), login and protocol. A request neither connects
nor retries: all requests share one pipelined connection to a server, which a task in the
background opens, watches and opens again (`node`). So a stalled server costs the requests under
way one wait and sees one connection attempt at a time, and a request that is cancelled disturbs no
other. redis-py's pool costs four times the CPU a look-up at 16 at once, and a connection whenever
a request gives up.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Protocol

from redis.exceptions import ResponseError

from traffic_storage.adapters.cache.redis.cluster import Cluster
from traffic_storage.adapters.cache.redis.messages import Unavailable, in_words
from traffic_storage.adapters.cache.redis.node import Node
from traffic_storage.adapters.cache.redis.pipeline import Command, Reply
from traffic_storage.adapters.cache.redis.settings import RedisSettings
from traffic_storage.ports.cache import Cache, CacheHealth

__all__ = ["RedisCache", "RedisSettings"]

logger = logging.getLogger("traffic_storage.cache")

# Redis holds the end of an entry as 64 bits of milliseconds since 1970.
_LONGEST_MS = 100 * 365 * 24 * 3600 * 1000


class _Server(Protocol):
    async def ask(self, key: bytes, command: Command, deadline: float) -> Reply: ...
    def unavailable_reason(self) -> str: ...
    async def aclose(self) -> None: ...


class RedisCache(Cache):
    """Entries are Redis strings with an expiry, under a prefix.

    The server evicts entries by itself (`maxmemory` with `allkeys-lru`). For one event loop.
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
        """The answer, or None when there is none in time."""
        name = f"{self._settings.prefix}{key}".encode()
        deadline = asyncio.get_running_loop().time() + self._settings.call_seconds
        try:
            return await self._server.ask(name, (verb, name, *arguments), deadline)
        except Unavailable as reason:
            logger.debug("%s %s: %s", verb.decode(), key, str(reason))
        except ResponseError as error:
            self._note_refusal(f"Redis refuses {verb.decode()}: {in_words(error)}")
        return None

    def _note_refusal(self, refusal: str) -> None:
        if refusal and refusal != self._refusal:
            logger.warning("%s", refusal)
        self._refusal = refusal


class _Single:
    """One server for all keys."""

    def __init__(self, settings: RedisSettings) -> None:
        self._node = Node(settings, settings.host, settings.port)

    async def ask(
        self,
        key: bytes,  # noqa: ARG002 - for clusters
        command: Command,
        deadline: float,
    ) -> Reply:
        return await self._node.ask(command, deadline=deadline)

    def unavailable_reason(self) -> str:
        return self._node.unavailable_reason

    async def aclose(self) -> None:
        await self._node.aclose()
