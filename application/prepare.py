"""Prepare: input is taken in, hashed, checked and encoded. Nothing is visible yet.

Bodies of the spool are entered on the stack that the caller passes. The caller ends that stack,
whether the draft was made or not.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from zoneinfo import ZoneInfo

from attrs import evolve, frozen

from traffic_storage.application.drafts import Draft
from traffic_storage.application.examine_video import (
    ExaminedVideo,
    checked_duration,
    video_info,
    watched,
)
from traffic_storage.application.inputs import (
    ArrayImage,
    FileAttributes,
    Source,
    Upload,
    check_declared_type,
    metadata_text,
)
from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import Digests, Sha256
from traffic_storage.domain.encoding import Encoding
from traffic_storage.domain.errors import (
    DigestMismatch,
    InvalidInput,
    TooLarge,
)
from traffic_storage.domain.files import Coding, FileKind, MediaInfo
from traffic_storage.domain.identifiers import (
    DeviceId,
    FileId,
    ViolationId,
    derived_file_id,
)
from traffic_storage.domain.media import (
    ContentType,
)
from traffic_storage.domain.times import Moment, instant, time_problem
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.images import Images
from traffic_storage.ports.spool import Body, MemoryBody, Spool, SpooledBody, admitted

logger = logging.getLogger("traffic_storage.prepare")

WORTH_COMPRESSING_BYTES = 4096
"""Below one block of a disk nothing is saved, and each store and read of it would pay."""
JSON_TYPE = "application/json"


@frozen
class Limits:
    """What may come in at most, and what is accepted."""

    image_bytes: int
    video_bytes: int
    metadata_bytes: int
    pixels: int
    max_clock_ahead: timedelta
    accept_unknown_video: bool = False
    compress: bool = True


def taken_over(bodies: AsyncExitStack | None) -> AsyncExitStack:
    """A stack of one's own with all contexts that were entered on `bodies`, which is empty then."""
    return AsyncExitStack() if bodies is None else bodies.pop_all()


