"""The protocol of walkers (checkers of media containers), their result and their error."""

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
    """The bytes are not a complete, well-formed media file of the type `container`.

    `offset_bytes` is the end of a truncated file, else the start of the wrong part. `reason`
    describes the fault in words.
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
    """The properties that the headers of a video file state; None if missing or implausible.

    `width` and `height` are in pixels, of the first video track. `video_codec` is the container's
    own identifier: a four-character code (`avc1`, `MJPG`), in Matroska a codec id (`V_VP9`). The
    values are not verified: no frame is decoded.
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
        """Return the properties that untrusted headers state, with implausible values set to None.

        A plausible duration is more than 0 and at most 366 days, a side 1 to 65,535 pixels
        (both sides or none), a codec at most 64 printable ASCII characters.
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
    """Checks the structure of one media file while its bytes arrive in chunks.

    Memory is bounded, time is linear in the size, and the result does not depend on the sizes of
    the chunks. The walker keeps no reference to a chunk after `feed`.
    """

    @abstractmethod
    def feed(self, chunk: Chunk) -> None:
        """Process the next bytes of the file; a chunk may have any size.

        Raises:
            MalformedMedia: no further bytes can make this a complete file. Each later call raises
                the same error.
        """

    @abstractmethod
    def finish(self) -> ContainerInfo:
        """Check that the file is complete and return its properties.

        A second call has the same result. A later call of `feed` raises a `RuntimeError`.

        Raises:
            MalformedMedia: the bytes so far are not a complete file.
        """

    @abstractmethod
    def salvaged(self) -> ContainerInfo | None:
        """Return what the bytes so far tell of a file that is malformed; None if no frame came.

        It may be called after `feed` or `finish` has raised. A duration may be that of the whole file.
        """


class RememberingWalker(Walker):
    """The base class of the walkers (checkers of media files).

    It stores the result of the check: the first error, or the properties of the file.
    """

    def __init__(self) -> None:
        self._outcome: ContainerInfo | MalformedMedia | None = None

    def feed(self, chunk: Chunk) -> None:
        if self._outcome is not None:
            self._answer(self._outcome)
            raise RuntimeError("`feed` was called after `finish`")
        # Released here, because the traceback of an error would keep the caller's buffer.
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
        """Process the next bytes of the file; raise `MalformedMedia` if they are malformed."""

    @abstractmethod
    def conclude(self) -> ContainerInfo:
        """Return the properties of the file, all of which was processed.

        Raises:
            MalformedMedia: the file is incomplete.
        """

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
