"""Examining videos: what container they are and whether it is whole, while the bytes come in."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from traffic_storage.application.inputs import check_declared_type
from traffic_storage.domain.errors import (
    FieldProblem,
    InvalidInput,
    UndecodableMedia,
    UnsupportedMedia,
    shown,
)
from traffic_storage.domain.files import MediaInfo
from traffic_storage.domain.media import (
    SNIFF_BYTES,
    ContainerInfo,
    ContentType,
    MalformedMedia,
    Walker,
    sniff,
    walker_for,
)
from traffic_storage.domain.numeric import plain_number

MAX_DURATION_SECONDS = 10_000_000
UNKNOWN_VIDEO = "application/octet-stream"


class ExaminedVideo:
    """Looks at a video's bytes while they come: what container they are, whether it is whole."""

    def __init__(self, declared: str | None, accept_unknown: bool) -> None:
        self._declared = declared
        self._accept_unknown = accept_unknown
        self._head = b""
        self._begun = False
        self._type: ContentType | None = None
        self._walker: Walker | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            UnsupportedMedia: the container is not accepted, or not the declared one.
            UndecodableMedia: it is broken.
        """
        if self._begun:
            self._walk(chunk)
            return
        self._head += chunk
        if len(self._head) >= SNIFF_BYTES:
            self._begin()

    def finish(self) -> tuple[str, ContainerInfo | None]:
        """The content type, and what the container says of itself."""
        if not self._begun:
            self._begin()
        if self._walker is None:
            return self._type or UNKNOWN_VIDEO, None
        try:
            return self._type or UNKNOWN_VIDEO, self._walker.finish()
        except MalformedMedia as error:
            raise _broken_video(error) from error

    def _begin(self) -> None:
        self._begun = True
        self._type = sniff(self._head[:SNIFF_BYTES])
        self._walker = walker_for(self._type) if self._type else None
        if self._walker is None and not self._accept_unknown:
            raise UnsupportedMedia.of(
                "video",
                f"is {self._type}" if self._type else "is no video container that is known",
                "send MP4, MOV, Matroska, WebM, MPEG-TS or AVI, "
                "or set accept_unknown_video to store it unchecked",
            )
        check_declared_type("video", self._declared, self._type)
        self._walk(self._head)
        self._head = b""

    def _walk(self, chunk: bytes) -> None:
        if self._walker is None:
            return
        try:
            self._walker.feed(chunk)
        except MalformedMedia as error:
            raise _broken_video(error) from error


async def watched(
    source: AsyncGenerator[bytes, None], watch: Callable[[bytes], None]
) -> AsyncGenerator[bytes, None]:
    """The chunks of a source, each shown to `watch` before it goes on."""
    async with aclosing(source):
        async for chunk in source:
            watch(chunk)
            yield chunk


def checked_duration(duration_seconds: object) -> float | None:
    """A video's length as its caller said it, in seconds; None says nothing.

    Raises:
        InvalidInput: no number, or none that a video can have.
    """
    if duration_seconds is None:
        return None
    seconds = plain_number(duration_seconds)
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds <= MAX_DURATION_SECONDS:  # type: ignore[operator]
        raise InvalidInput.of(
            "duration_seconds",
            f"is {shown(duration_seconds)}",
            f"give seconds, 0 to {MAX_DURATION_SECONDS}",
        )
    return seconds  # type: ignore[return-value]


def video_info(info: ContainerInfo | None, duration_seconds: float | None) -> MediaInfo:
    """What a caller and the container say of a video; the caller's duration wins."""
    if info is None:
        return MediaInfo(duration_seconds=duration_seconds)
    known = info.duration_seconds if duration_seconds is None else duration_seconds
    return MediaInfo(width=info.width, height=info.height, duration_seconds=known)


def _broken_video(error: MalformedMedia) -> UndecodableMedia:
    problem = FieldProblem("video", error.message, "send the whole file as the recorder closed it")
    return UndecodableMedia([problem])
