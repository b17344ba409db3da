"""What a container walker promises, and the info and the error that it answers with."""

from abc import abstractmethod
from math import isfinite
from typing import Protocol, TypeAlias

from attrs import frozen

from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.media.content_types import ContentType

Chunk: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes of a stream."""

_LONGEST_SECONDS = 366 * 24 * 3600.0
_MOST_PIXELS_A_SIDE = 0xFFFF
_LONGEST_CODEC = 64


class MalformedMedia(TrafficStorageError, ValueError):
    """The bytes can't be a complete file of their container.

    `offset_bytes` is where this showed: where the file ends when it is cut short, else the start
    of the part that is wrong. `reason` says what was found there, in words.
    """

    def __init__(self, container: ContentType, offset_bytes: int, reason: str) -> None:
        super().__init__(
            f"not a complete {container} file: at byte {offset_bytes}, {reason}",
            remedy="send the whole, unaltered file",
        )
        self.container = container
        self.offset_bytes = offset_bytes
        self.reason = reason

    def __reduce__(self) -> tuple[type["MalformedMedia"], tuple[ContentType, int, str]]:
        return type(self), (self.container, self.offset_bytes, self.reason)


@frozen
class ContainerInfo:
    """What the container's headers say of their content; None where they say nothing usable.

    `width` and `height` are in pixels, of the first video track. `video_codec` is spelled as the
    container spells it: a four-character code (`avc1`, `MJPG`), in Matroska a codec id (`V_VP9`).
    These are claims of whoever made the file: nothing was decoded.
    """

    container: ContentType
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    video_codec: str | None = None

    @classmethod
    def claimed(
        cls,
        container: ContentType,
        *,
        duration_seconds: float | None = None,
        width: int = 0,
        height: int = 0,
        video_codec: bytes = b"",
    ) -> "ContainerInfo":
        """The info that hostile headers may claim: what is implausible becomes None.

        A duration is more than 0 and at most 366 days, a side 1 to 65,535 pixels (both sides or
        none), a codec at most 64 printable ASCII characters.
        """
        sized = 0 < width <= _MOST_PIXELS_A_SIDE and 0 < height <= _MOST_PIXELS_A_SIDE
        return cls(
            container,
            _plausible_seconds(duration_seconds),
            width if sized else None,
            height if sized else None,
            _printable(video_codec),
        )


class Walker(Protocol):
    """Checks one file of one container while its bytes stream by, and keeps none of them.

    Memory is bounded whatever the input, time is linear in it, and the outcome doesn't depend on
    how the bytes are cut into chunks. The walker keeps no reference to a chunk after `feed`.
    """

    @abstractmethod
    def feed(self, chunk: Chunk) -> None:
        """Take the next bytes of the file, of any number.

        Raises:
            MalformedMedia: whatever follows, this is no complete file. Each later call raises
                the same again.
        """

    @abstractmethod
    def finish(self) -> ContainerInfo:
        """Say that no more bytes come; nothing is fed after this. Calling again answers the same.

        Raises:
            MalformedMedia: the bytes so far are not a complete file.
        """


class RememberingWalker(Walker):
    """A walker that keeps its outcome: the first error, or the info."""

    def __init__(self) -> None:
        self._outcome: ContainerInfo | MalformedMedia | None = None

    def feed(self, chunk: Chunk) -> None:
        if self._outcome is not None:
            self._answer(self._outcome)
            raise RuntimeError("a walker was fed after its finish")
        # Released, so that an error's traceback doesn't keep the caller's buffer.
        with memoryview(chunk) as whole, whole.cast("B") as view:
            try:
                self.look(view)
            except MalformedMedia as error:
                self._outcome = error
                raise

    def finish(self) -> ContainerInfo:
        if self._outcome is None:
            try:
                self._outcome = self.conclude()
            except MalformedMedia as error:
                self._outcome = error
        return self._answer(self._outcome)

    @abstractmethod
    def look(self, view: memoryview) -> None:
        """Take the next bytes; `MalformedMedia` when they can't be right."""

    @abstractmethod
    def conclude(self) -> ContainerInfo:
        """The info of the file that has ended; `MalformedMedia` when it is not whole."""

    @staticmethod
    def _answer(outcome: ContainerInfo | MalformedMedia) -> ContainerInfo:
        if isinstance(outcome, MalformedMedia):
            raise outcome
        return outcome


def _plausible_seconds(seconds: float | None) -> float | None:
    if seconds is None or not isfinite(seconds) or not 0 < seconds <= _LONGEST_SECONDS:
        return None
    return seconds


def _printable(codec: bytes) -> str | None:
    text = codec.rstrip(b"\0 ").decode("latin-1")
    usable = 0 < len(text) <= _LONGEST_CODEC and text.isascii() and text.isprintable()
    return text if usable else None
