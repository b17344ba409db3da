"""Tests of any adapter of the port `Spool`, which keeps uploaded bytes until they are stored."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, nullcontext
from pathlib import Path
from typing import ClassVar, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule

from traffic_storage.domain.digests import SEGMENT_BYTES, digests_of
from traffic_storage.domain.errors import InvalidInput, TooLarge
from traffic_storage.ports.spool import Body, MemoryBody, Spool

MIB = SEGMENT_BYTES
UNLIMITED = 1 << 40
_LINES = b"".join(b"%015d\n" % number for number in range(1, MIB // 16))
SIZES = [0, 1, 1000, MIB - 1, MIB, MIB + 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 17]


class Source:
    """An async iterator that records how many chunks it yielded and whether it was closed."""

    def __init__(self, chunks: Iterable[object], error: BaseException | None = None) -> None:
        self.given = 0
        self.closed = False
        self._chunks = iter(chunks)
        self._error = error
        self._gave: dict[int, asyncio.Event] = {}

    async def gave(self, count: int) -> None:
        """Wait until `count` chunks have been taken."""
        await self._gave.setdefault(count, asyncio.Event()).wait()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast(AsyncIterator[bytes], self)

    async def __anext__(self) -> object:
        await asyncio.sleep(0)
        for chunk in self._chunks:
            self.given += 1
            self._gave.setdefault(self.given, asyncio.Event()).set()
            return chunk
        if self._error:
            raise self._error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Record that the iterator was closed."""
        self.closed = True


