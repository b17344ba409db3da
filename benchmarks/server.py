"""`python -m benchmarks.server`: Traffic Storage under uvicorn as `serve` runs it, or another service.

The others (the floor, and the service by hand) run with uvicorn's own HTTP protocol class, Traffic
Storage with the one of `serve`, and as `serve` it spares garbage collections what the start has made.

The first line of standard input selects the application (JSON: `app`, `settings`). The program
prints the port on standard output and serves until standard input ends.
"""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import uvicorn
from attrs import define, field
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmarks.contenders import cpu_seconds_of
from tests.support.process import descendants


@define
class Serve:
    """A context manager that runs `traffic-storage serve` with so many processes, on PostgreSQL."""

    processes: int
    settings: Mapping[str, object]
    port: int = field(init=False, default=0)
    _process: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> Self:
        given = {
            f"TRAFFIC_STORAGE_{name.upper()}": str(value) for name, value in self.settings.items()
        }
        program = Path(sys.executable).with_name("traffic-storage")
        self._process = subprocess.Popen(
            [program, "serve", "--port", "0", "--processes", str(self.processes)],
            env={**os.environ, **given},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(r"http://[^:]+:(\d+)", line):
                self.port = int(found[1])
            if "files on this machine" in line:
                return self
        raise RuntimeError("serve did not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all processes."""
        pid = self._process.pid
        return sum(cpu_seconds_of(one) for one in (pid, *descendants(pid)))


@define
class Server:
    """A context manager that starts this program in a process, and ends it."""

    app: str
    settings: dict[str, Any]
    port: int = field(init=False, default=0)
    _process: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            json.dumps({"app": self.app, "settings": self.settings}, default=str),
            file=self._process.stdin,
            flush=True,
        )
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server of {self.app} did not start")
        self.port = int(line)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the server has used so far, over all threads."""
        return cpu_seconds_of(self.pid)


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, begun: Callable[[], None]) -> None:
        super().__init__(config)
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        self._begun()
        print(sockets[0].getsockname()[1], flush=True)


def _as_served(name: str) -> tuple[type[HttpToolsProtocol], Callable[[], None]]:
    """Return the protocol class, and what happens at the end of the start."""
    if name != "ours":
        return HttpToolsProtocol, lambda: None
    from traffic_storage.entrypoints.cli.serving import spare_collections
    from traffic_storage.entrypoints.http.protocol import StorageProtocol

    return StorageProtocol, spare_collections


def _app(name: str, settings: dict[str, Any]) -> ASGIApp:
    if name == "floor":
        from benchmarks.floor import app

        return app(settings["local_base_path"])
    if name == "by hand":
        from benchmarks.peers import by_hand

        return by_hand.app(settings)
    from traffic_storage import StorageConfig
    from traffic_storage.entrypoints.http import create_storage_app

    return create_storage_app(StorageConfig(**settings))


def main() -> None:
    """Serve until standard input ends."""
    asked = json.loads(sys.stdin.readline())
    logging.getLogger("traffic_storage").addHandler(logging.NullHandler())
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    protocol, begun = _as_served(asked["app"])
    server = _Announcing(
        uvicorn.Config(
            _app(asked["app"], asked["settings"]),
            http=protocol,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            lifespan="on",
            # A connection stays while other contenders have their turns.
            timeout_keep_alive=3600,
        ),
        begun,
    )

    def wait_for_end() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=wait_for_end, daemon=True).start()
    server.run([listener])
    # uvicorn has closed the application. Skip the interpreter's exit, which could still fail.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
