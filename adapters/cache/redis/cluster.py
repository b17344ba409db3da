"""A Redis cluster: finds the node (server) of each key by a map from hash slots to nodes.

redis-py's cluster client reads this map during a request, from a random node, and sleeps while the
cluster is down: with it, one stalled node would delay requests to all nodes.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterable, Iterator
from contextvars import Context
from typing import Any, TypeAlias, cast

from attrs import evolve
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from traffic_storage.adapters.cache.redis.messages import Unavailable, describe
from traffic_storage.adapters.cache.redis.node import Node
from traffic_storage.adapters.cache.redis.pipeline import Command, Reply
from traffic_storage.adapters.cache.redis.settings import RedisSettings

Address: TypeAlias = tuple[str, int]

_MOST_NODES = 1000
_MAP_SECONDS = 1.0
_REFRESH_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_SHORTEST_SECONDS = 0.1


class Cluster:
    """The primaries of a cluster, each a `Node`. An unavailable node affects only its own keys.

    A background task reads the map from any node that answers: at the start, after a redirection
    or the loss of a node, after an error, and every `_REFRESH_SECONDS`.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = evolve(settings, socket=None)
        self._seed = (settings.host, settings.port)
        self._nodes: dict[Address, Node] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._reason = ""
        self._tried = asyncio.Event()
        self._changed = asyncio.Event()
        self._mapper: asyncio.Task[None] | None = None

    async def ask(self, key: bytes, command: Command, deadline: float) -> Reply:
        """Send a command to the node that has `key`; return its reply (see `Node.ask`)."""
        if not self._tried.is_set():
            await self._first_try(deadline)
        slot = key_slot(key)
        node = self._node_at(self._owners[slot])
        try:
            return await node.ask(command, deadline=deadline)
        except MovedError as moved:
            self._changed.set()
            self._owners[slot] = owner = (moved.host or node.host, moved.port)
            return await self._follow(owner, command, deadline=deadline)
        except AskError as elsewhere:
            target = (elsewhere.host or node.host, elsewhere.port)
            return await self._follow(target, (b"ASKING",), command, deadline=deadline)
        except ClusterDownError as error:
            self._changed.set()
            raise Unavailable(str(error)) from error

    def unavailable_reason(self) -> str:
        """Return why some keys are unavailable; an empty text if none are, or before any `ask`."""
        if self._reason or not self._tried.is_set():
            return self._reason
        owners = set(self._owners)
        if None in owners:
            return f"some slots of the cluster at {self._settings.location} have no node"
        reasons = (self._nodes[o].unavailable_reason for o in owners if o in self._nodes)
        return next(filter(None, reasons), "")

    async def aclose(self) -> None:
        """Close the connections to all nodes and end the background task."""
        self._reason = "the cache is closed"
        self._tried.set()
        if self._mapper is not None:
            self._mapper.cancel()
            await asyncio.wait([self._mapper])
        self._owners = [None] * REDIS_CLUSTER_HASH_SLOTS
        for node in list(self._nodes.values()):
            await node.aclose()

    async def _first_try(self, deadline: float) -> None:
        if self._mapper is None:
            self._mapper = asyncio.create_task(
                self._keep_map(), name="cache map", context=Context()
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._tried.wait()
        self._tried.set()

    async def _follow(self, owner: Address, *commands: Command, deadline: float) -> Reply:
        """Send commands to the node that a redirection names; follow no second redirection.

        Two nodes may redirect to each other for ever.
        """
        try:
            return await self._node_at(owner).ask(*commands, deadline=deadline)
        except AskError as error:
            raise Unavailable(
                "the nodes of the cluster redirected the request for this key twice"
            ) from error
        except ClusterDownError as error:
            raise Unavailable(str(error)) from error

    def _node_at(self, owner: Address | None) -> Node:
        if owner is None:
            raise Unavailable(
                self._reason or "it is not known which node of the cluster has this key"
            )
        if owner not in self._nodes:
            if len(self._nodes) >= _MOST_NODES and owner != self._seed:
                raise Unavailable(
                    f"the cluster has too many nodes: fewer than {_MOST_NODES} are supported"
                )
            self._nodes[owner] = Node(self._settings, *owner, self._changed.set)
        return self._nodes[owner]

    async def _keep_map(self) -> None:
        while True:
            self._changed.clear()
            await self._read_map()
            self._tried.set()
            with contextlib.suppress(TimeoutError):
                seconds = _RETRY_SECONDS if self.unavailable_reason() else _REFRESH_SECONDS
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            # Limits how often the map is read while slots move.
            await asyncio.sleep(random.uniform(_SHORTEST_SECONDS, _RETRY_SECONDS))  # noqa: S311

    async def _read_map(self) -> None:
        """Ask nodes for the map of slots until one answers, and replace the current map by it."""
        reasons = []
        for node in self._candidates():
            try:
                answer = await node.ask((b"CLUSTER", b"SLOTS"), deadline=_in(_MAP_SECONDS))
                owners = dict(_owned(answer, node.host))
                _check_size(owners)
            except Unavailable as reason:
                reasons.append(str(reason))
            except (ResponseError, AttributeError, TypeError, ValueError) as error:
                reasons.append(
                    f"{node.location} does not return the slot map of a cluster: {describe(error)}"
                )
            else:
                self._reason = ""
                await self._take_over(owners)
                return
        self._reason = reasons[0]

    def _candidates(self) -> list[Node]:
        """Return all known nodes and the configured one: available ones first, in random order."""
        nodes = list(self._nodes.values())
        random.shuffle(nodes)
        return sorted(
            {*nodes, self._node_at(self._seed)}, key=lambda node: bool(node.unavailable_reason)
        )

    async def _take_over(self, owners: dict[int, Address]) -> None:
        self._owners = [owners.get(slot) for slot in range(REDIS_CLUSTER_HASH_SLOTS)]
        self._tried.set()
        primaries = set(owners.values())
        for address in self._nodes.keys() - primaries - {self._seed}:
            await self._nodes.pop(address).aclose()
        # Connects to each primary before the first request needs it.
        await asyncio.gather(*map(self._greet, primaries))

    async def _greet(self, primary: Address) -> None:
        with contextlib.suppress(Unavailable, ResponseError):
            await self._node_at(primary).ask((b"PING",), deadline=_in(_MAP_SECONDS))


def _check_size(owners: dict[int, Address]) -> None:
    if len(set(owners.values())) >= _MOST_NODES:
        raise Unavailable(f"the cluster has too many nodes: fewer than {_MOST_NODES} are supported")


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _owned(answer: Reply, asked_host: str) -> Iterator[tuple[int, Address]]:
    """Yield each slot and the address of its primary, from the reply to CLUSTER SLOTS."""
    for first, last, (host, port, *_), *_ in cast(Iterable[Any], answer):
        # A node that does not know its own address gives an empty one, or "?".
        known = host not in {b"", b"?", None}
        address = (host.decode() if known else asked_host, int(port))
        for slot in range(max(first, 0), min(last + 1, REDIS_CLUSTER_HASH_SLOTS)):
            yield slot, address
