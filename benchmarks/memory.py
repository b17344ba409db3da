"""`python -m benchmarks.memory`: resident memory during an upload and a download of 2 GB.

Measures HTTP and Python, on local disk and on S3. The result is the peak of the process that serves
or embeds Traffic Storage, minus its idle memory after an upload and a download of a small file.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import client, data
from benchmarks.process_memory import forget_peak, memory_mb
from benchmarks.server import Server
from benchmarks.table import Report, Row, Target, machine_class
from tests.support.servers import Bucket, S3Server
from tests.support.setups import on_bucket
from traffic_storage import StorageConfig, StorageService

_SMALL_BYTES = 8_000_000
_PIECE_BYTES = 1024 * 1024
_TARGET = Target(64, 40, "MB")
_AGAINST = "resident memory over idle"
_SPAWN = multiprocessing.get_context("spawn")


class Film:
    """A complete MP4 of `size` bytes, generated piece by piece."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sha256 = ""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes; set `sha256` after the last piece."""
        hasher = hashlib.sha256()
        for piece in self._pieces():
            hasher.update(piece)
            yield piece
        self.sha256 = hasher.hexdigest()

    def _pieces(self) -> Iterator[bytes]:
        head = data.segment(0, _PIECE_BYTES)
        yield head
        rest = self.size - len(head)
        yield rest.to_bytes(4, "big") + b"free"
        rest -= 8
        noise = data.noise()
        for number in range(-(-rest // _PIECE_BYTES)):
            piece = number.to_bytes(8, "big") + noise[: _PIECE_BYTES - 8]
            yield piece[: rest - number * _PIECE_BYTES]


class Way(ABC):
    """A way to upload and download, and the id of the process whose memory is measured."""

    pid: int

    @abstractmethod
    async def open(self) -> None:
        """Prepare."""

    @abstractmethod
    async def up(self, film: Film) -> None:
        """Store a film."""

    @abstractmethod
    async def down(self, film: Film) -> None:
        """Read the whole film."""

    @abstractmethod
    def close(self) -> None:
        """Release what the way uses."""


class ByHttp(Way):
    """Uses the HTTP server."""

    def __init__(self, server: Server) -> None:
        self.pid = server.pid
        self._connection = client.Connection(server.port)

    async def open(self) -> None:
        await self._connection.open()

    async def up(self, film: Film) -> None:
        before, after = client.form_around(f"film-{film.size}")

        async def form() -> AsyncIterator[bytes]:
            yield before
            async for piece in film.pieces():
                yield piece
            yield after

        head = client.post("/files/upload/video", len(before) + film.size + len(after))
        answer = await self._connection.stream(head, form())
        assert answer.status == 201, answer
        assert json.loads(answer.body)["sha256"] == film.sha256

    async def down(self, film: Film) -> None:
        found = await self._connection.drain(client.get(f"/files/film-{film.size}"))
        assert found == (200, film.size)

    def close(self) -> None:
        self._connection.close()


class ByPython(Way):
    """Uses a process that embeds the service."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_embed, args=(theirs, settings))
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    async def open(self) -> None:
        pass

    async def up(self, film: Film) -> None:
        self._ask("up", film.size)

    async def down(self, film: Film) -> None:
        self._ask("down", film.size)

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _ask(self, what: str, size: int) -> None:
        self._pipe.send((what, size))
        self._pipe.recv()


def run(size: int, folder: Path) -> Report:
    """Measure the eight combinations."""
    rows: list[Row] = []
    with S3Server() as s3:
        for where in ("local disk", "S3"):
            for by, way in (("HTTP", _by_http), ("Python", _by_python)):
                bucket = s3.create_bucket() if where == "S3" else None
                with tempfile.TemporaryDirectory(prefix="benchmark-", dir=folder) as own:
                    peaks = asyncio.run(_measured(way(_settings(Path(own), bucket)), size))
                rows += [
                    Row(f"{size / 1e9:g} GB {what} by {by}, {where}", _AGAINST, _TARGET, (peak,))
                    for what, peak in zip(("up", "down"), peaks, strict=True)
                ]
    return Report(tuple(rows))


async def _measured(way: AbstractContextManager[Way], size: int) -> tuple[float, float]:
    with way as one:
        await one.open()
        small, large = Film(_SMALL_BYTES), Film(size)
        await one.up(small)
        await one.down(small)
        idle = memory_mb(one.pid, "VmRSS")
        peaks = []
        for transfer in (one.up, one.down):
            forget_peak(one.pid)
            await transfer(large)
            peaks.append(memory_mb(one.pid, "VmHWM") - idle)
        return peaks[0], peaks[1]


@contextmanager
def _by_http(settings: dict[str, Any]) -> Iterator[Way]:
    with Server("ours", settings) as server, closing(ByHttp(server)) as way:
        yield way


@contextmanager
def _by_python(settings: dict[str, Any]) -> Iterator[Way]:
    with closing(ByPython(settings)) as way:
        yield way


def _settings(folder: Path, bucket: Bucket | None) -> dict[str, Any]:
    return {
        "local_base_path": str(folder),
        "local_reserve_gb": 0.0,
        "strategy": "CLOUD_ONLY" if bucket else "LOCAL_ONLY",
        **(on_bucket(bucket) if bucket else {}),
    }


def _embed(pipe: Connection, settings: dict[str, Any]) -> None:
    asyncio.run(_embedded(pipe, settings))


async def _embedded(pipe: Connection, settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    async with StorageService(StorageConfig(**settings)) as storage:
        while True:
            try:
                what, size = await loop.run_in_executor(None, pipe.recv)
            except EOFError:
                return
            film = Film(size)
            if what == "up":
                stored = await storage.store_video_segment(film.pieces(), f"film-{size}")
                assert stored["sha256"] == film.sha256
            else:
                stream = await storage.open_file(f"film-{size}")
                got = 0
                async for chunk in stream.chunks():
                    got += len(chunk)
                assert got == size
            pipe.send(None)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    report = run(round(1e9 * arguments.gigabytes), arguments.folder)
    print(report.text(machine_class(arguments.folder)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
