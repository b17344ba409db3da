"""A cluster: which node has a key, learnt from the nodes themselves."""

import asyncio
import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any, cast

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from traffic_storage.adapters.cache.redis.link import Address, Away, Command, Link, Reply
from traffic_storage.adapters.cache.redis.settings import RedisSettings

_MOST_NODES = 1000
_LEARN_SECONDS = 1.0
_CALM_SECONDS = 30.0
_UNREST_SECONDS = 1.0
_SHORTEST_SECONDS = 0.1


class Cluster:
    """The masters of a cluster, each behind a link of its own: one that is away costs its keys.

    Who has which slot is asked of any node that answers: at first, when a node says that a key
    has moved or can't be reached, and now and then. `seed` is asked when no other is known.
    """

    def __init__(self, seed: Address, settings: RedisSettings) -> None:
        self._settings = settings
        self._seed = seed
        self._links: dict[Address, Link] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._reason = ""
        self._tried = asyncio.Event()
        self._changed = asyncio.Event()
        self._mapper: asyncio.Task[None] | None = None

    async def ask(self, key: bytes, command: Command, deadline: float) -> Reply:
        """The answer of the node that has `key` (see `Link.ask`)."""
        if not self._tried.is_set():
            await self._first_try(deadline)
        slot = key_slot(key)
        link = self._link_of(self._owners[slot])
        try:
            return await link.ask(command, deadline=deadline)
        except MovedError as moved:
            self._changed.set()
            self._owners[slot] = owner = _named_in(moved, link)
            return await self._follow(owner, command, deadline=deadline)
        except AskError as elsewhere:
            target = _named_in(elsewhere, link)
            return await self._follow(target, (b"ASKING",), command, deadline=deadline)
        except ClusterDownError as error:
            self._changed.set()
            raise Away(str(error)) from error

    def unavailable_reason(self) -> str:
        """What is missing, in words; empty when nothing is, and before the first `ask`."""
        if self._reason or not self._tried.is_set():
            return self._reason
        owners = set(self._owners)
        if None in owners:
            return f"the cluster of {self._seed} serves some of its slots by no node"
        obstacles = (
            link.unavailable_reason for address, link in self._links.items() if address in owners
        )
        return next(filter(None, obstacles), "")

    async def aclose(self) -> None:
        """End all connections."""
        self._reason = "the cache is closed"
        self._tried.set()
        if self._mapper is not None:
            self._mapper.cancel()
            await asyncio.wait([self._mapper])
        self._owners = [None] * REDIS_CLUSTER_HASH_SLOTS
        for link in list(self._links.values()):
            await link.aclose()

    async def _first_try(self, deadline: float) -> None:
        if self._mapper is None:
            self._mapper = asyncio.create_task(self._keep_map(), name=f"cache map {self._seed}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._tried.wait()
        self._tried.set()

    async def _follow(self, owner: Address, *commands: Command, deadline: float) -> Reply:
        """Where a node has pointed to; once, or two that disagree would send us round for ever."""
        try:
            return await self._link_of(owner).ask(*commands, deadline=deadline)
        except AskError as error:
            raise Away("the nodes disagree on who has this key") from error

    def _link_of(self, owner: Address | None) -> Link:
        if owner is None:
            raise Away(self._reason or "no node is known to have this key")
        if owner not in self._links:
            if len(self._links) >= _MOST_NODES:
                raise Away("the cluster names too many nodes")
            self._links[owner] = Link(owner, self._settings, self._changed.set)
        return self._links[owner]

    async def _keep_map(self) -> None:
        while True:
            self._changed.clear()
            await self._learn()
            self._tried.set()
            with contextlib.suppress(TimeoutError):
                calm = not self.unavailable_reason()
                async with asyncio.timeout(_CALM_SECONDS if calm else _UNREST_SECONDS):
                    await self._changed.wait()
            # However fast keys move, the nodes are not asked in a storm.
            await asyncio.sleep(random.uniform(_SHORTEST_SECONDS, _UNREST_SECONDS))  # noqa: S311

    async def _learn(self) -> None:
        """Take over what the first node says that answers."""
        reasons = []
        for link in self._to_ask():
            try:
                answer = await link.ask((b"CLUSTER", b"SLOTS"), deadline=_in(_LEARN_SECONDS))
                owners = dict(_owned(answer, link.address))
            except Away as reason:
                reasons.append(str(reason))
            except ResponseError as error:
                reasons.append(f"{link.address}: {error}")
            except (AttributeError, TypeError, ValueError) as error:
                reasons.append(f"{link.address} describes no cluster: {error}")
            else:
                self._reason = ""
                await self._take_over(owners)
                return
        self._reason = reasons[0]

    def _to_ask(self) -> list[Link]:
        """The links that are up, in any order, then the seed's and the others."""
        links = list(self._links.values())
        random.shuffle(links)
        return sorted(
            {*links, self._link_of(self._seed)}, key=lambda link: bool(link.unavailable_reason)
        )

    async def _take_over(self, owners: dict[int, Address]) -> None:
        self._owners = [owners.get(slot) for slot in range(REDIS_CLUSTER_HASH_SLOTS)]
        self._tried.set()
        masters = set(owners.values())
        for address in self._links.keys() - masters - {self._seed}:
            await self._links.pop(address).aclose()
        # Connected before the first key wants them.
        await asyncio.gather(*(self._greet(self._link_of(master)) for master in masters))

    async def _greet(self, link: Link) -> None:
        with contextlib.suppress(Away, ResponseError):
            await link.ask((b"PING",), deadline=_in(_LEARN_SECONDS))


def _named_in(redirection: AskError, asked: Link) -> Address:
    """The node that an answer points to; an empty host means the one that was asked."""
    return Address(redirection.host or asked.address.host, redirection.port)


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _owned(answer: Reply, asked: Address) -> Iterator[tuple[int, Address]]:
    """Each slot with the address of its master, out of the answer to CLUSTER SLOTS."""
    for first, last, (host, port, *_), *_ in cast(Iterable[Any], answer):
        # A node that does not know its own address leaves it empty, or says "?".
        known = host not in {b"", b"?", None}
        address = Address(host.decode() if known else asked.host, int(port))
        for slot in range(max(first, 0), min(last + 1, REDIS_CLUSTER_HASH_SLOTS)):
            yield slot, address
