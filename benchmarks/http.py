"""The HTTP jobs: the same small client against Traffic Storage and against the floor."""

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
    """A server in a process of its own, and connections to it; items are whole requests."""

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
        """One request on a free connection; there are as many as workers."""
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
    """`POST` of a form with a film of 200 KB."""

    def items(self, numbers: range) -> Sequence[bytes]:
        return [_upload(number) for number in numbers]

    async def do(self, item: bytes) -> None:
        answer = await self.ask(item)
        assert answer.status == 201, answer


class Download(Served):
    """`GET` of a film of 200 KB, around and around."""

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
    """Uploads to Traffic Storage."""
    return Upload("ours", _settings(place))


def upload_floor(place: Place) -> Upload:
    """Uploads to the bare function."""
    return Upload("floor", _settings(place))


def download_ours(place: Place) -> Download:
    """Downloads from Traffic Storage."""
    return Download("ours", _settings(place))


def download_floor(place: Place) -> Download:
    """Downloads from the bare function."""
    return Download("floor", _settings(place))
