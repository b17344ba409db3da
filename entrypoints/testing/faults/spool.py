"""A spool that fails as planned and records the bodies that are not released."""

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from os import PathLike

from traffic_storage.domain.errors import StorageFull
from traffic_storage.ports.spool import Body, MemoryBody, Spool


class FailingSpool(Spool):
    """Wraps the spool `inner`, so that `take` fails after it has read the whole source.

    `FailingSpool(inner, after=2)` fails every `take` after the first two; without `after`, none
    fails. `held` lists the bodies of `take` whose contexts are entered and not left.
    """

    def __init__(
        self,
        inner: Spool,
        *,
        after: int | None = None,
        error: Callable[[], Exception] = lambda: StorageFull("injected fault"),
    ) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        """Number of calls per method."""
        self.held: list[Body] = []
        self._left = after
        self._error = error

    @asynccontextmanager
    async def take(
        self, source: AsyncIterable[bytes], *, limit_bytes: int, field_name: str
    ) -> AsyncIterator[Body]:
        self.calls["take"] += 1
        taking = self.inner.take(source, limit_bytes=limit_bytes, field_name=field_name)
        async with taking as body, self._holding(body):
            if self._left == 0:
                raise self._error()
            if self._left is not None:
                self._left -= 1
            yield body

    async def wrap(self, data: bytes) -> MemoryBody:
        self.calls["wrap"] += 1
        return await self.inner.wrap(data)

    def read_path(
        self, path: str | PathLike[str], *, field_name: str = "path"
    ) -> AsyncIterator[bytes]:
        self.calls["read_path"] += 1
        return self.inner.read_path(path, field_name=field_name)

    def chunks(self, body: Body) -> AsyncIterator[bytes]:
        self.calls["chunks"] += 1
        return self.inner.chunks(body)

    async def aclose(self) -> None:
        await self.inner.aclose()

    @asynccontextmanager
    async def _holding(self, body: Body) -> AsyncIterator[None]:
        self.held.append(body)
        try:
            yield
        finally:
            self.held = [other for other in self.held if other is not body]
