"""The HTTP jobs: one small client sends requests to Traffic Storage and to the floor."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Protocol, Self

from benchmarks import client, data
from benchmarks.contenders import Contender, Place
from benchmarks.server import Serve, Server
from tests.support.setups import on_database

_UPLOAD = "/files/upload/video"


class Serving(Protocol):
    """A context manager that runs a server in processes of its own."""

    @property
    def port(self) -> int: ...

    def cpu_seconds(self) -> float: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Served(Contender[bytes]):
    """A server and connections to it. Items are whole requests."""

    def __init__(self, server: Serving) -> None:
        self._server = server
        self._free: list[client.Connection] = []
        self._stack = ExitStack()

    async def open(self) -> None:
        self._stack.enter_context(self._server)

    async def ask(self, request: bytes) -> client.Answer:
        """Send a request on a free connection."""
        async with self.connection() as connection:
            return await connection.request(request)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[client.Connection]:
        """Lend a connection. Each round has its own: servers close those that are silent for long."""
        if self._free:
            connection = self._free.pop()
        else:
            connection = client.Connection(self._server.port)
            await connection.open()
        yield connection
        self._free.append(connection)

    def end_round(self) -> None:
        while self._free:
            self._free.pop().close()

    async def aclose(self) -> None:
        self.end_round()
        self._stack.close()

    def cpu_seconds(self) -> float:
        return self._server.cpu_seconds()

    def load_cpu_seconds(self) -> float:
        return time.process_time()


class Upload(Served):
    """Uploads: `POST` of a form with a film of 200 KB."""

    def items(self, numbers: range) -> Sequence[bytes]:
        return [_upload(number) for number in numbers]

    async def do(self, item: bytes) -> None:
        answer = await self.ask(item)
        assert answer.status == 201, answer


class Download(Served):
    """Downloads: `GET` of films of 200 KB, in a cycle."""

    async def open(self) -> None:
        await super().open()
        for number in range(data.SHELF):
            answer = await self.ask(_upload(number))
            assert answer.status == 201, answer
        content = (await self.ask(_download(1))).body
        assert content == data.segment(1, data.SMALL_BYTES)

    def items(self, numbers: range) -> Sequence[bytes]:
        return [_download(number % data.SHELF) for number in numbers]

    async def do(self, item: bytes) -> None:
        answer = await self.ask(item)
        assert answer.status == 200, answer
        assert len(answer.body) == data.SMALL_BYTES


def _upload(number: int) -> bytes:
    return client.form(_UPLOAD, data.file_id(number), data.segment(number, data.SMALL_BYTES))


def _download(number: int) -> bytes:
    return client.get(f"/files/{data.file_id(number)}")


def served(job: type[Served], processes: int, place: Place) -> Served:
    """Return a job of `serve` with so many processes, on PostgreSQL."""
    assert place.database is not None
    settings = {**_settings(place), **on_database(place.database)}
    return job(Serve(processes, settings))


def _settings(place: Place) -> dict[str, Any]:
    return {"local_base_path": str(place.folder), "local_reserve_gb": 0.0, "parallel_uploads": 16}


def upload_ours(place: Place) -> Upload:
    """Return the uploads to Traffic Storage."""
    return Upload(Server("ours", _settings(place)))


def upload_floor(place: Place) -> Upload:
    """Return the uploads to the bare ASGI function."""
    return Upload(Server("floor", _settings(place)))


def download_ours(place: Place) -> Download:
    """Return the downloads from Traffic Storage."""
    return Download(Server("ours", _settings(place)))


def download_floor(place: Place) -> Download:
    """Return the downloads from the bare ASGI function."""
    return Download(Server("floor", _settings(place)))
