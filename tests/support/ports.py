"""TCP ports on 127.0.0.1 that neither parallel workers nor parallel runs get twice."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

HOST = "127.0.0.1"

# Below and above the range that the kernel hands out to outgoing connections by default.
LOW_PORTS = range(15_000, 32_000)
HIGH_PORTS = range(61_000, 65_000)


@frozen
class PortLease:
    """A port that is ours for as long as any process holds `lock` open.

    `lock` is a locked file descriptor: hand it on to the server, and the lease lives as long as
    the server does, even when the process that started it is gone.
    """

    port: int
    lock: int

    def release(self) -> None:
        """Close our descriptor; the port is free when the server's copy is closed too."""
        os.close(self.lock)


def lease_ports(count: int, among: Sequence[int] = LOW_PORTS) -> list[PortLease]:
    """`count` different ports that nobody listens on and nobody else has leased."""
    leases: list[PortLease] = []
    for port in random.sample(among, k=1_000):
        lease = _try_lease(port)
        if lease is not None:
            leases.append(lease)
        if len(leases) == count:
            return leases
    raise RuntimeError(f"no {count} free ports between {among[0]} and {among[-1]}")


def await_port(port: int) -> PortLease:
    """This very port, as soon as nobody else of ours has it.

    Raises:
        RuntimeError: somebody who takes no leases listens on it.
    """
    descriptor = os.open(lock_folder() / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            os.close(descriptor)
            raise RuntimeError(f"port {port} is taken: end what listens there, the tests need it")
    return PortLease(port, descriptor)


def _try_lease(port: int) -> PortLease | None:
    descriptor = os.open(lock_folder() / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if _is_bindable(port):
        return PortLease(port, descriptor)
    os.close(descriptor)
    return None


def _is_bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def lock_folder() -> Path:
    """The folder of the locked files, one for each leased port."""
    folder = Path(tempfile.gettempdir()) / f"traffic-storage-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
