"""Parsers written as though they could read, run while the bytes stream by.

A script is a generator that yields what it needs next and is sent it: `Take` for some bytes,
`Skip` to pass over bytes that nobody looks at. `ScriptedWalker` serves it from chunks of any
size; it holds no more than one `Take` and passes over a `Skip` by counting.
"""

from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from traffic_storage.domain.media.content_types import ContentType
from traffic_storage.domain.media.walker import (
    ContainerInfo,
    MalformedMedia,
    RememberingWalker,
)

# Each part costs microseconds, so a file of nothing but tiny parts would hold up its store. Real
# files begin with a few thousand small parts; after these come frames.
_FREE_PARTS = 1 << 14
_BYTES_PER_PART = 64

_T = TypeVar("_T")


class Take(NamedTuple):
    """The next `size` bytes; with `may_end` the file may end before the first, then `b""`."""

    size: int
    what: str
    may_end: bool = False


class Skip(NamedTuple):
    """Pass over `size` bytes, None for all up to the end of the file; answered with `b""`."""

    size: int | None
    what: str


Script: TypeAlias = Generator[Take | Skip, bytes, _T]


class Part(NamedTuple):
    """A box, chunk or element whose header was taken; `end` None: it says nothing of its end."""

    kind: bytes
    start: int
    end: int | None


Visitors: TypeAlias = Mapping[bytes, Callable[[Part], Script[None]]]


class ScriptedWalker(RememberingWalker):
    """A walker over a container of nested parts, read by a script.

    The script returns only when the file has ended. `offset` counts the bytes that it took and
    skipped. Parts nest as deep as its visitors go, never as deep as the file says.
    """

    def __init__(self, container: ContentType) -> None:
        super().__init__()
        self.container = container
        self.offset = 0
        self._parts = 0
        self._taken = bytearray()
        self._script = self.script()
        self._wanted = next(self._script)
        self._missing = self._wanted.size

    @abstractmethod
    def script(self) -> Script[ContainerInfo]:
        """Read one file from its first byte to its end."""

    @abstractmethod
    def part(self, limit: int | None) -> Script[Part | None]:
        """Take the header of the next part before `limit` (None: the file's end), if there is one.

        A part that has an end ends at or before `limit`; one without has no `limit` either.
        """

    @abstractmethod
    def name(self, kind: bytes) -> str:
        """How to call a part of this kind in a message."""

    def look(self, view: memoryview) -> None:
        start = 0
        while start < len(view):
            available = len(view) - start
            used = available if self._missing is None else min(self._missing, available)
            if isinstance(self._wanted, Take):
                self._taken += view[start : start + used]
            else:
                self.offset += used
            start += used
            if self._missing is not None:
                self._missing -= used
                self._serve()

    def conclude(self) -> ContainerInfo:
        try:
            while self._may_end():
                self._resume(b"")
        except StopIteration as end:
            info: ContainerInfo = end.value
            return info
        raise self._cut_short()

    def inside(self, parent: Part, visitors: Visitors) -> Script[None]:
        """Pass over all parts of `parent`, stopping at those that have a visitor."""
        while (part := (yield from self.part(parent.end))) is not None:
            if visit := visitors.get(part.kind):
                yield from visit(part)
            yield from self.leave(part)

    def leave(self, part: Part) -> Script[None]:
        """Pass over what is left of a part; one without an end takes up the rest of the file."""
        yield Skip(None if part.end is None else part.end - self.offset, self.name(part.kind))

    def take(self, part: Part, size: int) -> Script[bytes]:
        """The next `size` bytes of a part, which must have so many left."""
        if part.end is not None and part.end - self.offset < size:
            raise self.malformed(f"{self.name(part.kind)} is too short for its fields")
        return (yield Take(size, self.name(part.kind)))

    def malformed(self, reason: str, offset: int | None = None) -> MalformedMedia:
        """The error to raise about what stands at `offset`, by default where the script is."""
        return MalformedMedia(self.container, self.offset if offset is None else offset, reason)

    def count_part(self) -> None:
        """Note that one more part was met.

        Raises:
            MalformedMedia: there are far more than so many bytes have a use for.
        """
        self._parts += 1
        if self._parts > _FREE_PARTS + self.offset // _BYTES_PER_PART:
            raise self.malformed(f"there are {self._parts} parts in too few bytes")

    def _serve(self) -> None:
        """Give the script what it wanted, once it is there, and all that needs no more bytes."""
        while self._missing == 0:
            taken = bytes(self._taken)
            self._taken.clear()
            self.offset += len(taken)
            self._resume(taken)

    def _resume(self, answer: bytes) -> None:
        self._wanted = self._script.send(answer)
        self._missing = self._wanted.size

    def _may_end(self) -> bool:
        if isinstance(self._wanted, Take):
            return self._wanted.may_end and not self._taken
        return self._missing is None

    def _cut_short(self) -> MalformedMedia:
        end = self.offset + len(self._taken)
        return self.malformed(
            f"the file ends inside {self._wanted.what}, {self._missing} bytes short", end
        )
