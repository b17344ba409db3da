"""Starts the peers: Django under gunicorn, SeaweedFS' filer."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from attrs import define, field

from benchmarks.contenders import cpu_seconds_of
from tests.support.ports import HOST, PortLease, lease_ports
from tests.support.process import descendants
from tests.support.servers import S3Server

_START_SECONDS = 30.0
_WORKERS, _THREADS = 2, 8
_MAKE_TABLE = "from benchmarks.peers import django_app; django_app.make_table()"


@define
class Django:
    """A context manager that serves `django_app` by gunicorn: two processes, 16 threads in all."""

    settings: Mapping[str, Any]
    is_filled: bool = False
    _lease: PortLease = field(init=False, factory=lambda: lease_ports(1)[0])
    _process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def port(self) -> int:
        """The port."""
        return self._lease.port

    def __enter__(self) -> Self:
        environment = {**os.environ, "PEER_SETTINGS": json.dumps(self.settings, default=str)}
        if not self.is_filled:
            subprocess.run([sys.executable, "-c", _MAKE_TABLE], env=environment, check=True)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{self.port}"),
                *("--workers", str(_WORKERS), "--worker-class", "gthread"),
                # A connection stays while other contenders have their turns.
                *("--threads", str(_THREADS), "--keep-alive", "3600", "--timeout", "600"),
                *(
                    "--no-control-socket",
                    "--log-level",
                    "warning",
                    "benchmarks.peers.django_app:application",
                ),
            ],
            env=environment,
            pass_fds=[self._lease.lock],
        )
        _wait_for(self.port, self._process)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all processes."""
        return _cpu_seconds_of_family(self._process.pid)


@define
class Filer:
    """A context manager that runs SeaweedFS; its filer stores and returns files by HTTP."""

    _server: S3Server = field(init=False, factory=S3Server)

    @property
    def port(self) -> int:
        """The port of the filer."""
        return self._server.filer_port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the server."""
        return _cpu_seconds_of_family(self._server.pid)


def _cpu_seconds_of_family(pid: int) -> float:
    return sum(cpu_seconds_of(one) for one in (pid, *descendants(pid)))


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"gunicorn ended with {process.returncode}")
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
            return
        time.sleep(0.05)
    raise RuntimeError(f"gunicorn did not listen after {_START_SECONDS:.0f} s")