def pieces(data: bytes, size: int) -> list[bytes]:
    """Split `data` into pieces of `size` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def content(size: int) -> bytes:
    """Return `size` bytes of test data without repetitions: no two MiB and no two lines are equal."""
    first_lines = (b"segment %07d\n" % number for number in range(size // MIB + 1))
    return b"".join(first_line + _LINES for first_line in first_lines)[:size]


async def read(spool: Spool, body: Body) -> bytes:
    """Return all bytes of a body."""
    chunks = [chunk async for chunk in spool.chunks(body)]
    assert all(0 < len(chunk) <= MIB for chunk in chunks)
    return b"".join(chunks)


def taking(
    spool: Spool, source: AsyncIterable[bytes], limit_bytes: int = UNLIMITED
) -> AbstractAsyncContextManager[Body]:
    """Return the context of `Spool.take` for a source."""
    return spool.take(source, limit_bytes=limit_bytes, field_name="video")


async def entered(context: AbstractAsyncContextManager[Body]) -> None:
    """Enter and leave a context whose entry should fail."""
    async with context:
        pass


@pytest.mark.asyncio
class SpoolContract:
    """Inherit from this class, and define an async fixture `spool` with room for 100 MiB."""

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("piece", [64 * 1024, 3 * MIB + 1])
    async def test_the_body_has_all_bytes_of_the_source(
        self, spool: Spool, size: int, piece: int
    ) -> None:
        """take: the body has all bytes of the source and their digests, for any chunk size."""
        data = content(size)
        async with taking(spool, Source(pieces(data, piece))) as body:
            assert body.digests == digests_of(data)
            assert await read(spool, body) == data
            if isinstance(body, MemoryBody):
                assert body.data == data
            else:
                assert os.pread(body.fd, size + 1, 0) == data

    async def test_single_bytes_and_empty_chunks_are_accepted(self, spool: Spool) -> None:
        """take: single bytes and empty chunks are accepted."""
        data = content(5000)
        chunks = [chunk for byte in pieces(data, 1) for chunk in (byte, b"")]
        async with taking(spool, Source(chunks), 5000) as body:
            assert body.digests == digests_of(data)
            assert await read(spool, body) == data

    async def test_a_source_may_reuse_its_buffer(self, spool: Spool) -> None:
        """take: a source may reuse its buffer after each chunk."""

        async def refilling() -> AsyncIterator[bytes]:
            buffer = bytearray(MIB // 2)
            for number in range(6):
                buffer[:] = bytes([number]) * len(buffer)
                yield cast(bytes, buffer)
                buffer[:] = b"!" * len(buffer)

        expected = b"".join(bytes([number]) * (MIB // 2) for number in range(6))
        async with taking(spool, refilling()) as body:
            assert body.digests == digests_of(expected)
            assert await read(spool, body) == expected

    @pytest.mark.parametrize("limit", [0, 1, 1000, MIB, 3 * MIB])
    async def test_a_body_of_the_limit_is_accepted(self, spool: Spool, limit: int) -> None:
        """take: `limit_bytes` bytes are accepted."""
        source = Source(pieces(content(limit), 100_000))
        async with taking(spool, source, limit) as body:
            assert body.digests.size_bytes == limit

    @pytest.mark.parametrize("limit", [0, 1, 1000, MIB, 3 * MIB])
    async def test_one_byte_more_is_too_large(self, spool: Spool, limit: int) -> None:
        """take: TooLarge for one byte more, naming `field_name`; the source is closed."""
        source = Source(pieces(content(limit + 1), 100_000))
        with pytest.raises(TooLarge) as raised:
            await entered(spool.take(source, limit_bytes=limit, field_name="the field"))
        assert [problem.field for problem in raised.value.problems] == ["the field"]
        assert str(limit) in str(raised.value)
        assert source.closed

    async def test_reading_a_source_stops_at_the_limit(self, spool: Spool) -> None:
        """take: TooLarge as soon as the limit is exceeded."""
        source = Source(iter(lambda: bytes(64 * 1024), None))
        with pytest.raises(TooLarge):
            await entered(taking(spool, source, 2 * MIB))
        assert source.given == 2 * MIB // (64 * 1024) + 1
        assert source.closed

    @pytest.mark.parametrize("before", [0, 3 * MIB])
    @pytest.mark.parametrize("wrong", ["text", 7, None])
    async def test_a_chunk_of_another_type_is_refused(
        self, spool: Spool, before: int, wrong: object
    ) -> None:
        """take: InvalidInput naming `field_name` if a chunk is not bytes; closes the source."""
        source = Source([bytes(before), wrong])
        with pytest.raises(InvalidInput) as raised:
            await entered(spool.take(source, limit_bytes=UNLIMITED, field_name="the field"))
        assert [problem.field for problem in raised.value.problems] == ["the field"]
        assert source.closed

    @pytest.mark.parametrize("before", [0, 1000, 3 * MIB])
    async def test_an_error_of_the_source_is_passed_on(self, spool: Spool, before: int) -> None:
        """take: an error of the source is passed on, and the source is closed."""
        source = Source(pieces(content(before), 100_000), ConnectionResetError("gone"))
        with pytest.raises(ConnectionResetError, match="gone"):
            await entered(taking(spool, source))
        assert source.closed

    @pytest.mark.parametrize("turns", [1, 2, 3, 10, 40])
    async def test_a_cancelled_take_closes_its_source(self, spool: Spool, turns: int) -> None:
        """take: if it is cancelled, it closes its source, the iterator of the bytes."""
        source = Source(iter(lambda: bytes(300_000), None))
        task = asyncio.create_task(entered(taking(spool, source)))
        await source.gave(turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.closed

    async def test_concurrent_takes_do_not_mix(self, spool: Spool) -> None:
        """take: concurrent calls do not mix their bytes."""
        contents = [bytes([number]) * (MIB + number * 100_000) for number in range(12)]
        async with AsyncExitStack() as stack:
            bodies = await asyncio.gather(
                *(
                    stack.enter_async_context(taking(spool, Source(pieces(data, 70_000))))
                    for data in contents
                )
            )
            for body, data in zip(bodies, contents, strict=True):
                assert body.digests == digests_of(data)
                assert await read(spool, body) == data

    @pytest.mark.parametrize("size", SIZES)
    async def test_wrap_returns_the_bytes_with_digests(self, spool: Spool, size: int) -> None:
        """wrap: returns the bytes with their digests."""
        data = content(size)
        assert await spool.wrap(data) == MemoryBody(data, digests_of(data))

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_file_is_read(self, spool: Spool, tmp_path: Path, size: int) -> None:
        """read_path: yields the bytes of a regular file in chunks of 1 byte to 1 MiB."""
        path = tmp_path / "video é.mp4"
        path.write_bytes(content(size))
        for name in (path, str(path)):
            chunks = [chunk async for chunk in spool.read_path(name)]
            assert all(0 < len(chunk) <= MIB for chunk in chunks)
            assert b"".join(chunks) == content(size)

    async def test_read_path_is_a_source_for_take(self, spool: Spool, tmp_path: Path) -> None:
        """read_path: its iterator is a source for take."""
        (tmp_path / "video").write_bytes(content(3 * MIB))
        async with taking(spool, spool.read_path(tmp_path / "video")) as body:
            assert body.digests == digests_of(content(3 * MIB))

    async def test_a_link_to_a_file_is_followed(self, spool: Spool, tmp_path: Path) -> None:
        """read_path: follows symbolic links."""
        (tmp_path / "video").write_bytes(b"moving")
        (tmp_path / "link").symlink_to("video")
        assert [chunk async for chunk in spool.read_path(tmp_path / "link")] == [b"moving"]

    @pytest.mark.parametrize(
        "name", ["missing", "folder", "pipe", "loop", "video/below", "nul\0", "/dev/zero", ""]
    )
    async def test_a_path_to_another_kind_of_file_is_refused(
        self, spool: Spool, tmp_path: Path, name: str
    ) -> None:
        """read_path: InvalidInput if the path is not a regular file; names field and path."""
        (tmp_path / "video").write_bytes(b"moving")
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "loop").symlink_to("loop")
        path = os.path.join(tmp_path, name) if name else name  # noqa: PTH118 - keeps the NUL
        with pytest.raises(InvalidInput) as raised:
            await anext(spool.read_path(path, field_name="video"))
        assert ascii(path)[1:-1] in str(raised.value)
        assert raised.value.problems[0].field == "video"
        assert raised.value.remedy

    @pytest.mark.parametrize("what", ["written over", "longer", "shorter", "empty"])
    async def test_a_file_that_changes_while_it_is_read_is_refused(
        self, spool: Spool, tmp_path: Path, what: str
    ) -> None:
        """read_path: InvalidInput if the file changes while it is read, with path and remedy."""
        path = tmp_path / "video"
        path.write_bytes(content(3 * MIB))
        # An older mtime, because the change could fall into the same tick of the file system clock.
        os.utime(path, (1_700_000_000, 1_700_000_000))
        chunks = spool.read_path(path, field_name="video")
        assert await anext(chunks)
        with path.open("r+b") as file:
            match what:
                case "written over":
                    file.write(b"\xff" * 3 * MIB)
                case "longer":
                    file.seek(0, os.SEEK_END)
                    file.write(b"more")
                case "shorter":
                    file.truncate(2 * MIB)
                case _:
                    file.truncate(0)
        with pytest.raises(InvalidInput, match="changed while it was read") as raised:
            async for _ in chunks:
                pass
        assert str(path) in str(raised.value)
        assert raised.value.problems[0].field == "video"
        assert "complete" in raised.value.remedy

    async def test_take_refuses_a_file_that_changes(self, spool: Spool, tmp_path: Path) -> None:
        """read_path, take: no body results from a file that changes while it is read."""
        path = tmp_path / "video"
        path.write_bytes(content(3 * MIB))
        came = 0

        async def growing() -> AsyncIterator[bytes]:
            nonlocal came
            async for chunk in spool.read_path(path, field_name="video"):
                yield chunk
                came += len(chunk)
                with path.open("ab") as file:
                    file.write(content(2 * MIB))

        with pytest.raises(InvalidInput, match="changed while it was read"):
            await entered(taking(spool, growing()))
        assert came <= 3 * MIB, (
            "read_path must stop at the size that the file had at the start, or may never end"
        )

    async def test_read_path_may_be_closed_early(self, spool: Spool, tmp_path: Path) -> None:
        """read_path: closing the iterator early closes the file."""
        (tmp_path / "video").write_bytes(content(5 * MIB))
        before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
        chunks = spool.read_path(tmp_path / "video")
        async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)):
            assert await anext(chunks) == content(MIB)
        assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    @pytest.mark.parametrize("error", [None, ValueError, asyncio.CancelledError])
    async def test_leaving_the_context_frees_the_body(
        self, spool: Spool, error: type[BaseException] | None
    ) -> None:
        """take: leaving the context frees the body after success, error and cancellation."""
        async with taking(spool, Source([bytes(2 * MIB)])):
            pass  # The spool has now opened its own folders, which stay open.
        before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
        with pytest.raises(error) if error else nullcontext():
            async with taking(spool, Source([bytes(2 * MIB)])):
                if error:
                    raise error
        assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    async def test_aclose_frees_all_bodies(self, spool: Spool) -> None:
        """aclose: frees the bodies of all open contexts; leaving them afterwards does nothing."""
        before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(taking(spool, Source([bytes(2 * MIB)])))
            await spool.aclose()
            await spool.aclose()
            assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
            later = await stack.enter_async_context(taking(spool, Source([content(2 * MIB)])))
            await stack.pop_all().aclose()
            assert later.digests == digests_of(content(2 * MIB))
        await spool.aclose()
        assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


class SpoolMachine(RuleBasedStateMachine):
    """Contexts entered and left in random order: a body keeps its bytes until its context is left.

    Define a subclass whose `make` returns a spool, and run its `TestCase`. The machine calls `make`
    on its own event loop.
    """

    make: ClassVar[Callable[[], Spool]]

    bodies: Bundle[tuple[AsyncExitStack, Body, bytes]] = Bundle("bodies")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._spool = self._runner.run(self._made())

    @rule(
        target=bodies,
        seed=st.binary(min_size=1, max_size=64),
        repeat=st.integers(0, 80_000),
        cuts=st.lists(st.integers(1, 3 * MIB), max_size=8),
    )
    def take(self, seed: bytes, repeat: int, cuts: list[int]) -> tuple[AsyncExitStack, Body, bytes]:
        """Take a body in random chunks."""
        data = seed * repeat
        chunks = []
        rest = data
        for cut in cuts:
            chunks.append(rest[:cut])
            rest = rest[cut:]
        context = taking(self._spool, Source([*chunks, rest]), len(data))
        stack = AsyncExitStack()
        body = self._runner.run(stack.enter_async_context(context))
        assert body.digests == digests_of(data)
        return stack, body, data

    @rule(held=bodies)
    def read(self, held: tuple[AsyncExitStack, Body, bytes]) -> None:
        """Read a spooled body and compare its bytes with the written ones."""
        _, body, data = held
        assert self._runner.run(read(self._spool, body)) == data

    @rule(held=consumes(bodies))
    def leave(self, held: tuple[AsyncExitStack, Body, bytes]) -> None:
        """Leave the context of a body."""
        self._runner.run(held[0].aclose())

    def teardown(self) -> None:
        """Close the spool and its loop."""
        self._runner.run(self._spool.aclose())
        self._runner.close()

    async def _made(self) -> Spool:
        return type(self).make()
