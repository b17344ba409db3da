"""The jobs of the peers: the same requests to each, in the form that each takes."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence

from attrs import frozen

from benchmarks import data
from benchmarks.http import Served, Serving
from benchmarks.memory import Film
from benchmarks.peers import forms

VIDEO_BYTES = 200_000_000
RANGE_BYTES = 1_000_000
_STORED = {200, 201}
_STORED_AT_ONCE = 16


@frozen
class Routes:
    """The requests of one service: how it stores and returns an image, a large video, and a page.

    `store_video` returns the head of a request with so many bytes, and what is before and after the
    video in its body.
    """

    store: Callable[[int], bytes]
    image: Callable[[int], str]
    store_video: Callable[[int], tuple[bytes, bytes, bytes]] | None = None
    video: str = ""
    page: Callable[[str], str] | None = None
    rows: Callable[[bytes], int] = lambda body: len(json.loads(body))


class Peer(Served):
    """A service and its requests."""

    def __init__(self, server: Serving, routes: Routes) -> None:
        super().__init__(server)
        self.routes = routes


class Upload(Peer):
    """Uploads: a record with a JPEG of 200 KB."""

    def items(self, numbers: range) -> Sequence[bytes]:
        return [self.routes.store(number) for number in numbers]

    async def do(self, item: bytes) -> None:
        answer = await self.ask(item)
        assert answer.status in _STORED, answer


class Download(Peer):
    """Downloads: JPEGs of 200 KB, in a cycle."""

    async def open(self) -> None:
        await super().open()
        rest = iter(range(data.SHELF))

        async def store() -> None:
            for number in rest:
                answer = await self.ask(self.routes.store(number))
                assert answer.status in _STORED, answer

        await asyncio.gather(*(store() for _ in range(_STORED_AT_ONCE)))
        assert (await self.ask(forms.get(self.routes.image(1)))).body == forms.jpeg(1)

    def items(self, numbers: range) -> Sequence[bytes]:
        return [forms.get(self.routes.image(number % data.SHELF)) for number in numbers]

    async def do(self, item: bytes) -> None:
        answer = await self.ask(item)
        assert answer.status == 200, answer.status
        assert len(answer.body) >= len(forms.jpeg(1)) - 8


class Ranges(Peer):
    """Downloads of 1 MB somewhere in a video of 200 MB."""

    async def open(self) -> None:
        await super().open()
        film = Film(VIDEO_BYTES)
        assert self.routes.store_video is not None
        head, before, after = self.routes.store_video(VIDEO_BYTES)

        async def body() -> AsyncIterator[bytes]:
            yield before
            async for piece in film.pieces():
                yield piece
            yield after

        async with self.connection() as connection:
            answer = await connection.stream(head, body())
        assert answer.status in _STORED, answer
        await self.do(forms.part_of(self.routes.video, VIDEO_BYTES - RANGE_BYTES, RANGE_BYTES))

    def items(self, numbers: range) -> Sequence[bytes]:
        chance = random.Random(numbers.start)
        last = VIDEO_BYTES - RANGE_BYTES
        return [
            forms.part_of(self.routes.video, chance.randrange(last), RANGE_BYTES) for _ in numbers
        ]

    async def do(self, item: bytes) -> None:
        answer = await self.ask(item)
        assert (answer.status, len(answer.body)) == (206, RANGE_BYTES), (answer.status, item)


class Pages(Peer):
    """The 100 newest violations of one device."""

    async def open(self) -> None:
        await super().open()
        answer = await self.ask(self.items(range(1))[0])
        assert self.routes.rows(answer.body) == data.PAGE, answer

    def items(self, numbers: range) -> Sequence[bytes]:
        assert self.routes.page is not None
        return [forms.get(self.routes.page(data.device(number))) for number in numbers]

    async def do(self, item: bytes) -> None:
        answer = await self.ask(item)
        assert answer.status == 200, answer


def form_routes(page_path: str, image: Callable[[int], str], video: tuple[str, str]) -> Routes:
    """Return the requests of a service with forms. `video` is the path that stores, and returns, one."""

    def store_video(size: int) -> tuple[bytes, bytes, bytes]:
        before, after = forms.around({"file_id": "film"}, "file", "film.mp4")
        return forms.head(video[0], len(before) + size + len(after)), before, after

    return Routes(
        store=lambda number: forms.post(
            "/violations", forms.record(number), "image_file", "a.jpg", forms.jpeg(number)
        ),
        image=image,
        store_video=store_video,
        video=video[1],
        page=lambda device: f"{page_path}?device_id={device}&limit={data.PAGE}",
    )
