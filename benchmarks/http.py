"""The HTTP jobs: one small client sends requests to Traffic Storage and to the floor."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import client, data
from benchmarks.contenders import Contender, Place, cpu_seconds_of
from benchmarks.server import Server

_CONNECTIONS = 16
_UPLOAD = "/files/upload/video"


class Served(Contender[bytes]):
    """A server in its own process and connections to it. Items are whole requests."""

    def __init__(self, app: str, settings: dict[str, Any]) -> None:
        self._server = Server(app, settings)
        self._free: list[client.Connection] = []
        self._stack = ExitStack()

    async def open(self) -> None:
        self._stack.enter_context(self._server)
        for _ in range(_CONNECTIONS):
            connection = client.Connection(self._server.port)
            await connection.open()
            self._stack.callback(connection.close)
            self._free.append(connection)

    async def ask(self, request: bytes) -> client.Answer:
        """Send a request on a free connection; there are as many connections as workers."""
        connection = self._free.pop()
        answer = await connection.request(request)
        self._free.append(connection)
        return answer

    async def aclose(self) -> None:
        self._stack.close()

    def cpu_seconds(self) -> float:
        return cpu_seconds_of(self._server.pid)

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


def _settings(place: Place) -> dict[str, Any]:
    return {"local_base_path": str(place.folder), "local_reserve_gb": 0.0, "parallel_uploads": 16}


def upload_ours(place: Place) -> Upload:
    """Return the uploads to Traffic Storage."""
    return Upload("ours", _settings(place))


def upload_floor(place: Place) -> Upload:
    """Return the uploads to the bare ASGI function."""
    return Upload("floor", _settings(place))


def download_ours(place: Place) -> Download:
    """Return the downloads from Traffic Storage."""
    return Download("ours", _settings(place))


def download_floor(place: Place) -> Download:
    """Return the downloads from the bare ASGI function."""
    return Download("floor", _settings(place))