class Prepare:
    """Makes drafts of what callers hand in."""

    def __init__(
        self,
        *,
        spool: Spool,
        images: Images,
        compressor: Compressor,
        clock: Clock,
        limits: Limits,
        encoding: Encoding,
        zone: ZoneInfo,
    ) -> None:
        self._spool = spool
        self._images = images
        self._compressor = compressor
        self._clock = clock
        self._limits = limits
        self._encoding = encoding
        self._zone = zone

    def held(self, image: ArrayImage | Upload) -> ArrayImage | Upload:
        """The image as it is now; what its caller does to his buffers later changes nothing.

        Raises:
            InvalidInput: an array that is no media, or has too many pixels.
        """
        if isinstance(image, ArrayImage):
            return image.held(self._limits.pixels)
        return image.held()

    async def image(
        self, image: ArrayImage | Upload, attributes: FileAttributes, bodies: AsyncExitStack
    ) -> Draft:
        """An image's draft: an array is encoded, encoded bytes are decoded once and kept."""
        moment = self._captured(attributes)
        if isinstance(image, ArrayImage):
            return await self._array(image, attributes, moment)
        body = await self._take(image, self._limits.image_bytes, "image", bodies)
        self._check_declared(image, body.digests, "image")
        info = await self._images.inspect(body)
        check_declared_type("image", image.content_type, ContentType(info.content_type))
        size = info.dimensions
        media = MediaInfo(width=size.width, height=size.height, channels=size.channels)
        draft = self._draft(FileKind.IMAGE, info.content_type, body, media, attributes, moment)
        return evolve(draft, original_name=attributes.original_name or image.original_name)

    async def video(
        self,
        video: Upload,
        attributes: FileAttributes,
        bodies: AsyncExitStack,
        duration_seconds: float | None = None,
    ) -> Draft:
        """A video's draft: its container is walked to its end while the bytes come in."""
        moment = self._captured(attributes)
        duration_seconds = checked_duration(duration_seconds)
        examined = ExaminedVideo(video.content_type, self._limits.accept_unknown_video)
        body = await self._take(video, self._limits.video_bytes, "video", bodies, examined)
        self._check_declared(video, body.digests, "video")
        content_type, info = examined.finish()
        media = video_info(info, duration_seconds)
        draft = self._draft(FileKind.VIDEO, content_type, body, media, attributes, moment)
        return evolve(draft, original_name=attributes.original_name or video.original_name)

    async def json(self, data: Mapping[str, Json], attributes: FileAttributes) -> Draft:
        """The draft of a JSON object, in canonical form."""
        if not isinstance(data, Mapping):
            raise InvalidInput.of("data", f"is a {type(data).__name__}", "give a JSON object")
        return await self.document(canonical_json(data, "data"), attributes)

    async def document(self, text: bytes, attributes: FileAttributes) -> Draft:
        """The draft of canonical JSON at hand; compressed when that pays."""
        moment = self._captured(attributes)
        if len(text) > self._limits.metadata_bytes:
            raise TooLarge.of(
                "data",
                f"has {len(text)} bytes",
                f"at most {self._limits.metadata_bytes} (the setting max_metadata_bytes)",
            )
        plain = await self._spool.wrap(text)
        body, coding = await self._coded(plain)
        return self._draft(
            FileKind.METADATA,
            JSON_TYPE,
            body,
            MediaInfo(),
            attributes,
            moment,
            plain.digests,
            coding,
        )

    def moment(self, timestamp: datetime, field: str) -> Moment:
        """The instant that a caller's time means, checked against the clock.

        Raises:
            InvalidInput: it can't be when something was captured.
        """
        now = self._clock.now()
        moment = instant(timestamp, self._zone, field)
        ahead = self._limits.max_clock_ahead
        if problem := time_problem(field, moment.at, now=now, max_ahead=ahead):
            raise InvalidInput([problem])
        if moment.at > now:
            logger.warning(
                "%s %s lies %s ahead of this host's clock; accepted up to max_clock_ahead (%s)",
                field,
                moment.at.isoformat(),
                moment.at - now,
                ahead,
            )
        return moment

    async def _array(
        self, image: ArrayImage, attributes: FileAttributes, moment: Moment | None
    ) -> Draft:
        held = image.held(self._limits.pixels)
        encoded = await self._images.encode(
            held.pixels, image.channel_order, image.encoding or self._encoding
        )
        size = encoded.dimensions
        media = MediaInfo(
            width=size.width,
            height=size.height,
            channels=size.channels,
            channel_order=image.channel_order if size.channels > 1 else None,
            pixel_sha256=encoded.pixel_sha256,
        )
        return self._draft(
            FileKind.IMAGE, encoded.content_type, encoded.body, media, attributes, moment
        )

    async def _take(
        self,
        upload: Upload,
        limit_bytes: int,
        field: str,
        bodies: AsyncExitStack,
        examined: ExaminedVideo | None = None,
    ) -> Body:
        watch = examined.feed if examined else None
        source = upload.source
        if isinstance(source, MemoryBody | SpooledBody):
            return await self._taken(source, limit_bytes, field, watch)
        if isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
            _check_size(len(data), limit_bytes, field)
            return await self._taken(await self._spool.wrap(data), limit_bytes, field, watch)
        chunks = self._chunks(source, field)
        if watch:
            # Admitted first: `watch` sees only bytes, and no more of them than the limit.
            chunks = watched(admitted(chunks, limit_bytes=limit_bytes, field_name=field), watch)
        taking = self._spool.take(chunks, limit_bytes=limit_bytes, field_name=field)
        body = await bodies.enter_async_context(taking)
        if body.digests.size_bytes == 0:
            raise _empty(field)
        return body

    async def _taken(
        self, body: Body, limit_bytes: int, field: str, watch: Callable[[bytes], None] | None
    ) -> Body:
        """A body that is at hand already, its size and its content checked."""
        _check_size(body.digests.size_bytes, limit_bytes, field)
        if watch:
            async for chunk in self._spool.chunks(body):
                watch(chunk)
                await asyncio.sleep(0)  # Other tasks run between the chunks of a long video.
        return body

    def _chunks(self, source: Source, field: str) -> AsyncIterable[bytes]:
        if isinstance(source, str | PathLike):
            return self._spool.read_path(Path(source), field_name=field)
        if isinstance(source, AsyncIterable):
            return source
        raise InvalidInput.of(
            field,
            f"is a {type(source).__name__}",
            "give bytes, a path or an asynchronous iterator of bytes; an image may be an array",
        )

    async def _coded(self, plain: MemoryBody) -> tuple[Body, Coding]:
        if not self._limits.compress or len(plain.data) < WORTH_COMPRESSING_BYTES:
            return plain, Coding.IDENTITY
        coded = await self._compressor.compress(plain.data)
        if coded.digests.size_bytes >= plain.digests.size_bytes:
            return plain, Coding.IDENTITY
        return coded, self._compressor.coding

    def _captured(self, attributes: FileAttributes) -> Moment | None:
        if attributes.captured_at is None:
            return None
        return self.moment(attributes.captured_at, "captured_at")

    @staticmethod
    def _check_declared(upload: Upload, digests: Digests, field: str) -> None:
        if upload.sha256 is not None and upload.sha256 != digests.sha256:
            raise DigestMismatch.of(
                "sha256",
                f"the {field} has SHA-256 {digests.sha256}, declared was {upload.sha256}",
                "send the bytes again: they changed on the way, or the digest is of others",
            )

    def _draft(
        self,
        kind: FileKind,
        content_type: str,
        body: Body,
        media: MediaInfo,
        attributes: FileAttributes,
        moment: Moment | None,
        content: Digests | None = None,
        coding: Coding = Coding.IDENTITY,
    ) -> Draft:
        content = content or body.digests
        captured_at = moment.at if moment else None
        return Draft(
            file_id=_file_id(kind, content.sha256, media, attributes, captured_at),
            kind=kind,
            content_type=str(content_type),
            content=content,
            body=body,
            coding=coding,
            media=media,
            captured_at=captured_at,
            device_id=DeviceId(attributes.device_id) if attributes.device_id else None,
            violation_id=ViolationId(attributes.violation_id) if attributes.violation_id else None,
            metadata=None if attributes.metadata is None else metadata_text(attributes.metadata),
            historic=attributes.historic,
            original_name=attributes.original_name,
        )


def _file_id(
    kind: FileKind,
    sha256: Sha256,
    media: MediaInfo,
    attributes: FileAttributes,
    captured_at: datetime | None,
) -> FileId:
    if attributes.file_id is not None:
        return FileId(attributes.file_id)
    return derived_file_id(
        kind=kind,
        content_sha256=media.pixel_sha256 or sha256,
        device=attributes.device_id,
        violation=attributes.violation_id,
        captured_at=captured_at,
        metadata=attributes.metadata,
    )


def _check_size(size: int, limit_bytes: int, field: str) -> None:
    if size == 0:
        raise _empty(field)
    if size > limit_bytes:
        raise TooLarge.of(
            field,
            f"has {size} bytes",
            f"at most {limit_bytes} (the setting max_{field}_bytes)",
        )


def _empty(field: str) -> InvalidInput:
    return InvalidInput.of(field, "is empty", "send the file's bytes")
