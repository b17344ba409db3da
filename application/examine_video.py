"""Examining videos: determine the container and check that it is whole while the bytes arrive."""

import re
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
    is_media_segment,
    sniff,
    walker_for,
)
from traffic_storage.domain.numeric import plain_number

MAX_DURATION_SECONDS = 10_000_000
UNKNOWN_VIDEO = "application/octet-stream"
# A declared duration may be rounded, and containers leave the last frame out, or count sound, too.
_CLOSE_SECONDS = 1.0
_CLOSE_SHARE = 0.05

_MOTION_JPEG = frozenset(
    {"video/x-motion-jpeg", "video/x-mjpeg", "video/mjpeg", "video/x-jpeg", "video/jpeg"}
)
# Markup in any encoding that extends ASCII (two characters are not enough: a binary file may begin
# with them), UTF-16 text, PDF, ZIP, WAVE, audio in MP4, or nothing but a few bytes.
_NO_VIDEO = re.compile(
    rb"\s*<[!?a-z][^\0-\x08\x0e-\x1f]*\Z|\xff\xfe[\x09-\x7e]\0|\xfe\xff\0[\x09-\x7e]"
    rb"|%PDF-|PK\x03\x04|RIFF.{4}WAVE|.{4}ftypM4[ABP]|.{0,3}\Z",
    re.DOTALL | re.IGNORECASE,
)


class ExaminedVideo:
    """Determines the container of a video and checks it while its bytes arrive.

    With `accept_damaged`, a known container that is cut or damaged behind its first frame is no error:
    `damage` then tells in words what is wrong.
    """

    def __init__(
        self, declared: str | None, accept_unknown: bool, accept_damaged: bool = False
    ) -> None:
        self._declared = declared
        self._accept_unknown = accept_unknown
        self._accept_damaged = accept_damaged
        self.damage: str | None = None
        self._head = b""
        self._begun = False
        self._type: ContentType | None = None
        self._walker: Walker | None = None

    def feed(self, chunk: bytes) -> None:
        """Examine the next bytes of the video.

        Raises:
            UnsupportedMedia: the container is not accepted, or differs from the declared type.
            UndecodableMedia: the container is broken.
        """
        if self._begun:
            self._walk(chunk)
            return
        self._head += chunk
        if len(self._head) >= SNIFF_BYTES:
            self._begin()

    def finish(self) -> tuple[str, ContainerInfo | None]:
        """Check that the video is complete; return its content type and its properties.

        The properties are those that the container states; None if the container is unknown.

        Raises:
            UnsupportedMedia, UndecodableMedia: as `feed`.
        """
        if not self._begun:
            self._begin()
        if self._walker is None:
            return self._type or UNKNOWN_VIDEO, None
        try:
            info = None if self.damage else self._walker.finish()
        except MalformedMedia as error:
            self._note(error, self._walker)
            info = None
        return self._type or UNKNOWN_VIDEO, info or self._walker.salvaged()

    def _begin(self) -> None:
        self._begun = True
        self._type = sniff(self._head[:SNIFF_BYTES])
        self._walker = walker_for(self._type) if self._type else None
        if self._is_motion_jpeg():
            self._type = None
            self._head = b""
            return
        if self._walker is None and self._accept_unknown:
            self._refuse_no_video()
        elif self._type is None and is_media_segment(self._head):
            raise UnsupportedMedia.of(
                "video",
                "is a segment of a fragmented MP4 without its initialization segment",
                "put the initialization segment (ftyp and moov) in front of it",
            )
        elif self._walker is None:
            raise UnsupportedMedia.of(
                "video",
                f"is {self._type}" if self._type else "is not a known video container",
                "send MP4, MOV, Matroska, WebM, MPEG-TS or AVI, "
                "or set accept_unknown_video to store it unchecked",
            )
        check_declared_type("video", self._declared, self._type)
        self._walk(self._head)
        self._head = b""

    def _is_motion_jpeg(self) -> bool:
        declared = (self._declared or "").partition(";")[0].strip().lower()
        return self._accept_unknown and self._type is ContentType.JPEG and declared in _MOTION_JPEG

    def _refuse_no_video(self) -> None:
        """Refuse what is known to be no video, though unknown containers are accepted."""
        if self._type in {None, ContentType.MPEG_PS} and not _NO_VIDEO.match(
            self._head[:SNIFF_BYTES]
        ):
            return
        raise UnsupportedMedia.of(
            "video",
            f"is {self._type}" if self._type else "is a document, an archive or sound",
            "send a video; declare a sequence of JPEG images as video/x-motion-jpeg",
        )

    def _walk(self, chunk: bytes) -> None:
        if self._walker is None or self.damage:
            return
        try:
            self._walker.feed(chunk)
        except MalformedMedia as error:
            self._note(error, self._walker)

    def _note(self, error: MalformedMedia, walker: Walker) -> None:
        """Note the damage of a video, if it is accepted and the video has a frame before.

        Raises:
            UndecodableMedia: it is not accepted.
        """
        has_frames = walker.salvaged() is not None
        if not self._accept_damaged or not has_frames:
            raise _broken_video(error, has_frames) from error
        self.damage = error.message


async def watched(
    source: AsyncGenerator[bytes, None], watch: Callable[[bytes], None]
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a source; call `watch` with each chunk before it is yielded."""
    async with aclosing(source):
        async for chunk in source:
            watch(chunk)
            yield chunk


def checked_duration(duration_seconds: object) -> float | None:
    """Return the caller's duration of a video in seconds, or None if none is given.

    Raises:
        InvalidInput: not a number from 0 to `MAX_DURATION_SECONDS`.
    """
    if duration_seconds is None:
        return None
    seconds = plain_number(duration_seconds)
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds <= MAX_DURATION_SECONDS:  # type: ignore[operator]
        raise InvalidInput.of(
            "duration_seconds",
            f"is {shown(duration_seconds)}",
            f"give a number of seconds from 0 to {MAX_DURATION_SECONDS}",
        )
    return seconds  # type: ignore[return-value]


def video_info(
    info: ContainerInfo | None, duration_seconds: float | None, *, damaged: bool = False
) -> MediaInfo:
    """Return the properties of a video: those of its container, but the caller's duration if given.

    What a damaged container tells about its duration is not compared with that of the caller.

    Raises:
        InvalidInput: the durations differ by more than a second and 5 %.
    """
    if info is None:
        return MediaInfo(duration_seconds=duration_seconds)
    if duration_seconds is not None and info.duration_seconds is not None and not damaged:
        _check_duration(duration_seconds, info.duration_seconds)
    known = info.duration_seconds if duration_seconds is None else duration_seconds
    return MediaInfo(width=info.width, height=info.height, duration_seconds=known)


def _check_duration(declared: float, found: float) -> None:
    if abs(declared - found) > max(_CLOSE_SECONDS, _CLOSE_SHARE * found):
        raise InvalidInput.of(
            "duration_seconds",
            f"is {declared:g}, but the video itself lasts {found:.3g} seconds",
            "leave it out, or declare the duration of this video; another video may have been sent",
        )


def _broken_video(error: MalformedMedia, has_frames: bool) -> UndecodableMedia:
    remedy = "send the complete file, as finalized by the recorder"
    if has_frames:
        remedy += (
            "; if there is none, because the recorder was killed, store it as it is with "
            "accept_damaged_video=true, for this file (--accept-damaged-video) or as a setting"
        )
    return UndecodableMedia([FieldProblem("video", error.message, remedy)])
