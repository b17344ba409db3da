"""Prefixes: what is known of segments that were verified, so that a part of one is verified alone.

A segment (a part of a blob with its own SHA-256) is verified whole when bytes of it are read for the
first time. It is hashed in steps, and the state of the hash after each step is kept: it stands for the
bytes of the segment up to there, a prefix. When bytes of the segment are read later, the hash is
continued from the prefix before them, and must become that of the prefix that ends with them. Other
bytes that did so would be a collision of SHA-256, as they would be for the whole segment: the proof is as
strict, of fewer bytes. No bytes are kept.
"""

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey
from traffic_storage.domain.verification import (
    Segment,
    Span,
    check_segment_sha256,
    segments_of,
)

if TYPE_CHECKING:
    from hashlib import _Hash

STEP_BYTES = 64 * 1024
# The states of one segment have 4 KB.
_SEGMENTS = 1024

_States: TypeAlias = Sequence["_Hash"]
"""The hash of a segment after each step, without the last one: that is the segment's digest."""


class PrefixMismatch(Exception):
    """The bytes of a part of a segment do not lead from one known prefix to the other."""


class Prefixes:
    """The prefixes of the segments that were used last, at most `segments`. Thread-safe."""

    def __init__(self, segments: int = _SEGMENTS) -> None:
        self._most = segments
        self._known: OrderedDict[tuple[bytes, int], _States] = OrderedDict()
        self._lock = threading.Lock()

    def plan(self, span: Span, digests: Digests, *, whole: bool = False) -> "Plan":
        """Return what is to be read for the bytes in `span`, and how it is checked.

        With `whole`, each segment that the span touches is read whole.
        """
        segments = segments_of(span, digests)
        parts = [self._part(segment, span, digests, whole=whole) for segment in segments]
        return Plan(span, parts, digests, self)

    def remember(self, segment: Segment, digests: Digests, states: _States) -> None:
        """Keep the states of a segment whose bytes were verified."""
        key = _key(segment, digests)
        with self._lock:
            self._known[key] = states
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def _part(self, segment: Segment, span: Span, digests: Digests, *, whole: bool) -> "_Part":
        start, stop = max(span.start, segment.start), min(span.stop, segment.stop)
        if stop - start == segment.length:
            return _Part(segment, start, stop)
        states = None if whole else self._states(_key(segment, digests))
        if states is None:
            return _Part(segment, segment.start, segment.stop, is_worth_remembering=True)
        start -= (start - segment.start) % STEP_BYTES
        stop += (segment.start - stop) % STEP_BYTES
        return _Part(segment, start, min(stop, segment.stop), states)

    def _states(self, key: tuple[bytes, int]) -> _States | None:
        with self._lock:
            states = self._known.get(key)
            if states is not None:
                self._known.move_to_end(key)
            return states


def _key(segment: Segment, digests: Digests) -> tuple[bytes, int]:
    """Return the digest and the length of a segment: a false row may name another one's digest."""
    return digests.segment(segment.index), segment.length


@frozen
class _Part:
    """The bytes `start` to `stop` of a segment, which are read; `states` is None if these are all."""

    segment: Segment
    start: int
    stop: int
    states: _States | None = None
    is_worth_remembering: bool = False


class Plan:
    """What is read for the bytes in `span`: some bytes `before` them, they, and some `after` them."""

    def __init__(
        self, span: Span, parts: Sequence[_Part], digests: Digests, prefixes: Prefixes
    ) -> None:
        self.span = span
        self.before = Span(parts[0].start if parts else span.start, span.start)
        self.after = Span(span.stop, parts[-1].stop if parts else span.stop)
        self._parts = parts
        self._digests = digests
        self._prefixes = prefixes

    def check(self, key: BlobKey, before: bytes, data: bytes, after: bytes) -> None:
        """Check the bytes that were read, which have the lengths of the plan.

        Raises:
            BlobCorrupt: a segment that was read whole does not have the recorded digest.
            PrefixMismatch: the bytes of a part of a segment are not those that were verified before.
        """
        pieces = _Pieces(before, data, after)
        for part in self._parts:
            if part.states is not None:
                self._check_part(pieces, part, part.states)
            elif part.is_worth_remembering:
                self._check_and_remember(key, pieces, part.segment)
            else:
                found = pieces.hashed(hashlib.sha256(), part.segment.length).digest()
                check_segment_sha256(key, found, part.segment, self._digests)

    def _check_part(self, pieces: "_Pieces", part: _Part, states: _States) -> None:
        segment = part.segment
        begin, end = part.start - segment.start, part.stop - segment.start
        sha256 = states[begin // STEP_BYTES - 1].copy() if begin else hashlib.sha256()
        found = pieces.hashed(sha256, end - begin).digest()
        if part.stop == segment.stop:
            expected = self._digests.segment(segment.index)
        else:
            expected = states[end // STEP_BYTES - 1].digest()
        if found != expected:
            raise PrefixMismatch

    def _check_and_remember(self, key: BlobKey, pieces: "_Pieces", segment: Segment) -> None:
        sha256, states = hashlib.sha256(), []
        for left in range(segment.length, 0, -STEP_BYTES):
            pieces.hashed(sha256, min(left, STEP_BYTES))
            if left > STEP_BYTES:
                states.append(sha256.copy())
        check_segment_sha256(key, sha256.digest(), segment, self._digests)
        self._prefixes.remember(segment, self._digests, states)


class _Pieces:
    """Consecutive bytes in pieces, which are hashed in order without being copied."""

    def __init__(self, *pieces: bytes) -> None:
        self._left = deque(memoryview(piece) for piece in pieces if piece)

    def hashed(self, sha256: "_Hash", length: int) -> "_Hash":
        """Continue a hash with the next `length` bytes; return it."""
        while length:
            piece = self._left.popleft()
            if len(piece) > length:
                self._left.appendleft(piece[length:])
                piece = piece[:length]
            sha256.update(piece)
            length -= len(piece)
        return sha256
