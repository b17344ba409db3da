"""Incremental parsers written as generators.

A script is a generator that yields a request and receives the answer: `Take` asks for bytes, `Skip`
for the omission of bytes that the script does not need. `ScriptedWalker` answers from chunks of any
size. It buffers at most one `Take`; a `Skip` needs no buffer.
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

# Each part costs microseconds, so a file of tiny parts only would take too long to store. Real
# files start with a few thousand small parts; frames follow.
_FREE_PARTS = 1 << 14
_BYTES_PER_PART = 64

_T = TypeVar("_T")


class Take(NamedTuple):
    """The next `size` bytes; with `may_end` the file may end before the first, then `b""`."""

    size: int
    what: str
    may_end: bool = False


class Skip(NamedTuple):
    """Skip `size` bytes, or the rest of the file if None; the answer is `b""`."""

    size: int | None
    what: str


Script: TypeAlias = Generator[Take | Skip, bytes, _T]


class Part(NamedTuple):
    """A box, chunk or element whose header was read; `end` is None where its size is unknown."""

    kind: bytes
    start: int
    end: int | None


Visitors: TypeAlias = Mapping[bytes, Callable[[Part], Script[None]]]


class ScriptedWalker(RememberingWalker):
    """A walker over a container of nested parts that a script reads.

    The script returns only at the end of the file. `offset` is the number of bytes taken and
    skipped so far. The nesting depth is limited by the visitors, not by the file.
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
        """Take the header of the next part before `limit` (None: the end of the file), if any.

        The end of a part is at or before `limit`. A part has no end only where `limit` is None.
        """

    @abstractmethod
    def name(self, kind: bytes) -> str:
        """The name of a part of this kind in error messages."""

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
        """Skip all parts of `parent` but those that have a visitor, which reads them."""
        while (part := (yield from self.part(parent.end))) is not None:
            if visit := visitors.get(part.kind):
                yield from visit(part)
            yield from self.leave(part)

    def leave(self, part: Part) -> Script[None]:
        """Skip the rest of a part; a part without an end extends to the end of the file."""
        yield Skip(None if part.end is None else part.end - self.offset, self.name(part.kind))

    def take(self, part: Part, size: int) -> Script[bytes]:
        """The next `size` bytes of a part.

        Raises:
            MalformedMedia: the part has fewer bytes left.
        """
        if part.end is not None and part.end - self.offset < size:
            raise self.malformed(f"{self.name(part.kind)} is too short for its fields")
        return (yield Take(size, self.name(part.kind)))

    def malformed(self, reason: str, offset: int | None = None) -> MalformedMedia:
        """The error about the bytes at `offset`, by default the current offset."""
        return MalformedMedia(self.container, self.offset if offset is None else offset, reason)

    def count_part(self) -> None:
        """Count one more part.

        Raises:
            MalformedMedia: there are far too many parts for the number of bytes.
        """
        self._parts += 1
        if self._parts > _FREE_PARTS + self.offset // _BYTES_PER_PART:
            raise self.malformed(f"there are {self._parts} parts in too few bytes")

    def _serve(self) -> None:
        """Answer the current request when its bytes are complete, and those that need no bytes."""
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
