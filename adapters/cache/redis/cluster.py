"""A cluster: the map from keys to nodes.

redis-py's cluster client reads this map inside a request, from a node picked at random, and sleeps
where the cluster is down: one stalled node would delay the keys of all.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, cast

from attrs import evolve
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from traffic_storage.adapters.cache.redis.messages import Unavailable, in_words
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
    """The primaries of a cluster, each a `Node`: one that is away costs its own keys only.

    A task in the background reads the map from any node that answers: at first, after a key was
    found on another node or on none, and every `_REFRESH_SECONDS`.
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
        """The answer of the node that has `key` (see `Node.ask`)."""
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
        """What is missing; empty when nothing is, and before the first `ask`."""
        if self._reason or not self._tried.is_set():
            return self._reason
        owners = set(self._owners)
        if None in owners:
            return f"no node of the cluster at {self._settings.location} serves some of its slots"
        reasons = (self._nodes[o].unavailable_reason for o in owners if o in self._nodes)
        return next(filter(None, reasons), "")

    async def aclose(self) -> None:
        """Close all connections."""
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
            self._mapper = asyncio.create_task(self._keep_map(), name="cache map")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._tried.wait()
        self._tried.set()

    async def _follow(self, owner: Address, *commands: Command, deadline: float) -> Reply:
        """Ask the node that another has named; only once, for two may name each other."""
        try:
            return await self._node_at(owner).ask(*commands, deadline=deadline)
        except AskError as error:
            raise Unavailable("the nodes disagree on the place of this key") from error

    def _node_at(self, owner: Address | None) -> Node:
        if owner is None:
            raise Unavailable(self._reason or "no node is known to have this key")
        if owner not in self._nodes:
            if len(self._nodes) >= _MOST_NODES:
                raise Unavailable("the cluster names too many nodes")
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
            # A limit on how often the map is read while keys move.
            await asyncio.sleep(random.uniform(_SHORTEST_SECONDS, _RETRY_SECONDS))  # noqa: S311

    async def _read_map(self) -> None:
        """Take over the map of the first node that answers."""
        reasons = []
        for node in self._to_ask():
            try:
                answer = await node.ask((b"CLUSTER", b"SLOTS"), deadline=_in(_MAP_SECONDS))
                owners = dict(_owned(answer, node.host))
            except Unavailable as reason:
                reasons.append(str(reason))
            except (ResponseError, AttributeError, TypeError, ValueError) as error:
                reasons.append(f"{node.location} describes no cluster: {in_words(error)}")
            else:
                self._reason = ""
                await self._take_over(owners)
                return
        self._reason = reasons[0]

    def _to_ask(self) -> list[Node]:
        """The nodes that answer, in random order, then the others and the seed."""
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
        # Connected before the first key is asked for.
        await asyncio.gather(*(_greet(self._node_at(primary)) for primary in primaries))


async def _greet(node: Node) -> None:
    with contextlib.suppress(Unavailable, ResponseError):
        await node.ask((b"PING",), deadline=_in(_MAP_SECONDS))


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _owned(answer: Reply, asked_host: str) -> Iterator[tuple[int, Address]]:
    """Each slot with its primary's address, from the answer to CLUSTER SLOTS."""
    for first, last, (host, port, *_), *_ in cast(Iterable[Any], answer):
        # A node that does not know its own address leaves it empty, or says "?".
        known = host not in {b"", b"?", None}
        address = (host.decode() if known else asked_host, int(port))
        for slot in range(max(first, 0), min(last + 1, REDIS_CLUSTER_HASH_SLOTS)):
            yield slot, address
