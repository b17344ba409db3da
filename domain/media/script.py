"""Incremental parsers of media containers, written as generators.

A script is a generator that parses a file: it yields a request and receives the answer. `Take`
requests bytes; `Skip` requests to skip bytes that the script does not need. `ScriptedWalker` runs
a script and answers its requests from chunks of any size. It buffers at most one `Take`; a `Skip`
needs no buffer.
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

# Parsing a part takes microseconds, so a file of only tiny parts would take too long to store. Real
# files start with a few thousand small parts, and larger parts with frames follow.
_FREE_PARTS = 1 << 14
# A live WebM of a still scene has a block for every 28 bytes.
_BYTES_PER_PART = 20

_T = TypeVar("_T")


class Take(NamedTuple):
    """A request of a script for the next `size` bytes of the file.

    `what` names them in error messages. With `may_end`, the file may end before the first of them;
    the answer is then `b""`. With `may_be_short`, it may also end inside them; the answer is then
    the bytes that exist.
    """

    size: int
    what: str
    may_end: bool = False
    may_be_short: bool = False


class Skip(NamedTuple):
    """A request of a script to skip `size` bytes, or the rest of the file if None.

    The answer is `b""`. `what` names the bytes in error messages.
    """

    size: int | None
    what: str


Script: TypeAlias = Generator[Take | Skip, bytes, _T]


class Part(NamedTuple):
    """A part of a container (a box, chunk or element) whose header was read.

    It reaches from byte `start` to byte `end` (exclusive); None means that its size is unknown.
    """

    kind: bytes
    start: int
    end: int | None


Visitors: TypeAlias = Mapping[bytes, Callable[[Part], Script[None]]]


class ScriptedWalker(RememberingWalker):
    """The base of the walkers for containers of nested parts, which a script (a generator) parses.

    The script returns only at the end of the file. `offset` is the number of bytes that it has
    taken and skipped. Only parts with a visitor are parsed, so a file can't cause deep recursion.
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
        """Parse one file from its first byte to its end; return its properties."""

    @abstractmethod
    def part(self, limit: int | None) -> Script[Part | None]:
        """Read the header of the next part that starts before `limit`; None if there is none.

        A `limit` of None is the end of the file. The part ends at or before `limit`; its end is
        None only if `limit` is None.
        """

    @abstractmethod
    def name(self, kind: bytes) -> str:
        """Return the name of a part (box, chunk or element) of this kind for error messages."""

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
                self._answer_complete()

    def conclude(self) -> ContainerInfo:
        try:
            while self._may_end():
                taken = bytes(self._taken)
                self._taken.clear()
                self.offset += len(taken)
                self._resume(taken)
        except StopIteration as end:
            info: ContainerInfo = end.value
            return info
        raise self._cut_short()

    def inside(self, parent: Part, visitors: Visitors) -> Script[None]:
        """Go through the parts in `parent`: call the visitor of their kind; skip parts without one.

        `visitors` maps the kind of a part to the function that reads it.
        """
        while (part := (yield from self.part(parent.end))) is not None:
            if visit := visitors.get(part.kind):
                yield from visit(part)
            yield from self.leave(part)

    def leave(self, part: Part) -> Script[None]:
        """Skip the rest of a part (box, chunk or element) of the file.

        A part whose end is None extends to the end of the file.
        """
        yield Skip(None if part.end is None else part.end - self.offset, self.name(part.kind))

    def take(self, part: Part, size: int) -> Script[bytes]:
        """Read the next `size` bytes of a part.

        Raises:
            MalformedMedia: the part has fewer bytes left.
        """
        if part.end is not None and part.end - self.offset < size:
            raise self.malformed(f"{self.name(part.kind)} is too short for its fields")
        return (yield Take(size, self.name(part.kind)))

    def malformed(self, reason: str, offset: int | None = None) -> MalformedMedia:
        """Return the error about the bytes at `offset`; without one, at the current position."""
        return MalformedMedia(self.container, self.offset if offset is None else offset, reason)

    def count_part(self) -> None:
        """Count one more part (box, chunk or element) of the file.

        Raises:
            MalformedMedia: the file has too many parts for the number of its bytes so far.
        """
        self._parts += 1
        if self._parts > _FREE_PARTS + self.offset // _BYTES_PER_PART:
            raise self.malformed(
                f"there are {self._parts} boxes, chunks or elements, too many for this file size"
            )

    def _answer_complete(self) -> None:
        """Answer the current request if it is complete, and then each request for 0 bytes."""
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
            return self._wanted.may_be_short or (self._wanted.may_end and not self._taken)
        return self._missing is None

    def _cut_short(self) -> MalformedMedia:
        end = self.offset + len(self._taken)
        return self.malformed(
            f"the file ends inside {self._wanted.what}, {self._missing} bytes short", end
        )
